"""Units that are left out of a posterior, and what the rest says of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices


@dataclass(frozen=True)
class Units:
    """What is left out.

    Attributes
    ----------
    name : str
        Of the dimension: ``row``, or the column of the groups.
    level : int
        Of the units; for rows, one more than that of the innermost groups.
    labels : (u,)
    index : (N,)
        The unit of each row; of each group, where the data are statistics.
    """

    name: str
    level: int
    labels: NDArray[Any]
    index: Indices

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LogDensities:
    """Log densities of the units that are left out, and what they cost.

    Attributes
    ----------
    left_out : (u,)
        Log density of each, given the others.
    again : (u,)
        Log density of other rows with the same outcomes, given all.
    error : (u,)
        Estimated error of ``left_out``.
    n_refits, n_points : int
        Units without which the posterior was integrated anew; points of the quadrature.
    reasons : dict of int to str
        Why a unit cannot be left out.
    """

    left_out: Floats
    again: Floats
    error: Floats
    n_refits: int = 0
    n_points: int = 1
    reasons: dict[int, str] = field(default_factory=dict)

    def updated(self, units: Indices, other: LogDensities) -> LogDensities:
        """The same with other numbers for some units."""
        whole = np.array([self.left_out, self.again, self.error])
        whole[:, units] = other.left_out, other.again, other.error
        return replace(self, left_out=whole[0], again=whole[1], error=whole[2])
