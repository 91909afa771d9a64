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

from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.closed_form import ClosedForm, Law, SigmaLaw, log_student
from hiermodels.model.priors.coefficients import NormalInverseGamma
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.moments import PopulationMoments
from hiermodels.posterior.target import Target

MIN_KEPT = 1e-3  # of what is known without a row; below, it is formed anew from the other rows


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
    def sigma(self) -> SigmaLaw:
        """Distribution of σ by itself."""
        return SigmaLaw(self.alpha, self.beta)

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


@dataclass(frozen=True, repr=False)
class ConjugatePosterior(ClosedForm):
    """The posterior of one population."""

    spec: Spec
    data: GroupedData
    prior: NormalGammaLaw
    law: NormalGammaLaw  # after the data

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

    def _law_of(self, name: str) -> Law:
        return self.law.sigma if name == "sigma" else self.law

    def _predicted(self, target: Target) -> NormalGammaLaw:
        """Law of predicted values, with means and precisions (r,)."""
        law, size = self.law, len(target.members)
        kappa = 1 / (1 / law.kappa + float(target.outcome))
        return NormalGammaLaw(np.full(size, law.mean), np.full(size, kappa), law.alpha, law.beta)

    @property
    def moments(self) -> PopulationMoments:
        """Which moments exist: all of an order below 2α."""
        return PopulationMoments(self.data.n_rows, 2 * self.prior.alpha)

    def leave_out(self, units: Units) -> LogDensities:
        """Student-t densities of each row given the others, in closed form.

        Without row i, ``κ' = κ − 1``, ``m' = m − (y_i − m)/κ'``, ``α' = α − ½`` and
        ``β' = β − ½ (κ/κ') (y_i − m)²``; a row that has nearly all of β takes it from the others
        anew.
        """
        y, law = self.data.y, self.law
        kappa, deviation = law.kappa - 1, y - law.mean
        with np.errstate(all="ignore"):
            beta = law.beta - 0.5 * law.kappa / kappa * deviation**2
            rest = NormalGammaLaw(law.mean - deviation / kappa, kappa, law.alpha - 0.5, beta)
        left_out = _log_predictive(rest, y)
        for i in np.flatnonzero(~(beta > MIN_KEPT * law.beta)):
            others = np.delete(y, i)
            new = self.prior.given(others) if len(others) else self.prior
            left_out[i] = _log_predictive(new, y[[i]])[0]
        if kappa <= 0 or law.alpha <= 0.5:
            left_out[:] = np.nan
        lost = np.isnan(left_out)
        text = "without it there are no two rows that differ, which Jeffreys() on sigma needs"
        reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
        again = np.where(lost, np.nan, _log_predictive(law, y))
        return LogDensities(left_out, again, np.where(lost, np.nan, 0.0), reasons=reasons)

    def _log_evidence(self) -> float:
        from scipy.special import gammaln

        prior, law = self.prior, self.law
        total = 0.5 * np.log(prior.kappa / law.kappa) - 0.5 * len(self.data.y) * LOG_2PI
        total += prior.alpha * np.log(prior.beta) - law.alpha * np.log(law.beta)
        return float(total + gammaln(law.alpha) - gammaln(prior.alpha))

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        law = self.law
        return [
            f"closed form: theta ~ Student-t({2 * law.alpha:g}, {law.mean:.6g}, "
            f"{law.scale:.6g}), sigma² ~ InverseGamma({law.alpha:g}, {law.beta:.6g})"
        ]


def _log_predictive(law: NormalGammaLaw, y: Floats) -> Floats:
    """Log density of a new row of one population; nan where β is 0."""
    with np.errstate(all="ignore"):
        return log_student(y - law.mean, 1 + 1 / law.kappa, law.alpha, law.beta)
