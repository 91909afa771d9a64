"""Rows left out, or seen once more, given the covariances.

Let a unit's rows say ``D = K φ + N(0, σ² I)`` of the effects φ above it and of β, its own effects
being integrated out.  Given all rows ``D − K φ`` has the mean r and ``K φ`` the covariance σ² H:
H holds the leverages.  So with the unit left out, and with other rows like it besides,

    E[1/p(D | φ)] = (2πσ²)^(m/2) |I − H|^(−½) exp(r'(I − H)⁻¹ r/(2σ²)),
    E[p(D | φ)]   = (2πσ²)^(−m/2) |I + H|^(−½) exp(−r'(I + H)⁻¹ r/(2σ²)),

from which σ is integrated at the end, as it is from the likelihood of all rows.

Shapes: m rows of D, u units, n nodes, each with as many places of σ as need their own law of the
coefficients, beside one another.

References
----------
Cook & Weisberg (1982), Residuals and Influence in Regression, chapter 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.downward import Conditional, downward, root_conditional
from hiermodels.exact.kernels.blocks.root import cholesky
from hiermodels.exact.kernels.blocks.rotations import product
from hiermodels.exact.kernels.blocks.upward import batches, messages, upward

MAX_NUMBERS = 1 << 20  # in the largest temporary array
LEAST_NODES = 64  # that are worth a pass over the groups


@dataclass(frozen=True)
class Unit:
    """The rows of one member of a level, as a tree of their own.

    Attributes
    ----------
    blocks : Blocks
        With the member for the only one of its outermost level, all of whose θ are coefficients.
    parent : int
        Index of the member above it.
    """

    blocks: Blocks
    parent: int


@dataclass(frozen=True)
class Follow:
    """Where groups are turned: what of the effects of all groups a row is on, in place of its own.

    Attributes
    ----------
    effects : sparse (n, g)
        Of all n rows.
    group : (n,)
    """

    effects: Any
    group: Indices


@dataclass(frozen=True)
class SingleRows:
    """Rows that are left out one at a time.

    Attributes
    ----------
    rows : (p + q + 1, u)
        ``√ω [z | x | y]``.
    group : (u,)
        Of each; where groups are turned, which of all rows each is.
    follow : Follow, optional
    stratum : (u,), optional
        Where the blocks have strata.
    """

    rows: Floats
    group: Indices
    follow: Follow | None = None
    stratum: Indices | None = None

    def some(self, rows: Indices) -> SingleRows:
        """Some of the rows."""
        stratum = None if self.stratum is None else self.stratum[rows]
        return SingleRows(self.rows[:, rows], self.group[rows], self.follow, stratum)


@dataclass(frozen=True)
class Change:
    """What becomes of the likelihood of all rows: ``log p + log_scale − square/(2σ²)``.

    The powers of σ and of 2π are left out.

    Attributes
    ----------
    less : (2, u, n)
        ``log_scale`` and ``square`` where the unit is left out,
    more : (2, u, n)
        and where it is seen once more.
    kept : (u, n)
        Smallest share of what is known that is left without the unit; at 0 all digits are lost.
    """

    less: Floats
    more: Floats
    kept: Floats


@dataclass(frozen=True)
class CoefficientsGiven:
    """Coefficients given σ: mean (c, n) and covariance (c, c, n), both at places of σ.

    The covariance is relative to σ²; there are ``each`` places beside one another at a node.
    """

    mean: Floats
    covariance: Floats
    each: int

    def at(self, nodes: slice) -> CoefficientsGiven:
        """The same at some nodes."""
        some = slice(nodes.start * self.each, nodes.stop * self.each)
        return CoefficientsGiven(self.mean[:, some], self.covariance[..., some], self.each)


def changes_by_unit(
    blocks: Blocks, factors: list[Floats], level: int, units: list[Unit], law: CoefficientsGiven
) -> Iterator[tuple[slice, slice, Change]]:
    """Yield nodes, a part of the units and what leaving these out changes; see the module's text.

    Parameters
    ----------
    blocks : Blocks
        All rows.
    factors : list of (p, p, n)
        L of each level, the outermost first.
    level : int
        Of the units.
    units : list of Unit
    law : CoefficientsGiven
    """
    for nodes in batches(blocks, factors[-1].shape[-1]):
        some, here = [factor[..., nodes] for factor in factors], blocks.at(nodes)
        above = _above(here, some, level)
        for i, unit in enumerate(units):
            rows = unit.blocks.given(here.strata.inverse) if here.strata else unit.blocks
            own = upward(rows, some[level:]).root
            given = above.of_members(np.array([unit.parent]))
            change = _change(own.triangle[:-1, :, None], given, law.at(nodes))
            square = own.square.repeat(law.each)
            log_det = own.log_det.repeat(law.each)
            change.less[:, 0] -= log_det, square
            change.more[:, 0] += log_det, square
            yield nodes, slice(i, i + 1), change


def changes_by_row(
    blocks: Blocks, factors: list[Floats], rows: SingleRows, law: CoefficientsGiven
) -> Iterator[tuple[slice, Indices, Change]]:
    """Yield nodes, some of the rows and what leaving these out changes, one at a time."""
    groups, member = np.unique(rows.group, return_inverse=True)
    innermost = len(factors) - 1
    if blocks.turned is not None and rows.follow is not None:
        blocks = replace(blocks, turned=blocks.turned.of(rows.follow.effects, rows.follow.group))
    for nodes in _for_all(batches(blocks, factors[-1].shape[-1]), rows, law.each):
        some, here = [factor[..., nodes] for factor in factors], blocks.at(nodes)
        said = messages(here, some)
        step = max(1, MAX_NUMBERS // (some[-1].shape[-1] * law.each * len(rows.rows) ** 2))
        for level, part, given in downward(here, some, said, step, groups):
            if level < innermost:
                continue
            every = np.flatnonzero((member >= part.start) & (member < part.stop))
            for first in range(0, len(every), step):
                own = every[first : first + step]
                of_rows = given.of_members(member[own] - part.start)
                yield nodes, own, _row_change(here, rows, own, of_rows, law.at(nodes))


def _row_change(
    blocks: Blocks, rows: SingleRows, own: Indices, given: Conditional, law: CoefficientsGiven
) -> Change:
    """What leaving out some rows changes, one at a time; those of strata divided by δ."""
    columns = rows.rows[None, :, own, None]
    if blocks.strata is None or rows.stratum is None:
        return _change(columns, given, law)
    inverse = blocks.strata.inverse[rows.stratum[own]]
    change = _change(columns * inverse, given, law)
    log_det = np.log(inverse).repeat(law.each, axis=1)
    change.less[0] -= log_det
    change.more[0] += log_det
    return change


def _for_all(batched: Iterator[slice], rows: SingleRows, each: int) -> Iterator[slice]:
    """Cut batches of nodes so that all rows are worked on at a time, if that leaves enough."""
    size = max(LEAST_NODES, MAX_NUMBERS // (each * len(rows.rows) ** 2 * len(rows.group)))
    for nodes in batched:
        for first in range(nodes.start, nodes.stop, size):
            yield slice(first, min(first + size, nodes.stop))


def _above(blocks: Blocks, factors: list[Floats], level: int) -> Conditional:
    """Effects of the members above a level, given the coefficients."""
    if not level:
        return root_conditional(blocks, factors[-1].shape[-1])
    nobody = np.zeros(0, dtype=np.intp)
    every = downward(blocks, factors, messages(blocks, factors), groups=nobody)
    return next(given for own, _, given in every if own == level - 1)


def _change(rows: Floats, given: Conditional, law: CoefficientsGiven) -> Change:
    """From rows (m, p + q + 1, u, 1 or n) on effects and β."""
    p, q = len(given.own), rows.shape[1] - len(given.own) - 1
    on_gamma = product(rows[:, :p], given.row)
    if q:
        on_gamma[:, -1 - q : -1] += rows[:, p:-1]
    residual = rows[:, -1] - on_gamma[:, -1]
    spread = product(product(rows[:, :p], given.own), rows[:, :p].swapaxes(0, 1))
    if law.each > 1:
        on_gamma, residual, spread = (
            np.repeat(array, law.each, axis=-1) for array in (on_gamma, residual, spread)
        )
    slope, leverage = on_gamma[:, :-1], spread
    if len(law.mean):
        residual = residual - product(slope, law.mean[:, None, None])[:, 0]
        turned = product(slope, law.covariance[:, :, None])
        leverage = spread + product(turned, slope.swapaxes(0, 1))
    less, kept = _scale_and_square(leverage, residual, -1.0)
    more, _ = _scale_and_square(leverage, residual, 1.0)
    return Change(less, more, kept)


def _scale_and_square(leverage: Floats, residual: Floats, sign: float) -> tuple[Floats, Floats]:
    """``−½ log|I ± H|`` and ``±r'(I ± H)⁻¹ r``; (2, u, n); and the smallest pivot; (u, n)."""
    m, shape = len(residual), residual.shape[1:]
    if m == 1:
        left = np.maximum(1 + sign * leverage[0, 0], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.array([-np.log(left) / 2, sign * residual[0] ** 2 / left]), left
    squares = np.zeros((m + 1, m + 1, *shape))
    squares[:m, :m] = sign * leverage
    squares[np.arange(m), np.arange(m)] += 1.0
    squares[:m, m] = squares[m, :m] = residual
    root = cholesky(squares.reshape(m + 1, m + 1, -1)).reshape(m + 1, m + 1, *shape)
    pivots = np.einsum("ii...->i...", root)[:m]
    with np.errstate(divide="ignore"):
        scale = -np.log(pivots).sum(axis=0)
    return np.array([scale, sign * (root[:m, m] ** 2).sum(axis=0)]), pivots.min(axis=0) ** 2
