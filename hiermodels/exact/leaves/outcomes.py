"""Distribution functions of outcomes whose linear predictor has a posterior.

    P(Y ≤ y) = ∫ F(y | η) p(η | data) dη,

where F falls from 1 to 0 as η rises.  Both factors are smooth between the quantiles of either, so
that Gauss's rule between these, put in order, is exact to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.predictive import NewEffect
from hiermodels.numerics.inversion import quantiles

TAILS = (1e-9, 1e-7, 1e-5, 1e-3, 0.02)  # probabilities of edges, beside those in the middle
MIDDLE = (0.1, 0.3, 0.5, 0.7, 0.9)
BEYOND = (4.0, 2.6, 1.7, 1.0, 0.5)  # widths of the outermost panels, beyond which there is nothing
LEVELS = np.linspace(-36.0, 36.0, 37)  # logits of F at edges
BISECTIONS = 50
MAX_PANELS = 500  # that are laid for all outcomes
PLACES, WEIGHTS = np.polynomial.legendre.leggauss(16)
XTOL = 1e-11  # of a quantile, in about sds
FARTHEST = 60.0  # arcsinh of the distance in which a quantile is looked for

ROUGH = np.arange(-6.0, 6.5, 0.5)  # places of a standard normal variable
ROUGH_SHARE = np.exp(-0.5 * ROUGH**2) / np.exp(-0.5 * ROUGH**2).sum()

type Conditional = Callable[[Floats, Floats], Floats]


class Law(Protocol):
    """The posterior of a linear predictor."""

    def cdf(self, values: Floats) -> Floats:
        """Probability that it is at most each of the values (n,)."""

    def density(self, values: Floats) -> Floats:
        """Density at values (n,)."""

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""

    def about(self, probabilities: Floats) -> Floats:
        """Quantiles to a digit or two; (p,)."""


@dataclass(frozen=True, eq=False)
class MemberLaw:
    """That of a row of a known group.

    Attributes
    ----------
    laws : EffectLaws
        Of this row alone.
    """

    laws: EffectLaws

    def cdf(self, values: Floats) -> Floats:
        """Probability that it is at most each of the values (n,)."""
        return self.laws.cdf(values[None])[0]

    def density(self, values: Floats) -> Floats:
        """Density at values (n,)."""
        return self.laws.density(values[None])[0]

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""
        return self.laws.quantile(probabilities)[0]

    def about(self, probabilities: Floats) -> Floats:
        """Quantiles to a digit or two; (p,)."""
        return np.interp(probabilities, self.laws.mass[0].cumsum(), self.laws.grid.theta)

    def places(self, finer: int = 1) -> tuple[Floats, Floats]:
        """Places on a grid that is finer than the law's own, and their masses; (K,) each."""
        if finer == 1:
            return self.laws.grid.theta, self.laws.mass[0]
        size = finer * (len(self.laws.grid) - 1) + 1
        theta, weight = self.laws.grid.at(np.arange(size) / finer)
        return theta, self.density(theta) * weight / finer


@dataclass(frozen=True, eq=False)
class NewLaw:
    """That of a row of a new group.

    Attributes
    ----------
    effect : NewEffect
    """

    effect: NewEffect

    def cdf(self, values: Floats) -> Floats:
        """Probability that it is at most each of the values (n,)."""
        return self.effect.cdf(values)

    def density(self, values: Floats) -> Floats:
        """Density at values (n,)."""
        return self.effect.density(values)

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""
        return self.effect.quantile(probabilities)

    def about(self, probabilities: Floats) -> Floats:
        """Quantiles to a digit or two; (p,)."""
        law = self.effect.law
        values = (law.mu[:, None] + law.tau[:, None] * ROUGH).ravel()
        order = np.argsort(values)
        share = np.repeat(law.weight, len(ROUGH))[order] * np.tile(ROUGH_SHARE, len(law.mu))[order]
        return np.interp(probabilities, share.cumsum() / share.sum(), values[order])


