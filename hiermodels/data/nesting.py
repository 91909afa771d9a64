"""Groups within groups: those of each level, numbered, and whether their labels are nested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Indices
from hiermodels.core.messages import listed, short
from hiermodels.core.names import ROOT
from hiermodels.errors import DataError
from hiermodels.model.level import levels_of as named_levels
from hiermodels.model.nests import Nesting, parents_of


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
        Of crossed groups it is the level that they are nested in, if any.
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

    As :func:`number_groups`, of groups each in the level before.

    Returns
    -------
    group : (N,)
        Index of each row's innermost group.
    levels : tuple of GroupLevel
        The outermost first.
    """
    members, levels = number_groups(columns, n_rows)
    return members[-1] if members else np.zeros(n_rows, dtype=np.intp), levels


def number_groups(
    columns: Mapping[str, NDArray[Any]], n_rows: int, nesting: Nesting = ()
) -> tuple[tuple[Indices, ...], tuple[GroupLevel, ...]]:
    """Number the groups of each level, children of one parent side by side.

    Labels that repeat under several parents are different groups; they are then written
    ``parent/label``.

    Parameters
    ----------
    columns : mapping of str to (N,)
        Labels of the rows, the outermost level first.
    n_rows : int
    nesting : tuple of int
        Of crossed groups, which column lies in which: see :class:`hiermodels.Spec`.

    Returns
    -------
    members : tuple of (N,)
        Index of each row's group at each level.
    levels : tuple of GroupLevel
    """
    levels: list[GroupLevel] = []
    members: list[Indices] = []
    root = np.zeros(n_rows, dtype=np.intp)
    outer = parents_of(nesting, len(columns))
    for (name, column), above in zip(columns.items(), outer, strict=True):
        member = root if above == ROOT else members[above]
        codes, values = pd.factorize(column)
        place, keys = pd.factorize(member * len(values) + codes)
        order = np.argsort(keys // len(values), kind="stable")
        member, keys = np.argsort(order)[place], keys[order]
        parent, own = keys // len(values), values[keys % len(values)]
        full = own
        if len(keys) > len(values):
            outside = levels[above].labels
            named = zip(parent, own, strict=True)
            full = np.array([f"{outside[p]}/{label}" for p, label in named])
        levels.append(GroupLevel(name, _plain_labels(full), _plain_labels(own), parent))
        members.append(member)
    return tuple(members), tuple(levels)


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
        f"correct its rows, or, if these groups are crossed, write a formula with "
        f"(1 | {outer.column}) + (1 | {inner.column}). If these are different "
        f"groups, give each a label of its own"
    )


def _check_distinct(name: str, labels: NDArray[Any]) -> None:
    values, counts = np.unique(labels, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"column {name!r}: two different groups would both be called "
            f"{short(values[counts > 1][0])}; rename them so that 'parent/label' is unique"
        )


def check_groups(levels: Sequence[GroupLevel], nesting: Nesting = ()) -> None:
    """Raise an error if labels are not nested.

    Parameters
    ----------
    levels : sequence of GroupLevel
        The outermost first.
    nesting : tuple of int
        Of crossed groups, which column lies in which.

    Raises
    ------
    DataError
        If labels stand under some parents as if by mistake, or if two groups would have one name.
    """
    for above, inner in zip(parents_of(nesting, len(levels)), levels, strict=True):
        if above == ROOT:
            continue
        outer = levels[above]
        if len(np.unique(inner.own_labels)) < len(inner):
            _check_numbering(outer, inner)
            _check_distinct(inner.column, inner.labels)


def nested_by_chance(
    levels: Sequence[GroupLevel],
    members: Sequence[Indices],
    lineages: Sequence[Sequence[int]],
) -> list[str]:
    """Say which crossed columns happen to lie in one another, or to have one group alone.

    Parameters
    ----------
    levels : sequence of GroupLevel
    members : sequence of (N,)
        Index of each row's group in every column.
    lineages : sequence of sequence of int
        Columns that each lies in, as is known, itself among them.
    """
    alone = [number for number, level in enumerate(levels) if len(level) == 1]
    said = [
        f"there is one {levels[number].column} only, {short(levels[number].labels[0].item())}: "
        f"nothing but a prior says how they differ"
        for number in alone
    ]
    several = [number for number in range(len(levels)) if number not in alone]
    for inner, outer in permutations(several, 2):
        if outer in lineages[inner] or inner in lineages[outer]:
            continue
        one, other = levels[inner].column, levels[outer].column
        if not _lies_in(members[inner], members[outer]):
            continue
        if not _lies_in(members[outer], members[inner]):
            said.append(f"each {one} lies in one {other}, as in (1 | {other}/{one})")
        elif inner < outer:
            said.append(f"{one} and {other} are the same groups, whose sds only priors tell apart")
    return said


def chain_of(members: Sequence[Indices], sizes: Sequence[int]) -> tuple[int, ...]:
    """Order of crossed columns in which each lies in the one before; empty if there is none.

    Each has more groups than the one before, and that one more than a single group.

    Parameters
    ----------
    members : sequence of (N,)
        Index of each row's group in every column.
    sizes : sequence of int
        Number of groups of each.
    """
    order = sorted(range(len(sizes)), key=lambda own: sizes[own])
    pairs = list(pairwise(order))
    grow = sizes[order[0]] > 1 and all(sizes[outer] < sizes[inner] for outer, inner in pairs)
    nested = grow and all(_lies_in(members[inner], members[outer]) for outer, inner in pairs)
    return tuple(order) if nested else ()


def said_of_chain(columns: Sequence[str]) -> str:
    """Say that crossed columns, the outermost first, are nested, and what their effects are."""
    each = [f"each {inner} lies in one {outer}" for outer, inner in pairwise(columns)]
    levels = reversed(named_levels(columns, ()))
    named = [f"{level.effect} and {level.sd} of {level.column}" for level in levels]
    nest = f"(1 | {'/'.join(columns)})"
    return f"{', '.join(reversed(each))}, so that this is {nest}: {', '.join(named)}"


def _lies_in(inner: Indices, outer: Indices) -> bool:
    """Whether all rows of an inner group are in one outer group."""
    first = np.empty(int(inner.max()) + 1, dtype=np.intp)
    first[inner] = outer
    return bool((first[inner] == outer).all())
