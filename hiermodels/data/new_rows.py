"""Rows to predict: which of their units are known from the data, and which are new."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed, short
from hiermodels.data.coding import term_columns
from hiermodels.data.covariates import Place
from hiermodels.data.frame import LEAVE_OUT, Frame
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.labels import WHOLE, fold, is_of_kind, kind_of, spelled
from hiermodels.errors import DataError, DataWarning, warn
from hiermodels.model.standard_errors import KINDS, from_se, to_se

NEW = "(new)"  # written for the label of a unit that has none


@dataclass(frozen=True)
class NewRows:
    """Rows to predict.

    Attributes
    ----------
    index : pandas.Index
        Labels of the r rows.
    labels : mapping of str to (r,)
        Labels of the units that were named, by column.
    level : (r,)
        Lowest level at which the row's unit is known: 0 for the groups, 1 for their parents, …,
        the root last.
    unit : (r,)
        Index of that unit.
    fresh : tuple of (r,)
        For each level from the groups upwards, a number for each row's new unit there, the same
        for rows that share it; −1 where the unit is known.
    x : (r, q)
        Covariates.
    se : (r,) or None
        Known standard errors, where outcomes are asked for.
    """

    index: pd.Index[Any]
    labels: Mapping[str, NDArray[Any]]
    level: Indices
    unit: Indices
    fresh: tuple[Indices, ...]
    x: Floats
    se: Floats | None

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
        )


def kinds(groups: Sequence[str]) -> tuple[str, ...]:
    """What a row is called whose lowest known unit stands at level 0, 1, …."""
    if not groups:
        return ("same population",)
    if len(groups) == 1:
        return f"known {groups[0]}", f"new {groups[0]}"
    outer, inner = groups
    return f"known {inner}", f"new {inner} in known {outer}", f"new {outer}"


def read_new_rows(new_data: Any, data: GroupedData, *, outcomes: bool) -> NewRows:
    """Sort rows by what is known of their units.

    Parameters
    ----------
    new_data : data frame
        Columns of the group labels, of the covariates, and of the known standard errors if
        outcomes are asked for.  Labels are compared as they are written, numbers and dates by
        their value.  A row whose label is missing has a new unit of its own; so has each row
        without the column of the innermost groups, or of all groups.
    data : GroupedData
        What was fitted.
    outcomes : bool
        Whether standard errors are needed, where the model has them.

    Raises
    ------
    DataError
        If a column is missing or unknown, if another value is missing, or if a label may be
        meant in two ways.

    Warns
    -----
    DataWarning
        Where a label of a new unit is nearly that of a known one.
    """
    frame = Frame(new_data, LEAVE_OUT)
    se_column, covariates = data.roles.se, term_columns(data.design.terms)
    _check_columns(frame, data, covariates)
    se = None
    if outcomes and se_column:
        if se_column not in frame.columns:
            error = KINDS[data.roles.se_scale].removesuffix("s")
            raise DataError(
                f"there is no column {se_column!r}; the data have {listed(frame.columns)}. "
                f"Outcomes need the {error} of each row; for their means alone say outcomes=False"
            )
        se = frame.errors(se_column, data.roles.se_scale)
    x = data.design.apply(frame.select(covariates))
    labels = {
        name: _read_labels(frame, name, own)
        for name, own in zip(data.roles.groups, data.own_labels, strict=True)
        if name in frame.columns
    }
    level, unit, fresh = _place(frame, data, labels)
    shown = {name: given.shown for name, given in labels.items()}
    return NewRows(frame.index, shown, level, unit, fresh, x, se)


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


def every_unit(data: GroupedData, place: Place, *, outcomes: bool) -> NewRows:
    """A row for each group, for a new one in each of the groups' parents, and in a new parent.

    Rows are at the covariates of their lowest known unit; where the standard errors are known, each
    has the median of those in that unit.
    """
    sizes = (*data.sizes, 1)
    level = np.repeat(np.arange(len(sizes)), sizes)
    number = np.arange(len(level))
    parts = [_labels_from(data, depth) for depth in range(len(sizes))]
    return NewRows(
        index=pd.RangeIndex(len(level)),
        labels={name: np.concatenate([part[name] for part in parts]) for name in data.roles.groups},
        level=level,
        unit=np.concatenate([np.arange(size) for size in sizes]),
        fresh=tuple(np.where(level > depth, number, -1) for depth in range(len(sizes) - 1)),
        x=np.concatenate(
            [np.broadcast_to(x, (n, x.shape[-1])) for x, n in zip(place.levels, sizes, strict=True)]
        ),
        se=_median_errors(data) if outcomes and data.roles.se else None,
    )


def _labels_from(data: GroupedData, depth: int) -> dict[str, NDArray[Any]]:
    """Labels of the units of a level and of those above them; below stand new ones."""
    size = (*data.sizes, 1)[depth]
    unit = np.arange(size)
    found = {}
    for level, name in enumerate(reversed(data.roles.groups)):
        own = data.own_labels[-1 - level]
        found[name] = own[unit].astype(str) if level >= depth else np.repeat(NEW, size)
        if depth <= level < len(data.parents):
            unit = data.parents[level][unit]
    return found


def _median_errors(data: GroupedData) -> Floats:
    """Median of the known errors of the rows of each unit, from the groups to the root.

    It is taken on the scale that they were given on, and returned as a standard error.
    """
    rows = require_rows(data, "predicting outcomes without new_data, with medians of known se,")
    member, scale = rows.group, data.roles.se_scale
    assert rows.se is not None
    known = pd.Series(from_se(rows.se, scale))
    found = []
    for level in range(len(data.labels) + 1):
        found.append(known.groupby(member).median().to_numpy())
        member = data.parents[level][member] if level < len(data.parents) else np.zeros_like(member)
    return to_se(np.concatenate(found), scale)


def _check_columns(frame: Frame, data: GroupedData, covariates: Sequence[str]) -> None:
    """Refuse a frame in which a group column is missing that may be there by another name."""
    groups = data.roles.groups
    for name in covariates:
        frame.require(name)
    absent = [name for name in groups if name not in frame.columns]
    if not absent:
        return
    below = [name for name in groups[groups.index(absent[0]) :] if name in frame.columns]
    if below:
        raise DataError(
            f"there is no column {absent[0]!r}, which says what the labels of {below[0]!r} stand "
            f"under; the data have {listed(frame.columns)}"
        )
    known = {data.roles.outcome, data.roles.se, *groups, *covariates}
    others = [name for name in frame.columns if name not in known]
    if others:
        raise DataError(
            f"there is no column {absent[0]!r}. Without it each row is a new {absent[0]} of its "
            f"own, but then there must be no column that the model does not know, in case it is "
            f"misspelt: found {listed(others)}. Rename or drop what is not needed"
        )


def _place(
    frame: Frame, data: GroupedData, labels: Mapping[str, _Labels]
) -> tuple[Indices, Indices, tuple[Indices, ...]]:
    """Find each row's lowest known unit, and number the new ones below it."""
    top = len(data.labels)
    level, unit = np.full(len(frame), top), np.zeros(len(frame), dtype=np.intp)
    above = np.zeros(len(frame), dtype=np.intp)  # tells all units of the level above apart
    fresh = []
    for own, name in zip(range(top - 1, -1, -1), data.roles.groups, strict=True):
        place = np.full(len(frame), -1)
        number = np.arange(len(frame))
        if name in labels:
            given = labels[name]
            may_be_known = (level == own + 1) & (given.code >= 0)
            place = np.where(may_be_known, _find(data, own, unit, given.text), -1)
            new = np.flatnonzero((place < 0) & (given.code >= 0))
            _check_new_labels(frame, data, own, new, labels)
            _warn_of_near_ones(frame, data, own, new, np.where(level == own + 1, unit, -1), given)
            number = pd.MultiIndex.from_arrays([above, given.code]).factorize()[0]
        is_known = place >= 0
        level, unit = np.where(is_known, own, level), np.where(is_known, place, unit)
        fresh.append(np.where(is_known, -1, number))
        above = number
    return level, unit, tuple(reversed(fresh))


