"""The posterior by quadrature over τ and γ: lattices that are fine enough, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError, SpecError
from hiermodels.exact.kernels.leaves.integral import Masses
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.mass_sums import Function, expanded, moments_of_masses, weighted
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.tables import LineTables
from hiermodels.exact.precision import (
    both_weights,
    errors_of_values,
    moments_of,
    require_precision,
)
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

SPACING = {0: 1.0, 1: 0.25, 2: 0.5, 3: 0.6, 4: 0.75, 5: 1.0}  # of the first lattice
SAFELY = {4: 1.0, 5: 1.0}  # of the tolerance, for the moments of τ and γ; else 0.1
MAX_LATTICES = 8
FINER = (0.6, 0.9)  # bounds of the ratio of one spacing to the next
MARGIN = 0.96  # of that ratio
WORTHWHILE = 0.95  # largest ratio for which another lattice is laid
SMALLEST = float(np.finfo(float).tiny)  # sd
MAX_WORK = (
    3e7  # points times sets of alike groups, or groups, of a lattice that is laid to be finer
)
MAX_POINTS = 1 << 20


@dataclass(frozen=True, eq=False, repr=False)
class LeafPosterior:
    """A lattice over τ and γ that is fine enough, and what it says.

    Attributes
    ----------
    marginal : LeafMarginal
    lattice : Lattice
    """

    marginal: LeafMarginal
    lattice: Lattice

    @classmethod
    @one_blas_thread()
    def of(cls, model: LeafModel, tol: float = TOLERANCE) -> Self:
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        Parameters
        ----------
        model : LeafModel
            Whose posterior exists.
        tol : float
            Posterior sds that two spacings may differ by.

        Raises
        ------
        PrecisionError
            If two spacings differ by more than 1e-3, or no lattice can hold the posterior.
        SpecError
            If it has more than five dimensions.

        Warns
        -----
        PrecisionWarning
            If two spacings differ by more than ``tol``.
        """
        marginal = LeafMarginal(model)
        d = marginal.coordinates.dimension
        spacing, target = np.full(d, SPACING[d]), SAFELY.get(d, 0.1) * tol
        posterior = cls(marginal, marginal.lattice(spacing, leave_out=True))
        for _ in range(MAX_LATTICES - 1):
            errors = posterior.errors_by_axis
            if errors.max(initial=0.0) <= target and posterior.certificate <= tol:
                break
            ratio = _affordable(_ratio(errors, target), posterior)
            if ratio.min() > WORTHWHILE:
                break
            spacing = spacing * ratio
            try:
                posterior = cls(marginal, marginal.lattice(spacing, leave_out=True))
            except PrecisionError:  # too many points along an axis: as fine as it gets
                break
        require_precision(posterior.certificate, tol)
        return posterior

    @property
    def model(self) -> LeafModel:
        """What is observed and assumed."""
        return self.marginal.model

    @cached_property
    def tau(self) -> Floats:
        """Values of τ at the nodes; (J,)."""
        return self.marginal.coordinates.tau(self.lattice.points)

    @cached_property
    def gamma(self) -> Floats:
        """Coefficients at the nodes; (J, p)."""
        return self.marginal.coordinates.gamma(self.lattice.points)

    @cached_property
    @one_blas_thread()
    def log_integrals(self) -> tuple[Floats, ...]:
        """``log m_ij`` of the distinct leaves of each set of groups that are alike; (u, J) each."""
        if self._tables is None:
            return tuple(self.marginal.log_integrals(self.tau, self.gamma))
        return tuple(
            table.log_integrals(self.tau, self.gamma @ table.alike.x) for table in self._tables
        )

    @cached_property
    def _tables(self) -> tuple[LineTables, ...] | None:
        return self.marginal.tables()

    @property
    def log_integral(self) -> float:
        """Log marginal likelihood, with all constants; meaningful if all priors are proper."""
        return self.lattice.log_integral

    @cached_property
    def errors_by_axis(self) -> Floats:
        """Errors of the moments that exist of τ, γ and the coordinates, in posterior sds; (d,)."""
        values = [self.lattice.points, self.gamma[:, self.model.coefficient_moments_exist(2)]]
        if self.model.moment_exists(2):
            values += [self.tau[:, None]] * self.marginal.coordinates.n_sds
        return errors_of_values(np.hstack(values), self.lattice)

    @cached_property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of τ, γ and all effects, where these exist, and the coordinates.
        """
        mean, sd = self._effects
        with np.errstate(invalid="ignore"):
            differences = [np.abs(mean[1] - mean[0]) / sd[0], np.abs(sd[1] / sd[0] - 1)]
        worst = np.nanmax(differences, initial=0.0) if len(mean[0]) else 0.0
        return float(np.max([*self.errors_by_axis, worst]))

    @property
    def _both_weights(self) -> Floats:
        """Weights over the whole lattice and over half of its points; (2, J)."""
        if not self.marginal.coordinates.dimension:
            return np.ones((2, 1))
        return both_weights(self.lattice)

    def tau_moments(self) -> tuple[float, float]:
        """Mean and sd of τ; nan, where they do not exist."""
        exist = [np.array([self.model.moment_exists(order)]) for order in (1, 2)]
        (mean,), (sd,) = self._moments_of_nodes(self.tau[:, None], exist)
        return mean, sd

    def tau_quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of τ; (p,)."""
        if self.model.fixed_sd is not None:
            return np.full(len(probabilities), self.model.fixed_sd)
        return np.exp(self._axis.log_sd(self.lattice.quantile(0, probabilities)))

    def tau_cdf(self, values: Floats) -> Floats:
        """Probability that τ is at most each of the values (n,); (n,)."""
        if self.model.fixed_sd is not None:
            return np.where(values >= self.model.fixed_sd, 1.0, 0.0)
        below = self.lattice.cdf(0, self._axis.coordinate(np.maximum(values, SMALLEST)))
        return np.where(values > 0, below, 0.0)

    def tau_density(self, values: Floats) -> Floats:
        """Density of τ at values (n,); (n,).

        Raises
        ------
        SpecError
            If τ is fixed.
        """
        if self.model.fixed_sd is not None:
            raise SpecError(f"tau is fixed at {self.model.fixed_sd:g}: it has no density")
        inside = np.maximum(values, SMALLEST)
        u = self._axis.coordinate(inside)
        density = self.lattice.density(0, u) * np.exp(-self._axis.log_slope(u)) / inside
        return np.where(values > 0, density, 0.0)

    @property
    def _axis(self) -> SdAxis:
        return self.marginal.coordinates.axis

    def coefficient_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of the coefficients γ; (p,) each; nan, where they do not exist."""
        return self.linear_moments(np.eye(len(self.model.mean)))

    def linear_moments(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and sds of linear predictors ``x'γ`` at rows (m, p); (m,) each."""
        lacks = [~self.model.coefficient_moments_exist(order) for order in (1, 2)]
        exist = [~((x != 0) & lack).any(axis=1) for lack in lacks]
        return self._moments_of_nodes(self.gamma @ x.T, exist)

    def _moments_of_nodes(self, values: Floats, exist: Sequence[Flags]) -> tuple[Floats, Floats]:
        """Means and sds of values at the nodes (J, m), nan where they do not exist; (m,) each."""
        moments = moments_of(values, self.lattice.weights[None])
        mean, sd = (np.where(e, m[0], np.nan) for e, m in zip(exist, moments, strict=True))
        return mean, sd

    def effect_moments(self, at: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of all effects; (k,) each.

        They are nan where they do not exist, if τ has none: of groups whose leaf does not fall to
        both sides, and elsewhere than at a group's own covariates if coefficients with flat priors
        take the effect there.

        Parameters
        ----------
        at : (k, p), optional
            Covariates at which the effects are, a row for each group; by default the groups' own.
        """
        groups = np.arange(len(self.model.leaves))
        return self.predictor_moments(groups, self.model.x if at is None else at)

    def predictor_moments(self, members: Indices, x: Floats) -> tuple[Floats, Floats]:
        """Means and sds of linear predictors ``θ_i + (x − x_i)'γ`` of known groups; (r,) each.

        Parameters
        ----------
        members : (r,)
            Whose linear predictor each is.
        x : (r, p)
            Covariates.
        """
        away = x - self.model.x[members]
        own = (part[0][members] for part in self._effects)
        if not away.any():
            mean, sd = own
            return mean, sd
        (mean, sd), (first, second) = own, self._gamma_moments
        mean = mean + away @ first
        between = np.einsum("rp,rp->r", away, self._effect_covariances[members])
        variance = sd**2 + 2 * between + np.einsum("rp,pq,rq->r", away, second, away)
        moves = (away[:, self.model.precision == 0] != 0).any(axis=1)
        mean = np.where(~moves | self.model.moment_exists(1), mean, np.nan)
        exists = ~moves | self.model.moment_exists(2)
        return mean, np.where(exists, np.sqrt(np.maximum(variance, 0.0)), np.nan)

    @cached_property
    def _gamma_moments(self) -> tuple[Floats, Floats]:
        """Mean (p,) and covariance (p, p) of the coefficients."""
        mean = self.lattice.weights @ self.gamma
        away = self.gamma - mean
        return mean, (away * self.lattice.weights[:, None]).T @ away

    @cached_property
    @one_blas_thread()
    def _effect_covariances(self) -> Floats:
        """Covariances of all effects, at the groups' own covariates, and the coefficients; (k, p).

        Of masses with the weights ``W_j (γ_jq − E γ_q)``.
        """
        weights = (self.lattice.weights[:, None] * (self.gamma - self._gamma_moments[0])).T
        covariances = np.zeros((len(self.model.leaves), len(weights)))
        for i, alike in enumerate(self.model.alike):
            sums = np.zeros((len(weights), len(alike.counts)))
            for part in self._gathered_masses(i, weights):
                origin = alike.integrals.leaves.centre[part.groups]
                own = part.mass * (part.theta - origin[:, None])
                np.add.at(sums.T, part.groups, own.sum(axis=-1).T)
            covariances[alike.groups] = sums.T[alike.leaf_of]
        return covariances

    @cached_property
    def _effects(self) -> tuple[Floats, Floats]:
        """Means and sds of all effects, over the whole lattice and over half of it; (2, k) each."""
        mean, sd = self._function_moments(lambda theta: theta)
        leaves = self.model.leaves
        inside = leaves.falls_below & leaves.falls_above
        mean = np.where(inside | self.model.moment_exists(1), mean, np.nan)
        return mean, np.where(inside | self.model.moment_exists(2), sd, np.nan)

    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each effect, such as the probability; (k,) each.

        Parameters
        ----------
        function : callable
            From effects at the groups' own covariates, an array of any shape.
        """
        mean, sd = self._function_moments(function)
        return mean[0], sd[0]

    @one_blas_thread()
    def _function_moments(self, function: Function) -> tuple[Floats, Floats]:
        k = len(self.model.leaves)
        mean, sd = np.empty((2, k)), np.empty((2, k))
        for i, alike in enumerate(self.model.alike):
            own = moments_of_masses(
                self._gathered_masses(i, self._both_weights), len(alike.counts), function
            )
            mean[:, alike.groups], sd[:, alike.groups] = (part[:, alike.leaf_of] for part in own)
        return mean, sd

    def _masses(self, i: int, weights: Floats) -> Iterator[Masses]:
        """Masses of the effects of the i-th set of groups that are alike, over weights (m, J)."""
        alike = self.model.alike[i]
        mu = self.gamma @ alike.x
        return alike.integrals.masses(mu, self.tau, weights, self.log_integrals[i])

    def _gathered_masses(self, i: int, weights: Floats) -> Iterator[Masses]:
        """Masses whose sums of smooth functions are those of :meth:`_masses`, of fewer nodes."""
        if self._tables is None:
            return self._masses(i, weights)
        table = self._tables[i]
        nodes = table.gathered(self.tau, self.gamma @ table.alike.x, weights)
        return table.alike.integrals.masses(*nodes)

    @one_blas_thread()
    def effect_means(self, function: Callable[[Indices, Floats], Floats]) -> Floats:
        """Means of a function that differs by group, (k,).

        Parameters
        ----------
        function : callable
            From groups (g,) and effects (Z,) or (g, Z) to values (g, Z).
        """
        means = np.zeros(len(self.model.leaves))
        for i, alike in enumerate(self.model.alike):
            for part in self._masses(i, self.lattice.weights[None]):
                of_leaf, own = expanded(alike, part)
                values = function(own, part.theta if part.theta.ndim == 1 else part.theta[of_leaf])
                np.add.at(means, own, weighted(part.mass[0][of_leaf], values))
        return means


def _ratio(errors: Floats, target: float) -> Floats:
    """Ratios of the next spacings to the present ones, from their errors; (d,).

    As the Fourier transform of a normal density does, errors fall about as ``exp(−c/spacing²)``.
    """
    if errors.max(initial=0.0) <= target:  # the effects need what τ and γ do not
        return np.full(len(errors), FINER[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = MARGIN * np.sqrt(np.log(errors) / np.log(target))
    ratio = np.clip(np.nan_to_num(ratio, nan=0.0), *FINER)
    return np.where(errors <= target, 1.0, ratio)


def _affordable(ratio: Floats, posterior: LeafPosterior) -> Floats:
    """The same ratios, or ones nearer to 1, at which a lattice does not have too many points."""
    sets = [len(alike.counts) for alike in posterior.model.alike]
    work = sum(sets) if posterior.marginal.tables() is None else len(sets)
    most = min(MAX_WORK / max(1, work), MAX_POINTS) / len(posterior.lattice)
    if ratio.prod() * most >= 1:
        return ratio
    return ratio ** (np.log(max(most, 1.0)) / -np.log(ratio.prod()))
