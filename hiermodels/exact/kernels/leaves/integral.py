"""The integrals of k leaves over the effect at J nodes, and the effects given the nodes.

Groups are sorted into blocks by how fine a grid their leaves need and by where they lie; each block
has its own grid.  A node uses it where its normal density is wide enough to be seen there; else
its places are its own (:mod:`.prior_centred`).  Where a leaf lies so far from a node that their
product is on the grid's brink, the pair of them has places of its own (:mod:`.mode_centred`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.grid import GridTable, ThetaGrid
from hiermodels.exact.kernels.leaves.mode_centred import pair_places, pair_shares
from hiermodels.exact.kernels.leaves.prior_centred import node_places
from hiermodels.families.leaves import Leaves

WIDE_ENOUGH = 1.8  # steps of a grid that τ is at least: the trapezoid rule leaves exp(−64)
WIDE_ENOUGH_THERE = 1.6  # local spacings, at μ: growing by a tenth each, these leave exp(−23)
REACH = 9.0  # τ, as far as a grid reaches from μ
AROUND = 30.0  # steps around all centres that the coarsest grid is even
MAX_PLACES = 400  # of the even part of a grid, before groups are divided
NEGLIGIBLE = -100.0  # log of a leaf
BRINK = -50.0  # log of an integral, relative to what a wide node leaves of a leaf
FARTHEST = 10.0  # τ from μ of a mode where it is above that
MAX_NUMBERS = 1 << 21  # that are held at a time
PAIR_SIZE = 256  # numbers that are held for a pair
REACHES = 4.0  # logarithm of the ratio of one reach of a grid to the next


@dataclass(frozen=True)
class Masses:
    """Posterior masses of some groups' effects at places.

    Attributes
    ----------
    groups : (g,)
        Which groups; a group may occur more than once.
    theta : (Z,) or (g, Z)
        Places, of all of them or of each.
    mass : (m, g, Z)
        Of each of m sets of weights of the nodes.
    """

    groups: Indices
    theta: Floats
    mass: Floats


@dataclass(frozen=True, eq=False)
class LeafBlock:
    """Some of the leaves, which share a grid.

    Attributes
    ----------
    leaves : Leaves
    groups : (k',)
        Which of all groups these are.
    step : float
    even : (2,)
        Ends between which the grid is even.
    within : (2,)
        Ends beyond which all of its leaves are negligible.
    """

    leaves: Leaves
    groups: Indices
    step: float
    even: tuple[float, float]
    within: tuple[float, float] = (-np.inf, np.inf)

    _tables: dict[float, GridTable] = field(default_factory=dict, repr=False)

    def table(self, mu: Floats, tau: Floats) -> GridTable:
        """Leaves on a grid that reaches as far as the normal densities of nodes (J,).

        How far, is one of few distances, whose tables are kept.  Places are left out where all
        leaves are negligible.
        """
        low, high = self.even
        beyond = np.max(np.maximum(mu - high, low - mu) + REACH * tau, initial=0.0)
        steps = np.ceil(np.log(max(beyond / (high - low), 1.0)) / REACHES) + 1
        reach = float((high - low) * np.exp(REACHES * steps))
        ends = low - reach, high + reach
        if reach not in self._tables:
            wider = min((known for known in self._tables if known > reach), default=None)
            own = self._laid(ends) if wider is None else self._tables[wider].within(ends)
            self._tables[reach] = own
        return self._tables[reach]

    def _laid(self, ends: tuple[float, float]) -> GridTable:
        """Lay a table that reaches at least to ``ends``, where not all leaves are negligible."""
        low, high = self.within
        grid = ThetaGrid.of(self.even, (max(ends[0], low), min(ends[1], high)), self.step)
        log_values = self.leaves.log_likelihood(grid.theta)
        seen = np.flatnonzero(log_values.max(axis=0) > NEGLIGIBLE)
        kept = slice(seen[0], seen[-1] + 1)
        if self.leaves.log_concave:  # what is left far out would add up under very wide densities
            log_values[log_values < NEGLIGIBLE] = -np.inf
        return GridTable(grid.part(kept), np.exp(log_values[:, kept]))

    def on_grid(self, mu: Floats, tau: Floats) -> NDArray[np.bool_]:
        """Which nodes the grid can see; (J,)."""
        grid = self.table(mu, tau).grid
        spacing = np.interp(mu, grid.theta, grid.weight)
        return (tau >= WIDE_ENOUGH * self.step) & (tau >= WIDE_ENOUGH_THERE * spacing)


@dataclass(frozen=True, eq=False)
class LeafIntegrals:
    """The integrals of k leaves over the effect.

    Attributes
    ----------
    leaves : Leaves
    blocks : tuple of LeafBlock
        Every group is in one of them.
    """

    leaves: Leaves
    blocks: tuple[LeafBlock, ...]

    @classmethod
    def of(cls, leaves: Leaves, within: tuple[float, float] = (-np.inf, np.inf)) -> Self:
        """Sort groups by their grid's step, in octaves, and by where they lie.

        Parameters
        ----------
        leaves : Leaves
        within : (2,)
            Ends beyond which all of them are known to be negligible.
        """
        widest, centre = leaves.step.max(), leaves.centre
        octave = np.ceil(np.log2(widest / leaves.step) - 1e-9).astype(int)
        blocks = []
        for c in np.unique(octave):
            groups, step = np.flatnonzero(octave == c), float(widest / 2.0**c)
            for some in _neighbours(leaves.bend_range, groups, step):
                low, high = leaves.bend_range[some].T
                even = low.min(), max(high.max(), low.min() + step)
                if c == 0:
                    around = AROUND * step
                    even = min(even[0], centre.min() - around), max(even[1], centre.max() + around)
                blocks.append(LeafBlock(leaves.take(some), some, step, even, within))
        return cls(leaves, tuple(blocks))

    def log_integrals(self, mu: Floats, tau: Floats, *, far: bool = True) -> Floats:
        """``log ∫ L_i(θ)/sup L_i · N(θ | μ_j, τ_j²) dθ`` at nodes (J,); (k, J).

        A node with τ = 0 has the leaf at μ itself.  Where integrals are negligible anyway, those
        below :func:`brink` need not be exact: with ``far`` False they are about as small.
        """
        log_integrals = np.empty((len(self.leaves), len(mu)))
        for block in self.blocks:
            log_integrals[block.groups] = _log_integrals_of(block, mu, tau, far)
        return log_integrals

    def masses(
        self, mu: Floats, tau: Floats, weights: Floats, log_integrals: Floats
    ) -> Iterator[Masses]:
        """Yield the posterior masses of all groups' effects, over weighted nodes.

            Σ_j W_j L_i(θ) N(θ | μ_j, τ_j²)/m_ij

        Parameters
        ----------
        mu, tau : (J,)
        weights : (m, J) or (m, k, J)
            For all groups, or for each.
        log_integrals : (k, J)
            As :meth:`log_integrals` returns them.
        """
        for block in self.blocks:
            own = weights[:, None] if weights.ndim == 2 else weights[:, block.groups]
            yield from _masses_of(block, mu, tau, own, log_integrals[block.groups])


def _neighbours(ranges: Floats, groups: Indices, step: float) -> Iterator[Indices]:
    """Divide groups, ordered by their place, so that each part spans few steps."""
    order = groups[np.argsort(ranges[groups].sum(axis=1), kind="stable")]
    first, (low, high) = 0, ranges[order[0]]
    for i, (own_low, own_high) in enumerate(ranges[order]):
        low, high = min(low, own_low), max(high, own_high)
        if high - low > MAX_PLACES * step and i > first:
            yield order[first:i]
            first, low, high = i, own_low, own_high
    yield order[first:]


def parts_of(nodes: Indices, size: int) -> Iterator[Indices]:
    """Divide nodes, so that arrays of ``size`` numbers for each can be held."""
    step = max(1, MAX_NUMBERS // size)
    for first in range(0, len(nodes), step):
        yield nodes[first : first + step]


def _log_integrals_of(block: LeafBlock, mu: Floats, tau: Floats, far: bool) -> Floats:
    """Log integrals of a block's leaves, relative to their suprema; (k', J)."""
    wide = block.on_grid(mu, tau)
    log_integrals = np.full((len(block.leaves), len(mu)), -np.inf)
    table = block.table(mu[wide], tau[wide])
    for nodes in parts_of(np.flatnonzero(wide), max(len(table.grid), len(block.leaves))):
        with np.errstate(divide="ignore"):
            log_integrals[:, nodes] = np.log(table.integrals(mu[nodes], tau[nodes]))
    narrow, cut = np.flatnonzero(~wide), np.zeros(len(mu), dtype=bool)
    farthest = np.inf if far else FARTHEST
    for places in node_places(block.leaves, mu[narrow], tau[narrow], farthest=farthest):
        nodes = narrow[places.nodes]
        log_integrals[:, nodes], _ = places.log_terms(block.leaves)
        cut[nodes] = places.is_cut
    if block.leaves.log_concave:
        groups, nodes = np.nonzero(_apart(log_integrals, tau, wide & far, cut))
        log_integrals[groups, nodes] = pair_integrals(block.leaves, groups, mu[nodes], tau[nodes])
    return log_integrals


def pair_integrals(leaves: Leaves, groups: Indices, mu: Floats, tau: Floats) -> Floats:
    """Log integrals of log-concave leaves of some groups (P,), each at a node of its own; (P,)."""
    log_integrals = np.empty(len(groups))
    for some in parts_of(np.arange(len(groups)), PAIR_SIZE):
        _, log_terms = pair_places(leaves.take(groups[some]), mu[some], tau[some])
        log_integrals[some] = np.logaddexp.reduce(log_terms, axis=1)
    return log_integrals


def brink(tau: Floats) -> Floats:
    """Log integrals at nodes (J,) down to which a grid knows them; (J,).

    A wide node's density, and so its integral of a leaf, is about in proportion to 1/τ everywhere.
    """
    return BRINK - np.log1p(tau)


def _apart(
    log_integrals: Floats, tau: Floats, wide: NDArray[np.bool_], cut: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Pairs of leaves and nodes that need places of their own; (k', J)."""
    return (wide & (log_integrals < brink(tau))) | cut


