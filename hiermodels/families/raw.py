"""What rows say of each group's effect by themselves, without a model of the groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.family import Columns, Family


@dataclass(frozen=True, eq=False)
class RawValues:
    """Raw estimates of k groups, such as proportions of counts.

    Attributes
    ----------
    total : (..., k)
        Such as numbers of successes.
    size : (..., k) or (k,)
        Such as numbers of trials: 0 for a group of which nothing is known.
    """

    total: Floats
    size: Floats

    @classmethod
    def of(
        cls, family: Family, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Self:
        """Take those of rows.

        Parameters
        ----------
        family : Family
        y : (..., N)
        columns : mapping of str to array
            (N,) or (1,) each.
        offset : (N,)
        group : (N,)
            Of each row, from 0 to ``size − 1``; each has a row.
        size : int
        """
        parts = family.raw(y, columns, offset)
        return cls(*(sums_by_group(part, group, size) for part in parts))

    @property
    def value(self) -> Floats:
        """The estimates; nan of groups of which nothing is known; (..., k)."""
        known = np.where(self.size > 0, self.size, np.nan)
        return np.asarray(self.total / known)

    def above(self, parent: Indices, size: int) -> RawValues:
        """The same of groups of groups, of which each has one."""
        return RawValues(
            sums_by_group(self.total, parent, size), sums_by_group(self.size, parent, size)
        )


def sums_by_group(values: Floats, group: Indices, size: int) -> Floats:
    """Sums of values (..., N) over the rows of each group; (..., size)."""
    if len(group) == size and (group == np.arange(size)).all():
        return values
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(size))
    return np.asarray(np.add.reduceat(values[..., order], first, axis=-1))
