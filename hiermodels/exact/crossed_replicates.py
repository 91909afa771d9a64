"""Rows of crossed groups drawn anew, and their statistics by column; effects drawn anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.group_statistics import extremes, sd_of
from hiermodels.exact.row_replicates import RowsAnew
from hiermodels.families.raw import RawValues, sums_by_group
from hiermodels.model.spec import Spec


def crossed_effects_anew(
    spec: Spec,
    data: GroupedData,
    variables: Mapping[str, Floats],
    anew: Collection[int],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Draw the effects of some columns anew, ``theta_u ~ N(0, tau²)``; (n, u) each.

    Parameters
    ----------
    variables : mapping of str to (n,)
        Draws of the sds.
    anew : collection of int
        Numbers of the columns.
    """
    drawn = {}
    for number in sorted(anew):
        level = spec.levels[number]
        sd = np.asarray(variables[level.sd])[:, None]
        drawn[level.effect] = sd * rng.standard_normal((len(sd), len(data.levels[number])))
    return drawn


@dataclass(frozen=True)
class CrossedReplicates(RowsAnew):
    """Rows of crossed groups that are drawn anew."""

    purpose = "a check of crossed groups"

    def raw(self, y: Floats, column: int = -1) -> RawValues:
        """Weighted means of the groups of a column, by default the last, of outcomes (..., N)."""
        member, size = self.rows.memberships[column], len(self.rows.levels[column])
        weight = self.rows.precision
        totals = sums_by_group(weight * y, member, size)
        return RawValues(totals, sums_by_group(weight, member, size))

    def statistics(self, y: Floats) -> dict[str, Floats]:
        """Test statistics of outcomes (..., N); (...,) each.

        Of each column's groups the largest and the smallest mean, and the sd of these; and the sd
        of the rows that share all their groups, around their mean.
        """
        found: dict[str, Floats] = {}
        for number, level in enumerate(self.rows.levels):
            name, means = f"{level.column} mean", self.raw(y, number).value
            found |= extremes(name, means) | sd_of(name, means)
        return found | self._within_cells(y)

    def _within_cells(self, y: Floats) -> dict[str, Floats]:
        cell, weight = self._cell, self.rows.precision
        size = int(cell.max()) + 1
        df = len(cell) - size
        if not df:
            return {}
        means = sums_by_group(weight * y, cell, size) / sums_by_group(weight, cell, size)
        squares = (weight * (y - means[..., cell]) ** 2).sum(axis=-1)
        unit = ", in se" if self.posterior.spec.has_known_errors else ""
        return {f"sd of rows within cells{unit}": np.sqrt(squares / df)}

    @cached_property
    def _cell(self) -> Indices:
        """Which rows share their group in every column; (N,)."""
        every = np.stack(self.rows.memberships)
        return np.unique(every, axis=1, return_inverse=True)[1].ravel()
