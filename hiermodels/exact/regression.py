"""Regression without groups: everything in closed form.

With ``b = (mu, beta)``, of p coefficients, and rows ``[1, x_i]`` (or, without an intercept,
``b = beta`` and ``x_i``),

    y_i ~ Normal(mu + x_i'β, σ_i²)

where σ is unknown, ``σ² ~ InverseGamma(α, β)`` or ``1/σ²`` (α = β = 0), each coefficient is flat or
``b_j | σ² ~ Normal(m_j, σ² s_j²)``; where the standard errors are known, it is flat or
``b_j ~ Normal(m_j, s_j²)``.  A prior is one more row, ``m_j/s_j`` observed of ``b_j/s_j``; with A
and c the rows of both kinds and f the number of flat coefficients,

    b̂ = argmin |c − A b|²      S = |c − A b̂|²      C = (A'A)⁻¹
    b | σ², y ~ Normal(b̂, σ² C)      σ² | y ~ InverseGamma(α + (n − f)/2, β + S/2)

so that b is Student's t; with known standard errors, for which ``σ = 1``, it is normal.  A is
triangularised, and A'A is never formed.

References
----------
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., sections 14.2 and 14.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.errors import HierModelsError, ImproperPosteriorError
from hiermodels.exact.closed_form import ClosedForm, Law, NormalLaw, SigmaLaw, log_student
from hiermodels.exact.conjugate import MIN_KEPT, NormalGammaLaw
from hiermodels.exact.left_out import unidentified, without
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.moments import PopulationMoments
from hiermodels.posterior.target import Target

EXACT_FIT = 1e-26  # share of the sum of squares that is rounding error


@dataclass(frozen=True)
class Coefficients:
    """Least squares of mu and β, from rows and priors, in columns ``(x − centre)/size``.

    Attributes
    ----------
    centre, size : (q,)
    mean : (p,)
        The intercept there, if there is one, and the coefficients of these columns.
    root : (p, p)
        ``root root'`` is their covariance; where σ² is unknown, in units of it.
    squares : float
        What is left, S of the module's text.
    """

    centre: Floats
    size: Floats
    mean: Floats
    root: Floats
    squares: float

    @property
    def to_own(self) -> Floats:
        """From these coefficients to mu and β; (p, p)."""
        slopes = np.diag(1 / self.size)
        if not self.has_intercept:
            return slopes
        slopes = np.column_stack([np.zeros_like(self.size), slopes])
        return np.vstack([np.append(1.0, -self.centre / self.size), slopes])

    def place(self, rows: Floats) -> tuple[Floats, Floats]:
        """Means, and variances in units of σ², of combinations (r, p) of these; both (r,)."""
        return rows @ self.mean, ((rows @ self.root) ** 2).sum(axis=1)

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """The same of ``mu + x'β`` at covariates (r, q)."""
        return self.place(self.rows(x))

    def rows(self, x: Floats) -> Floats:
        """What the coefficients are multiplied by at covariates (r, q); (r, p)."""
        ones = np.ones((len(x), int(self.has_intercept)))
        return np.hstack([ones, (x - self.centre) / self.size])

    @property
    def has_intercept(self) -> bool:
        """Whether the first of the coefficients is the intercept."""
        return len(self.root) > len(self.size)

    @classmethod
    def of(cls, spec: Spec, data: GroupedRows) -> Coefficients:
        """Solve the least squares of rows and priors."""
        x, weight = data.design.matrix, data.precision
        share = weight / weight.sum()
        centre, location = np.zeros(x.shape[1]), 0.0
        if spec.has_intercept:
            centre, location = share @ x, float(share @ data.y)
        size = np.sqrt(share @ (x - centre) ** 2)
        size = np.where(size > 0, size, 1.0)
        known = [spec.scaled_prior(name) for name in spec.means]
        priors = [i for i, prior in enumerate(known) if prior is not None]
        means, sds = np.array([known[i] for i in priors], dtype=float).reshape(-1, 2).T
        place = np.zeros(len(known))
        place[: len(spec.top)] = location
        unsolved = cls(centre, size, place, np.eye(len(known)), 0.0)
        means = means - place[priors]
        columns = np.vstack(
            [np.sqrt(weight)[:, None] * unsolved.rows(x), unsolved.to_own[priors] / sds[:, None]]
        )
        outcome = np.concatenate([np.sqrt(weight) * (data.y - location), means / sds])
        orthonormal, triangle = np.linalg.qr(columns)
        mean = np.linalg.solve(triangle, orthonormal.T @ outcome)
        rest = outcome - columns @ mean
        correction = np.linalg.solve(triangle, orthonormal.T @ rest)
        rest = rest - columns @ correction
        mean = mean + correction + place
        return replace(
            unsolved, mean=mean, root=np.linalg.inv(triangle), squares=float(rest @ rest)
        )


