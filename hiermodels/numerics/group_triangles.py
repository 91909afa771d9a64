"""Rows of groups rotated into triangles, which say all that sums of squares do and lose no digits.

For rows [z | x] of a group, p columns z first, a rotation Q' of the rows gives

    Q'[z | x] = [R D; 0 E],    R upper triangular, p rows [R | D],

with the same cross-products.  Rows [0 | E] are free of z; those of all groups are put together.

References
----------
Golub & Van Loan (2013), Matrix Computations, 4th ed., chapter 5 (QR).
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices

ROUNDING = 8 * float(np.finfo(float).eps)  # of a column's size: what QR leaves where R is 0
DIGITS = 44  # binary ones, in which triangles of groups with the same rows agree


def by_group(rows: Floats, group: Indices, p: int) -> Indices:
    """Order of the rows by group, and within a group by z, so that equal designs look the same."""
    return np.lexsort([*rows[:, :p].T[::-1], group])


def triangles_of(rows: Floats, size: Indices, p: int) -> tuple[Floats, Floats]:
    """Decompose rows (n, c) in the order of their groups, of given sizes (g,).

    Returns
    -------
    triangles : (g, p, c)
        [R | D]; rows of zeros where a group has fewer than p.
    rest : (m, c − p)
        What is free of z, by one more decomposition of at most c − p rows.
    """
    columns = rows.shape[1]
    triangles = np.zeros((len(size), p, columns))
    first = np.concatenate([[0], np.cumsum(size)[:-1]])
    rest = [np.zeros((0, columns - p))]
    for m in np.unique(size):
        groups = np.flatnonzero(size == m)
        stack = rows[first[groups, None] + np.arange(m)]
        triangle = stack if m == 1 else np.linalg.qr(stack, mode="r")
        top = min(p, triangle.shape[1])
        triangles[groups, :top] = _tidy(triangle[:, :top], stack, p)
        rest.append(triangle[:, top:, p:].reshape(-1, columns - p))
    return triangles, np.linalg.qr(np.concatenate(rest), mode="r")


def _tidy(triangle: Floats, rows: Floats, p: int) -> Floats:
    """Make diagonals positive, and 0 what is rounding error beside its column."""
    size = np.sqrt((rows[:, :, :p] ** 2).sum(axis=1))[:, None]
    r = triangle[:, :, :p]
    r = np.where(np.abs(r) <= ROUNDING * size, 0.0, r)
    diagonal = np.einsum("gii->gi", r[:, :, : r.shape[1]])
    sign = np.where(diagonal < 0, -1.0, 1.0)[:, :, None]
    return np.concatenate([r, triangle[:, :, p:]], axis=2) * sign


def distinct(triangles: Floats) -> tuple[Floats, Indices]:
    """Triangles R (g, p, p) of which no two are the same but for rounding.

    Sums of the same rows in another order differ in their last digits.  Numbers are compared in
    units of 2⁻⁴⁴ of what their column has from their row on down.

    Returns
    -------
    kinds : (k, p, p)
    kind : (g,)
    """
    tail = np.sqrt(np.cumsum(triangles[:, ::-1] ** 2, axis=1)[:, ::-1])
    _, power = np.frexp(tail)
    rounded = np.ldexp(np.rint(np.ldexp(triangles, DIGITS - power)), power - DIGITS)
    _, first, kind = np.unique(
        rounded.reshape(len(triangles), -1), axis=0, return_index=True, return_inverse=True
    )
    return triangles[first], kind.ravel()
