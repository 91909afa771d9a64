"""Sums over posterior masses of effects, which come in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import Masses
from hiermodels.exact.leaves.model import Alike

type Function = Callable[[Floats], Floats]


def expanded(alike: Alike, part: Masses) -> tuple[Indices, Indices]:
    """Rows of the masses, and the group, for each group that has one of the leaves; (g,) each."""
    if len(part.groups) == len(alike.counts):
        at = np.empty(len(alike.counts), dtype=np.intp)
        at[part.groups] = np.arange(len(part.groups))
        return at[alike.leaf_of], alike.groups
    rows, members = np.nonzero(part.groups[:, None] == alike.leaf_of)
    return rows, alike.groups[members]


def weighted(mass: Floats, values: Floats) -> Floats:
    """Sums of values times masses, over the last axis; where there is no mass nothing counts."""
    return np.where(mass != 0, mass * values, 0.0).sum(axis=-1)


def moments_of_masses(parts: Iterator[Masses], u: int, function: Function) -> tuple[Floats, Floats]:
    """Means and sds (2, u) of a function of u effects, around a value in between them."""
    origin, sums = np.full(u, np.nan), np.zeros((2, 2, u))
    for part in parts:
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.broadcast_to(function(part.theta), part.mass.shape[1:])
            missing = np.isnan(origin[part.groups])
            if missing.any():
                mass = part.mass[0]
                total = mass.sum(axis=-1)
                first = weighted(mass, values) / np.where(total > 0, total, np.nan)
                origin[part.groups] = np.where(missing, first, origin[part.groups])
            away = values - np.nan_to_num(origin)[part.groups, None]
            for power, row in zip((1, 2), sums, strict=True):
                np.add.at(row.T, part.groups, weighted(part.mass, away**power).T)
    mean = sums[0]
    return mean + np.nan_to_num(origin), np.sqrt(np.maximum(sums[1] - mean**2, 0.0))
