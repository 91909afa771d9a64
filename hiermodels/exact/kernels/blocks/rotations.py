"""Orthogonal transformations of small arrays, many at a time.

An array of p rows is a row's coefficients on the first axes and whatever is computed alike on the
last ones: (p, columns, ...).  Loops run over rows and columns, NumPy over all the rest.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats


def rotate(upper: Floats, lower: Floats, pivot: int, others: slice) -> None:
    """Rotate two rows (columns, ...) in place, so that the lower has 0 at the pivot.

    With ``r = √(a² + b²)`` the rows become ``(a·upper + b·lower)/r`` and ``(a·lower − b·upper)/r``;
    where both are 0 they stay as they are.

    Parameters
    ----------
    upper, lower : (columns, ...)
    pivot : int
        Column with a in the upper row and b in the lower.
    others : slice
        Columns beside the pivot that are not 0 in both rows.
    """
    a, b = upper[pivot], lower[pivot]
    r = np.sqrt(a * a + b * b)
    none = r == 0
    inverse = 1 / (r + none)
    cosine, sine = a * inverse + none, b * inverse
    upper[pivot], lower[pivot] = r, 0.0
    first, second = upper[others], lower[others]
    turned = cosine * second - sine * first
    first *= cosine
    first += sine * second
    lower[others] = turned


def merge(upper: Floats, lower: Floats) -> None:
    """Rotate arrays [R | D], R upper triangular, in place: all that they say of θ into one.

    Parameters
    ----------
    upper, lower : (p, p + k, ...)
        What is left in the lower array is [0 | D].
    """
    p = len(upper)
    for i in range(p):
        for j in range(i, p):
            rotate(upper[j], lower[i], j, slice(j + 1, None))


def triangularize(rows: Floats, columns: int) -> None:
    """Rotate rows (m, columns + k, ...) in place: the first columns become upper triangular."""
    for j in range(min(columns, len(rows))):
        for i in range(j + 1, len(rows)):
            rotate(rows[j], rows[i], j, slice(j + 1, None))


def upper_root(a: Floats) -> Floats:
    """Upper triangular U with ``U U' = I + a a'``, for a (p, p, ...).

    The rows of ``a'`` are rotated into the identity, from the last column to the first: digits are
    not lost in a sum, however large a is.
    """
    p = len(a)
    if p == 1:
        return _root_of_one(a)
    root = _identities_like(a)
    rest = a.swapaxes(0, 1).copy()
    for i in range(p):
        for j in reversed(range(p)):
            rotate(root[j], rest[i], j, slice(0, j))
    return root.swapaxes(0, 1)


def lower_root(a: Floats) -> Floats:
    """Lower triangular N with ``N N' = I + a'a``, for a (p, p, ...)."""
    p = len(a)
    if p == 1:
        return _root_of_one(a)
    root = _identities_like(a)
    rest = a.copy()
    for i in range(p):
        for j in range(p):
            rotate(root[j], rest[i], j, slice(j + 1, None))
    return root.swapaxes(0, 1)


def _identities_like(a: Floats) -> Floats:
    """Identities of the shape of a (p, p, ...)."""
    identity = np.zeros_like(a)
    for j in range(len(a)):
        identity[j, j] = 1.0
    return identity


def _root_of_one(a: Floats) -> Floats:
    """``√(1 + a²)``."""
    root: Floats = np.sqrt(1.0 + a * a)
    return root


def solve_upper(upper: Floats, right: Floats) -> Floats:
    """``U⁻¹ right`` for an upper triangular U (p, p, ...) and right (p, k, ...)."""
    p = len(upper)
    shape = np.broadcast_shapes(upper.shape[2:], right.shape[2:])
    solved = np.empty((p, right.shape[1], *shape))
    for i in reversed(range(p)):
        row = right[i]
        for j in range(i + 1, p):
            row = row - upper[i, j] * solved[j]
        solved[i] = row / upper[i, i]
    return solved


def solve_lower(lower: Floats, right: Floats) -> Floats:
    """``N⁻¹ right`` for a lower triangular N (p, p, ...) and right (p, k, ...)."""
    return solve_upper(lower[::-1, ::-1], right[::-1])[::-1]


def product(a: Floats, b: Floats) -> Floats:
    """``a b`` for a (i, j, ...) and b (j, k, ...); the last axes are broadcast."""
    if not len(b):
        return np.zeros((len(a), b.shape[1], *np.broadcast_shapes(a.shape[2:], b.shape[2:])))
    total = a[:, 0, None] * b[None, 0]
    for j in range(1, len(b)):
        total += a[:, j, None] * b[None, j]
    return total
