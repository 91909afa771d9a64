"""Rows to predict: which of their groups are known from the data, and which are new."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed, short
from hiermodels.core.names import ROOT
from hiermodels.core.suggestions import did_you_mean
from hiermodels.data.coding import term_columns
from hiermodels.data.frame import LEAVE_OUT, Frame
from hiermodels.data.grouped import GroupedData
from hiermodels.data.labels import WHOLE, fold, is_of_kind, kind_of, spelled
from hiermodels.data.nesting import GroupLevel
from hiermodels.data.outcome import default_columns, require_columns
from hiermodels.data.strata import read_new_strata
from hiermodels.errors import DataError, DataWarning, warn
from hiermodels.families.normal import STRATA
from hiermodels.model.nests import nested_columns, parents_of
from hiermodels.model.standard_errors import KINDS

OFFSET = "offset"
NEW = "(new)"  # written for the label of a group that has none


@dataclass(frozen=True)
class NewRows:
    """Rows to predict.

    Attributes
    ----------
    index : pandas.Index
        Labels of the r rows.
    labels : mapping of str to (r,)
        Labels of the groups that were named, by column.
    level : (r,)
        Innermost level at which the row's group is known; ``ROOT`` where none is.
    unit : (r,)
        Index of that group.
    fresh : tuple of (r,)
        For each level, the outermost first, a number for each row's new group there, the same for
        rows that share it; −1 where the group is known.
    x : (r, q)
        Covariates.
    se : (r,) or None
        Known standard errors, where outcomes are asked for.
    columns : mapping of str to (r,)
        What else the rows' family needs, where outcomes are asked for; and the offset.
    units : tuple of (r,)
        Of crossed groups, index of each column's group, −1 of a new one; ``level`` and ``unit`` are
        then those of the root.
    """

    index: pd.Index[Any]
    labels: Mapping[str, NDArray[Any]]
    level: Indices
    unit: Indices
    fresh: tuple[Indices, ...]
    x: Floats
    se: Floats | None
    columns: Mapping[str, Floats] = field(default_factory=dict)
    units: tuple[Indices, ...] = ()

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice | Indices) -> NewRows:
        return NewRows(
            self.index[rows],
            {name: labels[rows] for name, labels in self.labels.items()},
            self.level[rows],
            self.unit[rows],
            tuple(fresh[rows] for fresh in self.fresh),
            self.x[rows],
            None if self.se is None else self.se[rows],
            {name: column[rows] for name, column in self.columns.items()},
            tuple(unit[rows] for unit in self.units),
        )

    def kinds(self, groups: Sequence[str]) -> NDArray[np.str_]:
        """What is known of each row's groups, such as "new school"; (r,)."""
        if not self.units:
            return np.array(kinds(groups))[self.level - ROOT]
        return kinds_of_crossed(groups, self.units)


def kinds(groups: Sequence[str]) -> tuple[str, ...]:
    """What a row is called whose innermost known group is the root, or of level 0, 1, …."""
    if not groups:
        return ("same population",)
    new = (f"new {inner} in known {outer}" for outer, inner in pairwise(groups))
    return f"new {groups[0]}", *new, f"known {groups[-1]}"


def kinds_of_crossed(groups: Sequence[str], units: Sequence[Indices]) -> NDArray[np.str_]:
    """What rows are called with known and new groups of crossed columns; (r,)."""
    words = [
        np.where(unit < 0, f"new {column}", f"known {column}")
        for column, unit in zip(groups, units, strict=True)
    ]
    return np.array([", ".join(row) for row in zip(*words, strict=True)])


def read_new_rows(new_data: Any, data: GroupedData, *, outcomes: bool) -> NewRows:
    """Sort rows by what is known of their groups.

    Parameters
    ----------
    new_data : data frame
        Columns of the group labels, of the covariates, of an offset, and of the known standard
        errors, or of what else the family needs, if outcomes are asked for.  Labels are compared
        as they are written, numbers and dates by their value.  A row whose label is missing has a
        new group of its own; so has each row without the column of the innermost groups, of all
        groups, or of some of crossed ones.
    data : GroupedData
        What was fitted.
    outcomes : bool
        Whether standard errors are needed, where the model has them, numbers of trials, and so on.

    Raises
    ------
    DataError
        If a column is missing or unknown, if another value is missing, or if a label may be
        meant in two ways.

    Warns
    -----
    DataWarning
        Where a label of a new group is nearly that of a known one.
    """
    frame = Frame(new_data, LEAVE_OUT)
    se_column, covariates = data.roles.errors_column, term_columns(data.design.terms)
    _check_columns(frame, data, covariates)
    se = None
    if outcomes and se_column:
        _require_column(frame, se_column, KINDS[data.roles.se_scale].removesuffix("s"))
        se = frame.errors(se_column, data.roles.se_scale)
    columns = _read_columns(frame, data, outcomes=outcomes)
    x = data.design.apply(frame.select(covariates))
    labels = {
        level.column: _read_labels(frame, level.column, level.own_labels)
        for level in data.levels
        if level.column in frame.columns
    }
    places, fresh = _place(frame, data, labels)
    level, member = np.full(len(frame), ROOT), np.zeros(len(frame), dtype=np.intp)
    for own, place in enumerate(() if data.roles.nesting else places):
        level, member = np.where(place < 0, level, own), np.where(place < 0, member, place)
    shown = {name: given.shown for name, given in labels.items()}
    units = places if data.roles.nesting else ()
    return NewRows(frame.index, shown, level, member, fresh, x, se, columns, units)


