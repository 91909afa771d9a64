"""Lattices over sds that are fine enough, and moments: whatever integrates effects out.

At each node of the lattice σ has a law of its own, and given it coefficients and effects are
normal.  With ``w`` the nodes' weights and moments given the node under the sums,

    E τ = Σ w θ E σ,    E τ² = Σ w θ² E σ²,    E ρ = Σ w ρ,

and means and covariances of coefficients and effects by total variance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError
from hiermodels.exact.blocks.normal_model import NormalModel
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.residual_scale import ScaleLaw
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import SdMarginal
from hiermodels.exact.compressed import Few
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.precision import (
    both_weights,
    errors_of_planes,
    refinement,
    require_digits,
    require_precision,
)
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

SPACING = {0: 1.0, 1: 0.25, 2: 0.4, 3: 0.52, 4: 0.75, 5: 1.0}  # of the first lattice
SAFELY = {1: 1e-3, 2: 1e-3}  # of the tolerance, for the moments of sds
PLANES = {2: 1e-6}  # of the tolerance, for planes: quantiles of sds err by the root at most
WIDEST = 4 / 3  # times the spacing by default, of a first lattice for a larger tolerance
COARSER = 2.0  # times that of one that tells where the first begins
FINER_Z = 0.85  # times that along correlations, whose densities are the least normal
MAX_LATTICES = 6
MAX_POINTS = 600_000  # of a lattice that is laid because the one before misses the tolerance


class SdPosterior[M: NormalModel](ABC):
    """A lattice over the sds that is fine enough, and what it says.

    Attributes
    ----------
    marginal : SdMarginal
    lattice : Lattice or PairNodes
        The latter stand for all pairs of two lattices, where the coordinates have two parts.
    root : Root
        What all rows say of coefficients and σ at the nodes, the former less their shift.
    """

    marginal: SdMarginal[M]
    lattice: Lattice | PairNodes
    root: Root

    @classmethod
    @one_blas_thread()
    def of(cls, model: M, tol: float = TOLERANCE) -> Self:
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        Where σ cannot be integrated by itself, it is put on the lattice.

        Parameters
        ----------
        model : NormalModel
        tol : float
            Posterior sds that two spacings may differ by.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        PrecisionError
            If two spacings differ by more than 1e-3, rounding errors exceed it, or no lattice can
            hold the posterior.
        SpecError
            If it has more dimensions than lattices hold.

        Warns
        -----
        PrecisionWarning
            If two spacings or rounding errors differ by more than ``tol``.
        """
        try:
            posterior = cls._integrated(model, tol)
        except PrecisionError:
            if not (model.relative and cls._has_room(model)):
                raise
            posterior = None
        if posterior is None:
            return cls.of(model.with_sigma_on_lattice(), tol)
        require_digits(posterior.rounding, tol)
        require_precision(posterior.differences, tol)
        return posterior

    @classmethod
    @abstractmethod
    def _integrated(cls, model: M, tol: float) -> Self:
        """Integrate the posterior, whatever precision that reaches."""

    @staticmethod
    @abstractmethod
    def _has_room(model: M) -> bool:
        """Whether a lattice holds σ beside the sds and correlations."""

    @abstractmethod
    def _on(self, lattice: Lattice, root: Root) -> Self:
        """The same on another lattice, with what the rows say at its nodes."""

    @property
    @abstractmethod
    def rounding(self) -> float:
        """Error of the moments by rounding, which no finer lattice mends, in posterior sds."""

    @property
    @abstractmethod
    def few(self) -> Few | None:
        """Few nodes that stand for the lattice in sums over very many groups."""

    @property
    @abstractmethod
    def _moments_of_effects(self) -> Sequence[tuple[Floats, Floats]]:
        """Means and sds of the effects of each level, over the lattice and half of it; (2, ...)."""

    @property
    def model(self) -> M:
        """What is observed and assumed."""
        return self.marginal.model

    def refined(self, spacing: Floats, tol: float) -> Self:
        """Lay ever finer lattices until two spacings agree, or as fine as it gets.

        Far out in heavy tails rounding may keep them from agreeing better: then it is the one that
        errs least.

        Parameters
        ----------
        spacing : (d,)
            Of the lattice that there is.
        tol : float
            Posterior sds that two spacings may differ by.
        """
        coordinates, posterior, laid = self.marginal.coordinates, self, self.lattice
        assert isinstance(laid, Lattice)
        path: list[tuple[Floats, Floats]] = []
        tried = [posterior]
        for _ in range(MAX_LATTICES - 1):
            safe = SAFELY.get(coordinates.dimension, 1.0) * tol
            enough = max(safe, posterior.rounding, np.finfo(float).eps * self.model.n_rows)
            errors = posterior._errors_for(enough, PLANES.get(coordinates.dimension, 1.0) * tol)
            if errors.max(initial=0.0) <= enough and posterior.differences <= tol:
                return posterior
            path.append((spacing, errors))
            finer = refinement(path, enough)
            if len(laid) > MAX_POINTS * finer.prod():
                break
            spacing = spacing * finer
            try:
                laid, root = self.marginal.laid(spacing, laid)
            except PrecisionError:  # too many points along an axis: as fine as it gets
                break
            posterior = self._on(laid, root)
            tried.append(posterior)
        return min(tried, key=lambda own: own.errors_by_axis.max(initial=0.0))

    @cached_property
    def values(self) -> Values:
        """Hyperparameters at the nodes."""
        return self.marginal.coordinates.values(self.lattice.points)

    @cached_property
    @one_blas_thread()
    def scale(self) -> ScaleLaw:
        """Law of σ and of the coefficients at the nodes, β less the anchor."""
        return self.marginal.scale_law(self.values, self.root)

    @property
    def log_integral(self) -> float:
        """Log marginal likelihood, with all constants; meaningful if all priors are proper."""
        return self.lattice.log_integral

    @property
    def weights(self) -> Floats:
        """Weights of the nodes over the whole lattice, then over half of it, or rougher; (m, n)."""
        if isinstance(self.lattice, PairNodes):
            return self.lattice.every
        if not self.marginal.coordinates.dimension:
            return np.ones((2, 1))
        return both_weights(self.lattice)

    @cached_property
    def errors_by_axis(self) -> Floats:
        """Errors of the moments of sds, correlations and coordinates, in posterior sds; (d,)."""
        if isinstance(self.lattice, PairNodes):
            return self.lattice.errors
        across, together = self._errors_of_planes
        return np.maximum(across, together)

    @cached_property
    def _errors_of_planes(self) -> tuple[Floats, float]:
        assert isinstance(self.lattice, Lattice)
        theta = np.vstack([np.exp(self.values.log_theta), np.ones(len(self.lattice))])
        moving = ~self._is_fixed & (self.marginal.orders == 2)
        rho = self.marginal.coordinates.correlations(self.values)
        columns = [self.lattice.points, (theta * self.scale.sigma)[moving].T, rho.T]
        return errors_of_planes(np.hstack(columns), self.lattice)

    def _errors_for(self, enough: float, of_planes: float) -> Floats:
        """Errors by axis, those of planes larger if these should be less than the others; (d,).

        Quantiles need planes that differ little even where rounding ends what moments gain.
        """
        across, together = self._errors_of_planes
        return np.maximum(across * max(enough / of_planes, 1.0), together)

    @property
    def certificate(self) -> float:
        """The larger of :attr:`differences` and :attr:`rounding`."""
        return max(self.differences, self.rounding)

    @cached_property
    @one_blas_thread()
    @np.errstate(invalid="ignore")  # σ² may have no mean at any node
    def differences(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of all hyperparameters, coefficients and effects that exist, and the
        coordinates; and the error of the log density, where it is interpolated.
        """
        parts = [self._sd_moments, self._coefficient_moments, *self._moments_of_effects]
        worst = [self.errors_by_axis.max(initial=0.0), self.marginal.error]
        worst.append(self.few.error if self.few else 0.0)
        for mean, sd in parts:
            with np.errstate(invalid="ignore", divide="ignore"):
                differences = [np.abs(mean[1:] - mean[0]) / sd[0], np.abs(sd[1:] / sd[0] - 1)]
            worst += [np.nanmax(part, initial=0.0) for part in differences if part.size]
        return float(np.max(worst))

    def sd_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of all sds τ, and of σ last; (m + 1,) each; nan, where there are none."""
        mean, sd = self._sd_moments
        return mean[0], sd[0]

    def correlation_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of all correlations; (k,) each."""
        rho = self.marginal.coordinates.correlations(self.values)
        mean = rho @ self.lattice.weights
        return mean, np.sqrt((rho - mean[:, None]) ** 2 @ self.lattice.weights)

    def coefficient_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of the root's coefficients and of β; (c,) each; nan, where none exist."""
        mean, sd = self._coefficient_moments
        return mean[0], sd[0]

    def coefficient_covariance(self) -> Floats:
        """Covariance of the same; (c, c)."""
        return self._coefficients[1][0]

    @cached_property
    def _sd_moments(self) -> tuple[Floats, Floats]:
        """Over the whole lattice and half of it; (2, m + 1) each."""
        theta = np.vstack([np.exp(self.values.log_theta), np.ones(len(self.lattice))])
        first, second = theta * self.scale.sigma, theta**2 * self._law.sigma2
        with np.errstate(invalid="ignore"):  # σ² may have no mean at any node
            mean = self.weights @ first.T
            away = second - first**2  # the variance at each node
            variance = [
                w @ (away.T + (first.T - m) ** 2) for w, m in zip(self.weights, mean, strict=True)
            ]
        mean = np.where(self._is_fixed, first.T[0], mean)
        variances = np.where(self._is_fixed, 0.0, np.maximum(variance, 0.0))
        orders = self.marginal.orders
        mean = np.where(orders >= 1, mean, np.nan)
        return mean, np.where(orders == 2, np.sqrt(variances), np.nan)

    @property
    def _is_fixed(self) -> Flags:
        """Which sds, σ being behind the last, are fixed; (m + 1,)."""
        return np.array([isinstance(p, Fixed) for p in (*self.model.sd_priors, self.model.sigma)])

    @property
    def _law(self) -> CoefficientLaw:
        return self.scale.coefficients

    @cached_property
    def _coefficients(self) -> tuple[Floats, Floats]:
        """Mean (2, c) and covariance (2, c, c), over the whole lattice and over half of it."""
        mean = self.weights @ self._law.mean.T
        covariance = []
        for weights, center in zip(self.weights, mean, strict=True):
            away = self._law.mean - center[:, None]
            covariance.append(self._law.covariance @ weights + (away * weights) @ away.T)
        return mean + self.marginal.shift, np.array(covariance)

    @property
    def _coefficient_moments(self) -> tuple[Floats, Floats]:
        mean, covariance = self._coefficients
        exists = [self.marginal.coefficients_exist(order) for order in (1, 2)]
        sd = np.sqrt(np.einsum("mcc->mc", covariance))
        return np.where(exists[0], mean, np.nan), np.where(exists[1], sd, np.nan)


def laid_first(marginal: SdMarginal[Any], tol: float) -> tuple[Floats, Lattice, Root]:
    """Spacing (d,) of the first lattice, and this, begun from a coarse one.

    Errors fall as ``exp(−c/spacing)``: a tolerance larger than that by default takes a wider one.
    """
    coordinates = marginal.coordinates
    wider = min(max(np.log(TOLERANCE) / np.log(tol), 1.0), WIDEST)
    spacing = np.full(coordinates.dimension, SPACING[coordinates.dimension] * wider)
    spacing[coordinates.n_sds :][: coordinates.n_correlations] *= FINER_Z
    coarse = marginal.lattice(COARSER * spacing) if coordinates.dimension else None
    return spacing, *marginal.laid(spacing, coarse)
