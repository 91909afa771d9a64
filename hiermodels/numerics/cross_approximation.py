"""A large matrix of a smooth function from few of its rows and columns.

For pivots (i_k, j_k), each where what is left of the function is large,

    f ≈ Σ_k c_k r_k',    r_k = (f − f_(k−1))(i_k, ·),    c_k = (f − f_(k−1))(·, j_k) / r_k(j_k).

A row and a column of the function is all that a term costs.  Pairs that are drawn beforehand say
how good the approximation is, and where it is worst.

References
----------
Bebendorf (2000), Numerische Mathematik 86:565 (adaptive cross approximation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices

SMALLEST = 1e-13  # pivot
TO_WORST = 2  # every so many terms the worst of the pairs is the next pivot

type Line = Callable[[int], Floats]
"""From the number of a row or column to the function there."""


@dataclass(frozen=True)
class Pairs:
    """Pairs at which an approximation of the logarithm of a density is judged.

    Attributes
    ----------
    rows, columns : (t,)
    values : (t,)
        The function there.
    weights : (t,)
        Of the density at the pairs, divided by that with which they were drawn.
    """

    rows: Indices
    columns: Indices
    values: Floats
    weights: Floats

    def joined(self, more: Pairs) -> Pairs:
        """These and more."""
        return Pairs(
            np.concatenate([self.rows, more.rows]),
            np.concatenate([self.columns, more.columns]),
            np.concatenate([self.values, more.values]),
            np.concatenate([self.weights, more.weights]),
        )


@dataclass(frozen=True)
class CrossApproximation:
    """``f ≈ left @ right``.

    Attributes
    ----------
    left : (n, r)
    right : (r, m)
    pivots : (r, 2)
        Row and column of each term.
    error : float
        Weighted mean of ``|exp(error) − 1|`` over the pairs: f is the logarithm of what counts.
    """

    left: Floats
    right: Floats
    pivots: Indices
    error: float = np.inf

    @classmethod
    def empty(cls, n: int, m: int) -> CrossApproximation:
        """Of no terms."""
        return cls(np.empty((n, 0)), np.empty((0, m)), np.empty((0, 2), dtype=np.intp))

    def at(self, rows: Indices, columns: Indices) -> Floats:
        """Values at pairs (t,)."""
        return np.asarray(np.einsum("tr,rt->t", self.left[rows], self.right[:, columns]))


def cross_approximate(
    known: CrossApproximation,
    lines: tuple[Line, Line],
    scales: tuple[Floats, Floats],
    pairs: Pairs,
    tol: float,
    max_rank: int,
) -> CrossApproximation:
    """Add terms until the error is small.

    Parameters
    ----------
    known : CrossApproximation
        That is extended.
    lines : tuple of Line
        Rows and columns of the function.
    scales : (n,) and (m,)
        What an error counts in each row and column, in the choice of pivots.
    pairs : Pairs
    tol : float
        Of the error.
    max_rank : int
        Most terms.
    """
    (of_rows, of_columns), rank = scales, known.left.shape[1]
    left, right = np.empty((len(of_rows), max_rank)), np.empty((max_rank, len(of_columns)))
    left[:, :rank], right[:rank] = known.left, known.right
    pivots = known.pivots.tolist()
    free = np.ones(len(of_rows)), np.ones(len(of_columns))
    for used, places in zip(free, known.pivots.T, strict=True):
        used[places] = 0
    rest = pairs.values - known.at(pairs.rows, pairs.columns)
    while (error := _error(rest, pairs)) > tol and rank < max_rank and all(u.any() for u in free):
        row, column = _next(rank, rest, pairs, free, left[:, :rank], of_rows)
        free[0][row] = 0
        own = lines[0](row) - left[row, :rank] @ right[:rank]
        if column is None or abs(own[column]) < SMALLEST:
            column = int((np.abs(own) * of_columns * free[1]).argmax())
        if abs(own[column]) * free[1][column] < SMALLEST:
            continue
        free[1][column] = 0
        right[rank] = own
        left[:, rank] = (lines[1](column) - left[:, :rank] @ right[:rank, column]) / own[column]
        rest = rest - left[pairs.rows, rank] * right[rank, pairs.columns]
        pivots.append([row, column])
        rank += 1
    places = np.array(pivots, dtype=np.intp).reshape(-1, 2)
    return CrossApproximation(left[:, :rank].copy(), right[:rank].copy(), places, error)


def _amiss(rest: Floats, pairs: Pairs) -> Floats:
    """``|exp(error) − 1|`` times the weight of each pair."""
    with np.errstate(over="ignore", invalid="ignore"):
        amiss = pairs.weights * np.abs(np.expm1(-rest))
    return np.nan_to_num(amiss, nan=0.0)


def _error(rest: Floats, pairs: Pairs) -> float:
    return float(_amiss(rest, pairs).sum())


def _next(
    rank: int,
    rest: Floats,
    pairs: Pairs,
    free: tuple[Floats, Floats],
    left: Floats,
    of_rows: Floats,
) -> tuple[int, int | None]:
    """The next row, and the column if the worst pair says which: every few times it does."""
    if rank and rank % TO_WORST == 0:
        both = free[0][pairs.rows] * free[1][pairs.columns]
        worst = int((_amiss(rest, pairs) * both).argmax())
        if both[worst]:
            return int(pairs.rows[worst]), int(pairs.columns[worst])
    size = np.abs(left[:, -1]) * of_rows if rank else of_rows
    size = np.where(size > 0, size, np.finfo(float).tiny)
    return int((size * free[0]).argmax()), None
