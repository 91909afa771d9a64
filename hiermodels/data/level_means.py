"""Means of the rows of each group of a level, from those of the groups below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.statistics import SufficientStatistics, statistics_of
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


def means_of_level(data: GroupedData, level: int) -> tuple[Indices, Floats]:
    """The same of rows, whatever varies, or of their statistics; of crossed groups, too."""
    statistics = statistics_of(with_one_nest(data, level))
    return level_means(statistics, 0 if data.roles.nesting else level)


def with_one_nest(data: GroupedData, level: int = -1) -> GroupedData:
    """Rows in groups of intercepts, whose means are the same; of crossed ones, of a level alone."""
    if isinstance(data, SufficientStatistics) and data.crossed:
        return _of_level(data, level)
    if not isinstance(data, GroupedRows):
        return data
    roles = replace(data.roles, varying=(), sampling=None)
    if not data.crossed:
        return replace(data, roles=roles)
    groups = data.levels[level]
    return replace(
        data,
        roles=replace(roles, groups=(groups.column,), nesting=()),
        group=data.crossed[level],
        labels=(groups.labels,),
        own_labels=(groups.own_labels,),
        parents=(),
        crossed=(),
    )


def _of_level(data: SufficientStatistics, level: int) -> SufficientStatistics:
    """Statistics of the groups of one column of crossed groups, from those of cells."""
    groups, member = data.levels[level], data.crossed[level]
    means = data.mean + data.rest
    weight, some, shift = group_means(means, data.weight, member, len(groups))
    away = np.sqrt(data.weight)[:, None] * ((means - some[member]) - shift[member])
    return replace(
        data,
        roles=replace(data.roles, groups=(groups.column,), nesting=()),
        labels=(groups.labels,),
        own_labels=(groups.own_labels,),
        parents=(),
        count=np.bincount(member, data.count, len(groups)).astype(np.intp),
        weight=weight,
        mean=some,
        rest=shift,
        scatter=data.scatter + away.T @ away,
        crossed=(),
    )
