"""Priors of correlations between a group's effects, and of their covariance as a whole.

With canonical partial correlations r_ij, i > j from 0, of e effects, LKJ(η) is a product:

    (1 + r_ij)/2 ~ Beta(α_j, α_j),    α_j = η + (e − 2 − j)/2.

References
----------
Lewandowski, Kurowicka & Joe (2009), Journal of Multivariate Analysis 100:1989.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.codec import storable
from hiermodels.model.priors.base import Prior, Scale, VariancePrior, no_draws
from hiermodels.model.priors.variance import power_to_pymc

TINY = float(np.finfo(float).tiny)


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

    def to_pymc(
        self, pm: Any, name: str, start: float = 0.0, *, effects: int = 2, **options: Any
    ) -> Any:
        """Add the correlations of so many effects to the open PyMC model.

        Parameters
        ----------
        pm, name
            As in :meth:`Prior.to_pymc`.
        start : float
            Of each correlation.
        effects : int
        **options
            As PyMC's distributions take them; ``transform`` is needed of more than two effects.

        Returns
        -------
        scalar of two effects, (k,) of more
            Row by row below the diagonal.
        """

        def random(*_: Any, rng: np.random.Generator, size: Any) -> Floats:
            shape = () if size is None else tuple(size)
            drawn = self.draw(math.prod(shape), rng, effects)
            return drawn.reshape(*shape, -1) if effects > 2 else drawn.reshape(shape)

        constant, power = self.log_constant(effects), self.eta - 1
        options |= {"initval": start, "random": random}
        return _correlations_to_pymc(pm, name, (power, constant), effects, **options)


@dataclass(frozen=True)
class PowerOfSD(VariancePrior):
    """``p(τ) = 2 τ^power``.  Improper."""

    power: float
    scale: ClassVar[Scale] = "sd"
    to_pymc = power_to_pymc

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

    def to_pymc(
        self, pm: Any, name: str, start: float = 0.0, *, effects: int = 2, **options: Any
    ) -> Any:
        """Add the correlations of so many effects, on which it is flat, to the open PyMC model.

        As :meth:`LKJ.to_pymc`; the sds have priors of their own, :meth:`sd_priors`.
        """
        k = effects * (effects - 1) // 2

        def random(*_: Any, size: Any = None, **__: Any) -> Floats:
            return no_draws(size=(*(size or ()), *((k,) if effects > 2 else ())))

        options |= {"initval": start, "random": random}
        return _correlations_to_pymc(pm, name, (0.0, 0.0), effects, **options)


def _correlations_to_pymc(
    pm: Any, name: str, law: tuple[float, float], effects: int, **options: Any
) -> Any:
    """Add correlations with the log density ``power · log det(C) − constant``.

    Parameters
    ----------
    law : (float, float)
        Power and constant.
    """
    power, constant = law

    def log_density(rho: Any, *_: Any) -> Any:
        each = [rho[..., k] for k in range(effects * (effects - 1) // 2)] if effects > 2 else [rho]
        squares = [row[-1] for row in cholesky_rows(each, pm.math.sqrt, squared=True)]
        log_det = sum(pm.math.log(pm.math.maximum(square, TINY)) for square in squares[1:])
        inside = math.prod(pm.math.gt(square, 0) for square in squares[1:])
        return pm.math.switch(inside, power * log_det - constant, -np.inf)

    own: list[Floats] = []
    if effects == 2:
        low, high = np.array([-1.0, 1.0])  # of Python's own numbers PyTensor takes logs in 32 bits
        options.setdefault("transform", pm.distributions.transforms.Interval(low, high))
    else:  # PyMC takes the number of correlations from a parameter
        own = [np.zeros(effects * (effects - 1) // 2)]
        options |= {"signature": "(k)->(k)", "initval": own[0] + options["initval"]}
    return pm.CustomDist(name, *own, logp=log_density, class_name="Correlations", **options)


def cholesky_rows(correlations: Sequence[Any], sqrt: Any, squared: bool = False) -> list[list[Any]]:
    """Rows of the Cholesky factor of a correlation matrix, of numbers or of variables.

    ``C_ij = (ρ_ij − Σ_(k<j) C_ik C_jk)/C_jj`` and ``C_ii² = 1 − Σ_(k<i) C_ik²``.

    Parameters
    ----------
    correlations : sequence of length k
        Row by row below the diagonal.
    sqrt : callable
    squared : bool
        Whether the diagonal is given as squares, of which none is the root of less than 0.
    """
    effects, given = round((1 + math.sqrt(1 + 8 * len(correlations))) / 2), iter(correlations)
    rows: list[list[Any]] = []
    for i in range(effects):
        row: list[Any] = []
        for j in range(i):
            known = sum((row[k] * rows[j][k] for k in range(j)), 0.0)
            row.append((next(given) - known) / (sqrt(rows[j][j]) if squared else rows[j][j]))
        square = 1.0 - sum(value * value for value in row)
        rows.append([*row, square if squared or not row else sqrt(square)])
    return rows


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
