"""Cells of crossed groups: rows that share their group in every column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hiermodels.core.arrays import Indices
from hiermodels.data.group_moments import GroupMoments
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.nesting import attributes_of, chain_of, nest
from hiermodels.data.roles import NO_CELLS, Roles
from hiermodels.errors import SpecError
from hiermodels.families.normal import WEIGHTS

CELL = "cell"


def in_cells(data: GroupedData) -> tuple[GroupedData, tuple[Indices, ...]]:
    """Rows of crossed groups, or their statistics, in groups of one column: their cells.

    Returns
    -------
    data : GroupedData
        In c groups.
    members : tuple of (c,)
        Index of each cell's group in every column.
    """
    if isinstance(data, GroupMoments):
        return _in_one_column(data, len(data.count)), data.crossed
    rows = require_rows(data, "cells")
    members, cell = np.unique(np.stack(rows.crossed), axis=1, return_inverse=True)
    rows = replace(rows, group=cell.ravel())
    return _in_one_column(rows, members.shape[1]), tuple(members)


def _in_one_column(data: Any, size: int) -> Any:
    """The same with cells for groups."""
    labels = (np.arange(size),)
    roles = replace(data.roles, groups=(CELL,), nesting=())
    names = {"roles": roles, "labels": labels, "own_labels": labels, "parents": (), "crossed": ()}
    return replace(data, **names)


def require_cells(roles: Roles, crossed: tuple[Indices, ...]) -> None:
    """Raise SpecError if statistics of crossed groups are not of cells, or others are."""
    if crossed and CELL in roles.groups:
        raise SpecError(
            f"groups: statistics of crossed groups are of each {CELL!r}, which is the name of "
            f"a column of groups here; rename it"
        )
    if len(crossed) != (len(roles.groups) if roles.nesting else 0):
        raise SpecError(NO_CELLS)


def rows_of_cells(data: GroupedData, purpose: str = "what is asked for") -> GroupedRows:
    """Rows of crossed groups; of statistics, a row for each cell with its means and weight."""
    if not isinstance(data, GroupMoments):
        return require_rows(data, purpose)
    means, known = data.mean + data.rest, data.roles.se is not None
    return GroupedRows(
        roles=data.roles,
        y=means[:, -1],
        se=data.weight**-0.5 if known else None,
        design=replace(data.design, matrix=means[:, :-1]),
        group=data.crossed[-1],
        labels=data.labels,
        own_labels=data.own_labels,
        parents=data.parents,
        columns={} if known else {WEIGHTS: data.weight},
        crossed=data.crossed,
    )


def as_nested(data: Any) -> Any:
    """Statistics of all data: those of nested groups, if each crossed column lies in another."""
    order = chain_of(data.crossed, data.sizes[::-1]) if data.crossed else ()
    if not order:
        return data
    levels, columns = data.levels, data.roles.groups
    labels = {columns[k]: levels[k].own_labels[data.crossed[k]] for k in order}
    group, nested = nest(labels, len(data.count))
    place = np.argsort(group)
    roles = replace(data.roles, groups=tuple(labels), nesting=(), as_crossed=columns)
    parts = {name: getattr(data, name)[place] for name in ("count", "weight", "mean", "rest")}
    return replace(data, roles=roles, crossed=(), **attributes_of(nested), **parts)
