"""The posterior by quadrature over τ, κ and λ: sums over lattices that are fine enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.nested.coordinates import NestedCoordinates
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.masses import LineMasses
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.moments import inner_moments, outer_moments
from hiermodels.exact.leaves.on_lattice import SdsOnLattice, largest_difference
from hiermodels.exact.leaves.refinement import refine
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

NEGLIGIBLE = 1e-16  # weight of a node that tells nothing of moments


@dataclass(frozen=True, eq=False, repr=False)
class NestedPosterior(SdsOnLattice):
    """A lattice over τ, κ and λ that is fine enough, and what it says.

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
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        Parameters
        ----------
        model : NestedModel
            Whose posterior exists.
        tol : float
            Posterior sds that two spacings may differ by.

        Raises
        ------
        PrecisionError
            If two spacings differ by more than 1e-3, or no lattice can hold the posterior.
        SpecError
            If there are covariates, or leaves that are not log-concave.

        Warns
        -----
        PrecisionWarning
            If two spacings differ by more than ``tol``.
        """
        marginal = NestedMarginal(model)

        def lay(spacing: Floats) -> NestedPosterior:
            return cls(marginal, marginal.lattice(spacing, leave_out=True))

        return refine(lay, marginal.coordinates.dimension, tol)

    @property
    def model(self) -> NestedModel:
        """What is observed and assumed."""
        return self.marginal.model

    @property
    def coordinates(self) -> NestedCoordinates:
        """Of τ, κ and λ."""
        return self.marginal.coordinates

    @property
    def work(self) -> int:
        """Outer groups whose integrals each point takes."""
        return len(self.marginal.kinds)

    @property
    def mean(self) -> Floats:
        """λ at the nodes, or 0 without it; (J,)."""
        return self.marginal.mean_of(self.gamma)

    @cached_property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of τ, κ, λ and all effects, where these exist, and the coordinates.
        """
        effects = [largest_difference(*self._effects(level)) for level in (0, 1)]
        return float(np.max([*self.errors_by_axis, *effects]))

    @cached_property
    @one_blas_thread()
    def line_masses(self) -> list[LineMasses]:
        """Masses of the outer effects, over the whole lattice and over half of it, by line."""
        return list(self.masses(self.both_weights))

    def masses(self, weights: Floats) -> Iterator[LineMasses]:
        """Yield the posterior masses of the outer effects under weights (m, J) of the nodes."""
        kept = np.flatnonzero(np.abs(weights).max(axis=0) > NEGLIGIBLE)
        sds, mean = self.sds[kept], self.mean[kept]
        for line, nodes in self.marginal.lines(sds):
            own = weights[:, kept[nodes]]
            yield LineMasses.of(line, mean[nodes], sds[nodes, 0], own)

    def effect_moments(self, level: int, at: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of effects; nan, where they do not exist.

        Parameters
        ----------
        level : int
            0 for the outer groups' μ_s, (S,) each; 1 for the groups' θ_i, (k,) each.
        at : (k, p), optional
            Covariates at which the effects are: there are none but the intercept.
        """
        mean, sd = self._effects(level)
        return mean[0], sd[0]

    def _effects(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of effects, over the whole lattice and over half of it; (2, ·) each."""
        mean, sd = self._inner if level else self._outer
        exists = [self.model.effect_moments_exist(level, order) for order in (1, 2)]
        return np.where(exists[0], mean, np.nan), np.where(exists[1], sd, np.nan)

    @cached_property
    def _outer(self) -> tuple[Floats, Floats]:
        """Means and sds of the outer effects; (2, S) each."""
        return outer_moments(self.marginal.kinds, self.line_masses)

    @cached_property
    def _inner(self) -> tuple[Floats, Floats]:
        """Means and sds of the groups' effects; (2, k) each."""
        return self._function_moments(lambda theta: theta)

    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each group's effect, such as the probability; (k,) each.

        Parameters
        ----------
        function : callable
            From effects, an array of any shape.
        """
        mean, sd = self._function_moments(function)
        return mean[0], sd[0]

    def moments_over(self, weights: Floats, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each effect, with two weights (2, J); (2, k) each."""
        return inner_moments(self.marginal.kinds, list(self.masses(weights)), function)

    def _function_moments(self, function: Function) -> tuple[Floats, Floats]:
        return inner_moments(self.marginal.kinds, self.line_masses, function)
