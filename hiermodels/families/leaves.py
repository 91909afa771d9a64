"""What the rows of each of several groups say, as a function of the group's own effect.

A *leaf* is the likelihood L(θ) of all rows of one group, a function of one number: the group's
linear predictor on the scale of the link.  Where the effects are not conjugate to it, they are
integrated out numerically, and a leaf says what such an integral has to know: where it lies, how
wide it is, where it bends, and whether it falls to 0 on either side.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self, runtime_checkable

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices

FARTHEST = 14.0  # sds from its centre, where a normal leaf is exp(−98)
WIDEST_STEP = 0.1  # of a grid on the scale of a logarithm: poles lie at ±iπ, or tails at ±iπ/2
STEPS_PER_SD = 2.0  # at which the trapezoid rule leaves exp(−79) of a normal leaf
BARELY = 0.05  # counts that are expected where a tail has become straight


class Leaves(Protocol):
    """Likelihoods of k groups, each a function of one number θ.

    A kind of leaves is a frozen dataclass of arrays (k,).  A leaf that is constant, of a group
    without observations, is an ordinary case.
    """

    @property
    def log_concave(self) -> bool:
        """Whether every leaf is log-concave, whatever the data."""

    def __len__(self) -> int:
        """Number of groups, k."""

    @property
    def constant(self) -> Floats:
        """Logarithm of each leaf's supremum, with all constants of its rows; (k,)."""

    @property
    def centre(self) -> Floats:
        """About where each leaf lies; finite also where its supremum is at ±∞; (k,)."""

    @property
    def information(self) -> Floats:
        """Inverse square of about the width of each leaf, above 0; (k,)."""

    @property
    def step(self) -> Floats:
        """Widest spacing at which the trapezoid rule integrates each leaf to rounding; (k,)."""

    @property
    def bend_range(self) -> Floats:
        """Ends (k, 2) of where each leaf bends.

        Outside of them it is negligible (``exp(−98)``), or about constant, exponential or a power,
        so that a grid may become coarser in proportion to the distance.
        """

    @property
    def falls_below(self) -> Flags:
        """Whether each leaf falls to 0 as θ → −∞; (k,)."""

    @property
    def falls_above(self) -> Flags:
        """Whether each leaf falls to 0 as θ → ∞; (k,)."""

    def log_likelihood(self, theta: Floats) -> Floats:
        """Logarithm of each leaf relative to its supremum, at most 0.

        Parameters
        ----------
        theta : (K,) or (k, K)
            Places for all leaves, or for each of them.

        Returns
        -------
        (k, K)
        """

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """First derivative of the log likelihood, and minus the second; (k, K) each."""

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """Log likelihood, its first derivative, and minus the second, where all are needed."""

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves that differ as functions of θ, and which of these each group has; (k,).

        The constants of the rows may differ all the same.
        """


@runtime_checkable
class SmoothLeaves(Leaves, Protocol):
    """Leaves that differ by two numbers each, in which their integrals are analytic.

    Very many of them are interpolated between few that have numbers in between.
    """

    @property
    def places(self) -> Floats | None:
        """Two logarithms each (k, 2), −∞ of 0; None if leaves differ by more than these.

        As functions of either the logarithms of integrals have their singularities at a distance
        of about π from the real line.
        """

    def at(self, places: Floats) -> Self:
        """Leaves at other places (v, 2), otherwise as all of these, and without constants of rows.

        There is at least one of these.
        """


@dataclass(frozen=True)
class LeafArrays:
    """Leaves of which each attribute is an array (k,)."""

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        return type(self)(*(getattr(self, field.name)[groups] for field in fields(self)))


class FallsBothWays:
    """Leaves of real numbers: each falls to 0 on either side."""

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def falls_below(self) -> Flags:
        """Always."""
        return np.ones(len(self), dtype=bool)

    @property
    def falls_above(self) -> Flags:
        """Always."""
        return np.ones(len(self), dtype=bool)


def shared_rows(*columns: Floats) -> tuple[Indices, Indices]:
    """First group (m,) with each distinct row of columns (k,), and each group's row (k,)."""
    _, first, inverse = np.unique(
        np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True
    )
    return first, inverse.ravel()
