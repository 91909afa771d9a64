"""Coordinates of sds, correlations and, where it is not integrated, σ, that suit a lattice.

See :mod:`hiermodels.exact.blocks.sd_coordinates`: those of sds are in the order of the levels, the
outermost first, those of strata of the rows behind them.  Those of correlations are bent z
(:mod:`hiermodels.exact.blocks.correlations`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.blocks import correlations
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.sd_coordinates import BEYOND, SdCoordinates, Values
from hiermodels.exact.kernels.blocks.blocks import Blocks


@dataclass(frozen=True, eq=False)
class Coordinates(SdCoordinates[BlockModel]):
    """Points (n, d) and what they mean."""

    model: BlockModel

    @property
    def _ranges(self) -> list[tuple[float, float]]:
        ranges = [self._range(level, effect) for level, effect, _ in self.model.sds]
        return ranges + [self._stratum_range(own) for own in self.model.by_stratum[:-1]]

    @property
    def n_correlations(self) -> int:
        """Number of coordinates of correlations."""
        return len(self.model.correlations)

    def _z_of(self, points: Floats, log_prior: Floats) -> Floats:
        u = points.T
        z, first = correlations.z_of(u), 0
        log_prior += correlations.log_slope(u).sum(axis=0)
        for level in self.model.levels:
            if level.n_correlations:
                assert level.eta is not None
                own = z[first : first + level.n_correlations]
                log_prior += correlations.log_lkj(own, level.eta)
                first += level.n_correlations
        return z

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
        estimate = np.einsum(
            "ig,ig->g", blocks.designs[:, effect, blocks.design], self.model.left_by_coefficients
        )
        spread = float(np.mean((estimate[some] / information[some]) ** 2))
        spread /= self.model.typical_sigma**2
        low = np.log(error) - 0.5 * np.log(size) - BEYOND
        return float(low), float(np.log(max(spread, error)) + BEYOND)

    def _stratum_range(self, own: BlockModel) -> tuple[float, float]:
        """The same of the residual sd of a stratum, whose rows alone make a model of their own."""
        has_df = own.residual_df > 0
        middle = 2 * math.log(own.typical_sigma / self.model.typical_sigma) if has_df else 0.0
        return middle - BEYOND, middle + BEYOND
