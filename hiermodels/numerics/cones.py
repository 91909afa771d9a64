"""Polyhedral cones: in which directions a product of log-concave functions does not fall.

A function of the linear form ``x'z`` that falls to 0 as the form goes to −∞ allows directions z
with ``x'z ≥ 0`` only, one that falls as it goes to +∞ those with ``x'z ≤ 0``.  The directions that
many of them allow are a cone, and their product has a finite integral if and only if that is {0}.

References
----------
Rockafellar (1970), Convex Analysis, sections 8 (recession cones) and 6 (relative interiors).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hiermodels.core.arrays import Flags, Floats

TOLERANCE = 1e-9  # of singular values and of entries, relative to the largest
STRICT = 1e-6  # of the largest change along a ray
FEW = 500  # inequalities that are looked at before all of them


def null_space(matrix: Floats) -> Floats:
    """Orthonormal basis (p, r) of the vectors z with ``matrix @ z = 0``.

    Parameters
    ----------
    matrix : (n, p)
        With n however large: it is reduced to (p, p) first.
    """
    triangle = np.linalg.qr(matrix, mode="r")
    _, singular, rows = np.linalg.svd(triangle)
    rank = int((singular > TOLERANCE * singular.max(initial=0.0)).sum())
    return rows[rank:].T


def unit_columns(matrix: Floats) -> Floats:
    """Columns divided by their largest entries; those of zeros as they are; (n, p)."""
    largest = np.abs(matrix).max(axis=0, initial=0.0)
    return matrix / np.where(largest > 0, largest, 1.0)


def strict_rows(rows: Any) -> Flags:
    """Which inequalities ``rows @ z ≤ 0`` are strict for some z that keeps all of them; (n,).

    One z does for all of these: a sum of those that are found one after the other.

    Parameters
    ----------
    rows : (n, d)
        An array, or a sparse one.
    """
    from scipy import optimize, sparse

    strict = np.zeros(rows.shape[0], dtype=bool)
    while not strict.all():
        kept = np.flatnonzero(~strict)
        bounded = rows[kept]
        # Some row that is not yet strict falls by 1 if any of them can: the cone has no scale.
        result = optimize.linprog(
            np.asarray(bounded.sum(axis=0)).ravel(),
            A_ub=(sparse.vstack if sparse.issparse(rows) else np.vstack)([rows, -bounded]),
            b_ub=np.append(np.zeros(len(strict)), np.ones(len(kept))),
            bounds=(None, None),
        )
        found = np.asarray(bounded @ result.x).ravel() < -STRICT
        if not found.any():
            break
        strict[kept[found]] = True
    return strict


def cone_span(x: Floats, below: Flags, above: Flags) -> tuple[Floats, Flags]:
    """Find the span of the cone ``{z : xz ≥ 0 where below, xz ≤ 0 where above}``.

    Parameters
    ----------
    x : (n, p)
        Best with columns of about one size.
    below, above : (n,)
        Whether a function of each form falls on this side; if on both, the form has to be 0.

    Returns
    -------
    basis : (p, d)
        Orthonormal; d = 0 if the cone is {0}.
    moves : (n,)
        Whether a form differs from 0 somewhere in the cone.
    """
    basis = null_space(x[below & above])
    one_sided = np.flatnonzero(below ^ above)
    if basis.shape[1] and len(one_sided):
        rows = clean(x[one_sided] @ basis) * np.where(above[one_sided], 1.0, -1.0)[:, None]
        distinct = np.unique(rows, axis=0)
        if _allow_only_zero(distinct[:: max(1, len(distinct) // FEW)]):
            return np.zeros((x.shape[1], 0)), np.zeros(len(x), dtype=bool)
        basis = basis @ null_space(distinct[~strict_rows(distinct)])
    return basis, (clean(x @ basis) != 0).any(axis=1)


def _allow_only_zero(rows: Floats) -> bool:
    """Whether ``rows @ z ≤ 0`` for z = 0 alone: then so do more inequalities."""
    return null_space(rows).shape[1] == 0 and not strict_rows(rows).any()


def clean(matrix: Floats) -> Floats:
    """Entries that are 0 but for rounding made 0, where entries of about 1 were added."""
    return np.where(np.abs(matrix) > TOLERANCE, matrix, 0.0)