def _parents(data: GroupedData, level: int) -> Indices:
    """Index of the parent of each unit of a level; 0 for the root."""
    return data.parents[level] if level < len(data.parents) else np.zeros(data.sizes[level], int)


def _find(data: GroupedData, level: int, parent: Indices, labels: NDArray[np.str_]) -> Indices:
    """Index of the unit of a known parent that has this label, as it is written; −1 if none."""
    own = data.own_labels[-1 - level].astype(str)
    known = pd.MultiIndex.from_arrays([_parents(data, level), own])
    return known.get_indexer(pd.MultiIndex.from_arrays([parent, labels]))


def _check_new_labels(
    frame: Frame, data: GroupedData, level: int, rows: Indices, labels: Mapping[str, _Labels]
) -> None:
    """Refuse labels of new units that may be meant for known ones.

    These are labels of another kind, such as numbers where the data have text, and labels that
    the data have under another parent, unless labels there begin anew under each.
    """
    name = data.roles.groups[-1 - level]
    own, full, given = data.own_labels[-1 - level], data.labels[-1 - level], labels[name]
    for row in _firsts(rows, given.code[rows]):
        if not is_of_kind(given.raw[row], given.kind):
            raise DataError(
                f"column {name!r}: {short(given.raw[row])} in {frame.show_rows(np.array([row]))} "
                f"is none of the labels that were fitted, such as {short(own[0])}, and labels of "
                f"new groups must be {given.kind}, as those are"
            )
    place = pd.Index(full.astype(str)).get_indexer(pd.Index(given.text[rows]))
    twice = np.flatnonzero(place >= 0)
    if len(twice):
        row, unit = rows[twice[0]], place[twice[0]]
        outer = data.roles.groups[0]
        parent = data.labels[0][data.parents[level][unit]]
        raise DataError(
            f"column {name!r}: {short(given.text[row])} stands under {outer} "
            f"{short(labels[outer].raw[row])} in {frame.show_rows(rows[twice])}; in the data that "
            f"were fitted it is {name} {short(own[unit])} of {outer} {short(parent)}. Write known "
            f"groups as they stand there, and give new ones labels of their own"
        )


