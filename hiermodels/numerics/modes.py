"""Where functions have maxima, and where they bend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.numerics import lattice

LARGEST_LOG = 600.0  # of a standardised variance and of its inverse
ZOOM, ZOOMS = 20, 8  # how much more closely each time, and how often
BEND_STEP = 0.5  # of x, in a search for places at which the log prior density is not straight:
STRAIGHT = 0.05  # where its second derivative is less


def bend_places(function: Callable[[Floats], Floats]) -> Floats:
    """Where a log density has a maximum, or is neither straight nor so steep that nothing is left.

    Counted from a maximum, so that the places move with the function.
    """
    x = np.arange(-LARGEST_LOG, LARGEST_LOG, BEND_STEP)
    peaks = local_maxima(function, x)
    x = x + (peaks[:1] % BEND_STEP if len(peaks) else 0.0)
    values = function(x)
    slope = (values[2:] - values[:-2]) / (2 * BEND_STEP)
    bend = (values[2:] - 2 * values[1:-1] + values[:-2]) / BEND_STEP**2
    return np.append(x[1:-1][(np.abs(bend) > STRAIGHT) & (np.abs(slope) < lattice.DROP)], peaks)


def local_maxima(function: Callable[[Floats], Floats], places: Floats) -> Floats:
    """Where a function has its local maxima between evenly spaced places."""
    values = function(places)
    peaks = places[1:-1][(values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])]
    width = places[1] - places[0]
    for _ in range(ZOOMS):
        near = peaks[:, None] + width * np.linspace(-1, 1, 2 * ZOOM + 1)
        zoomed = function(near.ravel()).reshape(near.shape)
        peaks = np.take_along_axis(near, zoomed.argmax(axis=1)[:, None], axis=1)[:, 0]
        width /= ZOOM
    return peaks


def peaks(values: Floats) -> NDArray[np.bool_]:
    """Where no neighbour along an axis is higher."""
    is_peak = np.ones(values.shape, dtype=bool)
    for axis in range(values.ndim):
        padded = np.pad(
            values, [(int(a == axis),) * 2 for a in range(values.ndim)], constant_values=-np.inf
        )
        size = values.shape[axis]
        for shift in (0, 2):
            neighbour = np.take(padded, np.arange(shift, shift + size), axis=axis)
            is_peak &= values >= neighbour
    return is_peak
