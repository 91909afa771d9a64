"""Draws of all effects given the coefficients, σ and the covariances, once for each node.

From the root downwards, with the matrices of :mod:`~hiermodels.exact.kernels.blocks.downward`,

    θ_u = (I − K R) φ + K (D_y − D_x β) + σ H'z,    z ~ N(0, I),    Cov = σ² H'H = σ² L M⁻¹ L'.

The groups' effects are independent given those above them: some of the groups share a random
stream, so that a group's draws are the same whichever others are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.threads import for_each
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.downward import Gain
from hiermodels.exact.kernels.blocks.rotations import product
from hiermodels.exact.kernels.blocks.upward import batches, messages
from hiermodels.exact.kernels.tree.draws import GROUPS_PER_STREAM

NODES = 1 << 10  # that are worked on at a time: the arrays of a stream's groups stay in the cache


@dataclass(frozen=True, eq=False)
class EffectDraws:
    """Draws of the effects at n nodes: those above the groups, and those of groups when asked for.

    Attributes
    ----------
    blocks : Blocks
    factors : tuple of (p, p, n)
        Of each level, relative to σ, the outermost first.
    gamma : (c, n)
        Draws of the coefficients.
    sigma : (n,)
    above : tuple of (p, u, n)
        Effects of the levels above the groups, the outermost first.
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    blocks: Blocks
    factors: tuple[Floats, ...]
    gamma: Floats
    sigma: Floats
    above: tuple[Floats, ...]
    seed: np.random.SeedSequence

    @classmethod
    def draw(
        cls,
        blocks: Blocks,
        factors: Sequence[Floats],
        gamma: Floats,
        sigma: Floats,
        seed: np.random.SeedSequence,
    ) -> Self:
        """Draw what stands above the groups."""
        n, rng = len(sigma), np.random.default_rng(seed)
        above = tuple(rng.standard_normal((blocks.p, size, n)) for size in blocks.sizes[:-1])
        made = cls(blocks, tuple(factors), gamma, sigma, above, seed)
        for nodes in batches(blocks, n) if above else ():
            made._fill_above(nodes)
        return made

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects of all groups, or of some, the same whichever others are drawn; (p, g', n)."""
        n_groups = self.blocks.sizes[-1]
        if groups is None or self.blocks.turned is not None:
            every = self._of_streams(np.arange(-(-n_groups // GROUPS_PER_STREAM)))
            if self.blocks.turned is not None:
                every[0] = self.blocks.turned.axes @ every[0]
            return every if groups is None else every[:, groups]
        streams, here = np.unique(groups // GROUPS_PER_STREAM, return_inverse=True)
        return self._of_streams(streams)[:, here * GROUPS_PER_STREAM + groups % GROUPS_PER_STREAM]

    def _of_streams(self, numbers: Indices) -> Floats:
        """Effects of the groups of some streams, beside one another."""
        last = min((int(numbers[-1]) + 1) * GROUPS_PER_STREAM, self.blocks.sizes[-1])
        size = last - int(numbers[-1]) * GROUPS_PER_STREAM if len(numbers) else 0
        size += GROUPS_PER_STREAM * max(0, len(numbers) - 1)
        drawn = np.empty((self.blocks.p, size, len(self.sigma)))

        def draw(place: int) -> None:
            part = slice(place * GROUPS_PER_STREAM, (place + 1) * GROUPS_PER_STREAM)
            self._fill_groups(int(numbers[place]), drawn[:, part])

        for_each(draw, range(len(numbers)))
        return drawn

    def _fill_above(self, nodes: slice) -> None:
        """Put draws in the place of standard normal noise of the levels above the groups."""
        factors, p = [factor[..., nodes] for factor in self.factors], self.blocks.p
        said = messages(self.blocks.at(nodes), factors)
        for level, (message, noise) in enumerate(zip(said, self.above, strict=True)):
            gain = Gain.of(message[:, :p], factors[level])
            parents = self._parents(level, self.blocks.parent(level), nodes)
            noise[..., nodes] = self._drawn(gain, message[:, p:], parents, noise, nodes)

    def _fill_groups(self, number: int, out: Floats) -> None:
        """Put the draws of a stream's groups into (p, b, n)."""
        key = (*self.seed.spawn_key, number)
        stream = np.random.SeedSequence(self.seed.entropy, spawn_key=key)
        out[:] = np.random.default_rng(stream).standard_normal(out.shape)
        blocks, level = self.blocks, len(self.above)
        own = np.arange(out.shape[1]) + number * GROUPS_PER_STREAM
        kinds, kind = np.unique(blocks.design[own], return_inverse=True)
        for first in range(0, len(self.sigma), NODES):
            nodes = slice(first, first + NODES)
            at, factor = blocks.at(nodes), self.factors[level][..., nodes]
            designs = at.scaled(blocks.designs[:, :, kinds], kinds)
            outcome = at.scaled(blocks.outcome[:, :, own], blocks.design[own])
            gain = Gain.of(designs, factor).of_members(kind)
            parents = self._parents(level, blocks.parent(level)[own], nodes)
            if blocks.turned is not None:
                parents = parents * blocks.turned.loading[blocks.design[own], None]
            out[..., nodes] = self._drawn(gain, outcome, parents, out, nodes)

    def _parents(self, level: int, members: Indices, nodes: slice) -> Floats:
        """Effects of some members of the level above, or of the root; (p, u, n)."""
        if level:
            return self.above[level - 1][:, members, nodes]
        root, fixed = np.zeros((self.blocks.p, 1, len(self.sigma[nodes]))), self.blocks.fixed
        root[np.flatnonzero(fixed), 0] = self.gamma[: int(fixed.sum()), nodes]
        return root[:, members]

    def _drawn(
        self, gain: Gain, outcome: Floats, parents: Floats, noise: Floats, nodes: slice
    ) -> Floats:
        """Effects of members (p, u, n) at some nodes, from noise at all of them."""
        beta = self.gamma[int(self.blocks.fixed.sum()) :, nodes]
        rest = outcome[:, -1] - np.einsum("pqun,qn->pun", outcome[:, :-1], beta)
        drawn = product(gain.keep, parents[:, None])
        drawn += product(gain.gain, rest[:, None])
        root = gain.root.swapaxes(0, 1)
        drawn += product(root, noise[:, None, :, nodes]) * self.sigma[nodes]
        return drawn[:, 0]