def _warn_of_near_ones(
    frame: Frame, data: GroupedData, level: int, rows: Indices, parent: Indices, given: _Labels
) -> None:
    """Warn of new labels that a reader would take for known ones, by capitals or spaces."""
    if not len(rows) or given.kind == WHOLE:
        return
    name = data.roles.groups[-1 - level]
    own, full = data.own_labels[-1 - level], data.labels[-1 - level]
    like: dict[Hashable, Any] = {fold(label): label for label in full.astype(str)}
    like |= {
        (above, fold(label)): label
        for above, label in zip(_parents(data, level).tolist(), own.astype(str), strict=True)
    }
    pairs = pd.MultiIndex.from_arrays([parent[rows], given.code[rows]]).factorize()[0]
    found = []
    for row in _firsts(rows, pairs):
        folded = fold(given.text[row])
        other = like.get((int(parent[row]), folded), like.get(folded))
        if other is not None:
            found.append((row, other))
    if found:
        row, other = found[0]
        more = f" (so are {len(found) - 1} more labels)" if len(found) > 1 else ""
        warn(
            f"column {name!r}: {short(given.raw[row])} in {frame.show_rows(np.array([row]))} is "
            f"taken for a new {name}, and nearly a known one{more}. If it is {short(other)}, write "
            f"it so",
            DataWarning,
        )


def _firsts(rows: Indices, numbers: Indices) -> Indices:
    """The first of the rows that have the same number."""
    return rows[np.sort(np.unique(numbers, return_index=True)[1])]
