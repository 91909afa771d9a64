"""What leaves of binomial and of Poisson counts have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.leaves import STEPS_PER_SD, WIDEST_STEP, LeafArrays, shared_rows

LARGEST = 600.0  # argument of exp, so that any count times it is a number
MANY = 1e6  # counts, of which 1e-16 of each is far below what a log likelihood is asked for


class CountLeaves(LeafArrays):
    """Base of leaves of counts.

    Their last attribute is a constant, the log probability of the rows given their sum.  The others
    tell the leaves apart.
    """

    log_concave: ClassVar[bool] = True

    @property
    def information(self) -> Floats:
        """Inverse square of about the width of each leaf, above 0; (k,)."""
        raise NotImplementedError

    @classmethod
    def broadcast(cls, *attributes: ArrayLike) -> Self:
        """Make leaves of what broadcasts to (k,)."""
        arrays = np.broadcast_arrays(*attributes)
        return cls(*(np.array(array, dtype=float) for array in arrays))

    @property
    def step(self) -> Floats:
        """At most ``0.1``, and half of an sd."""
        return np.minimum(WIDEST_STEP, self.information**-0.5 / STEPS_PER_SD)

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves that differ in more than the constant, and which each group has; (k,)."""
        *others, _ = (getattr(self, field.name) for field in fields(self))
        first, inverse = shared_rows(*others)
        return self.take(first), inverse


def power_less_one(d: Floats, counts: Floats) -> Floats:
    """``e^d − 1``, with all digits where counts (k,) are so many that these are seen."""
    return np.expm1(d) if counts.max(initial=0.0) > MANY else np.exp(d) - 1
