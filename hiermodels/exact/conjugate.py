"""One normal population with the conjugate prior: everything in closed form.

    y_i ~ Normal(θ, σ²)      θ | σ² ~ Normal(m, σ² s²)      σ² ~ InverseGamma(α, β)

gives, with ``κ = 1/s²`` and the sums over the n rows,

    κ* = κ + n      m* = (κ m + n ȳ)/κ*      α* = α + n/2
    β* = β + ½ [Σ (y_i − ȳ)² + (κ n/κ*) (ȳ − m)²]

    σ² | y ~ InverseGamma(α*, β*)      θ | σ², y ~ Normal(m*, σ²/κ*)
    θ | y ~ Student-t(2α*, m*, β*/(α* κ*))      a new y ~ Student-t(2α*, m*, (1 + 1/κ*) β*/α*)

Flat θ with ``1/σ²`` is the limit κ = 0, α = −½, β = 0.

References
----------
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import ImproperPosteriorError
from hiermodels.model.priors.coefficients import NormalInverseGamma
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import PopulationMoments
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.target import Target


@dataclass(frozen=True)
class NormalGammaLaw:
    """Joint distribution of θ and σ²: ``σ² ~ IG(alpha, beta)``, ``θ | σ² ~ N(mean, σ²/kappa)``.

    So θ is Student's t with ``2 alpha`` degrees of freedom.  Several values with the same σ², such
    as coefficients, may stand side by side.

    Attributes
    ----------
    mean, kappa : float or (r,)
    alpha, beta : float
    """

    mean: Any
    kappa: Any
    alpha: float
    beta: float

    @classmethod
    def of_prior(cls, prior: NormalInverseGamma | None) -> NormalGammaLaw:
        """The prior's parameters, or those of the flat limit."""
        if prior is None:
            return cls(0.0, 0.0, -0.5, 0.0)
        return cls(prior.m, prior.s**-2, prior.alpha, prior.beta)

    def given(self, y: Floats) -> NormalGammaLaw:
        """Update with observations."""
        n, centre = len(y), y.mean()
        centre += (y - centre).mean()
        kappa = self.kappa + n
        squares = ((y - centre) ** 2).sum() + self.kappa * n / kappa * (centre - self.mean) ** 2
        return NormalGammaLaw(
            mean=centre + self.kappa / kappa * (self.mean - centre),
            kappa=kappa,
            alpha=self.alpha + n / 2,
            beta=self.beta + squares / 2,
        )

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Independent draws of θ and of σ, both (size,)."""
        sigma = np.sqrt(self.beta / rng.standard_gamma(self.alpha, size))
        return self.mean + sigma / np.sqrt(self.kappa) * rng.standard_normal(size), sigma

    @property
    def scale(self) -> Any:
        """Scale of the Student-t distribution of θ."""
        return np.sqrt(self.beta / self.alpha / self.kappa)

    @property
    def sd(self) -> Any:
        """Sd of θ; nan where it does not exist."""
        variance = self.beta / (self.alpha - 1) if self.alpha > 1 else np.nan
        return np.sqrt(variance / self.kappa)

    @property
    def sigma_mean(self) -> float:
        """``E σ = √β Γ(α − ½)/Γ(α)``."""
        from scipy.special import gammaln

        return float(np.sqrt(self.beta) * np.exp(gammaln(self.alpha - 0.5) - gammaln(self.alpha)))

    @property
    def sigma_sd(self) -> float:
        """Sd of σ; nan where it does not exist."""
        variance = self.beta / (self.alpha - 1) if self.alpha > 1 else np.nan
        return float(np.sqrt(variance - self.sigma_mean**2))

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles of θ; (p,), or (p, r) of several values."""
        from scipy.special import stdtrit

        standard = stdtrit(2 * self.alpha, probabilities)
        return self.mean + np.multiply.outer(standard, self.scale)

    def cdf(self, values: Floats) -> Floats:
        """Distribution function of θ at values (...,), or (..., r) of several values."""
        from scipy.special import stdtr

        return stdtr(2 * self.alpha, (values - self.mean) / self.scale)

    def density(self, values: Floats) -> Floats:
        """Density of θ, at values as for :meth:`cdf`."""
        from scipy.special import gammaln

        half = self.alpha + 0.5
        log_top = gammaln(half) - gammaln(self.alpha) - 0.5 * np.log(2 * np.pi * self.alpha)
        z = (values - self.mean) / self.scale
        return np.exp(log_top - half * np.log1p(z**2 / (2 * self.alpha))) / self.scale

    def sigma_quantile(self, probabilities: Floats) -> Floats:
        """Quantiles of σ; (p,)."""
        from scipy.special import gammainccinv

        return np.sqrt(self.beta / gammainccinv(self.alpha, probabilities))

    def sigma_cdf(self, values: Floats) -> Floats:
        """Distribution function of σ."""
        from scipy.special import gammaincc

        inside = np.where(values > 0, values / np.sqrt(self.beta), 1.0)
        with np.errstate(over="ignore", divide="ignore", under="ignore"):
            return np.where(values > 0, gammaincc(self.alpha, inside**-2.0), 0.0)

    def sigma_density(self, values: Floats) -> Floats:
        """Density of σ."""
        from scipy.special import gammaln

        log_sigma = np.log(np.where(values > 0, values, np.inf))
        log_density = np.log(2.0) + self.alpha * np.log(self.beta) - gammaln(self.alpha)
        log_density = log_density - (2 * self.alpha + 1) * log_sigma
        with np.errstate(over="ignore"):
            return np.exp(log_density - self.beta * np.exp(-2 * log_sigma))


