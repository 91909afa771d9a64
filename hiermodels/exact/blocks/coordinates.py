"""Coordinates of sds, correlations and, where it is not integrated, σ, that suit a lattice.

A point has a coordinate for each unknown sd, the outermost level first, those of strata of the rows
behind them, for each correlation, and for σ last.  Those of sds are log variances, bent outside the
range in which the data speak (:mod:`hiermodels.exact.sd_axis`): of θ = τ/σ, if the model is
*relative*, whose σ is integrated, or else of τ itself.  Those of correlations are bent z
(:mod:`hiermodels.exact.blocks.correlations`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks import correlations
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed, FlatSD

BEYOND = 4.0  # log variances by which the range goes beyond errors and spreads
Z_PLACES = (-1.0, 0.0, 1.0)  # of the pilot grid


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


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Points (n, d) and what they mean."""

    model: BlockModel

    @cached_property
    def axes(self) -> tuple[SdAxis | float, ...]:
        """The coordinate of each sd, or the sd if it is fixed."""
        ranges = [self._range(level, effect) for level, effect, _ in self.model.sds]
        ranges += [self._stratum_range(own) for own in self.model.by_stratum[:-1]]
        return tuple(map(self._axis, self.model.sd_priors, ranges))

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
        return len(self.model.correlations)

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return self.n_sds + self.n_correlations + isinstance(self.sigma_axis, SdAxis)

    def values(self, points: Floats) -> Values:
        """Hyperparameters at points (n, d)."""
        n, z_end = len(points), self.n_sds + self.n_correlations
        log_prior, log_sd = np.zeros(n), np.empty((len(self.axes), n))
        for row, j, axis in zip(log_sd, self.on_lattice, self.axes, strict=True):
            row[:] = self._log_sd(axis, points, j, log_prior)
        log_sigma = None
        if self.sigma_axis is not None:
            log_sigma = self._log_sd(self.sigma_axis, points, -1, log_prior)
            log_sd -= log_sigma
        u = points[:, self.n_sds : z_end].T
        z, first = correlations.z_of(u), 0
        log_prior += correlations.log_slope(u).sum(axis=0)
        for level in self.model.levels:
            if level.n_correlations:
                assert level.eta is not None
                own = z[first : first + level.n_correlations]
                log_prior += correlations.log_lkj(own, level.eta)
                first += level.n_correlations
        return Values(log_sd, z, log_sigma, log_prior)

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

    def factors(self, values: Values) -> list[Floats]:
        """Lower triangular L (p, p, n) of each level, relative to σ."""
        factors, sd, first = [], 0, 0
        theta, p = np.exp(values.log_theta), self.model.blocks.p
        for level in self.model.levels:
            factor, e = np.zeros((p, p, theta.shape[1])), len(level.varying)
            if level.n_correlations:
                root = correlations.cholesky(values.z[first : first + level.n_correlations])
                first += level.n_correlations
            else:
                root = np.eye(e)[:, :, None]
            for a, i in enumerate(level.varying):
                for b, j in enumerate(level.varying[: a + 1]):
                    factor[i, j] = theta[sd + a] * root[a, b]
            sd += e
            factors.append(factor)
        return factors

    def log_delta(self, values: Values) -> Floats:
        """Logarithm of each stratum's residual sd relative to σ, the last stratum's; (K, n)."""
        own = values.log_theta[len(self.model.sds) :]
        return np.vstack([own, np.zeros(values.log_theta.shape[1])])

    def blocks(self, values: Values) -> Blocks:
        """The rows, those of each stratum with its residual sd."""
        blocks = self.model.blocks
        if blocks.strata is None:
            return blocks
        return blocks.given(np.exp(-self.log_delta(values)))

    def correlations(self, values: Values) -> Floats:
        """Correlations (k, n), in the order of the model's."""
        rho, first = [np.zeros((0, values.log_theta.shape[1]))], 0
        for level in self.model.levels:
            if level.n_correlations:
                root = correlations.cholesky(values.z[first : first + level.n_correlations])
                pairs = np.tril_indices(len(root), -1)
                rho.append(np.einsum("ikn,ikn->in", root[pairs[0]], root[pairs[1]]))
                first += level.n_correlations
        return np.concatenate(rho)

    def pilot_places(self, step: float) -> list[Floats]:
        """Coordinates of a coarse grid, axis by axis."""
        axes = [axis for axis in self.axes if isinstance(axis, SdAxis)]
        places = [axis.pilot_places(step) for axis in axes]
        places += [np.array(Z_PLACES)] * self.n_correlations
        if isinstance(self.sigma_axis, SdAxis):
            places.append(self.sigma_axis.pilot_places(step))
        return places

    def _range(self, level: int, effect: int) -> tuple[float, float]:
        """Log variances relative to σ² between which the data speak of an sd.

        From a spread that is lost among the errors of an effect to one larger than any seen.
        """
        blocks, size = self.model.blocks, self.model.blocks.sizes[level]
        information = (blocks.designs[:, effect] ** 2).sum(axis=0)[blocks.design]
        some = information > 0
        if not some.any():
            return -BEYOND, BEYOND
        error = float(np.median(1 / information[some])) * size / blocks.sizes[-1]
        estimate = np.einsum("ig,ig->g", blocks.designs[:, effect, blocks.design], self._residuals)
        spread = float(np.mean((estimate[some] / information[some]) ** 2))
        spread /= self.model.typical_sigma**2
        low = np.log(error) - 0.5 * np.log(size) - BEYOND
        return float(low), float(np.log(max(spread, error)) + BEYOND)

    def _stratum_range(self, own: BlockModel) -> tuple[float, float]:
        """The same of the residual sd of a stratum, whose rows alone make a model of their own."""
        middle = 2 * math.log(own.typical_sigma / self.model.typical_sigma)
        return middle - BEYOND, middle + BEYOND

    @cached_property
    def _residuals(self) -> Floats:
        """What least squares with common coefficients leave of D_y; (p, g)."""
        blocks = self.model.blocks
        fixed = blocks.above[:, blocks.fixed]
        x = np.concatenate([fixed, blocks.outcome[:, :-1]], axis=1)
        rows, y = x.transpose(0, 2, 1).reshape(-1, x.shape[1]), blocks.outcome[:, -1].reshape(-1)
        left = y - rows @ np.linalg.lstsq(rows, y)[0]
        return left.reshape(blocks.p, -1)
