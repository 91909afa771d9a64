"""Crossed groups: what the rows say of the effects of all factors, and of the coefficients.

    y_i = x_i'γ + Σ_k u_k[m_k(i)] + N(0, σ²/ω_i),    u_k ~ N(0, σ² θ_k² I),

with K factors whose members m_k(i) each row has.  The effects of one factor, the largest, are
*eliminated* in closed form; those of all others stand one factor behind the other, z of them.  Of a
member a of the eliminated factor, with rows i of weight ω_i,

    n_a = Σ ω_i,    c_a = Σ ω_i [z_i | x_i | y_i],

z_i having ones at the row's members of the other factors; and of all rows the scatter within
members, ``E = Σ ω r r' − Σ_a c_a c_a'/n_a`` of rows r = [z | x | y], taken once.

Behind [x | y], of *width* c + 1, stand these columns less their means by members of each of the
other factors: see :mod:`hiermodels.exact.kernels.crossed.upward`.

x has orthonormal columns, ``X = Q T``, and y is what least squares of the coefficients leave: of
sums of squares few digits are then lost in differences.  The columns of Q that vary least within
the eliminated factor's members are the first.  Rows of the same members are one *cell*: of these
means are enough, with the scatter around them, which adds rows [x | y] that have no effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.crossed.large import Products

POOLED = 1 << 22  # numbers of products that are held once for all nodes


@dataclass(frozen=True, eq=False)
class Scatter:
    """What rows say beyond the means of their cells.

    Attributes
    ----------
    rows : (m, c + 1)
        Rows ``√ω [x | y]`` without effects, whose squares are the scatter within cells.
    n_rows : int
        Number of all rows.
    log_weight : float
        ``Σ log ω`` of these.
    """

    rows: Floats
    n_rows: int
    log_weight: float

    @classmethod
    def none(cls, x: Floats, weights: Floats) -> Self:
        """Of rows themselves, with weights ω (N,) and columns x (N, c)."""
        empty = np.zeros((0, x.shape[1] + 1))
        return cls(empty, len(weights), float(np.log(weights).sum()))


@dataclass(frozen=True, eq=False)
class CrossedDesign:
    """What the rows say.

    Attributes
    ----------
    sizes : tuple of int
        Members of each factor.
    eliminated : int
        Which factor is.
    count : (a,)
        n of its members; 0 of one without rows.
    sums : scipy.sparse.csr_array (a, z)
        Of weights of rows by members of the other factors.
    own : (a, w)
        Sums of all columns behind z.
    within : (z + w, z + w)
        E.
    means : mapping of int to (u, c + 1)
        Of [x | y], by members of each of the other factors.
    turn : (c, c)
        T.
    anchor : (c,)
        Coefficients by least squares, without effects.
    n_rows : int
    log_weight : float
        ``Σ log ω``.
    """

    sizes: tuple[int, ...]
    eliminated: int
    count: Floats
    sums: Any
    own: Floats
    within: Floats
    means: Mapping[int, Floats]
    turn: Floats
    anchor: Floats
    n_rows: int
    log_weight: float

    @classmethod
    def of(
        cls,
        x: Floats,
        y: Floats,
        members: Sequence[Indices],
        sizes: Sequence[int],
        weights: Floats | None = None,
        scatter: Scatter | None = None,
    ) -> Self:
        """Sum the rows up.

        Parameters
        ----------
        x : (N, c)
            Columns of all coefficients, that of the intercept being one of them.
        y : (N,)
        members : sequence of (N,)
            Of each factor.
        sizes : sequence of int
        weights : (N,), optional
            ω; 1 by default.
        scatter : Scatter, optional
            Within cells, if rows are means of these.
        """
        omega = np.ones(len(y)) if weights is None else weights
        beyond = scatter or Scatter.none(x, omega)
        root = np.sqrt(omega)
        whole = np.vstack([np.column_stack([x, y]) * root[:, None], beyond.rows])
        anchor = np.linalg.lstsq(whole[:, :-1], whole[:, -1])[0]
        eliminated = int(np.argmax(sizes))
        basis, turn = _basis(x, root, members[eliminated], beyond.rows[:, :-1])
        rows = np.column_stack([basis[: len(y)] / root[:, None], y - x @ anchor])
        free = np.column_stack([basis[len(y) :], beyond.rows @ np.append(-anchor, 1.0)])
        each = zip(members, sizes, strict=True)
        means = {
            k: _means(rows, own, u, omega) for k, (own, u) in enumerate(each) if k != eliminated
        }
        rows = np.hstack([rows, *(rows - own[members[k]] for k, own in means.items())])
        cells = _cells(members, sizes, omega)
        number, places, code = cells
        own = np.array([np.bincount(code, omega * r, len(number)) for r in rows.T]).T
        count, sums = _sums(number, places, sizes, eliminated)
        a = places[eliminated]
        of_a = np.array([np.bincount(a, r, sizes[eliminated]) for r in own.T]).T
        safe = np.where(count > 0, count, 1.0)
        away = rows - (of_a / safe[:, None])[members[eliminated]]
        other = other_members(members, sizes, eliminated)
        within = _within(other, away, omega, (count, sums), cells)
        free = np.tile(free, 1 + len(means))  # of no member, so that no means are taken from them
        within[-rows.shape[1] :, -rows.shape[1] :] += free.T @ free
        return cls(
            sizes=tuple(sizes),
            eliminated=eliminated,
            count=count,
            sums=sums,
            own=of_a,
            within=within,
            means=means,
            turn=turn,
            anchor=anchor,
            n_rows=beyond.n_rows,
            log_weight=beyond.log_weight,
        )

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, c."""
        return len(self.anchor)

    @property
    def width(self) -> int:
        """Number of columns [x | y], c + 1."""
        return len(self.anchor) + 1

    @property
    def others(self) -> tuple[int, ...]:
        """Factors that are not eliminated."""
        return tuple(k for k in range(len(self.sizes)) if k != self.eliminated)

    @property
    def starts(self) -> dict[int, int]:
        """Where the members of each of these stand among the z."""
        sizes = [self.sizes[k] for k in self.others]
        return dict(zip(self.others, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))

    @cached_property
    def factor_of(self) -> Indices:
        """Which factor each of the z belongs to; (z,)."""
        return np.repeat(self.others, [self.sizes[k] for k in self.others])

    @property
    def n_others(self) -> int:
        """Number of members of all factors that are not eliminated, z."""
        return len(self.factor_of)

    @cached_property
    def products(self) -> Products | None:
        """What makes one triangle of M's part of z at each node; None where that is too large."""
        return Products.of(self.sums, self.within)

    @cached_property
    def pooled(self) -> tuple[Floats, Floats] | None:
        """Distinct n (d,), and sums of ``c_a c_a'`` over the members that have each (d, m²).

        With m = z + c + 1; None where these are too many to be held.
        """
        distinct, code = np.unique(self.count, return_inverse=True)
        size = len(self.within)
        if len(distinct) * size**2 > POOLED:
            return None
        rows = np.hstack([self.sums.toarray(), self.own])
        order = np.argsort(code, kind="stable")
        ends = np.searchsorted(code[order], np.arange(len(distinct) + 1))
        parts = [rows[order[i:j]] for i, j in pairwise(ends)]
        return distinct, np.array([part.T @ part for part in parts]).reshape(len(distinct), -1)


