"""Where draws of the sds and of the coefficients are proposed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.exact.glmm.envelope import RadialLaw, largest_reach
from hiermodels.exact.glmm.modes import CountModel, Modes
from hiermodels.exact.glmm.path import ModePath
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics import lattice, rejection
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.modes import find_modes

WIDER = 1.02  # times N: for what lies between nodes of the path
SPACING = 0.25  # sds of the coordinate of τ
BELOW, ABOVE = 4.0, 12.0  # logs of variances around s², between which the rows speak of τ²
SCAN = 0.5  # of the coordinate of τ, in the first look at the density


@dataclass(frozen=True, eq=False)
class AnyProposals[P: Modes](ABC):
    """What draws of the sds and the coefficients are proposed from.

    Attributes
    ----------
    path : Modes
    """

    path: P
    wider_cap: ClassVar[float] = WIDER  # times M
    higher: ClassVar[float] = 1e-4  # the logarithm of the bound, for what lies between nodes

    @property
    @abstractmethod
    def pilot_places(self) -> Floats:
        """Coordinates of the sds that are looked at first; (m, d)."""

    @abstractmethod
    def tau_of(self, points: Floats) -> Floats:
        """The sds at their coordinates (J, d), of which there are none where they are fixed."""

    @abstractmethod
    def log_prior(self, points: Floats) -> Floats:
        """Log prior density of coordinates (J, d), −∞ beyond the path; (J,)."""

    @cached_property
    def log_most(self) -> Floats:
        """``log M`` at each node of the path, (n,)."""
        rows, path = self.path.model.outermost, self.path
        bounds = [
            largest_reach(rows, factor, information)
            for factor, information in zip(path.factor, path.information, strict=True)
        ]
        return np.log(self.wider_cap * np.array(bounds))

    @cached_property
    def log_radial(self) -> Floats:
        """``log R(M)`` at each node; (n,)."""
        return RadialLaw(np.exp(self.log_most), self.path.gamma.shape[1]).log_mass

    @cached_property
    def log_volume(self) -> Floats:
        """``log|U|`` at each node of the path; (n,)."""
        return np.log(np.diagonal(self.path.factor, axis1=1, axis2=2)).sum(axis=1)

    @cached_property
    def _log_height(self) -> Floats:
        """``f̂ + log|U| + log R(M)`` at each node; (n,)."""
        return self.path.height + self.log_volume + self.log_radial

    def log_density(self, points: Floats) -> Floats:
        """Of the coordinates (J, d) at which the sds are proposed; (J,)."""
        return self._at(points, self._log_height)

    def log_mass(self, points: Floats) -> Floats:
        """About the log density of coordinates (J, d), γ integrated out, by Laplace; (J,)."""
        return self._at(points, self.path.height + self.log_volume)

    def _at(self, points: Floats, height: Floats) -> Floats:
        """Log prior density of coordinates (J, d), plus heights that are known at the nodes."""
        return self.log_prior(points) + self.path.weights(self.tau_of(points)) @ height

    @cached_property
    def lattice(self) -> Lattice:
        """A lattice over the coordinates of the sds that are not fixed."""
        return self._lattice(self.log_density)

    @cached_property
    def laplace_lattice(self) -> Lattice:
        """The same for Laplace's approximation, :meth:`log_mass`."""
        return self._lattice(self.log_mass)

    def _lattice(self, log_density: LogDensity) -> Lattice:
        """A lattice on which a density of these coordinates is drawn."""
        places = self.pilot_places
        if not places.shape[1]:
            return Lattice.of_nothing(np.zeros(1))
        start = places[[int(np.argmax(log_density(places)))]]
        scale = find_modes(log_density, start)
        return lattice.grow(log_density, scale, SPACING, lambda points: np.zeros(len(points)))

    @property
    def acceptance(self) -> float:
        """About the share of proposals that are accepted below the bound.

        It is the ratio of the masses: of the density, by Laplace's approximation, and below the
        bound in all directions, ``(2π)^{p/2} / {S R(M)}``, S being the area of the unit sphere.
        """
        from scipy.special import gammaln

        p = self.path.gamma.shape[1]
        nodes = self.path.weights(self.tau_of(self.lattice.points))
        log_area = np.log(2) + 0.5 * p * np.log(np.pi) - gammaln(0.5 * p)
        share = np.exp(0.5 * p * LOG_2PI - log_area - nodes @ self.log_radial)
        return float(self.lattice.weights @ share / self.lattice.weights.sum())

    def tau(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw the sds; (size,), or (size, 2)."""
        return self.tau_of(rejection.draw(self.lattice, self.log_density, size, rng).points)


@dataclass(frozen=True, eq=False)
class Proposals(AnyProposals[ModePath]):
    """Those of τ and the coefficients.

    Attributes
    ----------
    axis : SdAxis, optional
        The coordinate of τ; None where it is fixed.
    """

    axis: SdAxis | None

    @classmethod
    def of(cls, model: CountModel, prior: VariancePrior) -> Self:
        """Lay the path over what a prior of τ and the rows allow."""
        if isinstance(prior, Fixed):
            return cls(ModePath.at_one(model, prior.value), None)
        path = ModePath.of(model, prior.log_density_log_sd, prior.upper)
        return cls(path, axis_of(prior, path.shift, path.largest))

    def log_prior(self, points: Floats) -> Floats:
        """Log prior density of coordinates of τ (J, 1), −∞ beyond the path; (J,)."""
        if self.axis is None:
            return np.zeros(len(points))
        log_tau, tau = self.axis.log_sd(points[:, 0]), self.tau_of(points)
        prior = self.axis.log_prior(log_tau) + self.axis.log_slope(points[:, 0])
        inside = (self.path.smallest <= tau) & (tau <= self.path.largest)
        return np.where(inside, prior, -np.inf)

    def tau_of(self, points: Floats) -> Floats:
        """τ at its coordinates (J, 1), or at nothing (J, 0) where it is fixed; (J,)."""
        if self.axis is None:
            return np.full(len(points), self.path.largest)
        with np.errstate(over="ignore"):
            return np.exp(self.axis.log_sd(points[:, 0]))

    @property
    def pilot_places(self) -> Floats:
        """Where τ is looked at first; (m, 1), or (1, 0) where it is fixed."""
        return np.empty((1, 0)) if self.axis is None else self.axis.pilot_places(SCAN)[:, None]


def axis_of(prior: VariancePrior, shift: float, largest: float) -> SdAxis:
    """The coordinate of an sd, about whose square the rows speak around a shift."""
    low = float(np.log(shift))
    high = min(low + ABOVE, 2 * float(np.log(largest)))
    return SdAxis(prior, 1.0, (low - BELOW, max(high, low)))
