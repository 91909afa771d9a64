"""Leaves of rows with errors of Student's t distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.families.leaves import FARTHEST, STEPS_PER_SD, FallsBothWays, shared_rows
from hiermodels.numerics.stirling import stirling_error

FAR = 1e9  # whose square is so large that 1 is not seen beside it
LARGEST = 1e150  # whose square is still a floating-point number
NEAREST_POLE = 15.0  # see StudentTLeaves.step
POWER_FROM = 3.0  # of √nu sds, where a tail has become a power


def log_peak(nu: float) -> float:
    """Log density of a t variable with scale 1 at 0.

    ``log Γ((nu + 1)/2) − log Γ(nu/2) − ½ log(π nu)``, in which at large nu Stirling's formula
    cancels but for ``½ nu log(1 + 1/nu) − ½``.
    """
    errors = stirling_error(np.array([(nu + 1) / 2, nu / 2]))
    return float(0.5 * (nu * math.log1p(1 / nu) - 1 - LOG_2PI) + errors[0] - errors[1])


def log_shape(z: Floats, nu: float) -> Floats:
    """``−½ (nu + 1) log(1 + z²/nu)``: log density relative to that at 0."""
    size = np.abs(z) / math.sqrt(nu)
    near = 0.5 * np.log1p(np.minimum(size, FAR) ** 2)
    return -(nu + 1) * (near + np.log(np.maximum(size / FAR, 1.0)))


@dataclass(frozen=True)
class StudentTLeaves(FallsBothWays):
    """``y ~ t_nu(θ, sd)``: one row of each of k groups.

    Attributes
    ----------
    location, sd : (k,)
        The outcomes, less what is added to θ, and the scales of their errors.
    nu : float
        Degrees of freedom.
    """

    log_concave: ClassVar[bool] = False

    location: Floats
    sd: Floats
    nu: float

    @classmethod
    def of(cls, location: Floats, sd: Floats | float, nu: float) -> Self:
        """Make leaves of arrays that broadcast to (k,)."""
        place, scale = np.broadcast_arrays(location, sd)
        return cls(np.array(place, dtype=float), np.array(scale, dtype=float), float(nu))

    def __len__(self) -> int:
        return len(self.location)

    @cached_property
    def constant(self) -> Floats:
        """Log density at the location."""
        return log_peak(self.nu) - np.log(self.sd)

    @property
    def centre(self) -> Floats:
        """The locations."""
        return self.location

    @property
    def information(self) -> Floats:
        """Fisher's, ``(nu + 1)/((nu + 3) sd²)``."""
        return (self.nu + 1) / (self.nu + 3) * self.sd**-2.0

    @property
    def step(self) -> Floats:
        """Half of an sd, less where few nu leave a singularity at ``±i √nu`` sds: √nu/8."""
        return self.sd / STEPS_PER_SD * math.sqrt(self.nu / (self.nu + NEAREST_POLE))

    @property
    def bend_range(self) -> Floats:
        """14 sds to each side, or as far as the tails have not become powers."""
        far = min(FARTHEST, POWER_FROM * math.sqrt(self.nu)) * self.sd
        return np.stack([self.location - far, self.location + far], axis=1)

    def log_likelihood(self, theta: Floats) -> Floats:
        """``−½ (nu + 1) log(1 + z²/nu)`` with ``z = (θ − y)/sd``."""
        return log_shape((theta - self.location[:, None]) / self.sd[:, None], self.nu)

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``−(nu + 1) z/(nu + z²)/sd`` and ``(nu + 1)(nu − z²)/(nu + z²)²/sd²``."""
        sd = self.sd[:, None]
        z = np.clip((theta - self.location[:, None]) / sd, -LARGEST, LARGEST)
        weight = (self.nu + 1) / (self.nu + z**2)
        bend = weight * (1 - 2 * z**2 / (self.nu + z**2))
        return -weight * z / sd, bend / sd**2

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three."""
        return (self.log_likelihood(theta), *self.slope_and_information(theta))

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        return type(self)(self.location[groups], self.sd[groups], self.nu)

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves with distinct locations and sds, and which of these each group has; (k,)."""
        first, inverse = shared_rows(self.location, self.sd)
        return self.take(first), inverse
