"""Posteriors in closed form: values are normal or Student's t, and σ² is inverse gamma."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.families.normal import log_normal
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.target import Target


class Law(Protocol):
    """A distribution of numbers, which may stand side by side; arrays of them are (r,)."""

    @property
    def mean(self) -> Any:
        """Means, whether they exist or not."""

    @property
    def sd(self) -> Any:
        """Sds, whether they exist or not."""

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles at probabilities (p,); shape (p,) or (p, r)."""

    def cdf(self, values: Floats) -> Floats:
        """Distribution function at values (...) or (..., r)."""

    def density(self, values: Floats) -> Floats:
        """Density at values (...) or (..., r)."""


@dataclass(frozen=True)
class NormalLaw:
    """Normal distributions side by side.

    Attributes
    ----------
    mean, sd : float or (r,)
    """

    mean: Any
    sd: Any

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,) or (p, r)."""
        from scipy.special import ndtri

        return self.mean + np.multiply.outer(ndtri(probabilities), self.sd)

    def cdf(self, values: Floats) -> Floats:
        """Distribution function at values (...,) or (..., r)."""
        from scipy.special import ndtr

        return ndtr((values - self.mean) / self.sd)

    def density(self, values: Floats) -> Floats:
        """Density, at values as for :meth:`cdf`."""
        return np.exp(log_normal(values, self.mean, self.sd))


@dataclass(frozen=True)
class SigmaLaw:
    """Distribution of σ where ``σ² ~ InverseGamma(alpha, beta)``."""

    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        """``E σ = √β Γ(α − ½)/Γ(α)``."""
        from scipy.special import gammaln

        return float(np.sqrt(self.beta) * np.exp(gammaln(self.alpha - 0.5) - gammaln(self.alpha)))

    @property
    def sd(self) -> float:
        """Sd; nan where it does not exist."""
        variance = self.beta / (self.alpha - 1) if self.alpha > 1 else np.nan
        return float(np.sqrt(variance - self.mean**2))

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""
        from scipy.special import gammainccinv

        return np.sqrt(self.beta / gammainccinv(self.alpha, probabilities))

    def cdf(self, values: Floats) -> Floats:
        """Distribution function, whatever the shape of the values."""
        from scipy.special import gammaincc

        inside = np.where(values > 0, values / np.sqrt(self.beta), 1.0)
        with np.errstate(over="ignore", divide="ignore", under="ignore"):
            return np.where(values > 0, gammaincc(self.alpha, inside**-2.0), 0.0)

    def density(self, values: Floats) -> Floats:
        """Density, whatever the shape of the values."""
        from scipy.special import gammaln

        log_sigma = np.log(np.where(values > 0, values, np.inf))
        log_density = np.log(2.0) + self.alpha * np.log(self.beta) - gammaln(self.alpha)
        log_density = log_density - (2 * self.alpha + 1) * log_sigma
        with np.errstate(over="ignore"):
            return np.exp(log_density - self.beta * np.exp(-2 * log_sigma))


class ClosedForm(ReferencePosterior):
    """A posterior whose variables have each a law that is known."""

    @abstractmethod
    def _law_of(self, name: str) -> Law:
        """The law of a variable."""

    @abstractmethod
    def _predicted(self, target: Target) -> Law:
        """The law of predicted values, side by side."""

    @property
    def certificate(self) -> float:
        """0: nothing is approximated."""
        return 0.0

    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        law = self._predicted(target)
        return law.mean, law.sd

    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        return self._predicted(target).cdf(values)

    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        return self._predicted(target).quantile(probabilities)

    def _means(self) -> Mapping[str, Any]:
        return {name: self._law_of(name).mean for name in self.spec.variables}

    def _sds(self) -> Mapping[str, Any]:
        return {name: self._law_of(name).sd for name in self.spec.variables}

    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        return self._law_of(name).quantile(probabilities)

    def _cdf(self, name: str, values: Floats) -> Floats:
        return self._law_of(name).cdf(values)

    def _density(self, name: str, values: Floats) -> Floats:
        return self._law_of(name).density(values)


def log_student(error: Floats, variance: Any, alpha: float, beta: Any) -> Floats:
    """Log density, at a distance from the mean, of a normal with this variance times σ².

    With ``σ² ~ InverseGamma(α, β)`` it is ``Student-t(2α, 0, variance β/α)``; with α infinite σ
    is 1.  It is nan where β is 0.
    """
    from scipy.special import gammaln

    if np.isinf(alpha):
        return -0.5 * (LOG_2PI + np.log(variance) + error**2 / variance)
    square = variance * beta
    with np.errstate(all="ignore"):
        log_top = gammaln(alpha + 0.5) - gammaln(alpha) - 0.5 * np.log(2 * np.pi * square)
        log_density = log_top - (alpha + 0.5) * np.log1p(error**2 / (2 * square))
    return np.where(square > 0, log_density, np.nan)