@dataclass(frozen=True, repr=False)
class RegressionPosterior(ClosedForm):
    """The posterior of a regression without groups.

    ``σ² | y ~ InverseGamma(alpha, beta)``; infinite where the standard errors are known.
    """

    spec: Spec
    data: GroupedData
    fit: Coefficients  # of mu and β, given σ
    alpha: float
    beta: float
    place: Place | None = None

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> RegressionPosterior:
        """Solve for the coefficients, and update the prior of σ².

        Raises
        ------
        ImproperPosteriorError
            If σ has no degree of freedom, or nothing to explain, and no proper prior.
        """
        rows = require_rows(data, "a regression without groups")
        fit = Coefficients.of(spec, rows)
        if spec.se:
            return cls(spec, data, fit, np.inf, np.inf)
        prior = spec.residual_prior
        flat = sum(spec.scaled_prior(name) is None for name in spec.means)
        df = len(rows.y) - flat
        if prior is None:
            _check_residual(rows, flat, df, fit.squares)
        alpha, beta = (prior.alpha, prior.beta) if prior else (0.0, 0.0)
        return cls(spec, data, fit, alpha + df / 2, beta + fit.squares / 2)

    @property
    def moments(self) -> PopulationMoments:
        """Which moments exist: all of an order below 2α."""
        return PopulationMoments.of(self.spec, self.data.n_rows)

    def draw(self, size: int, rng: np.random.Generator) -> dict[str, Floats]:
        """Independent draws of all variables: scalars (size,), ``beta`` (q, size)."""
        sigma = np.ones(size)
        if not self.spec.se:
            sigma = np.sqrt(self.beta / rng.standard_gamma(self.alpha, size))
        noise = self.fit.root @ rng.standard_normal((len(self.fit.mean), size))
        values = self.fit.to_own @ (self.fit.mean[:, None] + sigma * noise)
        drawn = {"mu": values[0], "beta": values[len(self.spec.top) :], "sigma": sigma}
        return {name: drawn[name] for name in self.spec.variables}

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        if self.spec.se:
            return ["closed form: the coefficients are normal"]
        return [
            f"closed form: the coefficients are Student-t({2 * self.alpha:g}), "
            f"sigma² ~ InverseGamma({self.alpha:g}, {self.beta:.6g})"
        ]

    def _law_of(self, name: str) -> Law:
        if name == "sigma":
            return SigmaLaw(self.alpha, self.beta)
        return self._coefficients(name)

    def _law(self, mean: Floats, variance: Floats) -> Law:
        """Law of values with these means, and variances in units of σ²."""
        if self.spec.se:
            return NormalLaw(mean, np.sqrt(variance))
        return NormalGammaLaw(mean, 1 / variance, self.alpha, self.beta)

    def _coefficients(self, name: str) -> Law:
        """Law of mu where it is shown, or of β side by side."""
        if name == "beta" or self.place is None:
            mean, variance = self.fit.place(self.fit.to_own)
        else:
            mean, variance = self.fit.at(self.place.of(ROOT)[None])
        part: Any = slice(len(self.spec.top), None) if name == "beta" else 0
        return self._law(mean[part], variance[part])

    def _at(self, place: Place) -> RegressionPosterior:
        return replace(self, place=place)

    def _predicted(self, target: Target) -> Law:
        """Law of predicted values, with means (r,)."""
        mean, variance = self.fit.at(target.x)
        if target.outcome:
            own = 1 / target.columns.get(WEIGHTS, np.ones(len(variance)))
            variance = variance + (own if target.se is None else target.se**2)
        return self._law(mean, variance)

    def leave_out(self, units: Units) -> LogDensities:
        """Student-t or normal densities of each row given the others, in closed form.

        With the row's residual e at the posterior mean and its leverage h, both in its own sd, the
        others predict it with the error ``e/(1 − h)`` and the variance ``1/(1 − h)``, in units of
        σ², for which they leave ``α' = α − ½`` and ``β' = β − ½ e²/(1 − h)``.  Where little is left
        of ``1 − h`` or of β, the others are fitted anew.
        """
        rows = require_rows(self.data, "loo")
        se = rows.precision**-0.5
        mean, variance = self.fit.at(rows.design.matrix)
        error, kept = (rows.y - mean) / se, 1 - variance / se**2
        with np.errstate(all="ignore"):
            beta = self.beta - 0.5 * error**2 / kept
            rest = self.alpha - 0.5, beta
            left_out = log_student(se * error / kept, se**2 / kept, *rest)
        again = log_student(se * error, se**2 + variance, self.alpha, self.beta)
        top = self.spec.top
        only = rows.n_rows == 1 and any(self.spec.scaled_prior(name) is None for name in top)
        lost = unidentified(self.spec, rows, units) | only
        text = "without it a coefficient is not identified"
        reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
        enough = (beta > MIN_KEPT * self.beta) | np.isinf(self.beta)
        bad = np.flatnonzero(~lost & ~((kept > MIN_KEPT) & enough & (rest[0] > 0)))
        for i in bad.tolist():
            try:
                left_out[i] = self._refitted(units.index != i, i)
            except HierModelsError as problem:
                reasons[i] = str(problem)
        nothing = np.isin(np.arange(rows.n_rows), list(reasons))
        left_out, again = np.where(nothing, np.nan, [left_out, again])
        return LogDensities(
            left_out, again, np.where(nothing, np.nan, 0.0), len(bad), reasons=reasons
        )

    def _refitted(self, others: NDArray[np.bool_], i: int) -> float:
        """Log density of row i given a fit of the others."""
        rows = require_rows(self.data, "loo")
        rest = RegressionPosterior.of(self.spec, without(rows, others))
        mean, variance = rest.fit.at(rows.design.matrix[[i]])
        variance = variance + 1 / rows.precision[i]
        return float(log_student(rows.y[[i]] - mean, variance, rest.alpha, rest.beta)[0])

    def _log_evidence(self) -> float:
        """``log p(y)``: what the normal densities of rows and priors leave, then that of σ²."""
        from scipy.special import gammaln

        rows = require_rows(self.data, "a regression without groups")
        spec = self.spec
        sds = [scaled[1] for name in spec.means if (scaled := spec.scaled_prior(name))]
        total = np.linalg.slogdet(self.fit.to_own @ self.fit.root)[1] - np.log(sds).sum()
        total += 0.5 * (np.log(rows.precision).sum() - len(rows.y) * LOG_2PI)
        if rows.se is not None:
            return float(total - 0.5 * self.fit.squares)
        prior = spec.residual_prior
        assert prior is not None
        total += prior.alpha * np.log(prior.beta) - self.alpha * np.log(self.beta)
        return float(total + gammaln(self.alpha) - gammaln(prior.alpha))


def _check_residual(data: GroupedRows, flat: int, df: int, squares: float) -> None:
    """Under ``1/σ²``, refuse rows that leave nothing to learn σ from."""
    remedy = "Name the column of standard errors (se=…), give sigma a prior such as InverseGamma(…)"
    if df <= 0:
        raise ImproperPosteriorError(
            f"the posterior does not exist: {len(data.y)} rows less {flat} flat coefficients leave "
            f"no degree of freedom for sigma, whose prior is Jeffreys(). {remedy}, or add data."
        )
    rounding = EXACT_FIT * ((data.y - data.y.mean()) ** 2).sum()
    rounding += len(data.y) * (4 * np.finfo(float).eps * np.abs(data.y).max()) ** 2
    if squares <= rounding:
        raise ImproperPosteriorError(
            f"the posterior does not exist: the covariates explain all rows without a remainder, "
            f"and Jeffreys() on sigma has infinite mass at sigma = 0. {remedy}."
        )
