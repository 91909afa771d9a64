"""Of what a predictive distribution is asked."""

from __future__ import annotations

from dataclasses import dataclass

from hiermodels.core.arrays import Floats, Indices


@dataclass(frozen=True)
class Target:
    """What is to be predicted: r values of the same kind.

    Each is ``effect of a group + x'β``, plus ``N(0, spread²)`` for each level below the group, plus
    ``N(0, σ²)`` or ``N(0, se²)`` if it is an outcome.

    Attributes
    ----------
    level : int
        Level of the groups, or ``ROOT`` for the intercept.  Below a group of an outer
        level stand new ones, down to a new group.
    members : (r,)
        Index of each group.
    x : (r, q)
        Covariates.
    outcome : bool
        Whether the noise of a row is added.
    se : (r,), optional
        Its sd, where it is known.
    """

    level: int
    members: Indices
    x: Floats
    outcome: bool = False
    se: Floats | None = None
