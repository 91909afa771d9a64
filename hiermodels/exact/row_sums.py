"""Rows of one group that are alike, added up where their family adds up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.exact.leaf_data import rows_or_totals
from hiermodels.families.totals import Counts, totals
from hiermodels.model.spec import Spec


@dataclass(frozen=True, eq=False)
class RowSums:
    """Sums over rows of one group that share covariates and offset.

    So a million rows of 0 and 1 in thirty groups are thirty counts.  With a log link rows of any
    offsets add up.  Of a family whose rows do not add up, and where no rows are alike, each row
    stands by itself.

    Attributes
    ----------
    spec : Spec
    rows : GroupedRows
        Or the totals of groups, where the data are statistics of these.
    index : (N,)
        In which of c sums each row is.
    has_sums : bool
        Whether any rows were added up, here or in the statistics.
    """

    spec: Spec
    rows: GroupedRows
    index: Indices
    has_sums: bool

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> RowSums:
        """Find the rows that are alike."""
        rows, _ = rows_or_totals(data)
        index = _alike(spec, rows) if spec.family.additive else _alone(rows)
        return cls(spec, rows, index, int(index.max()) + 1 < data.n_rows)

    @property
    def is_by_group(self) -> bool:
        """Whether there is one sum, or row, of each group, in the groups' order."""
        return np.array_equal(self.sums.group, np.arange(self.rows.n_groups))

    @cached_property
    def sums(self) -> GroupedRows:
        """The c sums as rows: of the outcome and of the family's columns."""
        rows = self.rows
        if np.array_equal(self.index, _alone(rows)):
            return rows
        total, size = self._totals(rows), int(self.index.max()) + 1
        first = np.empty(size, dtype=np.intp)
        first[self.index[::-1]] = np.arange(len(self.index))[::-1]
        return replace(
            rows,
            y=total.y,
            group=rows.group[first],
            columns={**total.columns, "offset": total.offset},
            design=replace(rows.design, matrix=rows.design.matrix[first]),
        )

    def of_outcome(self, data: GroupedData) -> Floats:
        """Sums (c,) of another outcome of the same rows."""
        return np.bincount(self.index, rows_or_totals(data)[0].y)

    def log_given_sums(self, data: GroupedData) -> float:
        """Log density of all rows, of this outcome, given the sums: no parameter changes it."""
        rows, rest = rows_or_totals(data)
        return rest + float(self._totals(rows).log_given.sum()) if self.has_sums else rest

    def _totals(self, rows: GroupedRows) -> Counts:
        offset = rows.columns.get("offset", np.zeros(len(rows.y)))
        every = Counts(rows.y, rows.columns, offset, np.zeros(len(rows.y)))
        return totals(self.spec.family, every, self.index, int(self.index.max()) + 1)


def _alone(rows: GroupedRows) -> Indices:
    """Each row by itself; (N,)."""
    return np.arange(len(rows.y))


def _alike(spec: Spec, rows: GroupedRows) -> Indices:
    """Number the rows so that those that add up have one number, in the groups' order; (N,)."""
    offset = [rows.columns["offset"]] if "offset" in rows.columns else []
    any_offset = spec.family.link == "log"
    index = _number([rows.group, *rows.design.matrix.T, *([] if any_offset else offset)])
    none_is_alike = int(index.max()) + 1 == len(index)
    return _alone(rows) if none_is_alike and len(index) != rows.n_groups else index


def _number(keys: list[Floats | Indices]) -> Indices:
    """Number the distinct rows of columns (N,) in ascending order; (N,)."""
    order = np.lexsort(keys[::-1])
    is_new = np.zeros(len(order), dtype=bool)
    for key in keys:
        ordered = key[order]
        is_new[1:] |= ordered[1:] != ordered[:-1]
    index = np.empty(len(order), dtype=np.intp)
    index[order] = np.cumsum(is_new)
    return index
