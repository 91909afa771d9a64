"""Balanced groups of two strata on a plain grid of logarithms of three sds: slow and plain.

Rows ``y = X β + b_g + e`` of group g, ``b ~ N(0, τ²)``, ``e ~ N(0, σ_s²)`` with s the group's
stratum, flat β.  With m rows in each group its covariance has the inverse
``I/σ² − τ² J/(σ² (σ² + m τ²))`` and the determinant ``σ^(2(m−1)) (σ² + m τ²)``; sums over the grid
converge faster than any power of its spacing.  Nothing is shared with the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import sici


@dataclass(frozen=True)
class Grid:
    """A posterior with priors flat on τ² and 1/σ² on both residual variances.

    Attributes
    ----------
    x, y : (g, m, c) and (g, m)
    stratum : (g,)
        0 or 1.
    low, high : (3,)
        Ends of log τ, log σ_0 and log σ_1.
    size : int
        Points along each.
    """

    x: np.ndarray
    y: np.ndarray
    stratum: np.ndarray
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    size: int

    @cached_property
    def axes(self):
        return [np.linspace(a, b, self.size) for a, b in zip(self.low, self.high, strict=True)]

    @cached_property
    def _grid(self):
        """Variances τ², σ_0², σ_1² along three axes of the grid."""
        return np.meshgrid(*[np.exp(2 * axis) for axis in self.axes], indexing="ij", sparse=True)

    @cached_property
    def _normal_equations(self):
        """Cross-products of [X y] and log determinants, over the grid."""
        rows = np.concatenate([self.x, self.y[..., None]], axis=2)
        m, tau2 = rows.shape[1], self._grid[0]
        squares, log_det = 0.0, 0.0
        for s, sigma2 in enumerate(self._grid[1:]):
            own = rows[self.stratum == s]
            inside = np.einsum("gia,gib->ab", own, own)
            sums = np.einsum("ga,gb->ab", own.sum(axis=1), own.sum(axis=1))
            share = tau2 / (sigma2 * (sigma2 + m * tau2))
            squares = squares + inside / sigma2[..., None, None] - sums * share[..., None, None]
            log_det = log_det + len(own) * ((m - 1) * np.log(sigma2) + np.log(sigma2 + m * tau2))
        return squares, log_det

    @cached_property
    def _given(self):
        """Weights of the points, and means and covariances of β there."""
        squares, log_det = self._normal_equations
        c = self.x.shape[2]
        covariance = np.linalg.inv(squares[..., :c, :c])
        mean = np.einsum("...ab,...b->...a", covariance, squares[..., :c, c])
        rest = squares[..., c, c] - np.einsum("...a,...a->...", mean, squares[..., :c, c])
        log = -0.5 * (log_det + np.linalg.slogdet(squares[..., :c, :c])[1] + rest)
        log = log + np.log(self._grid[0])  # the density of log τ under a prior flat on τ²
        weights = np.exp(log - log.max())
        return weights / weights.sum(), mean, covariance

    def sds(self):
        """Means and sds of τ, σ_0 and σ_1."""
        weights, _, _ = self._given
        found = []
        for j, axis in enumerate(self.axes):
            own = weights.sum(axis=tuple(k for k in range(3) if k != j))
            mean = own @ np.exp(axis)
            found.append((mean, np.sqrt(own @ (np.exp(axis) - mean) ** 2)))
        return np.array(found).T

    def beta(self):
        """Means and sds of β."""
        weights, mean, covariance = self._given
        centre = np.einsum("ijk,ijka->a", weights, mean)
        variance = np.einsum("ijk,ijkaa->a", weights, covariance)
        return centre, np.sqrt(variance + np.einsum("ijk,ijka->a", weights, (mean - centre) ** 2))

    def below(self, sd, value):
        """Probability that an sd is at most a value, by the integral of sinc functions."""
        weights, _, _ = self._given
        own = weights.sum(axis=tuple(k for k in range(3) if k != sd))
        axis = self.axes[sd]
        steps = (np.log(value) - axis) / (axis[1] - axis[0])
        return float(own @ (0.5 + sici(np.pi * steps)[0] / np.pi))
