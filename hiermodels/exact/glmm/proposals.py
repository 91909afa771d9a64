"""Where draws of τ and of the coefficients are proposed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.exact.glmm.envelope import RadialLaw, largest_reach
from hiermodels.exact.glmm.modes import CountModel
from hiermodels.exact.glmm.path import ModePath
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics import lattice, rejection
from hiermodels.numerics.lattice import Lattice, LogDensity

WIDER = 1.02  # times N: for what lies between nodes of the path
SPACING = 0.25  # sds of the coordinate of τ
BELOW, ABOVE = 4.0, 12.0  # logs of variances around s², between which the rows speak of τ²
SCAN = 0.5  # of the coordinate of τ, in the first look at the density


@dataclass(frozen=True, eq=False)
class Proposals:
    """What the draws are proposed from.

    Attributes
    ----------
    path : ModePath
    axis : SdAxis, optional
        The coordinate of τ; None where it is fixed.
    """

    path: ModePath
    axis: SdAxis | None

    @classmethod
    def of(cls, model: CountModel, prior: VariancePrior) -> Self:
        """Lay the path over what a prior of τ and the rows allow."""
        if isinstance(prior, Fixed):
            return cls(ModePath.at_one(model, prior.value), None)
        path = ModePath.of(model, prior.log_density_log_sd, prior.upper)
        low = float(np.log(path.shift))
        high = min(low + ABOVE, 2 * float(np.log(path.largest)))
        return cls(path, SdAxis(prior, 1.0, (low - BELOW, max(high, low))))

    @cached_property
    def log_most(self) -> Floats:
        """``log M`` at each node of the path, (n,)."""
        rows, path = self.path.model.rows, self.path
        bounds = [
            largest_reach(rows, factor, information)
            for factor, information in zip(path.factor, path.information, strict=True)
        ]
        return np.log(WIDER * np.array(bounds))

    def most(self, weights: Floats) -> Floats:
        """M at values of τ with these weights of the nodes (J, n); (J,)."""
        return np.exp(weights @ self.log_most)

    @cached_property
    def log_volume(self) -> Floats:
        """``log|U|`` at each node of the path; (n,)."""
        return np.log(np.diagonal(self.path.factor, axis1=1, axis2=2)).sum(axis=1)

    @cached_property
    def _log_height(self) -> Floats:
        """``f̂ + log|U| + log R(M)`` at each node; (n,)."""
        radial = RadialLaw(np.exp(self.log_most), self.path.gamma.shape[1])
        return self.path.height + self.log_volume + radial.log_mass

    def log_density(self, points: Floats) -> Floats:
        """Of the coordinates (J, 1) at which τ is proposed; (J,)."""
        return self._at(points, self._log_height)

    def log_mass(self, points: Floats) -> Floats:
        """About the log density of coordinates of τ (J, 1), γ integrated out, by Laplace; (J,)."""
        return self._at(points, self.path.height + self.log_volume)

    def _at(self, points: Floats, height: Floats) -> Floats:
        """Log prior density of coordinates (J, 1), plus heights that are known at the nodes."""
        return self.log_prior(points) + self.path.weights(self.tau_of(points)) @ height

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

    @cached_property
    def lattice(self) -> Lattice:
        """A lattice over the coordinate of τ."""
        return self._lattice(self.log_density)

    @cached_property
    def laplace_lattice(self) -> Lattice:
        """The same for Laplace's approximation, :meth:`log_mass`."""
        return self._lattice(self.log_mass)

    def _lattice(self, log_density: LogDensity) -> Lattice:
        """A lattice on which a density of the coordinate of τ is drawn."""
        if self.axis is None:
            return Lattice.of_nothing(np.zeros(1))
        places = self.axis.pilot_places(SCAN)[:, None]
        start = places[[int(np.argmax(log_density(places)))]]
        scale = lattice.find_modes(log_density, start)
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
        log_mass = RadialLaw(self.most(nodes), p).log_mass
        share = np.exp(0.5 * p * LOG_2PI - log_area - log_mass)
        return float(self.lattice.weights @ share / self.lattice.weights.sum())

    def tau(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw τ; (size,)."""
        return self.tau_of(rejection.draw(self.lattice, self.log_density, size, rng).points)
