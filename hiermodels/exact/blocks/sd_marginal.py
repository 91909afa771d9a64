"""The marginal posterior of sds, and its lattice: what is alike whatever integrates effects out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.exact.blocks.normal_model import NormalModel
from hiermodels.exact.blocks.rays import RayTails
from hiermodels.exact.blocks.residual_scale import ResidualScale, ScaleLaw
from hiermodels.exact.blocks.sd_coordinates import SdCoordinates, Values
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.lattice_errors import within_range
from hiermodels.numerics import lattice
from hiermodels.numerics.finer import points_within
from hiermodels.numerics.lattice import Lattice, LogDensity, LogWeight
from hiermodels.numerics.modes import find_modes, peaks

SCAN_STEP = {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 3.0, 6: 3.0}  # of the pilot grid
MAX_ASCENTS = 8  # from its peaks, the highest first
FAR_BELOW = 100.0  # for each row: of the log density, between its peaks on the grid
DROP = 32.0  # of the log density, at which the lattice ends

FAR = "Their priors lie too far from the data, or are too narrow; check their unit"


class SdMarginal[M: NormalModel](ABC):
    """``p(y, u)`` at points u, all effects and coefficients integrated out.

    Attributes
    ----------
    model : NormalModel
    tails : RayTails
        Which moments exist.
    """

    model: M
    tails: RayTails[M]

    @property
    def orders(self) -> Floats:
        """Highest moment of each sd, σ last, that is asked for and exists; (m + 1,)."""
        return self.tails.orders

    def coefficients_exist(self, order: int) -> Flags:
        """Which coefficients have a moment of an order; (c,)."""
        return self.tails.coefficients_exist(order)

    @property
    @abstractmethod
    def shift(self) -> Floats:
        """What is taken from the coefficients; (c,)."""

    @property
    @abstractmethod
    def residual(self) -> M:
        """The model of the outcome less what the shift explains."""

    @property
    @abstractmethod
    def coordinates(self) -> SdCoordinates[M]:
        """Of all that is on the lattice."""

    @property
    def error(self) -> float:
        """Largest error of the log density, where it is interpolated."""
        return 0.0

    @abstractmethod
    def root(self, values: Values) -> Root:
        """What all rows say of the coefficients, less the shift, and of σ."""

    @cached_property
    def scale(self) -> ResidualScale:
        """The integral over σ."""
        return ResidualScale(self.residual)

    def log_density(self, points: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; (n,)."""
        values = self.coordinates.values(points)
        return self.log_density_of(values, self.root(values))

    def log_density_of(self, values: Values, root: Root) -> Floats:
        """The same of hyperparameters, with what all rows say at these."""
        if values.log_sigma is None:
            return values.log_prior + self.scale.log_integral(root, values.log_theta)
        sigma, model = np.exp(values.log_sigma), self.residual
        root = root.with_prior(model.mean, model.precision, sigma)
        likelihood = root.log_likelihood(sigma, model.n_rows, model.log_weight)
        return values.log_prior + likelihood

    def scale_law(self, values: Values, root: Root) -> ScaleLaw:
        """Law of σ and of the coefficients at nodes, β less the anchor."""
        if values.log_sigma is None:
            return self.scale.law(root, values.log_theta)
        sigma = np.exp(values.log_sigma)
        root = root.with_prior(self.residual.mean, self.residual.precision, sigma)
        law = CoefficientLaw(root.mean, root.covariance * sigma**2, sigma**2)
        return ScaleLaw(sigma, law)

    @property
    def scan_step(self) -> float:
        """Distance of points on the pilot grid."""
        return SCAN_STEP[self.coordinates.dimension]

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: Newton's method from the peaks on a coarse grid."""
        places = self.coordinates.pilot_places(self.scan_step)
        grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
        with self.within_range():
            log_densities = self.log_density(grid.reshape(-1, len(places)))
        return self.modes_near(grid, log_densities.reshape(grid.shape[:-1]))

    def modes_near(self, grid: Floats, log_densities: Floats) -> lattice.ModesAndScale:
        """Climb from the peaks on a coarse grid (..., d) with log densities (...).

        Where these are far below all others, rounding makes peaks of them.
        """
        lowest = log_densities.max() - FAR_BELOW * (10 + self.residual.n_rows)
        tops = np.flatnonzero(peaks(log_densities) & (log_densities >= lowest))
        highest = tops[np.argsort(-log_densities.flat[tops], kind="stable")][:MAX_ASCENTS]
        starts = grid.reshape(-1, grid.shape[-1])[highest]
        with self.within_range():
            return find_modes(self.climbed, starts)

    @property
    def climbed(self) -> LogDensity:
        """The log density that is climbed."""
        return self.log_density

    def lattice(self, spacing: float | Floats) -> Lattice:
        """Lay a lattice over the posterior: see :meth:`laid`."""
        return self.laid(spacing)[0]

    def laid(self, spacing: float | Floats, coarse: Lattice | None = None) -> tuple[Lattice, Root]:
        """Lay a lattice over the posterior, wide enough for the moments of sds that exist.

        Parameters
        ----------
        spacing : float or (d,)
        coarse : Lattice, optional
            A coarser one, which tells at which points to begin.

        Returns
        -------
        Lattice, Root
            With what the rows say at its nodes.
        """
        if not self.coordinates.dimension:
            values = self.coordinates.values(np.empty((1, 0)))
            root = self.root(values)
            return Lattice.of_nothing(self.log_density_of(values, root)), root
        roots: list[Root] = []
        at_mode = self._log_sds(self.mode_and_scale.modes[:1])

        def evaluated(points: Floats) -> tuple[Floats, LogWeight]:
            values = self.coordinates.values(points)
            root = self.root(values)
            roots.append(root)
            ratio = self.log_sds_of(values, root) - at_mode
            weight = (self.orders[:, None] * ratio).max(axis=0, initial=0.0)
            return self.log_density_of(values, root), lambda some: weight[some]

        first = None
        if coarse is not None:
            first = points_within(_above(coarse, DROP), np.asarray(spacing))
        with self.within_range():
            laid = lattice.grow_weighted(evaluated, self.mode_and_scale, spacing, DROP, first)
        return laid, Root.joined(roots)

    def _log_sds(self, points: Floats) -> Floats:
        values = self.coordinates.values(points)
        return self.log_sds_of(values, self.root(values))

    def log_sds_of(self, values: Values, root: Root) -> Floats:
        """About the logarithms of all sds, and of σ last; (m + 1, n)."""
        log_sigma = values.log_sigma
        if log_sigma is None:
            df = max(1.0, 2 * self.scale.shape)
            log_sigma = np.log(np.maximum(root.square, np.finfo(float).tiny) / df) / 2
        return np.vstack([values.log_theta + log_sigma, log_sigma])

    def within_range(self) -> AbstractContextManager[None]:
        """Turn failures of a lattice into errors of the model."""
        return within_range("the sds", FAR)


def _above(laid: Lattice, drop: float) -> Lattice:
    """Those of a lattice's points at which the density has not dropped as far."""
    inside = laid.log_density > laid.log_density.max() - drop
    return replace(laid, index=laid.index[inside], log_density=laid.log_density[inside])
