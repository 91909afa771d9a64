"""Means of the rows of each group of a level, from those of the groups below."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.numerics.group_sums import group_means


def level_means(statistics: SufficientStatistics, level: int) -> tuple[Indices, Floats]:
    """Number of rows of each group of a level (u,), and weighted means of their columns (u, q + 1).

    Level 0 is the outermost.
    """
    count, weight = statistics.count, statistics.weight
    mean = statistics.mean + statistics.rest
    for below in reversed(statistics.levels[level + 1 :]):
        parent, size = below.parent, int(below.parent[-1]) + 1
        weight, some, shift = group_means(mean, weight, parent, size)
        mean = some + shift
        count = np.bincount(parent, weights=count, minlength=size).astype(np.intp)
    return count, mean
