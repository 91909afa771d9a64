"""How far a place is from the highest one nearby, from differences of a function."""

from __future__ import annotations

import numpy as np


def newton_step(value, place, h=1e-3):
    """The step from a place (d,) to the maximum near it, and the inverse of the information there.

    The slope is good to ``h⁴``, the information to ``h²``.
    """
    place = np.asarray(place, dtype=float)
    steps = h * np.eye(len(place))
    near, far = (
        np.array([value(place + k * step) - value(place - k * step) for step in steps])
        for k in (1, 2)
    )
    slope = (8 * near - far) / (12 * h)
    covariance = np.linalg.inv(information(value, place, h))
    return covariance @ slope, covariance


def information(value, place, h):
    """Minus the second derivatives (d, d)."""
    steps, d = h * np.eye(len(place)), len(place)
    found, middle = np.empty((d, d)), value(place)
    for i, a in enumerate(steps):
        found[i, i] = (2 * middle - value(place + a) - value(place - a)) / h**2
        for j, b in enumerate(steps[:i]):
            corners = value(place + a + b) - value(place + a - b)
            corners += value(place - a - b) - value(place - a + b)
            found[i, j] = found[j, i] = -corners / (4 * h**2)
    return found
