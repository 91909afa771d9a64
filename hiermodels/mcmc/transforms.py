"""Changes of coordinates in which NUTS finds its way, whatever the outcome's unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import Floats


class UnitScale(Transform):  # type: ignore[misc]
    """Sample ``matrix⁻¹ (value − location)`` in a variable's place.

    Samplers start within a unit or so of the initial point, with steps of that size.  Where the
    outcome's own unit is a million times smaller or larger, or coefficients depend on one another,
    they fail or take minutes.

    Parameters
    ----------
    location : float or (q,)
    matrix : float or (q, q)
        Of a scale, for a variable with any shape; or of a change of basis, for a vector.
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
        return pt.full_like(value, np.log(self.matrix))


def matrix_times(matrix: Floats | TensorVariable, vector: TensorVariable) -> TensorVariable:
    """``matrix @ vector``, which Numba compiles in a second where ``@`` takes it ten or more."""
    return (matrix * vector).sum(axis=-1)
