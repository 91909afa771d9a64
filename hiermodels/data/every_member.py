"""Rows to predict where none are given: of every group, and of new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.new_rows import NEW, OFFSET, NewRows
from hiermodels.data.outcome import default_columns
from hiermodels.model.standard_errors import from_se, to_se


def every_member(data: GroupedData, place: Place, *, outcomes: bool) -> NewRows:
    """A row for each group, for a new one in each of the groups' parents, and in a new parent.

    Rows are at the covariates of their lowest known group; where the standard errors are known,
    each has the median of those in that group, and what else belongs to a row is that of the row
    with the median number of trials, exposure or offset in that group.

    Of crossed groups it is a row for each group of every column, beside new ones of the others, and
    one of new groups alone.
    """
    known = range(len(data.levels) - 1, ROOT - 1, -1)  # the innermost level first
    sizes = [1 if own == ROOT else len(data.levels[own]) for own in known]
    level = np.repeat(known, sizes)
    number = np.arange(len(level))
    unit = np.concatenate([np.arange(size) for size in sizes])
    parts = [_labels_from(data, own) for own in known]
    return NewRows(
        index=pd.RangeIndex(len(level)),
        labels={name: np.concatenate([part[name] for part in parts]) for name in data.roles.groups},
        level=np.full(len(level), ROOT) if data.roles.nesting else level,
        unit=np.zeros_like(number) if data.roles.nesting else unit,
        fresh=_numbers_of_new(data, level, number),
        x=np.concatenate(
            [
                np.broadcast_to(place.of(own), (size, place.of(own).shape[-1]))
                for own, size in zip(known, sizes, strict=True)
            ]
        ),
        se=_median_errors(data) if outcomes and data.roles.errors_column else None,
        columns=_typical_columns(data, outcomes=outcomes),
        units=_units(data, level, unit) if data.roles.nesting else (),
    )


def _units(data: GroupedData, level: Indices, unit: Indices) -> tuple[Indices, ...]:
    """Of crossed groups, the known ones of rows that have this group of this level; −1 of new."""
    units = [np.full(len(level), -1) for _ in data.levels]
    for own, path in enumerate(data.lineages):
        here, member = level == own, unit[level == own]
        for above in path:
            units[above][here] = member
            member = data.levels[above].parent[member]
    return tuple(units)


def _numbers_of_new(data: GroupedData, level: Indices, number: Indices) -> tuple[Indices, ...]:
    """A number of its own for each row's new group of every level; −1 of known ones."""
    paths = data.lineages
    below = [[low for low, path in enumerate(paths) if own in path] for own in range(len(paths))]
    return tuple(np.where(np.isin(level, some), -1, number) for some in below)


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
    """Labels of the groups of a level and of those that they lie in; all others are new."""
    path = () if level == ROOT else data.lineages[level]
    member = np.arange(len(data.levels[level]) if path else 1)
    labels = {new.column: np.repeat(NEW, len(member)) for new in data.levels}
    for own in path:
        labels[data.levels[own].column] = data.levels[own].own_labels[member].astype(str)
        member = data.levels[own].parent[member]
    return labels


def _median_errors(data: GroupedData) -> Floats:
    """Median of the known errors of the rows of each group, from the groups to the root.

    It is taken on the scale that they were given on, and returned as a standard error.
    """
    rows = require_rows(data, "predicting outcomes without new_data, with medians of known se,")
    scale = data.roles.se_scale
    assert rows.se is not None
    known = pd.Series(from_se(rows.se, scale))
    errors = [known.groupby(member).median().to_numpy() for member in _members_upwards(rows)]
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
    typical = []
    key = rows.columns[given[0]]
    for member in _members_upwards(rows):
        order = np.lexsort([key, member])
        first = np.searchsorted(member[order], np.arange(member.max() + 1))
        size = np.diff(np.append(first, len(order)))
        typical.append(order[first + (size - 1) // 2])
    places = np.concatenate(typical)
    return {role: rows.columns[role][places] for role in kept}


def _members_upwards(rows: GroupedRows) -> list[Indices]:
    """Index of each row's group at every level, the innermost first, and of the root; (N,) each."""
    return [*reversed(rows.memberships), np.zeros(rows.n_rows, dtype=np.intp)]
