"""The posterior by quadrature over τ and γ: lattices that are fine enough, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.many_counts import InterpolatedAlike
from hiermodels.exact.leaves.marginal import LeafMarginal, Parts
from hiermodels.exact.leaves.mass_sums import Function, expanded, moments_of_masses, weighted
from hiermodels.exact.leaves.model import Alike, Gathered, LeafModel
from hiermodels.exact.leaves.on_lattice import SdsOnLattice, largest_difference
from hiermodels.exact.leaves.refinement import refine
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

SPACING = {3: np.array([0.5, 0.4, 0.4])}  # of a first lattice that is mostly fine enough


@dataclass(frozen=True, eq=False, repr=False)
class LeafPosterior(SdsOnLattice):
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
    def of(cls, model: LeafModel, tol: float = TOLERANCE) -> LeafPosterior:
        """Integrate the posterior, which exists, with ever finer lattices.

        See :func:`~hiermodels.exact.leaves.refinement.refine`, also for ``tol`` and what it raises.

        Raises
        ------
        SpecError
            If it has more than five dimensions.
        """
        marginal = LeafMarginal(model)

        def lay(spacing: Floats) -> LeafPosterior:
            return cls(marginal, marginal.lattice(spacing, leave_out=True))

        return refine(lay, marginal.coordinates.dimension, tol, SPACING)

    @property
    def model(self) -> LeafModel:
        """What is observed and assumed."""
        return self.marginal.model

    @property
    def coordinates(self) -> Coordinates:
        """Of τ and γ."""
        return self.marginal.coordinates

    @property
    def tau(self) -> Floats:
        """Values of τ at the nodes; (J,)."""
        return self.sds[:, 0]

    @property
    def work(self) -> int:
        """Leaves whose integrals each point takes."""
        return sum(len(part.counts) for part in self._parts)

    @cached_property
    def _parts(self) -> Parts:
        return self.marginal.parts()

    @one_blas_thread()
    def log_integrals(self, groups: Indices | None = None) -> Iterator[tuple[Alike, Floats]]:
        """Yield sets of groups that are alike and ``log m_ij`` of their distinct leaves (u, J).

        Parameters
        ----------
        groups : (g,), optional
            Groups of which the sets are wanted; by default all.
        """
        for i, part in enumerate(self._parts):
            if groups is None or np.isin(groups, part.groups).any():
                if isinstance(part, InterpolatedAlike):
                    yield part.alike, part.alike.log_integrals(self.tau, self.gamma)
                    continue
                own, first = self._log_integrals(i), 0
                for alike in part.sets:
                    yield alike, own[first : (first := first + len(alike.counts))]

    def _log_integrals(self, i: int) -> Floats:
        """``log m_ij`` of the leaves of the i-th part; (u, J)."""
        if i not in self._last:
            self._last.clear()
            self._last[i] = self._parts[i].log_integrals(self.tau, self.gamma)
        return self._last[i]

    @cached_property
    def _last(self) -> dict[int, Floats]:
        """Log integrals of the part that was asked for last."""
        return {}

    @cached_property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of τ, γ and all effects, where these exist, and the coordinates.
        """
        return float(np.max([*self.errors_by_axis, largest_difference(*self._effects)]))

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
        covariances = np.zeros((len(self.model.leaves), len(self.model.mean)))
        for part, gathered in zip(self._parts, self._gathered, strict=True):
            sums = np.zeros((covariances.shape[1], len(part.counts)))
            for some in gathered.masses(part.integrals, slice(2, None)):
                origin = part.integrals.leaves.centre[some.groups]
                own = some.mass * (some.theta - origin[:, None])
                np.add.at(sums.T, some.groups, own.sum(axis=-1).T)
            covariances[part.groups] = part.of_groups(sums).T
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

    def _function_moments(self, function: Function) -> tuple[Floats, Floats]:
        return self._moments_over(self._gathered, function)

    def moments_over(self, weights: Floats, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each effect, with two weights (2, J); (2, k) each."""
        return self._moments_over(self._gather(weights), function)

    @one_blas_thread()
    def _moments_over(self, gathered: list[Gathered], function: Function) -> tuple[Floats, Floats]:
        """The same, of nodes with their weights; the first two of these count."""
        k = len(self.model.leaves)
        mean, sd = np.empty((2, k)), np.empty((2, k))
        for part, nodes in zip(self._parts, gathered, strict=True):
            masses = nodes.masses(part.integrals, slice(0, 2))
            own = moments_of_masses(masses, len(part.counts), function)
            mean[:, part.groups], sd[:, part.groups] = (part.of_groups(each) for each in own)
        return mean, sd

    @cached_property
    def _gathered(self) -> list[Gathered]:
        """Where each part of the groups sees the nodes.

        These weigh what they do in the whole lattice, in half of it, and in covariances with each
        coefficient.
        """
        moved = self.lattice.weights[:, None] * (self.gamma - self._gamma_moments[0])
        return self._gather(np.vstack([self.both_weights, moved.T]))

    def _gather(self, weights: Floats) -> list[Gathered]:
        """Where each part of the groups sees the nodes, with weights (m, J)."""
        return [
            part.gathered(self.tau, self.gamma, weights, partial(self._log_integrals, i))
            for i, part in enumerate(self._parts)
        ]

    @one_blas_thread()
    def effect_means(self, function: Callable[[Indices, Floats], Floats]) -> Floats:
        """Means of a function that differs by group, (k,).

        Parameters
        ----------
        function : callable
            From groups (g,) and effects (Z,) or (g, Z) to values (g, Z).
        """
        means = np.zeros(len(self.model.leaves))
        weights = self.lattice.weights[None]
        for alike, own in self.log_integrals():
            nodes = Gathered(self.gamma @ alike.x, self.tau, weights, own)
            for part in nodes.masses(alike.integrals, slice(1)):
                of_leaf, groups = expanded(alike, part)
                theta = part.theta if part.theta.ndim == 1 else part.theta[of_leaf]
                values = function(groups, theta)
                np.add.at(means, groups, weighted(part.mass[0][of_leaf], values))
        return means
