"""Coordinates of sds and, where it is not integrated, of σ, that suit a lattice.

A point has a coordinate for each unknown sd, those of correlations behind them if there are any,
and σ last.  Those of sds are log variances, bent outside the range in which the data speak
(:mod:`hiermodels.exact.sd_axis`): of θ = τ/σ, if the model is *relative*, whose σ is integrated, or
else of τ itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.normal_model import NormalModel
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed, FlatSD

Z_PLACES = (-1.0, 0.0, 1.0)  # of the pilot grid
BEYOND = 4.0  # log variances by which the range goes beyond errors and spreads


@dataclass(frozen=True)
class Values:
    """Hyperparameters at n nodes.

    Attributes
    ----------
    log_theta : (m, n)
        Logarithm of each sd relative to σ; −∞ for 0.  Those of strata are the last ones.
    z : (k, n)
        Canonical partial correlations, as ``atanh``.
    log_sigma : (n,), optional
        Unless it is integrated.
    log_prior : (n,)
        Log density of the coordinates, but for what σ's integral takes.
    """

    log_theta: Floats
    z: Floats
    log_sigma: Floats | None
    log_prior: Floats

    def at(self, nodes: Indices) -> Values:
        """The same at some nodes."""
        log_sigma = None if self.log_sigma is None else self.log_sigma[nodes]
        return Values(self.log_theta[:, nodes], self.z[:, nodes], log_sigma, self.log_prior[nodes])


class SdCoordinates[M: NormalModel](ABC):
    """Points (n, d) and what they mean.

    Attributes
    ----------
    model : NormalModel
    """

    model: M

    @property
    @abstractmethod
    def _ranges(self) -> Sequence[tuple[float, float]]:
        """Log variances relative to σ² between which the data speak of each sd."""

    @cached_property
    def axes(self) -> tuple[SdAxis | float, ...]:
        """The coordinate of each sd, or the sd if it is fixed."""
        return tuple(map(self._axis, self.model.sd_priors, self._ranges))

    @cached_property
    def sigma_axis(self) -> SdAxis | float | None:
        """The coordinate of σ, or σ if it is fixed; None if it is integrated."""
        if self.model.relative:
            return None
        return self._axis(self.model.sigma, (-BEYOND, BEYOND))

    def _axis(self, prior: VariancePrior, informed: tuple[float, float]) -> SdAxis | float:
        if isinstance(prior, Fixed):
            return prior.value
        if self.model.relative:
            return SdAxis(FlatSD(), 1.0, self._with_end(prior, informed))
        return SdAxis(prior, self.model.typical_sigma, informed)

    def _with_end(self, prior: VariancePrior, informed: tuple[float, float]) -> tuple[float, float]:
        """The range in which the data speak, and to where a prior ends at small sds, if it does."""
        low, high = informed
        if not math.isfinite(prior.lower_tail):
            low = SdAxis(prior, self.model.typical_sigma, informed).range[0]
        return low, high

    @cached_property
    def on_lattice(self) -> tuple[int | None, ...]:
        """Coordinate of each sd; None if it is fixed."""
        free = iter(range(len(self.axes)))
        return tuple(next(free) if isinstance(axis, SdAxis) else None for axis in self.axes)

    @property
    def n_sds(self) -> int:
        """Number of coordinates of sds."""
        return sum(j is not None for j in self.on_lattice)

    @property
    def n_correlations(self) -> int:
        """Number of coordinates of correlations."""
        return 0

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return self.n_sds + self.n_correlations + isinstance(self.sigma_axis, SdAxis)

    def values(self, points: Floats) -> Values:
        """Hyperparameters at points (n, d)."""
        n = len(points)
        log_prior, log_sd = np.zeros(n), np.empty((len(self.axes), n))
        for row, j, axis in zip(log_sd, self.on_lattice, self.axes, strict=True):
            row[:] = self._log_sd(axis, points, j, log_prior)
        log_sigma = None
        if self.sigma_axis is not None:
            log_sigma = self._log_sd(self.sigma_axis, points, -1, log_prior)
            log_sd -= log_sigma
        z = self._z_of(points[:, self.n_sds : self.n_sds + self.n_correlations], log_prior)
        return Values(log_sd, z, log_sigma, log_prior)

    def _z_of(self, points: Floats, log_prior: Floats) -> Floats:
        """Correlations as z (k, n) of coordinates (n, k), whose log prior density is added."""
        del log_prior
        return points.T

    def _log_sd(
        self, axis: SdAxis | float, points: Floats, j: int | None, log_prior: Floats
    ) -> Floats:
        """Log sds at points, whose log prior density is added; (n,)."""
        if not isinstance(axis, SdAxis):
            with np.errstate(divide="ignore"):
                return np.full(len(points), np.log(axis))
        assert j is not None
        u = points[:, j]
        log_sd = axis.log_sd(u)
        log_prior += axis.log_slope(u)
        if not self.model.relative:
            log_prior += axis.log_prior(log_sd)
        return log_sd + np.log(axis.scale)

    def correlations(self, values: Values) -> Floats:
        """Correlations; (k, n)."""
        return values.z

    def pilot_places(self, step: float) -> list[Floats]:
        """Coordinates of a coarse grid, axis by axis."""
        axes = [axis for axis in self.axes if isinstance(axis, SdAxis)]
        places = [axis.pilot_places(step) for axis in axes]
        places += [np.array(Z_PLACES)] * self.n_correlations
        if isinstance(self.sigma_axis, SdAxis):
            places.append(self.sigma_axis.pilot_places(step))
        return places
