"""Of what a predictive distribution is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hiermodels.core.arrays import Floats, Indices


@dataclass(frozen=True)
class Target:
    """What is to be predicted: r values of the same kind.

    Each is ``effect of a group + x'β``, plus ``N(0, spread²)`` for each level below the group: the
    linear predictor of a row, on the outcome's scale where its family has one; or an outcome with
    that linear predictor, such as one with the noise ``N(0, σ²)`` or ``N(0, se²)``.

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
        Whether outcomes are predicted.
    se : (r,), optional
        Sd of their noise, where it is known.
    columns : mapping of str to (r,)
        What else belongs to the rows, such as numbers of trials; and ``offset``, if there is one.
    units : tuple of (r,)
        Of crossed groups, index of each column's group; negative of a new one.  The level and the
        members are then of no matter.
    """

    level: int
    members: Indices
    x: Floats
    outcome: bool = False
    se: Floats | None = None
    columns: Mapping[str, Floats] = field(default_factory=dict)
    units: tuple[Indices, ...] = ()
