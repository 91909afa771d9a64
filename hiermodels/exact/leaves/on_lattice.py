"""What a lattice over sds and coefficients says of these, whatever lies below them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.errors import SpecError
from hiermodels.exact.precision import both_weights, errors_of_values, moments_of
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.lattice import Lattice

SMALLEST = float(np.finfo(float).tiny)  # sd


class SdCoordinates(Protocol):
    """Coordinates of sds and coefficients."""

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""

    @property
    def sd_axes(self) -> tuple[tuple[int, SdAxis] | None, ...]:
        """Of the sds, outermost first: which coordinate and its axis; None where it is fixed."""

    def sds(self, points: Floats) -> Floats:
        """Values of the sds at points (n, d), outermost first; (n, levels)."""

    def gamma(self, points: Floats) -> Floats:
        """Coefficients at points (n, d); (n, p)."""


class SdModel(Protocol):
    """A model of levels with an sd each, and of coefficients."""

    @property
    def leaves(self) -> Leaves:
        """Of the k innermost groups."""

    @property
    def x(self) -> Floats:
        """Covariates of the innermost groups, with the intercept's; (k, p)."""

    @property
    def mean(self) -> Floats:
        """Of the priors of the coefficients; (p,)."""

    @property
    def fixed_sds(self) -> tuple[float | None, ...]:
        """Values of the sds that are known, outermost first."""

    def sd_moment_exists(self, level: int, order: int) -> bool:
        """Whether the sd of a level has a finite moment of an order."""

    def coefficient_moments_exist(self, order: int) -> Flags:
        """Which coefficients have a finite moment of an order; (p,)."""


class SdsOnLattice(ABC):
    """Nodes of a lattice over the sds of levels, outermost first, and coefficients."""

    lattice: Lattice

    @property
    @abstractmethod
    def model(self) -> SdModel:
        """What is observed and assumed."""

    @property
    @abstractmethod
    def coordinates(self) -> SdCoordinates:
        """Of the lattice's points."""

    @property
    @abstractmethod
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""

    @cached_property
    def sds(self) -> Floats:
        """Values of the sds at the nodes, outermost first; (J, levels)."""
        return self.coordinates.sds(self.lattice.points)

    @cached_property
    def gamma(self) -> Floats:
        """Coefficients at the nodes; (J, p)."""
        return self.coordinates.gamma(self.lattice.points)

    @property
    def log_integral(self) -> float:
        """Log marginal likelihood, with all constants; meaningful if all priors are proper."""
        return self.lattice.log_integral

    @cached_property
    def errors_by_axis(self) -> Floats:
        """Errors of the moments that exist of sds, γ and the coordinates, in sds; (d,)."""
        model = self.model
        free = [
            level
            for level, fixed in enumerate(model.fixed_sds)
            if fixed is None and model.sd_moment_exists(level, 2)
        ]
        gamma = self.gamma[:, model.coefficient_moments_exist(2)]
        return errors_of_values(
            np.hstack([self.lattice.points, gamma, self.sds[:, free]]), self.lattice
        )

    @property
    def both_weights(self) -> Floats:
        """Weights over the whole lattice and over half of its points; (2, J)."""
        return both_weights(self.lattice) if self.coordinates.dimension else np.ones((2, 1))

    def sd_moments(self, level: int) -> tuple[float, float]:
        """Mean and sd of the sd of a level; nan, where they do not exist."""
        exist = [np.array([self.model.sd_moment_exists(level, order)]) for order in (1, 2)]
        (mean,), (sd,) = self._moments_of_nodes(self.sds[:, level, None], exist)
        return mean, sd

    def sd_quantiles(self, level: int, probabilities: Floats) -> Floats:
        """Quantiles of the sd of a level; (p,)."""
        free = self.coordinates.sd_axes[level]
        if free is None:
            return np.full(len(probabilities), self.model.fixed_sds[level])
        number, axis = free
        return np.exp(axis.log_sd(self.lattice.quantile(number, probabilities)))

    def sd_cdf(self, level: int, values: Floats) -> Floats:
        """Probability that the sd of a level is at most each of the values (n,); (n,)."""
        free = self.coordinates.sd_axes[level]
        if free is None:
            return np.where(values >= np.array(self.model.fixed_sds[level]), 1.0, 0.0)
        number, axis = free
        below = self.lattice.cdf(number, axis.coordinate(np.maximum(values, SMALLEST)))
        return np.where(values > 0, below, 0.0)

    def sd_density(self, level: int, values: Floats) -> Floats:
        """Density of the sd of a level at values (n,); (n,).

        Raises
        ------
        SpecError
            If the sd is fixed.
        """
        free = self.coordinates.sd_axes[level]
        if free is None:
            fixed = self.model.fixed_sds[level]
            raise SpecError(f"an sd that is fixed at {fixed:g} has no density")
        number, axis = free
        inside = np.maximum(values, SMALLEST)
        u = axis.coordinate(inside)
        density = self.lattice.density(number, u) * np.exp(-axis.log_slope(u)) / inside
        return np.where(values > 0, density, 0.0)

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


def largest_difference(mean: Floats, sd: Floats) -> float:
    """Largest difference of means and sds (2, k) over a lattice and over half of it, in sds."""
    if not mean.shape[1]:
        return 0.0
    with np.errstate(invalid="ignore"):
        differences = [np.abs(mean[1] - mean[0]) / sd[0], np.abs(sd[1] / sd[0] - 1)]
    return float(np.nanmax(differences, initial=0.0))
