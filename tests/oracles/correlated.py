"""Rows with correlated known errors, and their posterior given all sds, by dense matrices.

y = X γ + Z u + e,    γ ~ N(0, diag(P)),    u ~ N(0, diag(T)),    e ~ N(0, V).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal


def random_v(rng, size):
    """A random covariance matrix."""
    root = rng.normal(size=(size, size + 2)) * rng.uniform(0.2, 2, size=size)[:, None]
    return root @ root.T


def studies(seed, sizes=(1, 3, 2, 1, 2, 3, 1, 2)):
    """Rows of studies in a random order, and V over them."""
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(len(sizes)), sizes)
    n = len(study)
    v = np.zeros((n, n))
    for s in range(len(sizes)):
        own = np.flatnonzero(study == s)
        v[np.ix_(own, own)] = random_v(rng, len(own))
    order = rng.permutation(n)
    frame = pd.DataFrame(
        {
            "y": rng.normal(3, 2, n),
            "x": rng.normal(size=n),
            "study": [f"s{s}" for s in study],
            "effect": [f"e{i}" for i in range(n)],
            **dict(zip("abc", np.eye(3)[np.arange(n) % 3].T, strict=True)),
        }
    )
    return frame.iloc[order].reset_index(drop=True), v[np.ix_(order, order)]


@dataclass(frozen=True)
class Dense:
    """A normal model with everything known but what is drawn from normals.

    Attributes
    ----------
    y : (n,)
    columns : (n, k)
        Of γ and u together.
    variances : (k,)
    v : (n, n)
    """

    y: np.ndarray
    columns: np.ndarray
    variances: np.ndarray
    v: np.ndarray

    def moments(self, rows):
        """Means and sds of combinations (r, k) of γ and u."""
        covariance, gain = np.diag(self.variances), self.columns * self.variances
        total = gain @ self.columns.T + self.v
        mean = gain.T @ np.linalg.solve(total, self.y)
        covariance = covariance - gain.T @ np.linalg.solve(total, gain)
        return rows @ mean, np.sqrt(np.einsum("rk,kl,rl->r", rows, covariance, rows))

    def log_density(self, some=slice(None)):
        """Log density of some rows."""
        total = (self.columns * self.variances) @ self.columns.T + self.v
        some = np.arange(len(self.y))[some]
        return multivariate_normal.logpdf(
            self.y[some], np.zeros(len(some)), total[np.ix_(some, some)]
        )

    def left_out(self, unit):
        """Log density of some rows given all others."""
        rest = np.setdiff1d(np.arange(len(self.y)), unit)
        return self.log_density() - self.log_density(rest)


def indicators(labels, order):
    """Columns of 0 and 1, one for each label in this order."""
    return (np.asarray(labels)[:, None] == np.asarray(order)[None]).astype(float)
