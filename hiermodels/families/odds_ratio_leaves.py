"""Leaves of 2×2 tables, given their margins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.families.leaves import (
    BARELY,
    FARTHEST,
    STEPS_PER_SD,
    WIDEST_STEP,
    LeafArrays,
    shared_rows,
)
from hiermodels.families.odds_ratio_tables import Tables
from hiermodels.numerics.roots import falling_roots


@dataclass(frozen=True)
class OddsRatioLeaves(LeafArrays):
    """Tables whose log odds ratio is ``θ + shift``, one of each of k groups.

    ``L(θ) = w(y) e^{yη}/Σ_u w(u) e^{uη}`` with the weights w of
    :mod:`hiermodels.families.odds_ratio_tables`.  All roots of ``Σ w(u) x^u`` are negative: y is
    distributed as a sum of independent indicators, and L behaves as binomial leaves do.

    Attributes
    ----------
    count : (k,)
        y, events in the treated arm.
    treated, control : (k,)
        Members of either arm.
    events : (k,)
        In both arms together.  Where they leave y no choice, the leaf is constant.
    shift : (k,)
        What is added to θ.
    """

    log_concave: ClassVar[bool] = True

    count: Floats
    treated: Floats
    control: Floats
    events: Floats
    shift: Floats

    @classmethod
    def of(
        cls,
        count: Floats,
        treated: Floats,
        control: Floats,
        events: Floats,
        shift: Floats | float = 0.0,
    ) -> Self:
        """Make leaves of arrays that broadcast to (k,)."""
        arrays = np.broadcast_arrays(count, treated, control, events, shift)
        return cls(*(np.array(a, dtype=float) for a in arrays))

    def __len__(self) -> int:
        return len(self.count)

    @cached_property
    def _tables(self) -> Tables:
        return Tables(self.treated, self.control, self.events, self.count)

    @cached_property
    def constant(self) -> Floats:
        """Log probability of y at the log odds ratio that makes it largest; 0 at an end."""
        inside = np.flatnonzero(self.falls_below & self.falls_above)
        constant = np.zeros(len(self))
        if len(inside):
            some = self.take(inside)

            def slope_and_information(theta: Floats) -> tuple[Floats, Floats]:
                slope, information = some.slope_and_information(theta[:, None])
                return slope[:, 0], information[:, 0]

            peak = falling_roots(slope_and_information, some.centre, some.information**-0.5)
            constant[inside] = -some._tables.log_sum((peak + some.shift)[:, None])[:, 0]
        return constant

    @cached_property
    def _cells(self) -> Floats:
        """The four counts, and half an event in each; (k, 4)."""
        others = self.events - self.count
        cells = (self.count, self.treated - self.count, others, self.control - others)
        return np.stack(cells, axis=1) + 0.5

    @cached_property
    def centre(self) -> Floats:
        """Log odds ratio of the counts, to each of which ½ is added; less the shift.

        References
        ----------
        Gart and Zweifel (1967), Biometrika 54:181.
        """
        a, b, c, d = np.log(self._cells).T
        return a - b - c + d - self.shift

    @cached_property
    def information(self) -> Floats:
        """One over the sum of the reciprocals of these counts."""
        return 1 / (1 / self._cells).sum(axis=1)

    @property
    def step(self) -> Floats:
        """At most ``0.1``, and half of an sd."""
        return np.minimum(WIDEST_STEP, self.information**-0.5 / STEPS_PER_SD)

    @property
    def bend_range(self) -> Floats:
        """14 sds, or as far as y is expected to lie 0.05 from the end of its range."""
        sd = self.information**-0.5
        tables = self._tables
        lowest = -tables.log_ratio(tables.lowest) + np.log(BARELY) - self.shift
        highest = -tables.log_ratio(tables.highest - 1) - np.log(BARELY) - self.shift
        is_fixed = tables.lowest == tables.highest
        below = np.where(is_fixed, self.centre, np.maximum(lowest, self.centre - FARTHEST * sd))
        above = np.where(is_fixed, self.centre, np.minimum(highest, self.centre + FARTHEST * sd))
        ends = np.minimum(below, self.centre - sd), np.maximum(above, self.centre + sd)
        return np.stack(ends, axis=1)

    @cached_property
    def falls_below(self) -> Flags:
        """Whether y is above the smallest count that the margins allow."""
        return self.count > self._tables.lowest

    @cached_property
    def falls_above(self) -> Flags:
        """Whether y is below the largest."""
        return self.count < self._tables.highest

    def log_likelihood(self, theta: Floats) -> Floats:
        """``−log Σ w(u)/w(y) e^{(u − y)η}``, relative to its supremum."""
        return -self._tables.log_sum(self._log_odds_ratio(theta)) - self.constant[:, None]

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``y − E u`` and ``Var u``."""
        mean, variance = self._tables.mean_and_variance(self._log_odds_ratio(theta))
        return -mean, variance

    def _log_odds_ratio(self, theta: Floats) -> Floats:
        """``θ + shift``, from (K,) or (k, K) to (k, K)."""
        return theta + self.shift[:, None]

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three."""
        return (self.log_likelihood(theta), *self.slope_and_information(theta))

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves with distinct tables and shifts, and which of these each group has; (k,)."""
        columns = (self.count, self.treated, self.control, self.events, self.shift)
        first, inverse = shared_rows(*columns)
        return self.take(first), inverse