def _masses_of(
    block: LeafBlock, mu: Floats, tau: Floats, weights: Floats, log_integrals: Floats
) -> Iterator[Masses]:
    """Masses of a block's leaves, with weights (m, 1, J) or (m, k', J)."""
    wide = block.on_grid(mu, tau)
    apart = np.zeros_like(log_integrals, dtype=bool)
    if block.leaves.log_concave:
        apart = _apart(log_integrals, tau, wide, np.zeros(len(mu), dtype=bool))
    table = block.table(mu[wide], tau[wide])
    total = np.zeros((len(weights), *table.values.shape))
    for nodes in parts_of(np.flatnonzero(wide), len(table.grid) + 2 * len(block.leaves)):
        known = log_integrals[:, nodes].clip(brink(tau[nodes]))
        inverse = np.where(apart[:, nodes], 0.0, np.exp(-known))
        for row, own in zip(total, weights[..., nodes], strict=True):
            row += table.masses(mu[nodes], tau[nodes], own * inverse)
    yield Masses(block.groups, table.grid.theta, total)
    narrow = np.flatnonzero(~wide)
    for places in node_places(block.leaves, mu[narrow], tau[narrow]):
        shares = np.exp(places.log_terms(block.leaves)[1])
        counts = np.diff(np.append(places.starts, len(places.theta)))
        own = np.repeat(weights[..., narrow[places.nodes]], counts, axis=-1)
        yield Masses(block.groups, places.theta, own * shares)
    groups, nodes = np.nonzero(apart)
    row = groups if weights.shape[1] > 1 else np.zeros_like(groups)
    for some in parts_of(np.arange(len(groups)), PAIR_SIZE):
        leaves = block.leaves.take(groups[some])
        theta, shares = pair_shares(leaves, mu[nodes[some]], tau[nodes[some]])
        own = weights[:, row[some], nodes[some], None]
        yield Masses(block.groups[groups[some]], theta, own * shares)