def other_members(
    members: Sequence[Indices], sizes: Sequence[int], eliminated: int
) -> list[Indices]:
    """Places among the z of members of all factors but the eliminated one."""
    start, places = 0, []
    for k, (own, size) in enumerate(zip(members, sizes, strict=True)):
        if k != eliminated:
            places.append(own + start)
            start += size
    return places


def _means(rows: Floats, member: Indices, size: int, omega: Floats) -> Floats:
    """Weighted means of columns by member; (u, k)."""
    number = np.bincount(member, omega, size)
    total = np.array([np.bincount(member, omega * column, size) for column in rows.T]).T
    return total / np.where(number > 0, number, 1.0)[:, None]


def _basis(x: Floats, root: Floats, member: Indices, free: Floats) -> tuple[Floats, Floats]:
    """Q (N + m, c) and T (c, c) of ``√ω x`` and of rows (m, c) without effects behind them."""
    means = _means(x, member, int(member.max()) + 1, root**2)
    beyond = (free**2).sum(axis=0)
    left = (((x - means[member]) * root[:, None]) ** 2).sum(axis=0) + beyond
    total = ((x * root[:, None]) ** 2).sum(axis=0) + beyond
    order = np.argsort(left / np.where(total > 0, total, 1.0), kind="stable")
    basis, triangle = np.linalg.qr(np.vstack([x * root[:, None], free])[:, order])
    return basis, triangle[:, np.argsort(order)]


def _cells(
    members: Sequence[Indices], sizes: Sequence[int], omega: Floats
) -> tuple[Floats, tuple[Indices, ...], Indices]:
    """Weights of the cells, their members of each factor, and the cell of each row (N,)."""
    key = np.ravel_multi_index(tuple(members), tuple(sizes))
    distinct, code = np.unique(key, return_inverse=True)
    places = np.unravel_index(distinct, tuple(sizes))
    return np.bincount(code, omega), places, code


def _sums(
    number: Floats, places: Sequence[Indices], sizes: Sequence[int], eliminated: int
) -> tuple[Floats, Any]:
    """Weights (a,) of the eliminated factor's members, and their sums of z, (a, z) sparse."""
    from scipy.sparse import csr_array

    others = other_members(places, sizes, eliminated)
    a, z = places[eliminated], sum(sizes) - sizes[eliminated]
    rows, columns = np.tile(a, len(others)), np.concatenate([*others, np.zeros(0, dtype=np.intp)])
    sums = csr_array((np.tile(number, len(others)), (rows, columns)), (sizes[eliminated], z))
    sums.sum_duplicates()
    return np.bincount(a, number, sizes[eliminated]), sums


def _within(
    others: Sequence[Indices],
    away: Floats,
    omega: Floats,
    sums: tuple[Floats, Any],
    cells: tuple[Floats, tuple[Indices, ...], Indices],
) -> Floats:
    """E, from the rows less the means of the eliminated factor's members."""
    from scipy.sparse import csr_array, diags_array

    (count, by_member), (number, _, code) = sums, cells
    z, size = by_member.shape[1], by_member.shape[1] + away.shape[1]
    total = np.zeros((size, size))
    first = np.unique(code, return_index=True)[1]
    every = np.arange(len(number))
    ones = sum(
        (csr_array((np.ones(len(every)), (every, o[first])), (len(every), z)) for o in others),
        csr_array((len(every), z)),
    )
    inverse = np.where(count > 0, 1 / np.where(count > 0, count, 1.0), 0.0)
    gram = ones.T @ diags_array(number) @ ones - by_member.T @ diags_array(inverse) @ by_member
    total[:z, :z] = gram.toarray()
    for own in others:
        for j, column in enumerate(away.T):
            total[:z, z + j] += np.bincount(own, omega * column, z)
    total[z:, :z] = total[:z, z:].T
    total[z:, z:] = (away * omega[:, None]).T @ away
    return total
