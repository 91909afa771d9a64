"""Groups within groups: those of each level, numbered, and whether their labels are nested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Indices
from hiermodels.core.messages import listed, short
from hiermodels.errors import DataError


@dataclass(frozen=True)
class GroupLevel:
    """The groups of one level.

    Attributes
    ----------
    column : str
        That the labels come from.
    labels : (u,)
        In the order in which they appear in the data (within their parent); integers, or else
        strings.
    own_labels : (u,)
        The same as they stand in the column, which may hold them under several parents.
    parent : (u,)
        Index of each group's parent in the level above, ascending; 0 for those of the outermost.
    """

    column: str
    labels: NDArray[Any]
    own_labels: NDArray[Any]
    parent: Indices

    def __len__(self) -> int:
        return len(self.labels)


def levels_of(
    columns: Sequence[str],
    labels: Sequence[NDArray[Any]],
    own_labels: Sequence[NDArray[Any]],
    parents: Sequence[Indices],
) -> tuple[GroupLevel, ...]:
    """Levels, the outermost first, from the attributes of a ``GroupedData``."""
    if not columns:
        return ()
    above = (np.zeros(len(labels[0]), dtype=np.intp), *reversed(parents))
    return tuple(map(GroupLevel, columns, labels, own_labels, above))


def attributes_of(levels: Sequence[GroupLevel]) -> Mapping[str, Any]:
    """The attributes of a ``GroupedData`` with these levels, of which the outermost is first."""
    return {
        "labels": tuple(level.labels for level in levels),
        "own_labels": tuple(level.own_labels for level in levels),
        "parents": tuple(level.parent for level in reversed(levels[1:])),
    }


def labels_above(levels: Sequence[GroupLevel], member: Indices) -> dict[str, NDArray[Any]]:
    """Own labels of some groups of the last of some levels, and of what these are in, by column.

    Parameters
    ----------
    levels : sequence of GroupLevel
        The outermost first.
    member : (r,)
    """
    columns = {}
    for level in reversed(levels):
        columns[level.column] = level.own_labels[member]
        member = level.parent[member]
    return dict(reversed(columns.items()))


def nest(
    columns: Mapping[str, NDArray[Any]], n_rows: int
) -> tuple[Indices, tuple[GroupLevel, ...]]:
    """Number the groups of each level, children of one parent side by side.

    Labels that repeat under several parents are different groups; they are then written
    ``parent/label``.

    Parameters
    ----------
    columns : mapping of str to (N,)
        Labels of the rows, the outermost level first.
    n_rows : int

    Returns
    -------
    group : (N,)
        Index of each row's innermost group.
    levels : tuple of GroupLevel
        The outermost first.
    """
    levels: list[GroupLevel] = []
    member = np.zeros(n_rows, dtype=np.intp)
    for name, column in columns.items():
        codes, values = pd.factorize(column)
        place, keys = pd.factorize(member * len(values) + codes)
        order = np.argsort(keys // len(values), kind="stable")
        member, keys = np.argsort(order)[place], keys[order]
        parent, own = keys // len(values), values[keys % len(values)]
        full = own
        if len(keys) > len(values):
            above = levels[-1].labels
            full = np.array([f"{above[p]}/{label}" for p, label in zip(parent, own, strict=True)])
        levels.append(GroupLevel(name, _plain_labels(full), _plain_labels(own), parent))
    return member, tuple(levels)


def _plain_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers or strings, not as objects."""
    return labels.astype(str) if labels.dtype == object else labels


def _check_numbering(outer: GroupLevel, inner: GroupLevel) -> None:
    """Raise DataError if labels repeat under some parents: they are not numbered anew.

    Numbers or letters that begin anew have a first one, which stands under most parents.  A
    label that stands under a few is a group that was recorded under two parents.
    """
    repeated, counts = np.unique(inner.own_labels, return_counts=True)
    if len(outer) < 3 or 2 * counts.max() > len(outer):
        return
    label = repeated[np.argmax(counts)]
    where = [outer.labels[p] for p in inner.parent[inner.own_labels == label]]
    raise DataError(
        f"column {inner.column!r}: label {short(label)} stands under {len(where)} of {len(outer)} "
        f"labels of {outer.column!r}, {listed(where)}. If it is one group, it is not nested: "
        f"correct its rows. If these are different groups, give each a label of its own"
    )


def _check_distinct(name: str, labels: NDArray[Any]) -> None:
    values, counts = np.unique(labels, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"column {name!r}: two different groups would both be called "
            f"{short(values[counts > 1][0])}; rename them so that 'parent/label' is unique"
        )


def check_groups(levels: Sequence[GroupLevel]) -> None:
    """Raise an error if labels are not nested.

    Parameters
    ----------
    levels : sequence of GroupLevel
        The outermost first.

    Raises
    ------
    DataError
        If labels stand under some parents as if by mistake, or if two groups would have one name.
    """
    for outer, inner in pairwise(levels):
        if len(np.unique(inner.own_labels)) < len(inner):
            _check_numbering(outer, inner)
            _check_distinct(inner.column, inner.labels)
