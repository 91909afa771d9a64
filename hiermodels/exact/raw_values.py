"""What the rows of each group of a level say of its effect by themselves."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.level_means import level_means
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.exact.leaf_data import rows_or_totals
from hiermodels.families.leaves import Leaves
from hiermodels.families.raw import RawValues
from hiermodels.model.spec import Spec


def raw_of_rows(spec: Spec, rows: GroupedRows, y: Floats) -> RawValues:
    """Raw values of the innermost groups, of outcomes (..., N) of these rows."""
    columns, offset = columns_of(rows)
    return RawValues.of(spec.family, y, columns, offset, rows.group, rows.n_groups)


def raw_values(spec: Spec, data: GroupedData, level: int) -> RawValues:
    """Raw values of the groups of a level, of which 0 is the outermost; (u,)."""
    rows, _ = rows_or_totals(data)
    raw = raw_of_rows(spec, rows, rows.y)
    for below in reversed(data.levels[level + 1 :]):
        raw = raw.above(below.parent, int(below.parent[-1]) + 1)
    return raw


def raw_effects(spec: Spec, data: GroupedData, level: int, shift: Floats) -> Floats:
    """Raw estimates of the effects of the groups of a level, on the scale of the link; (u,).

    Of counts where each group's likelihood lies if ½ is added to its counts, so that they are
    finite: ``log((r + ½)/(n − r + ½))`` or ``log((y + ½)/E)``.  Of others the raw value itself.
    Those of groups without observations are nan.

    Parameters
    ----------
    spec, data
    level : int
        0 is the outermost.
    shift : (N,) or (1,)
        What covariates add to the linear predictor of each row, where the effects are shown less
        where the row is.
    """
    rows, _ = rows_or_totals(data)
    columns, offset = columns_of(rows)
    group = members_of(data, rows.group, level)
    size = len(data.levels[level])
    raw = RawValues.of(spec.family, rows.y, columns, offset - shift, group, size)
    if not spec.family.effect:
        return raw.value
    leaves = spec.family.leaves(rows.y, columns, offset - shift, group, size)
    return np.where(raw.size > 0, leaves.centre, np.nan)


def leaves_of_level(spec: Spec, data: GroupedData, level: int) -> Leaves:
    """What all rows of each group of a level say of one effect that they share; u of them."""
    rows, _ = rows_or_totals(data)
    columns, offset = columns_of(rows)
    group = members_of(data, rows.group, level)
    return spec.family.leaves(rows.y, columns, offset, group, len(data.levels[level]))


def rows_of_level(data: GroupedData, level: int) -> Indices:
    """Number of rows of each group of a level; (u,)."""
    if isinstance(data, SufficientStatistics):
        return level_means(data, level)[0]
    return np.bincount(members_of(data, data.group, level), minlength=len(data.levels[level]))


def columns_of(rows: GroupedRows) -> tuple[dict[str, Floats], Floats]:
    """Columns of the family, and the offset of each row; (N,)."""
    columns = dict(rows.columns)
    offset = columns.pop("offset", np.zeros(rows.n_rows))
    return columns | ({} if rows.se is None else {"sd": rows.se}), offset


def members_of(data: GroupedData, group: Indices, level: int) -> Indices:
    """Group of a level that each row is in, from its innermost one, or its own if crossed."""
    if isinstance(data, GroupedRows) and data.crossed:
        return data.crossed[level]
    for below in reversed(data.levels[level + 1 :]):
        group = below.parent[group]
    return group
