"""Distributions of one number as mixtures of normal ones around weighted points.

Each point gets a little width, and all move towards their mean so far that the variance of the
whole is that of the points (West 1993): what is left is of the fourth order in the width.

References
----------
West (1993), Journal of the Royal Statistical Society B 55:409 (mixtures that keep the variance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.numerics.inversion import quantiles

WIDEST = 0.3  # sds of the whole
BEYOND = 40.0  # widths beyond the outermost points, where a quantile is looked for
STEPS = 9.0  # sds of each component, over which places are laid
XTOL = 1e-10  # sds
MAX_NUMBERS = 1 << 21  # that are held at a time
PLACES = 400  # of a grid over the whole


def kernel_width(weight: Floats) -> float:
    """Width of the components, in sds of the whole: narrower, the more points there are."""
    return min(WIDEST, 1.06 * float((weight**2).sum()) ** 0.2)


@dataclass(frozen=True, eq=False)
class NormalKernels:
    """A mixture of normal distributions.

    Attributes
    ----------
    weight, mean, sd : (n,)
        Weights of sum 1; one value of the sd or one for each.
    """

    weight: Floats
    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, weight: Floats, mean: Floats, variance: Floats, least: float | None = None) -> Self:
        """Widen points (n,) whose own variances (n,) may be 0.

        Parameters
        ----------
        weight, mean, variance : (n,)
            The variances may be one for all.
        least : float, optional
            Least sd of a component; by default as :func:`kernel_width` has it.
        """
        some = weight > 0
        variance = np.broadcast_to(variance, some.shape)[some]
        weight, mean = weight[some], mean[some]
        middle = float(weight @ mean)
        between = float(weight @ (mean - middle) ** 2)
        if least is None:
            least = kernel_width(weight) * float(np.sqrt(between + weight @ variance))
        widened = np.maximum(variance, least**2)
        added = float(weight @ (widened - variance))
        shrunk = np.sqrt(max(between - added, 0.0) / between) if between > 0 else 1.0
        return cls(weight, middle + shrunk * (mean - middle), np.sqrt(widened))

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and sd."""
        mean = float(self.weight @ self.mean)
        return mean, float(np.sqrt(self.weight @ (self.sd**2 + (self.mean - mean) ** 2)))

    def cdf(self, values: Floats) -> Floats:
        """Probability that it is at most each of the values; of their shape."""
        from scipy.special import ndtr

        return self._summed(ndtr, values)

    def density(self, values: Floats) -> Floats:
        """Density; of the values' shape."""

        def normal(z: Floats) -> Floats:
            return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)

        return self._summed(normal, values, self.weight / self.sd)

    def _summed(
        self, function: Callable[[Floats], Floats], values: Floats, weight: Floats | None = None
    ) -> Floats:
        """Sums over the components of weights times a function of standardised values."""
        flat, own = np.ravel(values), self.weight if weight is None else weight
        result = np.empty(len(flat))
        step = max(1, MAX_NUMBERS // len(own))
        for start in range(0, len(flat), step):
            part = flat[start : start + step, None]
            result[start : start + step] = function((part - self.mean) / self.sd) @ own
        return result.reshape(np.shape(values))

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""
        mean, sd = self.moments
        low = float((self.mean - BEYOND * self.sd).min())
        high = float((self.mean + BEYOND * self.sd).max())

        def both(x: Floats) -> tuple[Floats, Floats]:
            return self.cdf(x), self.density(x)

        return quantiles(both, probabilities, (low, high), XTOL * sd, (mean, sd))

    def about(self, probabilities: Floats) -> Floats:
        """Quantiles to a digit or two; (p,)."""
        theta, mass = self.places()
        return np.interp(probabilities, mass.cumsum() / mass.sum(), theta)

    def places(self, finer: int = 1) -> tuple[Floats, Floats]:
        """Places over the whole, and their masses; (K,) each."""
        heavy = self.weight > 1e-12 * self.weight.max()
        low = float((self.mean - STEPS * self.sd)[heavy].min())
        high = float((self.mean + STEPS * self.sd)[heavy].max())
        theta = np.linspace(low, high, PLACES * finer + 1)
        return theta, self.density(theta) * (theta[1] - theta[0])
