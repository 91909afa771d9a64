"""Outer groups as leaves: functions of their one effect μ, at one τ and β.

They are tabulated (:mod:`.line_table`), and where they lie, how much they curve and where they bend
is read off the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.leaves.nested.line_table import NEGLIGIBLE, LineTable, smooth_over
from hiermodels.families.leaves import BARELY, FARTHEST, STEPS_PER_SD, WIDEST_STEP

NEAR_TOP = 0.5  # below its largest value, where F says how wide it is
MOST_CURVED = 5.0  # −(log m)'' of an inner leaf, per squared distance over which F is smooth
FLATTEST = 0.05  # information of a leaf that says nothing


@dataclass(frozen=True, eq=False)
class OuterLeaves:
    """Some kinds of outer groups, as leaves.

    Attributes
    ----------
    table : LineTable
    rows : (k,)
        Which kinds.
    """

    table: LineTable
    rows: Indices

    @property
    def log_concave(self) -> bool:
        """Whether every leaf is: products and convolutions of log-concave functions are."""
        return self.table.kinds.leaves.log_concave

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def constant(self) -> Floats:
        """Largest values in the table; (k,)."""
        return self.table.constant[self.rows]

    @property
    def centre(self) -> Floats:
        """Where each leaf is largest, of the places of the table; (k,)."""
        return self.table.places[self.table.values.argmax(axis=0)][self.rows]

    @cached_property
    def information(self) -> Floats:
        """Largest curvature near the top, or anywhere if there may be several modes; (k,).

        No more than that of inner leaves that are as narrow as they may be: where these exclude
        each other, what the table holds of F, which is nothing there, may have corners.
        """
        table = self.table
        values, (_, bend) = table.values, table.derivatives
        lowest = -NEAR_TOP if self.log_concave else NEGLIGIBLE
        near = np.where(values >= lowest, bend, 0.0).max(axis=0)
        narrowest = MOST_CURVED / smooth_over(table.kinds, table.tau) ** 2
        near = np.minimum(near, narrowest * table.kinds.sizes)
        return np.maximum(near, FLATTEST / self._unit2)[self.rows]

    @property
    def _unit2(self) -> float:
        """Square of how wide a leaf of one group that says something is."""
        leaves = self.table.kinds.leaves
        unit2 = 1.0 if self.log_concave else float((1 / leaves.information).max())
        return unit2 + self.table.tau**2

    @property
    def step(self) -> Floats:
        """As of inner leaves, but wider where τ smooths them; (k,)."""
        tau = self.table.tau
        if self.log_concave:
            widest = WIDEST_STEP * np.hypot(1.0, tau)
        else:
            widest = np.hypot(self.table.kinds.leaves.step.min(), tau / STEPS_PER_SD)
        return np.minimum(widest, self.information**-0.5 / STEPS_PER_SD)

    @property
    def bend_range(self) -> Floats:
        """Ends of where each leaf is neither negligible nor straight; (k, 2)."""
        table = self.table
        if not self.log_concave:
            return self._reach[self.rows]
        bends = (table.derivatives[1] > BARELY / (1 + table.tau**2)) & (table.values > NEGLIGIBLE)
        bends[table.values.argmax(axis=0), np.arange(bends.shape[1])] = True
        low, high = bends.argmax(axis=0), len(bends) - 1 - bends[::-1].argmax(axis=0)
        return np.stack([table.places[low], table.places[high]], axis=1)[self.rows]

    @property
    def _reach(self) -> Floats:
        """Where any of a kind's leaves bends, as far as τ smooths it; (S', 2)."""
        kinds, away = self.table.kinds, FARTHEST * self.table.tau
        low, high = (kinds.leaves.bend_range[kinds.leaf] - self.table.shift[:, None]).T
        low, high = np.minimum.reduceat(low, kinds.starts), np.maximum.reduceat(high, kinds.starts)
        return np.stack([low - away, high + away], axis=1)

    @property
    def falls_below(self) -> Flags:
        """Whether any of the inner leaves does; (k,)."""
        kinds = self.table.kinds
        return kinds.sums(kinds.leaves.falls_below.astype(float))[self.rows] > 0

    @property
    def falls_above(self) -> Flags:
        """Whether any of the inner leaves does; (k,)."""
        kinds = self.table.kinds
        return kinds.sums(kinds.leaves.falls_above.astype(float))[self.rows] > 0

    def log_likelihood(self, theta: Floats) -> Floats:
        """F less the constant; (k, K)."""
        table = self.table
        inside = table.within(theta)
        if theta.ndim == 1:
            values = np.empty((len(self), len(theta)))
            at = np.flatnonzero(inside)
            values[:, at] = (table.shares(theta[at]) @ table.values[:, self.rows]).T
            if len(at) < len(theta):
                values[:, ~inside] = table.beyond(theta[~inside])[self.rows]
            return values
        first, shares = table.between(np.where(inside, theta, table.ends[0]))
        rows, values = self.rows[:, None], np.zeros(theta.shape)
        for i, share in enumerate(shares):
            values += share * table.values[first + i, rows]
        if not inside.all():
            row, column = np.nonzero(~inside)
            far = table.beyond(theta[row, column])
            values[row, column] = far[self.rows[row], np.arange(len(row))]
        return values

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """About the first derivative, and minus the second, as places for integrals need them."""
        table = self.table
        place = np.clip(table.grid.place_within(theta), 0.0, len(table.values) - 1.000001)
        left = place.astype(np.intp)
        inside, rows = place - left, self.rows[:, None]
        slope, bend = (
            (1 - inside) * own[left, rows] + inside * own[left + 1, rows]
            for own in table.derivatives
        )
        return slope, np.where(table.within(theta), bend, 0.0)

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three."""
        return self.log_likelihood(theta), *self.slope_and_information(theta)

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        return type(self)(self.table, self.rows[groups])

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves of distinct kinds, and which of these each group has; (k,)."""
        rows, inverse = np.unique(self.rows, return_inverse=True)
        return type(self)(self.table, rows), inverse
