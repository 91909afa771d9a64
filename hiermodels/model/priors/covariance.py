"""Priors of correlations between a group's effects, and of their covariance as a whole.

With canonical partial correlations r_ij, i > j from 0, of e effects, LKJ(η) is a product:

    (1 + r_ij)/2 ~ Beta(α_j, α_j),    α_j = η + (e − 2 − j)/2.

References
----------
Lewandowski, Kurowicka & Joe (2009), Journal of Multivariate Analysis 100:1989.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.codec import storable
from hiermodels.model.priors.base import Prior, Scale, VariancePrior


@storable
@dataclass(frozen=True)
class LKJ(Prior):
    """``p(C) ∝ det(C)^(η − 1)`` of a correlation matrix C; η = 1 is flat on correlations.

    Parameters
    ----------
    eta : float
        Above 0; the larger, the closer correlations are to 0.
    """

    eta: float

    def __post_init__(self) -> None:
        self._require_positive("eta")

    @property
    def is_proper(self) -> bool:
        """Always."""
        return True

    def exponents(self, effects: int) -> Iterator[float]:
        """Yield α of each partial correlation, row by row below the diagonal."""
        return (self.eta + (effects - 2 - j) / 2 for i in range(effects) for j in range(i))

    def log_constant(self, effects: int) -> float:
        """``log ∫ det(C)^(η − 1) dC = Σ_ij log[2^(2α − 1) B(α, α)]``."""
        return sum(
            (2 * alpha - 1) * LOG_2 + 2 * math.lgamma(alpha) - math.lgamma(2 * alpha)
            for alpha in self.exponents(effects)
        )

    def log_density(self, correlations: Floats) -> Floats:
        """Log density of correlations (..., k), row by row below the diagonal; (...,)."""
        matrix = correlation_matrix(correlations)
        log_det = np.linalg.slogdet(matrix)[1]
        return (self.eta - 1) * log_det - self.log_constant(matrix.shape[-1])

    def draw(self, size: int, rng: np.random.Generator, effects: int = 2) -> Floats:
        """Draw correlations independently; shape (size, k)."""
        factor = np.zeros((size, effects, effects))
        partial = iter([2 * rng.beta(a, a, size) - 1 for a in self.exponents(effects)])
        for i in range(effects):
            left = np.ones(size)
            for j in range(i):
                r = next(partial)
                factor[:, i, j] = r * left
                left = left * np.sqrt((1 - r) * (1 + r))
            factor[:, i, i] = left
        rows, columns = np.tril_indices(effects, -1)
        return np.einsum("nik,njk->nij", factor, factor)[:, rows, columns]

    def to_pymc(self, pm: Any, name: str, start: float = 0.0, *, effects: int = 2) -> Any:
        """Add the correlation matrix of so many effects to the open PyMC model."""
        del start
        return pm.LKJCorr(name, n=effects, eta=float(self.eta))


@dataclass(frozen=True)
class PowerOfSD(VariancePrior):
    """``p(τ) = 2 τ^power``.  Improper."""

    power: float
    scale: ClassVar[Scale] = "sd"

    @property
    def lower_tail(self) -> float:
        """``(power + 1)/2``."""
        return (self.power + 1) / 2

    @property
    def upper_tail(self) -> float:
        """``(power + 1)/2``."""
        return (self.power + 1) / 2

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2 + (power + 1) t``."""
        return LOG_2 + (self.power + 1) * np.asarray(t, dtype=float)


@storable
@dataclass(frozen=True)
class FlatCovariance(Prior):
    """Flat on the covariance matrix T of a group's effects, ``p(T) = 1``.  Improper.

    In sds and correlations of e effects ``dT = Π 2 τ_i^e dτ_i · dρ``.
    """

    @property
    def is_proper(self) -> bool:
        """Never."""
        return False

    def sd_priors(self, effects: int) -> tuple[VariancePrior, ...]:
        """What it says of each of so many sds; of correlations it is LKJ(1), up to a constant."""
        return (PowerOfSD(effects),) * effects

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add an sd of two effects to the open PyMC model; the correlations are flat."""
        return self.sd_priors(2)[0].to_pymc(pm, name, start)


def correlation_matrix(correlations: Floats) -> Floats:
    """Symmetric matrices (..., e, e) with the given numbers (..., k) below the diagonal."""
    k = correlations.shape[-1]
    e = round((1 + math.sqrt(1 + 8 * k)) / 2)
    matrix = np.broadcast_to(np.eye(e), (*correlations.shape[:-1], e, e)).copy()
    rows, columns = np.tril_indices(e, -1)
    matrix[..., rows, columns] = matrix[..., columns, rows] = correlations
    return matrix


def correlation_factor(correlations: Floats) -> Floats:
    """Lower triangular F (..., e, e) with ``F F'`` the matrix of such correlations (..., k).

    Correlations of ±1, or combinations of them that are singular, are ordinary.
    """
    matrix = correlation_matrix(correlations)
    factor = np.zeros_like(matrix)
    for j in range(matrix.shape[-1]):
        above = factor[..., j, :j]
        rest = matrix[..., j:, j] - np.einsum("...ik,...k->...i", factor[..., j:, :j], above)
        root = np.sqrt(np.maximum(rest[..., :1], 0.0))
        factor[..., j:, j] = np.divide(rest, root, out=np.zeros_like(rest), where=root > 0)
    return factor
