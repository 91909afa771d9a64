"""The posterior by quadrature over sds and correlations: fine enough lattices, and moments.

At each node of the lattice σ has a law of its own, and given it coefficients and effects are
normal.  With ``w`` the nodes' weights and moments given the node under the sums,

    E τ = Σ w θ E σ,    E τ² = Σ w θ² E σ²,    E ρ = Σ w ρ,

and means and covariances of coefficients and effects by total variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError
from hiermodels.exact.blocks.coordinates import Values
from hiermodels.exact.blocks.few_nodes import few_nodes_of
from hiermodels.exact.blocks.marginal import MAX_DIMENSION, BlockMarginal
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.pair_refinement import pair_nodes
from hiermodels.exact.blocks.residual_scale import ScaleLaw
from hiermodels.exact.compressed import Few
from hiermodels.exact.kernels.blocks.moments import (
    CoefficientLaw,
    EffectMoments,
    mixture_moments,
)
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.tree.marginal import ROUNDED_ROWS
from hiermodels.exact.precision import (
    HEAVIEST,
    both_weights,
    errors_of_values,
    refinement,
    require_digits,
    require_precision,
)
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.precision import TOLERANCE

SPACING = {0: 1.0, 1: 0.25, 2: 0.4, 3: 0.52, 4: 0.75, 5: 1.0}  # of the first lattice
SAFELY = {1: 1e-3, 2: 1e-3}  # of the tolerance, for sds: their quantiles err by about its root
COARSER = 2.5  # times that of one that tells where the first begins
FINER_Z = 0.85  # times that along correlations, whose densities are the least normal
MAX_LATTICES = 6
MAX_POINTS = 600_000  # of a lattice that is laid because the one before misses the tolerance


@dataclass(frozen=True, eq=False, repr=False)
class BlockPosterior:
    """A lattice over the sds and correlations that is fine enough, and what it says.

    Attributes
    ----------
    marginal : BlockMarginal
    lattice : Lattice or PairNodes
        The latter stand for all pairs of two lattices, where the coordinates have two parts.
    root : Root
        What all rows say of coefficients and σ at the nodes, β less the anchor.
    """

    marginal: BlockMarginal
    lattice: Lattice | PairNodes
    root: Root

    @classmethod
    @one_blas_thread()
    def of(cls, model: BlockModel, tol: float = TOLERANCE) -> Self:
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        Where σ cannot be integrated by itself, it is put on the lattice.

        Parameters
        ----------
        model : BlockModel
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
            posterior = cls._refined(BlockMarginal.of(model), tol)
        except PrecisionError:
            dimension = len(model.sd_priors) + len(model.correlations)
            if not model.relative or dimension >= MAX_DIMENSION:
                raise
            posterior = None
        if posterior is None:
            return cls.of(replace(model, integrate_sigma=False), tol)
        require_digits(posterior.rounding, tol)
        require_precision(posterior.differences, tol)
        return posterior

    @classmethod
    def _refined(cls, marginal: BlockMarginal, tol: float) -> Self:
        if marginal.cut is not None:
            nodes = pair_nodes(marginal, tol)
            return cls(marginal, nodes, marginal.root(marginal.coordinates.values(nodes.points)))
        coordinates = marginal.coordinates
        spacing = np.full(coordinates.dimension, SPACING[coordinates.dimension])
        spacing[coordinates.n_sds :][: coordinates.n_correlations] *= FINER_Z
        coarse = marginal.lattice(COARSER * spacing) if coordinates.dimension else None
        laid, root = marginal.laid(spacing, coarse)
        posterior = cls(marginal, laid, root)
        path: list[tuple[Floats, Floats]] = []
        for _ in range(MAX_LATTICES - 1):
            safe = SAFELY.get(coordinates.dimension, 1.0) * tol
            enough = max(
                safe, posterior.rounding, np.finfo(float).eps * marginal.model.blocks.n_rows
            )
            of_sds = posterior.errors_by_axis.max(initial=0.0)
            if of_sds <= enough and posterior.differences <= tol:
                break
            path.append((spacing, posterior.errors_by_axis))
            finer = refinement(path, enough)
            if len(laid) > MAX_POINTS * finer.prod():
                break
            spacing = spacing * finer
            try:
                laid, root = marginal.laid(spacing, laid)
            except PrecisionError:  # too many points along an axis: as fine as it gets
                break
            posterior = cls(marginal, laid, root)
        return posterior

    @property
    def model(self) -> BlockModel:
        """What is observed and assumed."""
        return self.marginal.model

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
        theta = np.vstack([np.exp(self.values.log_theta), np.ones(len(self.lattice))])
        moving = ~self._is_fixed & (self.marginal.tails.orders == 2)
        rho = self.marginal.coordinates.correlations(self.values)
        columns = [self.lattice.points, (theta * self.scale.sigma)[moving].T, rho.T]
        return errors_of_values(np.hstack(columns), self.lattice)

    @cached_property
    def rounding(self) -> float:
        """Error of the moments by rounding, which no finer lattice mends, in posterior sds.

        Of the sum of squares that β explains, digits are lost in the difference; and means of
        groups are rounded like the outcome y, by ``ε √(Σ ω y² / (n σ²))`` sds of a row.
        """
        blocks, heaviest = self.model.blocks, np.argsort(self.lattice.weights)[-HEAVIEST:]
        outcome = blocks.shifted(self.marginal.center).outcome[:, -1]
        squares = (outcome**2).sum() + (blocks.rest[:, -1] ** 2).sum()
        sigma2 = self._law.sigma2[heaviest]
        explained = (self.root.triangle[int(blocks.fixed.sum()) : -1, -1, heaviest] ** 2).sum(
            axis=0
        )
        rows = np.sqrt(squares / blocks.n_rows / sigma2)
        errors = np.finfo(float).eps * (explained / sigma2 + ROUNDED_ROWS * rows)
        return float(np.average(errors, weights=self.lattice.weights[heaviest]))

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
        coordinates.
        """
        parts = [self._sd_moments, self._coefficient_moments]
        parts += [self._effect_moments(level) for level in range(len(self._effects))]
        worst = [self.errors_by_axis.max(initial=0.0), self.few.error if self.few else 0.0]
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

    def effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of a level's effects, nan where there are none; (p, u) each."""
        mean, sd = self._effect_moments(level)
        return mean[0], sd[0]

    def effect_covariances(self, level: int) -> Floats:
        """Covariances of the effects of each member of a level; (p, p, u)."""
        return self._effects[level].covariance[0]

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
        orders = self.marginal.tails.orders
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
        shift = np.zeros(mean.shape[1])
        shift[mean.shape[1] - self.model.blocks.q :] = self.marginal.anchor
        return mean + shift, np.array(covariance)

    @property
    def _coefficient_moments(self) -> tuple[Floats, Floats]:
        mean, covariance = self._coefficients
        exists = [self.marginal.tails.coefficients_exist(order) for order in (1, 2)]
        sd = np.sqrt(np.einsum("mcc->mc", covariance))
        return np.where(exists[0], mean, np.nan), np.where(exists[1], sd, np.nan)

    @cached_property
    @one_blas_thread()
    def _effects(self) -> tuple[EffectMoments, ...]:
        """Moments of the effects of all levels, over the whole lattice and over half of it."""
        coordinates, values = self.marginal.coordinates, self.values
        blocks, factors = coordinates.blocks(values), coordinates.factors(values)
        over = factors, self.weights, self._law
        if self.few is None:
            return mixture_moments(blocks, *over)
        above = mixture_moments(blocks, *over, groups=np.zeros(0, dtype=np.intp))
        chosen, weights = self.few.chosen, self.few.weights
        at = blocks.at(chosen), [factor[..., chosen] for factor in factors]
        *_, groups = mixture_moments(*at, weights, self._law.at(chosen))
        return (*above[:-1], groups)

    @cached_property
    def few(self) -> Few | None:
        """Few nodes that stand for the lattice in sums over very many groups."""
        if not isinstance(self.lattice, Lattice):
            return None
        return few_nodes_of(self.marginal, self.lattice, self.values, self._law)

    def _effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds (2, p, u) of a level's effects, over the whole lattice and half of it."""
        moments = self._effects[level]
        sd = np.sqrt(np.maximum(np.einsum("mppu->mpu", moments.covariance), 0.0))
        exists = [self.marginal.tails.effects_exist(level, order) for order in (1, 2)]
        return np.where(exists[0], moments.mean, np.nan), np.where(exists[1], sd, np.nan)