def _require_column(frame: Frame, name: str, what: str) -> None:
    """Raise DataError if a column is missing that outcomes need."""
    if name not in frame.columns:
        raise DataError(
            f"there is no column {name!r}; the data have {listed(frame.columns)}. Outcomes need "
            f"the {what} of each row; without them say outcomes=False"
            f"{did_you_mean(name, frame.columns)}"
        )


def _read_columns(frame: Frame, data: GroupedData, *, outcomes: bool) -> dict[str, Floats]:
    """The offset and, for outcomes, what else the family needs; what need not be given is there."""
    roles = data.roles
    named = {role: name for role, name in roles.columns.items() if outcomes or role == OFFSET}
    for role, name in named.items():
        if role == OFFSET:
            frame.require(name)
        else:
            what = "stratum" if role == STRATA else role.replace("_", " ")
            _require_column(frame, name, what)
    numbers = {role: name for role, name in named.items() if role != STRATA}
    columns = {role: frame.numbers(name) for role, name in numbers.items()}
    if STRATA in named:
        columns[STRATA] = read_new_strata(frame, named[STRATA], data.strata)
    if not outcomes:
        return columns
    columns = {**default_columns(roles.family, len(frame)), **columns}
    require_columns(roles, columns, frame.value, frame.show_rows)
    return columns


@dataclass(frozen=True)
class _Labels:
    """Labels of a column of new rows.

    Attributes
    ----------
    raw : list of r
        As they stand in the frame; None where one is missing.
    text : (r,)
        As the data that were fitted write them.
    code : (r,)
        A number for each label, and a negative one of its own for each that is missing.
    kind : str
        What the labels that were fitted are, as :func:`hiermodels.data.labels.kind_of` says.
    """

    raw: list[Any]
    text: NDArray[np.str_]
    code: Indices
    kind: str

    @property
    def shown(self) -> NDArray[Any]:
        """Labels to show, and to store with predictions."""
        if self.kind == WHOLE and (self.code >= 0).all():
            numbers = np.array([int(text) for text in self.text])
            return numbers if numbers.dtype.kind == "i" else self.text
        return np.where(self.code < 0, NEW, self.text)


def _read_labels(frame: Frame, name: str, own: NDArray[Any]) -> _Labels:
    """Read labels, and write them as those that were fitted are written."""
    raw, written = frame.labels_or_gaps(name)
    known = np.flatnonzero([label is not None for label in written])
    code = pd.factorize(np.array([written[row] for row in known], dtype=object))[0]
    first = known[np.unique(code, return_index=True)[1]]
    kind = kind_of(own)
    asked = [raw[row] for row in first]
    texts = [
        str(int(label)) if kind == WHOLE and is_of_kind(label, WHOLE) else str(text)
        for label, text in zip(asked, spelled(own, asked), strict=True)
    ]
    text, numbers = np.full(len(raw), "", dtype=object), -1 - np.arange(len(raw))
    text[known] = np.array(texts, dtype=object)[code]
    numbers[known] = pd.factorize(text[known])[0]
    return _Labels(raw, text.astype(str), numbers, kind)


def _check_columns(frame: Frame, data: GroupedData, covariates: Sequence[str]) -> None:
    """Raise DataError if a group column is missing that may be there by another name."""
    groups = data.roles.groups
    for name in covariates:
        frame.require(name)
    absent = [name for name in groups if name not in frame.columns]
    if not absent:
        return
    paths = nested_columns(groups, data.roles.nesting)
    below = [path[-1] for path in paths if absent[0] in path and path[-1] in frame.columns]
    if below:
        raise DataError(
            f"there is no column {absent[0]!r}, which says what the labels of {below[0]!r} stand "
            f"under; the data have {listed(frame.columns)}"
        )
    known = {
        data.roles.outcome,
        data.roles.errors_column,
        *data.roles.columns.values(),
        *groups,
        *covariates,
    }
    others = [name for name in frame.columns if name not in {*known, *frame.of_index}]
    if others:
        raise DataError(
            f"there is no column {absent[0]!r}. Without it each row is a new {absent[0]} of its "
            f"own, but then there must be no column that the model does not know, in case it is "
            f"misspelt: found {listed(others)}. Rename or drop what is not needed"
        )


