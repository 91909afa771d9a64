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

from hiermodels.data import GroupedData
from hiermodels.errors import ImproperPosteriorError
from hiermodels.gaussian import LOG_2PI, Floats
from hiermodels.moments import PopulationMoments
from hiermodels.noise_free import ReferencePosterior, Target
from hiermodels.priors import NormalInverseGamma
from hiermodels.spec import Spec


@dataclass(frozen=True)
class NormalGammaLaw:
    """Joint distribution of θ and σ²: ``σ² ~ IG(alpha, beta)``, ``θ | σ² ~ N(mean, σ²/kappa)``.

    Attributes
    ----------
    mean, kappa, alpha, beta : float
    """

    mean: float
    kappa: float
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
        mean = np.full(len(target.units), self.law.mean)
        freedom = 2 * self.law.alpha
        factor = freedom / (freedom - 2) if freedom > 2 else np.nan
        return mean, np.full_like(mean, self._scale(target.outcome) * np.sqrt(factor))

    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        from scipy.special import stdtr

        return stdtr(2 * self.law.alpha, (values - self.law.mean) / self._scale(target.outcome))

    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        from scipy.special import stdtrit

        standard = stdtrit(2 * self.law.alpha, probabilities)
        found = self.law.mean + self._scale(target.outcome) * standard
        return np.repeat(found[:, None], len(target.units), axis=1)

    def _means(self) -> Mapping[str, Any]:
        return {"theta": self.law.mean, "sigma": self._sigma_mean()}

    def _sds(self) -> Mapping[str, Any]:
        law = self.law
        if law.alpha <= 1:
            return {"theta": np.nan, "sigma": np.nan}
        variance = law.beta / (law.alpha - 1)
        return {
            "theta": np.sqrt(variance / law.kappa),
            "sigma": np.sqrt(variance - self._sigma_mean() ** 2),
        }

    def _sigma_mean(self) -> float:
        """``E σ = √β Γ(α − ½)/Γ(α)``."""
        from scipy.special import gammaln

        law = self.law
        return float(np.sqrt(law.beta) * np.exp(gammaln(law.alpha - 0.5) - gammaln(law.alpha)))

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
        from scipy.special import gammainccinv, stdtrit

        law = self.law
        if name == "sigma":
            return np.sqrt(law.beta / gammainccinv(law.alpha, probabilities))
        return law.mean + self._scale() * stdtrit(2 * law.alpha, probabilities)

    def _cdf(self, name: str, values: Floats) -> Floats:
        from scipy.special import gammaincc, stdtr

        law = self.law
        if name == "sigma":
            inside = np.where(values > 0, values / np.sqrt(law.beta), 1.0)
            with np.errstate(over="ignore", divide="ignore", under="ignore"):
                return np.where(values > 0, gammaincc(law.alpha, inside**-2.0), 0.0)
        return stdtr(2 * law.alpha, (values - law.mean) / self._scale())

    def _density(self, name: str, values: Floats) -> Floats:
        from scipy.special import gammaln

        law = self.law
        if name == "sigma":
            log_sigma = np.log(np.where(values > 0, values, np.inf))
            log_density = np.log(2.0) + law.alpha * np.log(law.beta) - gammaln(law.alpha)
            log_density = log_density - (2 * law.alpha + 1) * log_sigma
            with np.errstate(over="ignore"):
                return np.exp(log_density - law.beta * np.exp(-2 * log_sigma))
        scale, half = self._scale(), law.alpha + 0.5
        log_top = gammaln(half) - gammaln(law.alpha) - 0.5 * np.log(2 * np.pi * law.alpha)
        z = (values - law.mean) / scale
        return np.exp(log_top - half * np.log1p(z**2 / (2 * law.alpha))) / scale

    def _scale(self, outcome: bool = False) -> float:
        """Scale of the Student-t distribution of θ, or of a new outcome."""
        variance = 1 / self.law.kappa + float(outcome)
        return float(np.sqrt(self.law.beta / self.law.alpha * variance))

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        law = self.law
        return [
            f"closed form: theta ~ Student-t({2 * law.alpha:g}, {law.mean:.6g}, "
            f"{self._scale():.6g}), sigma² ~ InverseGamma({law.alpha:g}, {law.beta:.6g})"
        ]
