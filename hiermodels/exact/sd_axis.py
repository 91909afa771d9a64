"""The coordinate of one unknown sd that suits a lattice.

In the log variance x (or in ``log(v/(b² − v))`` for a variance v that its prior bounds by b²) a
posterior is smooth, but its tails may fall as slowly as ``exp(−|x|/2)``; so outside the range
(low, high) in which the data speak x is transformed,

    x = u − exp(low − u) + exp(u − high),

which makes both tails fall doubly exponentially and leaves the density analytic.

References
----------
Takahasi & Mori (1974), Publ. RIMS 9:721 (double exponential quadrature).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.model.priors.base import VariancePrior
from hiermodels.numerics.modes import LARGEST_LOG, bend_places, local_maxima

BEYOND = 4.0  # how far the pilot grid goes beyond the range in which the data speak
FARTHEST = 6.4  # beyond the range in which the data speak: the logarithm of LARGEST_LOG
MAX_BENDS = 8  # places of the pilot grid where the prior bends beyond the range of the data
NEWTON_STEPS = 5
PRIOR_PLACES = 801  # at which a prior is looked at for its maxima


@dataclass(frozen=True)
class SdAxis:
    """The coordinate u of an sd, on a standardised scale.

    Attributes
    ----------
    prior : VariancePrior
        In the outcome's unit.
    scale : float
        Standardised unit, in the outcome's: ``sd = scale · standardised sd``.
    informed : (2,)
        Standardised log variances between which the data speak.
    """

    prior: VariancePrior
    scale: float
    informed: tuple[float, float]

    @cached_property
    def range(self) -> tuple[float, float]:
        """Log variances between which the data speak or the prior bends.

        A prior may end far from where the data speak, as ``InverseGamma(0.001, 0.001)`` does at
        small variances.  In a coordinate that is compressed there its end would be a cliff.
        """
        low, high = self.informed
        first, last = self._bends
        return float(np.fmin(low, first)), float(np.fmax(high, last))

    @cached_property
    def _bends(self) -> tuple[float, float]:
        """Between which x the log prior density of x is not straight; else nan."""
        with np.errstate(over="ignore", invalid="ignore"):
            bends = bend_places(self._log_prior_of_x)
        return (float(bends.min()), float(bends.max())) if len(bends) else (np.nan, np.nan)

    @cached_property
    def _log_upper(self) -> float:
        """Logarithm of the largest standardised sd that the prior allows."""
        return float(np.log(self.prior.upper / self.scale))

    def x(self, u: Floats) -> Floats:
        """The coordinate x of the module's text."""
        low, high = self.range
        with np.errstate(over="ignore"):
            return np.clip(u - np.exp(low - u) + np.exp(u - high), -LARGEST_LOG, LARGEST_LOG)

    def log_sd(self, u: Floats) -> Floats:
        """Logarithm of the standardised sd."""
        return self._log_sd_of_x(self.x(u))

    def coordinate(self, sd: Floats) -> Floats:
        """The coordinate at which an sd, in the outcome's unit, stands.

        With the nearer end of the range alone it is known, by Wright's ω, ``ω(d) + log ω(d) = d``.
        From there Newton's method takes in the other end.
        """
        from scipy.special import wrightomega

        low, high = self.range
        x = self._x_of_log_sd(np.log(sd / self.scale))
        near_low = x < (low + high) / 2
        beyond = np.where(near_low, low - x, x - high)
        beyond -= wrightomega(beyond)
        u = np.where(near_low, low - beyond, high + beyond)
        for _ in range(NEWTON_STEPS):
            left, right = np.exp(low - u), np.exp(u - high)
            u = u - (u - left + right - x) / (1 + left + right)
        return u

    def log_slope(self, u: Floats) -> Floats:
        """Logarithm of the derivative of the log sd with respect to u."""
        low, high = self.range
        slope = np.logaddexp(0, np.logaddexp(low - u, u - high))
        if self._log_upper == np.inf:
            return slope - LOG_2
        return slope + self._log_slope_of_x(self.x(u))

    def log_prior(self, log_sd: Floats) -> Floats:
        """Log prior density of the log sd, where it is standardised."""
        with np.errstate(over="ignore"):
            return self.prior.log_density_log_sd(log_sd + np.log(self.scale))

    def pilot_places(self, step: float) -> Floats:
        """Coordinates of a coarse grid: where the data speak, and where the prior bends."""
        (low, high), (first, last) = self.informed, self._bends
        places = np.arange(low - BEYOND, high + BEYOND, step)
        if first < low or last > high:
            more = np.linspace(first, last, MAX_BENDS)
            places = np.append(places, more[(more < low - BEYOND) | (more > high + BEYOND)])
        return np.union1d(places, self._prior_peaks())

    def _prior_peaks(self) -> Floats:
        """Where the prior density of the log sd, or of its coordinate, is highest, if anywhere."""
        low, high = self.range
        u = np.linspace(low - FARTHEST, high + FARTHEST, PRIOR_PLACES)
        return np.concatenate(
            [local_maxima(f, u) for f in (self._log_prior_at, self._log_prior_of)]
        )

    def _log_prior_at(self, u: Floats) -> Floats:
        """Log prior density of the log sd at coordinates u."""
        return self.log_prior(self.log_sd(u))

    def _log_prior_of(self, u: Floats) -> Floats:
        """Log prior density of the coordinate itself; −∞ where it is 0 to rounding."""
        return self._log_prior_at(u) + self.log_slope(u)

    def _log_sd_of_x(self, x: Floats) -> Floats:
        """``x/2``, or ``log b − ½ log(1 + b² e^{−x})`` with an upper bound b."""
        upper = self._log_upper
        return x / 2 if upper == np.inf else upper - np.logaddexp(0, 2 * upper - x) / 2

    def _x_of_log_sd(self, log_sd: Floats) -> Floats:
        """The inverse of the same, at most ±``LARGEST_LOG``."""
        x, upper = 2 * log_sd, self._log_upper
        if upper < np.inf:
            below = np.maximum(2 * upper - x, np.exp(-LARGEST_LOG))
            x = x - np.log(-np.expm1(-below))
        return np.clip(x, -LARGEST_LOG, LARGEST_LOG)

    def _log_slope_of_x(self, x: Floats) -> Floats:
        """Logarithm of the derivative of the log sd with respect to x."""
        upper = self._log_upper
        slope = np.full(np.shape(x), -LOG_2)
        return slope if upper == np.inf else slope - np.logaddexp(0, x - 2 * upper)

    def _log_prior_of_x(self, x: Floats) -> Floats:
        """Log prior density of the coordinate x."""
        log_sd = self._log_sd_of_x(x) + np.log(self.scale)
        return self.prior.log_density_log_sd(log_sd) + self._log_slope_of_x(x)
