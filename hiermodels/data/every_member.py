"""Rows to predict where none are given: of every group, and of new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.nesting import labels_above
from hiermodels.data.new_rows import NEW, OFFSET, NewRows
from hiermodels.data.outcome import default_columns
from hiermodels.model.standard_errors import from_se, to_se


def every_member(data: GroupedData, place: Place, *, outcomes: bool) -> NewRows:
    """A row for each group, for a new one in each of the groups' parents, and in a new parent.

    Rows are at the covariates of their lowest known group; where the standard errors are known,
    each has the median of those in that group, and what else belongs to a row is that of the row
    with the median number of trials, exposure or offset in that group.
    """
    known = range(len(data.levels) - 1, ROOT - 1, -1)  # the innermost level first
    sizes = [1 if own == ROOT else len(data.levels[own]) for own in known]
    level = np.repeat(known, sizes)
    number = np.arange(len(level))
    parts = [_labels_from(data, own) for own in known]
    return NewRows(
        index=pd.RangeIndex(len(level)),
        labels={name: np.concatenate([part[name] for part in parts]) for name in data.roles.groups},
        level=level,
        unit=np.concatenate([np.arange(size) for size in sizes]),
        fresh=tuple(np.where(level < own, number, -1) for own in range(len(data.levels))),
        x=np.concatenate(
            [
                np.broadcast_to(place.of(own), (size, place.of(own).shape[-1]))
                for own, size in zip(known, sizes, strict=True)
            ]
        ),
        se=_median_errors(data) if outcomes and data.roles.errors_column else None,
        columns=_typical_columns(data, outcomes=outcomes),
    )


def what_was_taken(data: GroupedData, rows: NewRows) -> list[str]:
    """Say where columns of such rows come from: a line for each kind of column."""
    notes, named = [], data.roles.columns
    if rows.se is not None:
        notes.append(f"{data.roles.errors_column}: the median of those of the known group's rows")
    given = [named[role] for role in rows.columns if role in named]
    if given:
        notes.append(f"{', '.join(given)}: of the known group's row with the median {given[0]}")
    return notes


def _labels_from(data: GroupedData, level: int) -> dict[str, NDArray[Any]]:
    """Labels of the groups of a level and of those above them; below stand new ones."""
    above, below = data.levels[: level + 1], data.levels[level + 1 :]
    member = np.arange(len(above[-1]) if above else 1)
    known = {name: own.astype(str) for name, own in labels_above(above, member).items()}
    return known | {new.column: np.repeat(NEW, len(member)) for new in below}


def _median_errors(data: GroupedData) -> Floats:
    """Median of the known errors of the rows of each group, from the groups to the root.

    It is taken on the scale that they were given on, and returned as a standard error.
    """
    rows = require_rows(data, "predicting outcomes without new_data, with medians of known se,")
    member, scale = rows.group, data.roles.se_scale
    assert rows.se is not None
    known = pd.Series(from_se(rows.se, scale))
    errors = [known.groupby(member).median().to_numpy()]
    for level in reversed(data.levels):
        member = level.parent[member]
        errors.append(known.groupby(member).median().to_numpy())
    return to_se(np.concatenate(errors), scale)


def _typical_columns(data: GroupedData, *, outcomes: bool) -> dict[str, Floats]:
    """Columns of a row of each group, from the groups to the root: see :func:`every_member`."""
    roles = data.roles
    wanted = [*(roles.family.columns if outcomes else ()), OFFSET]
    given = [role for role in wanted if role in roles.columns]
    kept = {role for role in wanted if role in {*given, *roles.family.defaults}}
    if not kept:
        return {}
    purpose = "predicting without new_data, with the median of what belongs to the rows,"
    rows = require_rows(data, purpose) if given else None
    if rows is None:
        return default_columns(roles.family, sum(len(level) for level in data.levels) + 1)
    member, typical = rows.group, []
    key = rows.columns[given[0]]
    for own in range(len(data.levels) - 1, ROOT - 1, -1):
        order = np.lexsort([key, member])
        first = np.searchsorted(member[order], np.arange(member.max() + 1))
        size = np.diff(np.append(first, len(order)))
        typical.append(order[first + (size - 1) // 2])
        member = data.levels[own].parent[member] if own > ROOT else member
    places = np.concatenate(typical)
    return {role: rows.columns[role][places] for role in kept}
