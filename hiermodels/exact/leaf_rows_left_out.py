"""Rows left out of groups whose other rows stay, without fitting anew.

With the leaf of its group exchanged for that without the row,

    1/p(y_r | y_−r) = p(y_−r)/p(y) = E[m′/m | y],

m being the group's integral with the row and m′ without it.  With the row once more in place of
once less it is the density of another row like it, given all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.grouped import GroupedRows
from hiermodels.errors import SpecError
from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.exact.raw_values import columns_of
from hiermodels.families.family import Family
from hiermodels.families.leaves import Leaves
from hiermodels.families.totals import Counts, totals

MAX_PAIRS = 1e8  # of rows that differ and the rows of their groups
MAX_HELD = 1 << 20  # of them, at a time


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """Rows that differ, group by group, and how many times each is there.

    Attributes
    ----------
    family : Family
    counts : Counts
        D of them.
    group : (D,)
        Rising.
    times : (D,)
    of_row : (N,)
        Which of them each row of the data is.
    """

    family: Family
    counts: Counts
    group: Indices
    times: Floats
    of_row: Indices

    @classmethod
    def of(cls, family: Family, rows: GroupedRows) -> DistinctRows:
        """Find the rows that differ.

        Raises
        ------
        SpecError
            If there are too many.
        """
        columns, offset = columns_of(rows)
        columns = {name: np.broadcast_to(c, rows.y.shape) for name, c in columns.items()}
        key = np.stack([rows.group, rows.y, offset, *columns.values()], axis=1)
        _, first, of_row, times = np.unique(
            key, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        some = {name: column[first] for name, column in columns.items()}
        counts = Counts(rows.y[first], some, offset[first], np.zeros(len(first)))
        group = rows.group[first]
        pairs = float((np.bincount(group).astype(float) ** 2).sum())
        if pairs > MAX_PAIRS:
            raise SpecError(
                f"loo(unit='row'): {len(first):,} rows that differ, in {group.max() + 1:,} groups, "
                f"are {pairs:.0e} pairs of rows, which would take long; {MAX_PAIRS:.0e} are the "
                f"most. Say unit='group', or cross-validate a part of the data"
            )
        return cls(family, counts, group, times.astype(float), of_row.ravel())

    @cached_property
    def is_alone(self) -> Flags:
        """Whether each is the only row of its group; (D,)."""
        return np.bincount(self.group, weights=self.times)[self.group] == 1

    @cached_property
    def _start(self) -> Indices:
        """Where each group begins, and the end; (k + 1,)."""
        return np.searchsorted(self.group, np.arange(self.group[-1] + 2))

    def parts(self, some: Indices) -> Iterator[Indices]:
        """Divide some of them, so that they and the rows of their groups can be held."""
        size = np.diff(self._start)[self.group[some]]
        cuts = np.flatnonzero(np.diff(np.cumsum(size) // MAX_HELD)) + 1
        yield from (part for part in np.split(some, cuts) if len(part))

    def changed(self, some: Indices, change: int) -> Leaves:
        """Leaves of the groups of some of them, each with its row so many times more; (V,)."""
        size = np.diff(self._start)[self.group[some]]
        unit = np.repeat(np.arange(len(some)), size)
        before = np.repeat(np.cumsum(size) - size, size)
        row = np.repeat(self._start[self.group[some]], size) + np.arange(len(unit)) - before
        times = self.times[row] + change * (row == some[unit])
        there = times > 0
        return self._leaves(row[there], unit[there], times[there], len(some))

    def _leaves(self, row: Indices, unit: Indices, times: Floats, size: int) -> Leaves:
        """Leaves of units, of rows that are in them so many times."""
        counts = self.counts
        if not self.family.additive:
            each = times.astype(np.intp)
            row, unit = np.repeat(row, each), np.repeat(unit, each)
            columns = {name: column[row] for name, column in counts.columns.items()}
            return self.family.leaves(counts.y[row], columns, counts.offset[row], unit, size)
        columns = {name: column[row] for name, column in counts.columns.items()}
        own = Counts(counts.y[row], columns, counts.offset[row], np.zeros(len(row)))
        keys, index = np.unique(np.stack([unit, own.offset], axis=1), axis=0, return_inverse=True)
        total = totals(self.family, own, index.ravel(), len(keys), times)
        group = keys[:, 0].astype(np.intp)
        return self.family.leaves(total.y, total.columns, total.offset, group, size)


@dataclass(frozen=True)
class Changed:
    """What the data are with a row more or less of each of V kinds.

    Attributes
    ----------
    log_ratio, error : (V,)
        Log of their density, divided by that of the data as they are.
    falls_below, falls_above : (V,)
        Whether the group's likelihood then falls to 0 on either side.
    """

    log_ratio: Floats
    error: Floats
    falls_below: Flags
    falls_above: Flags


def change_rows(laws: LeafLaws, rows: DistinctRows, some: Indices, change: int) -> Changed:
    """Take some rows (V,) out of the data (change = −1), or add them once more (1), each alone."""
    found = [_change(laws, rows, part, change) for part in rows.parts(some)]
    if not found:
        nothing, none = np.zeros(0), np.zeros(0, dtype=bool)
        return Changed(nothing, nothing, none, none)
    names = ("log_ratio", "error", "falls_below", "falls_above")
    return Changed(*(np.concatenate([getattr(part, name) for part in found]) for name in names))


def _change(laws: LeafLaws, rows: DistinctRows, some: Indices, change: int) -> Changed:
    """The same of so many that all can be held.

    Leaves are known relative to their suprema; what these are relative to each other is read off
    at one place, the group's centre.
    """
    group = rows.group[some]
    whole, leaves = laws.leaves.take(group), rows.changed(some, change)
    log_ratio, error = laws.exchanged(group, leaves)
    place = whole.centre
    columns = {name: column[some] for name, column in rows.counts.columns.items()}
    own = rows.family.log_likelihood(rows.counts.y[some], place + rows.counts.offset[some], columns)
    of_whole, of_changed = (each.log_likelihood(place[:, None])[:, 0] for each in (whole, leaves))
    log_ratio = log_ratio + change * own - of_changed + of_whole
    return Changed(log_ratio, error, leaves.falls_below, leaves.falls_above)
