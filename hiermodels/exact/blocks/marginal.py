"""The marginal posterior of sds and correlations, and its lattice.

All effects and coefficients are integrated out (:mod:`hiermodels.exact.kernels.blocks`), and where
the model is relative so is σ (:mod:`hiermodels.exact.blocks.residual_scale`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.blocks.coordinates import Coordinates, Values
from hiermodels.exact.blocks.cut import Cut
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.propriety import Tails, check
from hiermodels.exact.blocks.residual_scale import ResidualScale, ScaleLaw
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import evaluate
from hiermodels.exact.lattice_errors import within_range
from hiermodels.numerics import lattice
from hiermodels.numerics.finer import points_within
from hiermodels.numerics.lattice import Lattice, LogWeight
from hiermodels.numerics.modes import peaks

MAX_DIMENSION = 5  # that a lattice has
SCAN_STEP = {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0, 5: 3.0, 6: 3.0}  # of the pilot grid
MAX_ASCENTS = 8  # from its peaks, the highest first
DROP = 32.0  # of the log density, at which the lattice ends
SMALLEST_SHARE = 1e-9  # of a covariate, varying within groups, that is not rounding error
LITTLE = 1e-3  # of one that is lost beside others


@dataclass(frozen=True, eq=False)
class BlockMarginal:
    """``p(y, u)`` at points u, with what integrates the rest out.

    Attributes
    ----------
    model : BlockModel
    tails : Tails
        Which moments exist.
    """

    model: BlockModel
    tails: Tails

    @classmethod
    def of(cls, model: BlockModel) -> BlockMarginal:
        """Check that the posterior exists, and set it up.

        What least squares within groups say of β is taken from the outcome: of sums of squares no
        digits are then lost in differences.
        """
        marginal = cls(model, check(model))
        if marginal.cut is None and marginal.coordinates.dimension > MAX_DIMENSION:
            raise SpecError(
                f"the exact posterior has {marginal.coordinates.dimension} unknown sds and "
                f"correlations on its lattice, which holds {MAX_DIMENSION}. Use fewer effects or "
                f"levels, uncorrelated ones, or engine='nuts'"
            )
        return marginal

    @cached_property
    def anchor(self) -> Floats:
        """What is taken from β: least squares within groups, the shortest of the best; (q,)."""
        size, (left, share, right) = self._within
        some = share > SMALLEST_SHARE
        y = self.model.blocks.rest[:, -1]
        return (left[: len(y), some].T @ y / share[some]) @ right[some] / size

    @cached_property
    def center(self) -> Floats:
        """Least squares of x and y on the root's effects z, over all rows; (f, q + 1).

        Of an intercept, their means.  Nothing of strata and of correlated rows.
        """
        blocks = self.model.blocks
        if blocks.strata is not None or blocks.turned is not None:
            return np.zeros((int(blocks.fixed.sum()), blocks.q + 1))
        z = blocks.designs[:, blocks.fixed][:, :, blocks.design]
        if not z.shape[1]:
            return np.zeros((0, blocks.q + 1))
        z, rows = (
            part.transpose(0, 2, 1).reshape(-1, part.shape[1]) for part in (z, blocks.outcome)
        )
        return np.linalg.lstsq(z, rows)[0]

    @cached_property
    def _within(self) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
        """Sizes (q,) of the covariates less ``z'shift``, and singular values within groups."""
        blocks = self.model.blocks.shifted(self.center)
        x = blocks.rest[:, :-1]
        size = np.sqrt((x**2).sum(axis=0) + (blocks.outcome[:, :-1] ** 2).sum(axis=(0, 2)))
        size = np.where(size > 0, size, 1.0)
        rows = np.vstack([x / size, np.zeros((blocks.q, blocks.q))])
        return size, np.linalg.svd(rows, full_matrices=False)

    @cached_property
    def residual(self) -> BlockModel:
        """The model of the outcome less ``x'anchor``."""
        model = self.model
        mean = model.mean.copy()
        mean[len(mean) - model.blocks.q :] -= self.anchor
        return replace(model, blocks=model.blocks.less(self.anchor), mean=mean)

    @cached_property
    def coordinates(self) -> Coordinates:
        """Of the sds and correlations."""
        return Coordinates(self.residual)

    @cached_property
    def cut(self) -> Cut | None:
        """The two parts of the coordinates that have a lattice each, if they do."""
        return Cut.of(self.coordinates)

    @cached_property
    def scale(self) -> ResidualScale:
        """The integral over σ."""
        return ResidualScale(self.residual)

    @one_blas_thread()
    def root(self, values: Values) -> Root:
        """What all rows say of the coefficients and of σ."""
        factors = self.coordinates.factors(values)
        if not self.center.any():
            return evaluate(self.coordinates.blocks(values), factors)
        blocks, center, axes = self._apart
        return evaluate(blocks, factors).moved(center, axes)

    @cached_property
    def _apart(self) -> tuple[Blocks, Floats, Floats | None]:
        """Blocks less ``z'center``, this center (f, q + 1), and axes (q, q) of combinations of x.

        Orthogonal ones, where not all covariates vary within groups, each beside the others: what
        rows within groups say of β, of rank below q or nearly so, would be added to what little
        groups say when they differ much, and the squares of the sum lose the latter's digits.
        """
        size, (_, share, right) = self._within
        center = self.center.copy()
        center[:, -1] -= center[:, :-1] @ self.anchor
        blocks = self.residual.blocks.shifted(center)
        if not (share < LITTLE).any():
            return blocks, center, None
        combined = blocks.combined(right.T / size[:, None], share > SMALLEST_SHARE)
        return combined, center, right * size

    def log_density(self, points: Floats) -> Floats:
        """``log p(y, u)`` at points u (n, d): with proper priors, normalised; (n,)."""
        values = self.coordinates.values(points)
        return self.log_density_of(values, self.root(values))

    def log_density_of(self, values: Values, root: Root) -> Floats:
        """The same of hyperparameters, with what all rows say at these."""
        if values.log_sigma is None:
            return values.log_prior + self.scale.log_integral(root, values.log_theta)
        sigma, blocks = np.exp(values.log_sigma), self.residual.blocks
        root = root.with_prior(self.residual.mean, self.residual.precision, sigma)
        likelihood = root.log_likelihood(sigma, blocks.n_rows, blocks.log_weight)
        return values.log_prior + likelihood

    def scale_law(self, values: Values, root: Root) -> ScaleLaw:
        """Law of σ and of the coefficients at nodes, β less the anchor."""
        if values.log_sigma is None:
            return self.scale.law(root, values.log_theta)
        sigma = np.exp(values.log_sigma)
        root = root.with_prior(self.residual.mean, self.residual.precision, sigma)
        law = CoefficientLaw(root.mean, root.covariance * sigma**2, sigma**2)
        return ScaleLaw(sigma, law)

    @cached_property
    def mode_and_scale(self) -> lattice.ModesAndScale:
        """Where the posterior lies: Newton's method from the peaks on a coarse grid."""
        places = self.coordinates.pilot_places(SCAN_STEP[self.coordinates.dimension])
        grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
        with self.within_range():
            log_densities = self.log_density(grid.reshape(-1, len(places)))
        return self.modes_near(grid, log_densities.reshape(grid.shape[:-1]))

    def modes_near(self, grid: Floats, log_densities: Floats) -> lattice.ModesAndScale:
        """Climb from the peaks on a coarse grid (..., d) with log densities (...)."""
        tops = np.flatnonzero(peaks(log_densities) & np.isfinite(log_densities))
        highest = tops[np.argsort(-log_densities.flat[tops], kind="stable")][:MAX_ASCENTS]
        starts = grid.reshape(-1, grid.shape[-1])[highest]
        with self.within_range():
            return lattice.find_modes(self.log_density, starts)

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
            weight = (self.tails.orders[:, None] * ratio).max(axis=0, initial=0.0)
            return self.log_density_of(values, root), lambda some: weight[some]

        first = None if coarse is None else points_within(coarse, np.asarray(spacing))
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

    @staticmethod
    def within_range() -> AbstractContextManager[None]:
        """Turn failures of a lattice into errors of the model."""
        advice = (
            "Their priors lie too far from the data, or are too narrow; check their unit. Where "
            "slopes vary along a covariate whose 0 lies far from the rows, write center(…) of it"
        )
        return within_range("the sds and correlations", advice)
