"""Quantiles from a distribution function and its density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats


def quantiles(
    cdf: Callable[[Floats], Floats],
    density: Callable[[Floats], Floats],
    probabilities: Floats,
    ends: tuple[Floats, Floats],
    tolerance: float | Floats,
) -> Floats:
    """Where increasing functions have given values.

    By Newton's method, or bisection where that leaves the bracket or falls too slowly.

    Parameters
    ----------
    cdf, density : callable
        The functions and their slopes, from places (p,) to values (p,), each at its own place.
    probabilities : (p,)
    ends : (p,) each
        Between which the places are.
    tolerance : float or (p,)
        Of the places.

    Returns
    -------
    (p,)
    """
    low, high = ends
    quantile, step = (low + high) / 2, high - low
    while True:
        excess, slope = cdf(quantile) - probabilities, density(quantile)
        below = excess < 0
        low, high = np.where(below, quantile, low), np.where(below, high, quantile)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = quantile - excess / slope
        fast = (new > low) & (new < high) & (2 * np.abs(new - quantile) < np.abs(step))
        new = np.where(fast, new, (low + high) / 2)
        step, quantile = new - quantile, new
        if (np.abs(step) <= tolerance).all() or ((quantile == low) | (quantile == high)).all():
            return quantile
