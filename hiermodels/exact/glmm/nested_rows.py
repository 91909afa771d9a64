"""Counts row by row, of groups that lie in outer groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.glmm.rows import CountRows


@dataclass(frozen=True, eq=False)
class NestedRows:
    """Counts of N rows in W groups, which lie in H outer ones.

    Attributes
    ----------
    rows : CountRows
        In the order of the groups, which stand in the order of the outer ones.
    first : (H,)
        Number of the first group of each outer one.
    """

    rows: CountRows
    first: Indices

    @property
    def n_outer(self) -> int:
        """Number of outer groups, H."""
        return len(self.first)

    @cached_property
    def outer(self) -> Indices:
        """Each group's outer group; (W,)."""
        sizes = np.diff(np.append(self.first, self.rows.n_groups))
        return np.repeat(np.arange(self.n_outer), sizes)

    @cached_property
    def of_row(self) -> Indices:
        """Each row's outer group; (N,)."""
        return self.outer[self.rows.group]

    @cached_property
    def whole(self) -> CountRows:
        """The same rows in the outer groups."""
        return replace(self.rows, first=self.rows.first[self.first])

    def sums(self, values: Floats) -> Floats:
        """Sums over the groups of each outer one: from (W, …) to (H, …)."""
        return np.add.reduceat(values, self.first, axis=0)

    def largest(self, values: Floats) -> Floats:
        """The largest of each outer group's groups: from (W, …) to (H, …)."""
        return np.maximum.reduceat(values, self.first, axis=0)

    def members(self, outer: int) -> slice:
        """The groups of an outer one."""
        end = self.first[outer + 1] if outer + 1 < self.n_outer else self.rows.n_groups
        return slice(int(self.first[outer]), int(end))
