"""Leaves of normal rows with known standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.families.leaves import (
    FARTHEST,
    STEPS_PER_SD,
    FallsBothWays,
    LeafArrays,
    shared_rows,
)


@dataclass(frozen=True)
class NormalLeaves(FallsBothWays, LeafArrays):
    """``y ~ N(θ, sd²)``: a mean of each of k groups, with its standard error.

    Attributes
    ----------
    mean, sd : (k,)
    log_given_mean : (k,)
        Log density of the group's rows given their mean: 0 where the group is one row.
    """

    log_concave: ClassVar[bool] = True

    mean: Floats
    sd: Floats
    log_given_mean: Floats

    @classmethod
    def of(cls, mean: Floats, sd: Floats | float, log_given_mean: Floats | float = 0.0) -> Self:
        """Make leaves of arrays that broadcast to (k,)."""
        arrays = np.broadcast_arrays(mean, sd, log_given_mean)
        return cls(*(np.array(a, dtype=float) for a in arrays))

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def constant(self) -> Floats:
        """``−½ log(2π sd²)``, and that of the rows given their mean."""
        return -0.5 * LOG_2PI - np.log(self.sd) + self.log_given_mean

    @property
    def centre(self) -> Floats:
        """The means."""
        return self.mean

    @property
    def information(self) -> Floats:
        """``1/sd²``."""
        return self.sd**-2.0

    @property
    def step(self) -> Floats:
        """Half of an sd."""
        return self.sd / STEPS_PER_SD

    @property
    def bend_range(self) -> Floats:
        """14 sds to each side."""
        return np.stack([self.mean - FARTHEST * self.sd, self.mean + FARTHEST * self.sd], axis=1)

    def log_likelihood(self, theta: Floats) -> Floats:
        """``−½(θ − y)²/sd²``."""
        return -0.5 * ((theta - self.mean[:, None]) / self.sd[:, None]) ** 2

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``(y − θ)/sd²`` and ``1/sd²``."""
        slope = (self.mean[:, None] - theta) * self.information[:, None]
        return slope, np.broadcast_to(self.information[:, None], slope.shape)

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three."""
        return (self.log_likelihood(theta), *self.slope_and_information(theta))

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves with distinct means and sds, and which of these each group has; (k,)."""
        first, inverse = shared_rows(self.mean, self.sd)
        return self.take(first), inverse
