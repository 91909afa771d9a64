"""Where falling functions of one number are 0, many at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats

XTOL = 1e-12  # of the width
MAX_DOUBLINGS = 60  # of the width, in the search for places on both sides
MAX_STEPS = 200  # of which Newton's method takes a dozen, and halving 60


def falling_roots(
    value_and_fall: Callable[[Floats], tuple[Floats, Floats]], start: Floats, width: Floats
) -> Floats:
    """Roots of k functions that fall from above 0 to below it.

    Newton's method between places that lie on either side of the root, and halves of their
    distance where Newton's step leads out or is not half of the one before.

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
    low, high = _either_side(value_and_fall, start, width)
    x, last = np.clip(start, low, high), high - low
    for _ in range(MAX_STEPS):
        value, fall = value_and_fall(x)
        low, high = np.where(value >= 0, x, low), np.where(value <= 0, x, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = np.where(value == 0, 0.0, value / fall)
        is_kept = (x + step >= low) & (x + step <= high) & (np.abs(step) <= 0.5 * last)
        following = np.where(is_kept, x + step, (low + high) / 2)
        last = np.abs(following - x)
        x = following
        if (last <= XTOL * width + 4 * np.finfo(float).eps * np.abs(x)).all():
            break
    return x


def _either_side(
    value_and_fall: Callable[[Floats], tuple[Floats, Floats]], start: Floats, width: Floats
) -> tuple[Floats, Floats]:
    """Places (k,) where the functions are not below 0, and where they are not above it."""
    sign = np.sign(value_and_fall(start)[0])
    near, far, distance = start, start + sign * width, width
    for _ in range(MAX_DOUBLINGS):
        is_short = sign * value_and_fall(far)[0] > 0
        if not is_short.any():
            break
        distance = np.where(is_short, 2 * distance, distance)
        near, far = np.where(is_short, far, near), np.where(is_short, far + sign * distance, far)
    return np.minimum(near, far), np.maximum(near, far)
