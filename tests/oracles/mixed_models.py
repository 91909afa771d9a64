"""A normal mixed model as one multivariate normal: ``y = X γ + Z b + e``, ``b ~ N(0, D)``, slow.

The coefficients γ are flat.  Nothing is shared with the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mixed:
    """Rows, and the covariances of their effects and errors.

    Attributes
    ----------
    y, x, z
        (n,), (n, c) and (n, b).
    effects, errors
        D (b, b), and the covariance (n, n) of e.
    """

    y: np.ndarray
    x: np.ndarray
    z: np.ndarray
    effects: np.ndarray
    errors: np.ndarray

    @property
    def covariance(self):
        """V, of the rows given γ."""
        return self.z @ self.effects @ self.z.T + self.errors

    @property
    def coefficients(self):
        """Mean and covariance of γ."""
        weighted = np.linalg.solve(self.covariance, self.x)
        covariance = np.linalg.inv(self.x.T @ weighted)
        return covariance @ weighted.T @ self.y, covariance

    def combinations(self, a, b):
        """Mean (r,) and covariance (r, r) of ``A γ + B b``."""
        gamma, covariance = self.coefficients
        gain = np.linalg.solve(self.covariance, self.z @ self.effects @ b.T).T
        moved = a - gain @ self.x
        mean = a @ gamma + gain @ (self.y - self.x @ gamma)
        left = b @ self.effects @ b.T - gain @ self.z @ self.effects @ b.T
        return mean, left + moved @ covariance @ moved.T

    def criterion(self, restricted):
        """``−2 log`` of the restricted likelihood, as ``lmer`` has it, or of the likelihood."""
        gamma, covariance = self.coefficients
        rest = self.y - self.x @ gamma
        square = rest @ np.linalg.solve(self.covariance, rest)
        n = len(self.y) - len(gamma) * restricted
        total = np.linalg.slogdet(self.covariance)[1] + square + n * np.log(2 * np.pi)
        return total - np.linalg.slogdet(covariance)[1] * restricted


def indicators(group, columns, size):
    """Columns (n, size·e) of each group's effects on columns (n, e), group by group."""
    columns = np.atleast_2d(np.asarray(columns, dtype=float).T).T
    z = np.zeros((len(group), size, columns.shape[1]))
    z[np.arange(len(group)), group] = columns
    return z.reshape(len(group), -1)