@dataclass(frozen=True, eq=False)
class OutcomeLaw:
    """The distribution of an outcome.

    Attributes
    ----------
    law : Law
        Of its linear predictor η.
    given, density_given : callable
        ``F(y | η)`` and its density, from outcomes (m, 1) and η (n,) to (m, n).
    resolution : float, optional
        Length of η over which both are smooth at any outcome: then the places may be the same for
        all.
    """

    law: Law
    given: Conditional
    density_given: Conditional
    resolution: float | None = None

    def cdf(self, y: Floats) -> Floats:
        """Probability that the outcome is at most each y (m,)."""
        lowest = self._edges[:1]
        below = self.law.cdf(lowest)[0] * self.given(y[:, None], lowest)[:, 0]
        return below + self._integrals(self.given, y)

    def density(self, y: Floats) -> Floats:
        """Density of the outcome at each y (m,), or its probability if it is a count."""
        return self._integrals(self.density_given, y)

    def _integrals(self, function: Conditional, y: Floats) -> Floats:
        if self._places is not None:
            eta, share = self._places
            return np.concatenate([function(one[None, None], eta) @ share for one in y])
        parts = [self._integral(function, one) for one in y]
        return np.array(parts)

    @cached_property
    def _places(self) -> tuple[Floats, Floats] | None:
        """Places and weights for all outcomes; None where they would be very many."""
        if self.resolution is None or np.ptp(self._edges) > MAX_PANELS * self.resolution:
            return None
        counts = np.ceil(np.diff(self._edges) / self.resolution).astype(int)
        parts = zip(self._edges[:-1], self._edges[1:], counts, strict=True)
        inner = [np.linspace(low, high, n, endpoint=False) for low, high, n in parts]
        return self._weighted(np.append(np.concatenate(inner), self._edges[-1]))

    def _integral(self, function: Conditional, y: float) -> float:
        edges = np.unique(np.concatenate([self._edges, self._levels(y)]))
        eta, share = self._weighted(edges)
        return float(function(np.full((1, 1), y), eta)[0] @ share)

    def _weighted(self, edges: Floats) -> tuple[Floats, Floats]:
        """Gauss's places between edges, and the density there times the weights."""
        half = np.diff(edges)[:, None] / 2
        eta = (edges[:-1, None] + half * (1 + PLACES)).ravel()
        share = self.law.density(eta) * (half * WEIGHTS).ravel()
        return eta, share / share.sum()

    @cached_property
    def _edges(self) -> Floats:
        """Quantiles of η, and places beyond them."""
        upper = 1 - np.array(TAILS[::-1])
        inside = self.law.about(np.concatenate([TAILS, MIDDLE, upper]))
        below = inside[0] - np.array(BEYOND) * (inside[2] - inside[0])
        above = inside[-1] + np.array(BEYOND[::-1]) * (inside[-1] - inside[-3])
        return np.concatenate([below, inside, above])

    def _levels(self, y: float) -> Floats:
        """Where F has given values, as far as η reaches."""
        from scipy.special import expit

        wanted = expit(-LEVELS)
        low, high = (np.full(len(wanted), end) for end in (self._edges[0], self._edges[-1]))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            is_above = self.given(np.full((1, 1), y), middle)[0] > wanted
            low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
        return (low + high) / 2

    def quantile(self, probabilities: Floats, scale: float) -> Floats:
        """Quantiles of a real outcome ``η + noise``; (p,).

        Parameters
        ----------
        probabilities : (p,)
        scale : float
            About the noise's sd.
        """
        middle = self._edges[len(self._edges) // 2]
        wide = float(np.hypot(scale, np.ptp(self._edges) / 12))

        def law(w: Floats) -> tuple[Floats, Floats]:
            x = middle + wide * np.sinh(w)
            return self.cdf(x), self.density(x) * wide * np.cosh(w)

        found = quantiles(law, probabilities, (-FARTHEST, FARTHEST), XTOL)
        return middle + wide * np.sinh(found)

    def count_quantile(self, probability: float, lowest: float, highest: float) -> float:
        """Smallest count, from a lowest to a highest, up to which there is this probability."""
        low, high = lowest - 1, max(lowest + 1, 1.0)
        while high < highest and self.cdf(np.array([high]))[0] < probability:
            low, high = high, 2 * high
        high = min(high, highest)
        while high - low > 1:
            middle = np.floor((low + high) / 2)
            if self.cdf(np.array([middle]))[0] < probability:
                low = middle
            else:
                high = middle
        return float(high)
