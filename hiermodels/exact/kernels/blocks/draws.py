"""Draws of all effects given the coefficients, σ and the covariances, once for each node.

From the root downwards, with the matrices of :mod:`~hiermodels.exact.kernels.blocks.downward`,

    θ_u = (I − K R) φ + K (D_y − D_x β) + σ H'z,    z ~ N(0, I),    Cov = σ² H'H = σ² L M⁻¹ L'.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.downward import Gain
from hiermodels.exact.kernels.blocks.rotations import product
from hiermodels.exact.kernels.blocks.upward import batches, messages


def draw_effects(
    blocks: Blocks,
    factors: Sequence[Floats],
    gamma: Floats,
    sigma: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, ...]:
    """Draw the effects of every level, the outermost first.

    Parameters
    ----------
    blocks : Blocks
    factors : sequence of (p, p, n)
        Relative to σ.
    gamma : (c, n)
        Draws of the coefficients.
    sigma : (n,)
    rng : numpy.random.Generator

    Returns
    -------
    tuple of (p, u, n)
    """
    n = len(sigma)
    effects = tuple(rng.standard_normal((blocks.p, size, n)) for size in blocks.sizes)
    for nodes in batches(blocks, n):
        _fill(
            blocks.at(nodes),
            [factor[..., nodes] for factor in factors],
            gamma[:, nodes],
            sigma[nodes],
            [own[..., nodes] for own in effects],
        )
    return effects


def _fill(
    blocks: Blocks,
    factors: Sequence[Floats],
    gamma: Floats,
    sigma: Floats,
    effects: Sequence[Floats],
) -> None:
    """Put draws in the place of standard normal noise (p, u, n) of each level."""
    p, said = blocks.p, messages(blocks, factors)
    above = np.zeros((p, 1, len(sigma)))
    above[np.flatnonzero(blocks.fixed), 0] = gamma[: int(blocks.fixed.sum())]
    beta = gamma[int(blocks.fixed.sum()) :]
    for level, noise in enumerate(effects):
        if level < len(said):
            message = said[level]
            gain, outcome = Gain.of(message[:, :p], factors[level]), message[:, p:]
        else:
            gain = Gain.of(blocks.scaled(blocks.designs), factors[level]).of_members(blocks.design)
            outcome = blocks.scaled(blocks.outcome, blocks.design)
        parents = above[:, None, blocks.parent(level)]
        if blocks.turned is not None and level == len(said):
            parents = parents * blocks.turned.loading[blocks.design, None]
        rest = outcome[:, -1] - np.einsum("pqun,qn->pun", outcome[:, :-1], beta)
        drawn = product(gain.keep, parents)
        drawn += product(gain.gain, rest[:, None])
        drawn += product(gain.root.swapaxes(0, 1), noise[:, None]) * sigma
        noise[:] = above = drawn[:, 0]
    if blocks.turned is not None:
        effects[-1][0] = blocks.turned.axes @ effects[-1][0]
