"""Leaves of Poisson counts with a log link."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats
from hiermodels.families.count_leaves import LARGEST, CountLeaves, power_less_one
from hiermodels.families.leaves import BARELY, FARTHEST
from hiermodels.numerics.stirling import stirling_error

STEPS = 60  # of Newton's method, which here falls towards the root without passing it


@dataclass(frozen=True)
class PoissonLeaves(CountLeaves):
    """``y ~ Poisson(E e^θ)``: the counts of k groups.

    Attributes
    ----------
    counts : (k,)
        y.
    log_exposure : (k,)
        log E; −∞, where nothing can be counted, makes a constant leaf of y = 0.
    log_given_sum : (k,)
        Log probability of the group's rows given their sum: 0 where the group is one row.
    """

    counts: Floats
    log_exposure: Floats
    log_given_sum: Floats

    @classmethod
    def of(
        cls, counts: Floats, exposure: Floats | float = 1.0, log_given_sum: Floats | float = 0.0
    ) -> Self:
        """Make leaves of arrays that broadcast to (k,)."""
        with np.errstate(divide="ignore"):
            log_exposure = np.log(np.asarray(exposure, dtype=float))
        return cls.broadcast(counts, log_exposure, log_given_sum)

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def constant(self) -> Floats:
        """``y log y − y − log y!``, by what Stirling's formula leaves out."""
        y = np.where(self.falls_below, self.counts, 1.0)
        peak = -stirling_error(y) - 0.5 * (np.log(y) + LOG_2PI)
        return np.where(self.falls_below, peak, 0.0) + self.log_given_sum

    @cached_property
    def centre(self) -> Floats:
        """``log((y + ½)/E)``."""
        return np.log(self.counts + 0.5) - np.where(self.falls_above, self.log_exposure, 0.0)

    @cached_property
    def information(self) -> Floats:
        """``y + ½``."""
        return self.counts + 0.5

    @property
    def bend_range(self) -> Floats:
        """14 sds to the left, or as far as 0.05 are expected; to the right as low as there.

        That is where ``a(e^d − 1 − d) = 14²/2`` with ``a = y + ½``.
        """
        a = self.information
        below = np.minimum(FARTHEST * a**-0.5, np.log(a / BARELY))
        drop = FARTHEST**2 / 2 / a
        above = np.minimum(np.sqrt(2 * drop), np.log1p(drop) + 1.0 + np.log1p(np.sqrt(drop)))
        for _ in range(STEPS):
            above -= (np.expm1(above) - above - drop) / np.expm1(above)
        return np.stack([self.centre - below, self.centre + above], axis=1)

    @cached_property
    def falls_below(self) -> Flags:
        """Whether y > 0."""
        return self.counts > 0

    @cached_property
    def falls_above(self) -> Flags:
        """Wherever something can be counted."""
        return self.log_exposure > -np.inf

    def log_likelihood(self, theta: Floats) -> Floats:
        """``y(1 + d − e^d)`` with ``d = θ + log E − log y``, or ``−E e^θ`` of no counts."""
        y, is_seen = self.counts, self.counts > 0
        observed = np.log(np.where(is_seen, y, 1.0))
        d = np.minimum(theta + (self.log_exposure - observed)[:, None], LARGEST)
        log_likelihood = np.empty_like(d)
        log_likelihood[is_seen] = y[is_seen, None] * (d[is_seen] - np.expm1(d[is_seen]))
        log_likelihood[~is_seen] = -np.exp(d[~is_seen])
        return log_likelihood

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``y − E e^θ`` and ``E e^θ``."""
        expected = np.exp(np.minimum(theta + self.log_exposure[:, None], LARGEST))
        return self.counts[:, None] - expected, expected

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three of ``x = e^d − 1`` with ``d = θ + log E − log w``, w being y, or 1 for none.

        ``y(d − x) − (w − y)(1 + x)``, ``y − w(1 + x)`` and ``w(1 + x)``.
        """
        y = self.counts[:, None]
        w = np.where(y > 0, y, 1.0)
        d = np.minimum(theta + (self.log_exposure[:, None] - np.log(w)), LARGEST)
        x = power_less_one(d, self.counts)
        value = d - x
        value *= y
        value -= (w - y) * (1 + x)
        x *= w
        return value, (y - w) - x, w + x

    @property
    def places(self) -> Floats:
        """``log y`` and ``log E``."""
        with np.errstate(divide="ignore"):
            return np.stack([np.log(self.counts), self.log_exposure], axis=1)

    def at(self, places: Floats) -> Self:
        """Leaves at other places (v, 2)."""
        return type(self)(np.exp(places[:, 0]), places[:, 1], np.zeros(len(places)))
