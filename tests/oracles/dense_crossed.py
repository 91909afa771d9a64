"""Crossed groups as one multivariate normal, in many digits: slow and plain.

Nothing is shared with the package: the covariance of all rows is written out, and inverted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpmath import mp, mpf

from tests.oracles.dense_blocks import floats, matrix


@dataclass(frozen=True)
class Crossed:
    """Rows ``y = xγ + Σ_k Z_k u_k + e``, with sds θ of the effects relative to σ = 1, γ flat."""

    x: np.ndarray
    y: np.ndarray
    members: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]
    weights: np.ndarray
    theta: tuple[float, ...]

    @cached_property
    def z(self):
        """All factors' indicators, one behind the other; (N, u)."""
        return np.hstack(
            [np.eye(size)[m] for m, size in zip(self.members, self.sizes, strict=True)]
        )

    @cached_property
    def spread(self):
        each = zip(self.theta, self.sizes, strict=True)
        return mp.diag([mpf(float(t)) ** 2 for t, size in each for _ in range(size)])

    @cached_property
    def covariance(self):
        """V of the rows at σ = 1."""
        z = matrix(self.z)
        return z * self.spread * z.T + mp.diag([1 / mpf(float(w)) for w in self.weights])

    @cached_property
    def solved(self):
        """V⁻¹ [x | y]."""
        return mp.inverse(self.covariance) * matrix(np.column_stack([self.x, self.y]))

    @cached_property
    def gram(self):
        return matrix(np.column_stack([self.x, self.y])).T * self.solved

    @property
    def parts(self):
        """``−½ log|V| − ½ log|x'V⁻¹x|``, and S = y'Py."""
        c = self.x.shape[1]
        xx, xy, yy = self.gram[:c, :c], self.gram[:c, c], self.gram[c, c]
        square = yy - (xy.T * mp.lu_solve(xx, xy))[0] if c else yy
        log_det = mp.log(mp.det(self.covariance)) + (mp.log(mp.det(xx)) if c else 0)
        return float(-log_det / 2), float(square)

    @cached_property
    def joint(self):
        """Mean and covariance at σ = 1 of [γ, all effects] given y."""
        c, z = self.x.shape[1], matrix(self.z)
        xx = self.gram[:c, :c]
        inverse = mp.inverse(self.covariance)
        gamma = mp.lu_solve(xx, self.gram[:c, c])
        gain = self.spread * z.T * inverse
        x = matrix(self.x)
        left = matrix(self.y[:, None]) - x * gamma
        of_gamma = mp.inverse(xx)
        through = -(gain * x)
        own = self.spread - gain * z * self.spread + through * of_gamma * through.T
        cross = through * of_gamma
        top = np.hstack([floats(of_gamma), floats(cross).T])
        mean = np.concatenate([floats(gamma)[:, 0], floats(gain * left)[:, 0]])
        return mean, np.vstack([top, np.hstack([floats(cross), floats(own)])])
