"""Where falling functions of one number are 0, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats

XTOL = 1e-12  # of the width
MAX_STEPS = 200  # of which Newton's method takes a dozen, and halving 60


def falling_roots(
    value_and_fall: Callable[[Floats], tuple[Floats, Floats]], start: Floats, width: Floats
) -> Floats:
    """Roots of k functions that fall from above 0 to below it.

    Newton's method, by at most a width that doubles at each step, and by halves where it would
    leave the places that are known to lie on either side of the root.

    Parameters
    ----------
    value_and_fall : callable
        From places (k,) to the functions' values there and minus their derivatives, (k,) each.
    start : (k,)
    width : (k,)
        About the scale on which each function changes, above 0.

    Returns
    -------
    (k,)
        To ``1e-12`` widths, or as well as floating-point numbers say.
    """
    x = np.array(start, dtype=float)
    low, high = np.full_like(x, -np.inf), np.full_like(x, np.inf)
    longest = 2.0 * width
    for _ in range(MAX_STEPS):
        value, fall = value_and_fall(x)
        low, high = np.where(value >= 0, x, low), np.where(value <= 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = x + np.clip(np.nan_to_num(value / fall), -longest, longest)
            middle = (low + high) / 2
        is_inside = (newton > low) & (newton < high)
        is_between = np.isfinite(low) & np.isfinite(high)
        following = np.where(is_inside | ~is_between, newton, middle)
        step = np.abs(following - x)
        x, longest = np.where(value == 0, x, following), 2 * longest
        if (step <= XTOL * width + 4 * np.finfo(float).eps * np.abs(x)).all():
            break
    return x