@dataclass(frozen=True, repr=False)
class ConjugatePosterior(ReferencePosterior):
    """The posterior in closed form.

    Attributes
    ----------
    spec : Spec
    data : GroupedData
    prior, law : NormalGammaLaw
        Before and after the data.
    """

    spec: Spec
    data: GroupedData
    prior: NormalGammaLaw
    law: NormalGammaLaw

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> ConjugatePosterior:
        """Update the prior.

        Raises
        ------
        ImproperPosteriorError
            Under the flat limit, if there are fewer than two different outcomes.
        """
        prior = NormalGammaLaw.of_prior(spec.conjugate_prior)
        law = prior.given(data.y)
        if not (law.alpha > 0 and law.beta > 0):
            raise ImproperPosteriorError(
                f"the posterior does not exist: Flat() on theta and Jeffreys() on sigma need two "
                f"rows that differ; found {len(data.y)} with values from {data.y.min():g} to "
                f"{data.y.max():g}. Give a proper prior, such as priors={{'theta': "
                f"NormalInverseGamma(m=…, s=…, alpha=…, beta=…)}}, or add data."
            )
        return cls(spec, data, prior, law)

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

    def _predicted(self, target: Target) -> NormalGammaLaw:
        """Law of predicted values, with means and precisions (r,)."""
        law, size = self.law, len(target.units)
        kappa = 1 / (1 / law.kappa + float(target.outcome))
        return NormalGammaLaw(np.full(size, law.mean), np.full(size, kappa), law.alpha, law.beta)

    def _means(self) -> Mapping[str, Any]:
        return {"theta": self.law.mean, "sigma": self.law.sigma_mean}

    def _sds(self) -> Mapping[str, Any]:
        return {"theta": self.law.sd, "sigma": self.law.sigma_sd}

    @property
    def moments(self) -> PopulationMoments:
        """Which moments exist: all of an order below 2α."""
        return PopulationMoments(self.data.n_rows, 2 * self.prior.alpha)

    def _log_evidence(self) -> float:
        from scipy.special import gammaln

        prior, law = self.prior, self.law
        total = 0.5 * np.log(prior.kappa / law.kappa) - 0.5 * len(self.data.y) * LOG_2PI
        total += prior.alpha * np.log(prior.beta) - law.alpha * np.log(law.beta)
        return float(total + gammaln(law.alpha) - gammaln(prior.alpha))

    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        law = self.law
        return (law.sigma_quantile if name == "sigma" else law.quantile)(probabilities)

    def _cdf(self, name: str, values: Floats) -> Floats:
        return (self.law.sigma_cdf if name == "sigma" else self.law.cdf)(values)

    def _density(self, name: str, values: Floats) -> Floats:
        return (self.law.sigma_density if name == "sigma" else self.law.density)(values)

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        law = self.law
        return [
            f"closed form: theta ~ Student-t({2 * law.alpha:g}, {law.mean:.6g}, "
            f"{law.scale:.6g}), sigma² ~ InverseGamma({law.alpha:g}, {law.beta:.6g})"
        ]
