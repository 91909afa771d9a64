"""The posterior by quadrature over τ, β, κ and λ: sums over lattices that are fine enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.nested.coordinates import NestedCoordinates
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.masses import LineMasses, MeanMasses
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.moments import inner_sums, moments_around, outer_sums
from hiermodels.exact.leaves.on_lattice import SdsOnLattice, largest_difference
from hiermodels.exact.leaves.refinement import refine
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

NEGLIGIBLE = 1e-16  # weight of a node that tells nothing of moments
GAIN = 2e-3  # by which errors of a table fall as its places are halved, at the least


@dataclass(frozen=True, eq=False, repr=False)
class NestedPosterior(SdsOnLattice):
    """A lattice over τ, β, κ and λ that is fine enough, and what it says.

    Attributes
    ----------
    marginal : NestedMarginal
    lattice : Lattice
    """

    marginal: NestedMarginal
    lattice: Lattice

    @classmethod
    @one_blas_thread()
    def of(cls, model: NestedModel, tol: float = TOLERANCE) -> NestedPosterior:
        """Integrate the posterior, which exists, with ever finer lattices.

        See :func:`~hiermodels.exact.leaves.refinement.refine`, also for ``tol`` and what it raises.

        Raises
        ------
        SpecError
            If it has more than four dimensions, or covariates and leaves that are not log-concave.
        """
        marginal = NestedMarginal(model)
        laid: list[Lattice] = []

        def lay(spacing: Floats) -> NestedPosterior:
            coarser = laid[-1] if laid else None
            laid.append(marginal.lattice(spacing, leave_out=True, coarser=coarser))
            return cls(marginal, laid[-1])

        return refine(lay, marginal.coordinates.dimension, tol)

    @property
    def model(self) -> NestedModel:
        """What is observed and assumed."""
        return self.marginal.model

    @property
    def coordinates(self) -> NestedCoordinates:
        """Of τ, β, κ and λ."""
        return self.marginal.coordinates

    @property
    def work(self) -> int:
        """Outer groups whose integrals each point takes."""
        return len(self.marginal.kinds)

    @property
    def mean(self) -> Floats:
        """Mean of outer effects at the middle of the covariates, at the nodes; (J,)."""
        return self.marginal.mean_of(self.gamma)

    @cached_property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of τ, β, κ, λ and all effects, where these exist, and of the
        coordinates; or what tables of the outer groups err by, if that is more.
        """
        effects = [largest_difference(*self._effects(level)) for level in (0, 1)]
        return float(np.max([*self.errors_by_axis, *effects, self._table_error]))

    @property
    def _table_error(self) -> float:
        """About the error of the lines' tables, by the lines' posterior masses."""
        weights = self.lattice.weights
        lines = self.marginal.lines(self.sds, self.gamma)
        return GAIN * sum(line.table.error * float(weights[own].sum()) for line, own in lines)

    @cached_property
    @one_blas_thread()
    def _masses(self) -> tuple[Floats, list[MeanMasses]]:
        """Sums over outer effects (2, m, S'), and masses of the groups' means.

        Under the weights of the whole lattice, of half of it, and those of covariances with each
        coefficient β, ``W_j (β_jq − E β_q)``.
        """
        weights = self.lattice.weights
        slopes = self.model.slopes_of(self.gamma)
        moved = weights * (slopes - weights @ slopes).T
        return self._summed(np.vstack([self.both_weights, moved]))

    def _summed(self, weights: Floats) -> tuple[Floats, list[MeanMasses]]:
        """Sums over outer effects, and masses of the groups' means, under weights (m, J)."""
        kinds, outer = self.marginal.kinds, np.zeros((2, len(weights), 1))
        means: list[MeanMasses] = []
        for _, lines in groupby(self.masses(weights), lambda own: own.line.table.tau):
            own = list(lines)
            outer = outer + outer_sums(kinds, own)
            means += MeanMasses.of(own)
        return outer, means

    def masses(self, weights: Floats) -> Iterator[LineMasses]:
        """Yield the posterior masses of the outer effects under weights (m, J) of the nodes."""
        kept = np.flatnonzero(np.abs(weights).max(axis=0) > NEGLIGIBLE)
        sds, mean, gamma = self.sds[kept], self.mean[kept], self.gamma[kept]
        for line, nodes in self.marginal.lines(sds, gamma):
            own = weights[:, kept[nodes]]
            yield LineMasses.of(line, mean[nodes], sds[nodes, 0], own)

    def effect_moments(self, level: int, at: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of effects; nan, where they do not exist.

        Parameters
        ----------
        level : int
            0 for the outer groups' μ_s, (S,) each; 1 for the groups' θ_i, (k,) each.
        at : (u, p), optional
            Covariates at which the effects are; by default the middle of all, for outer groups,
            and a group's own.
        """
        mean, sd = (own[0] for own in self._effects(level))
        if at is None:
            return mean, sd
        own_x = self.model.slopes_x if level else self.model.middle
        away = self.model.slopes_of(at) - own_x
        if not away.any():
            return mean, sd
        slopes, weights = self.model.slopes_of(self.gamma), self.lattice.weights
        first = weights @ slopes
        second = ((slopes - first) * weights[:, None]).T @ (slopes - first)
        between = np.einsum("uq,uq->u", away, self._covariances(level))
        variance = sd**2 + 2 * between + np.einsum("uq,qr,ur->u", away, second, away)
        start = int(self.model.has_intercept)
        lacks = [~self.model.coefficient_moments_exist(m)[start:] for m in (1, 2)]
        lost = [((away != 0) & lack).any(axis=1) for lack in lacks]
        mean = np.where(lost[0], np.nan, mean + away @ first)
        return mean, np.where(lost[1], np.nan, np.sqrt(np.maximum(variance, 0.0)))

    def _effects(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of effects, over the whole lattice and over half of it; (2, ·) each."""
        mean, sd = self._inner if level else self._outer
        exists = [self.model.effect_moments_exist(level, order) for order in (1, 2)]
        return np.where(exists[0], mean, np.nan), np.where(exists[1], sd, np.nan)

    def _covariances(self, level: int) -> Floats:
        """Covariances of effects and the coefficients β; (·, q)."""
        if level:
            return self._inner_sums[0, 2:, self.marginal.kinds.entry_of]
        return self._masses[0][0, 2:, self.marginal.kinds.kind_of]

    @cached_property
    def _outer(self) -> tuple[Floats, Floats]:
        """Means and sds of the outer effects; (2, S) each."""
        kinds = self.marginal.kinds
        own = moments_around(kinds.origin, *self._masses[0][:, :2])
        mean, sd = (part[:, kinds.kind_of] for part in own)
        return mean, sd

    @property
    def _inner(self) -> tuple[Floats, Floats]:
        """Means and sds of the groups' effects; (2, k) each."""
        return self._of_groups(self._inner_sums, lambda theta: theta)

    @cached_property
    @one_blas_thread()
    def _inner_sums(self) -> Floats:
        return inner_sums(self.marginal.kinds, self._masses[1], lambda theta: theta)

    def _of_groups(self, sums: Floats, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of the groups' effects, from sums (2, m, E); (2, k) each."""
        kinds = self.marginal.kinds
        own = moments_around(function(kinds.leaves.centre)[kinds.leaf], *sums[:, :2])
        mean, sd = (part[:, kinds.entry_of] for part in own)
        return mean, sd

    @one_blas_thread()
    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each group's effect, such as the probability; (k,) each.

        Parameters
        ----------
        function : callable
            From effects, an array of any shape.
        """
        sums = inner_sums(self.marginal.kinds, self._masses[1], function)
        mean, sd = self._of_groups(sums, function)
        return mean[0], sd[0]

    @one_blas_thread()
    def moments_over(self, weights: Floats, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each effect, with two weights (2, J); (2, k) each."""
        means = self._summed(weights)[1]
        return self._of_groups(inner_sums(self.marginal.kinds, means, function), function)