def _place(
    frame: Frame, data: GroupedData, labels: Mapping[str, _Labels]
) -> tuple[tuple[Indices, ...], tuple[Indices, ...]]:
    """Index of each row's group at every level, −1 of new ones; and numbers of these, likewise."""
    root = np.zeros(len(frame), dtype=np.intp)
    places: list[Indices] = []
    numbers: list[Indices] = []  # tell all groups of a level apart
    for own, outer in enumerate(parents_of(data.roles.nesting, len(data.levels))):
        groups, place, number = data.levels[own], np.full(len(frame), -1), np.arange(len(frame))
        member, above = (root, root) if outer == ROOT else (places[outer], numbers[outer])
        if groups.column in labels:
            given = labels[groups.column]
            may_be_known = (member >= 0) & (given.code >= 0)
            place = np.where(may_be_known, _find(groups, member, given.text), -1)
            new = np.flatnonzero((place < 0) & (given.code >= 0))
            _check_new_labels(frame, data, own, new, labels)
            _warn_of_near_ones(frame, groups, new, member, given)
            number = pd.MultiIndex.from_arrays([above, given.code]).factorize()[0]
        places.append(place)
        numbers.append(number)
    both = zip(places, numbers, strict=True)
    return tuple(places), tuple(np.where(place < 0, number, -1) for place, number in both)


def _find(groups: GroupLevel, parent: Indices, labels: NDArray[np.str_]) -> Indices:
    """Index of the group of a known parent that has this label, as it is written; −1 if none."""
    known = pd.MultiIndex.from_arrays([groups.parent, groups.own_labels.astype(str)])
    return known.get_indexer(pd.MultiIndex.from_arrays([parent, labels]))


def _check_new_labels(
    frame: Frame, data: GroupedData, level: int, rows: Indices, labels: Mapping[str, _Labels]
) -> None:
    """Raise DataError if labels of new groups may be meant for known ones.

    These are labels of another kind, such as numbers where the data have text, and labels that
    the data have under another parent, unless labels there begin anew under each.
    """
    groups = data.levels[level]
    name, own, given = groups.column, groups.own_labels, labels[groups.column]
    for row in _firsts(rows, given.code[rows]):
        if not is_of_kind(given.raw[row], given.kind):
            raise DataError(
                f"column {name!r}: {short(given.raw[row])} in {frame.show_rows(np.array([row]))} "
                f"is none of the labels that were fitted, such as {short(own[0])}, and labels of "
                f"new groups must be {given.kind}, as those are"
            )
    place = pd.Index(groups.labels.astype(str)).get_indexer(pd.Index(given.text[rows]))
    twice = np.flatnonzero(place >= 0)
    if len(twice):
        row, member = rows[twice[0]], place[twice[0]]
        above = data.levels[parents_of(data.roles.nesting, len(data.levels))[level]]
        outer, parent = above.column, above.labels[groups.parent[member]]
        raise DataError(
            f"column {name!r}: {short(given.text[row])} stands under {outer} "
            f"{short(labels[outer].raw[row])} in {frame.show_rows(rows[twice])}; in the data that "
            f"were fitted it is {name} {short(own[member])} of {outer} {short(parent)}. Write "
            f"known groups as they stand there, and give new ones labels of their own"
        )


def _warn_of_near_ones(
    frame: Frame, groups: GroupLevel, rows: Indices, parent: Indices, given: _Labels
) -> None:
    """Warn of new labels that a reader would take for known ones, by capitals or spaces."""
    if not len(rows) or given.kind == WHOLE:
        return
    name, own = groups.column, groups.own_labels.astype(str)
    like: dict[Hashable, Any] = {fold(label): label for label in groups.labels.astype(str)}
    like |= {
        (above, fold(label)): label
        for above, label in zip(groups.parent.tolist(), own, strict=True)
    }
    pairs = pd.MultiIndex.from_arrays([parent[rows], given.code[rows]]).factorize()[0]
    near = []
    for row in _firsts(rows, pairs):
        folded = fold(given.text[row])
        other = like.get((int(parent[row]), folded), like.get(folded))
        if other is not None:
            near.append((row, other))
    if near:
        row, other = near[0]
        more = f" (so are {len(near) - 1} more labels)" if len(near) > 1 else ""
        warn(
            f"column {name!r}: {short(given.raw[row])} in {frame.show_rows(np.array([row]))} is "
            f"taken for a new {name}, and nearly a known one{more}. If it is {short(other)}, write "
            f"it so",
            DataWarning,
        )


def _firsts(rows: Indices, numbers: Indices) -> Indices:
    """The first of the rows that have the same number."""
    return rows[np.sort(np.unique(numbers, return_index=True)[1])]
