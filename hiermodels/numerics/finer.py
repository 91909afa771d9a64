"""Points of a lattice that a coarser one of the same density tells to be worth evaluating.

A lattice grows by one point at a time along each axis, which takes many evaluations of few points
where a density has long tails.  A coarser one with the same origin and basis has few points, and
grows as far in fewer steps.  Points between those of its points that have grown are then evaluated
at once, and what they missed grows from them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lattice import Integers, Lattice

SHARE = 0.1  # of the corners around a point, each by how near it is, that have grown at least


def points_within(coarse: Lattice, spacing: Floats) -> Integers:
    """Points of a finer lattice that are between points of a coarse one that have grown; (n, d).

    A point has grown if all of its neighbours along the axes are points of the lattice too.

    Parameters
    ----------
    coarse : Lattice
    spacing : (d,)
        Of the finer lattice, which has the same origin and basis.
    """
    low = coarse.index.min(axis=0)
    share, first = _grown(coarse.index - low).astype(float), np.empty_like(low)
    for axis, ratio in enumerate(spacing / coarse.spacing):
        last = low[axis] + share.shape[axis] - 1
        first[axis] = np.ceil((low[axis] - 1) / ratio)
        place = ratio * np.arange(first[axis], np.floor((last + 1) / ratio) + 1)
        away = np.abs(place[:, None] - np.arange(low[axis], last + 1))
        nearness = np.maximum(1 - away, 0.0)  # of the fine places to the coarse
        share = np.moveaxis(np.tensordot(nearness, share, (1, axis)), 0, axis)
    return np.argwhere(share > SHARE) + first


def _grown(index: Integers) -> NDArray[np.bool_]:
    """Which places of the box from 0 are points that have grown, for points (n, d)."""
    there = np.zeros(index.max(axis=0) + 3, dtype=bool)
    there[tuple((index + 1).T)] = True
    grown = there.copy()
    for axis in range(there.ndim):
        for way in (-1, 1):  # beyond the ends there is nothing
            grown &= np.roll(there, way, axis)
    return grown[(slice(1, -1),) * there.ndim]
