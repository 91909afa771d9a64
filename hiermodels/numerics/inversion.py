"""Where increasing functions have given values, and quantiles of a distribution function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats

type Sloped = Callable[[Floats], tuple[Floats, Floats]]
"""From places (p,) to an increasing function's values and slopes (p,), each at its own place."""


def quantiles(
    law: Sloped,
    probabilities: Floats,
    ends: tuple[float, float],
    tolerance: float,
    about: tuple[float, float] | None = None,
) -> Floats:
    """Where a distribution function has given values.

    Newton's method is used on the normal score ``Φ⁻¹(F(x))``, which is nearly a straight line.

    Parameters
    ----------
    law : callable
        Distribution functions and densities.
    probabilities : (p,)
    ends : pair of float
        Between which the quantiles are.
    tolerance : float
        Of the quantiles.
    about : pair of float, optional
        Mean and sd, roughly: from a normal's quantiles they are found in few steps.

    Returns
    -------
    (p,)
    """
    from scipy.special import ndtri

    def score(x: Floats) -> tuple[Floats, Floats]:
        below, density = law(x)
        z = ndtri(np.clip(below, 0.0, 1.0))
        with np.errstate(over="ignore", invalid="ignore"):
            return z, density * np.exp(0.5 * (z * z + LOG_2PI))

    values = ndtri(probabilities)
    low, high = (np.full(len(probabilities), end) for end in ends)
    start = None if about is None else about[0] + about[1] * values
    return inverse(score, values, (low, high), tolerance, start)


def inverse(
    function: Sloped,
    values: Floats,
    ends: tuple[Floats, Floats],
    tolerance: float,
    start: Floats | None = None,
) -> Floats:
    """Where increasing functions have given values.

    By Newton's method, or bisection where that leaves the bracket or falls too slowly.

    Parameters
    ----------
    function : callable
    values : (p,)
    ends : (p,) each
        Between which the places are.
    tolerance : float
        Of the places.
    start : (p,), optional
        Where they may be; by default in the middle.

    Returns
    -------
    (p,)
    """
    low, high = ends
    place = (low + high) / 2 if start is None else np.clip(start, low, high)
    step = high - low
    while True:
        found, slope = function(place)
        below = found < values
        low, high = np.where(below, place, low), np.where(below, high, place)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            new = place - (found - values) / slope
        fast = (new > low) & (new < high) & (2 * np.abs(new - place) < np.abs(step))
        new = np.where(fast, new, (low + high) / 2)
        step, place = new - place, new
        if (np.abs(step) <= tolerance).all() or ((place == low) | (place == high)).all():
            return place
