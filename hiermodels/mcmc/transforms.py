"""Changes of coordinates in which NUTS finds its way, whatever the outcome's unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.model.priors.covariance import cholesky_rows


class UnitScale(Transform):  # type: ignore[misc]
    """Sample ``matrix⁻¹ (value − location)`` in a variable's place.

    Samplers start within a unit or so of the initial point, with steps of that size.  Where the
    outcome's own unit is a million times smaller or larger, or coefficients depend on one another,
    they fail or take minutes.

    Parameters
    ----------
    location : float, (u,) or (q,)
    matrix : float, (u,) or (q, q)
        Of a scale, for a variable with any shape, or one for each of its members; or of a change of
        basis, for a vector.
    """

    name = "unit"

    def __init__(self, location: float | Floats, matrix: float | Floats) -> None:
        self.location = location
        self.matrix = matrix
        self.ndim_supp = np.ndim(matrix) // 2

    def forward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``matrix⁻¹ (value − location)``."""
        if self.ndim_supp:
            return matrix_times(np.linalg.inv(self.matrix), value - self.location)
        return (value - self.location) / self.matrix

    def backward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``location + matrix·value``."""
        if self.ndim_supp:
            return self.location + matrix_times(self.matrix, value)
        return self.location + self.matrix * value

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``log |matrix|``."""
        if self.ndim_supp:
            return pt.as_tensor(np.linalg.slogdet(self.matrix)[1])
        return pt.zeros_like(value) + np.log(self.matrix)


class PartialCorrelations(Transform):  # type: ignore[misc]
    """Sample ``z_ij = atanh r_ij`` of the canonical partial correlations in correlations' place.

    With ``C_ij = r_ij Π_(k<j) √(1 − r_ik²)`` and

        dρ_ij/dr_ij = Π_(k<j) √((1 − r_ik²)(1 − r_jk²))

    the Jacobian is, of e effects, ``Π_(i>j) sech(z_ij)^(e − j)``, j from 0.

    Parameters
    ----------
    effects : int

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009), Journal of Multivariate Analysis 100:1989.
    """

    name = "partial"
    ndim_supp = 1

    def __init__(self, effects: int) -> None:
        self.effects = effects

    @property
    def _places(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.effects) for j in range(i)]

    def forward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``z_ij = atanh(C_ij/√(1 − Σ_(k<j) C_ik²))``."""
        rows = cholesky_rows([value[k] for k in range(len(self._places))], pt.sqrt)
        partial = []
        for i, j in self._places:
            left = 1.0 - sum(entry**2 for entry in rows[i][:j])
            partial.append(pt.arctanh(rows[i][j] / pt.sqrt(left)))
        return pt.stack(partial)

    def backward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``ρ_ij = Σ_k C_ik C_jk``."""
        rows: list[list[Any]] = [[] for _ in range(self.effects)]
        left: list[Any] = [1.0] * self.effects
        for k, (i, _) in enumerate(self._places):
            rows[i].append(pt.tanh(value[k]) * left[i])
            left[i] = left[i] / pt.cosh(value[k])
        for row, rest in zip(rows, left, strict=True):
            row.append(rest)
        return pt.stack(
            [sum(rows[i][k] * rows[j][k] for k in range(j + 1)) for i, j in self._places]
        )

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``Σ_ij (e − j) log sech z_ij``."""
        powers = np.array([self.effects - j for _, j in self._places], dtype=float)
        log_cosh = pt.abs(value) + pt.log1p(pt.exp(-2 * pt.abs(value))) - LOG_2
        return -(powers * log_cosh).sum()


def matrix_times(matrix: Floats | TensorVariable, vector: TensorVariable) -> TensorVariable:
    """``matrix @ vector``, which Numba compiles in a second where ``@`` takes it ten or more."""
    return (matrix * vector).sum(axis=-1)
