"""The law of an sd that is fixed: all its mass is at one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import SpecError


@dataclass(frozen=True)
class PointMass:
    """All mass at one value.

    Attributes
    ----------
    name : str
        Of the variable that has it.
    value : float
    """

    name: str
    value: float

    def quantiles(self, probabilities: Floats) -> Floats:
        """The value at each probability; (p,)."""
        return np.full(len(probabilities), self.value)

    def cdf(self, values: Floats) -> Floats:
        """Whether the value is at most each of these."""
        return np.where(values >= self.value, 1.0, 0.0)

    def density(self, values: Floats) -> Floats:
        """There is none.

        Raises
        ------
        SpecError
            Always.
        """
        raise SpecError(
            f"{self.name} is fixed at {self.value:g}: a mass at one place has no density"
        )
