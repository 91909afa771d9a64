"""Where functions have maxima, where they bend, and where densities have modes, and how wide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lattice import DROP, LatticeError, LogDensity, ModesAndScale

FLATTEST = 0.25  # least curvature that is believed: a standard deviation of 2
LONGEST_STEP = 4.0  # of the search for a mode
MAX_STEPS = 400
FARTHEST = 100.0  # from the start, where a mode is looked for
WIDEST = 0.02  # of differences; the density's logarithm should bend by about ``BEND`` over one
BEND = 0.01
NARROWEST = 1e-12
ROUNDING = 1e-9  # of the logarithm, where it is huge, that differences have to stand out from
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
    return np.append(x[1:-1][(np.abs(bend) > STRAIGHT) & (np.abs(slope) < DROP)], peaks)


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


def find_modes(log_density: LogDensity, starts: Floats) -> ModesAndScale:
    """Find the modes of a density from several places, by Newton's method.

    Parameters
    ----------
    log_density : LogDensity
    starts : (m, d)
        Where to begin; several, where there may be several modes.
    """
    if not len(starts):
        raise LatticeError("no place was found at which the density is above 0")
    ascents = [_newton_ascent(log_density, start) for start in starts]
    ascents.sort(key=lambda end: -end.log_density)
    ends = [end for end in ascents if end.log_density > ascents[0].log_density - DROP]
    lost = [end for end in ends if not end.is_mode]
    if lost or not ends:
        place = (lost or ascents)[0].point
        raise LatticeError(f"no mode was found near {place}: the density rises without end")
    curvature = reduce(_sharper, (end.curvature for end in ends))
    modes = np.array([end.point for end in ends])
    return ModesAndScale(modes, np.linalg.cholesky(np.linalg.inv(curvature)))


@dataclass(frozen=True)
class _End:
    """Where an ascent ended: at a point (d,), with the log density and curvature (d, d) there."""

    point: Floats
    log_density: float
    curvature: Floats
    is_mode: bool


def _sharper(first: Floats, second: Floats) -> Floats:
    """A curvature that is nowhere below either of two: the larger on their common axes."""
    root = np.linalg.cholesky(first)
    inverse = np.linalg.inv(root)
    ratio, axes = np.linalg.eigh(inverse @ second @ inverse.T)
    columns = root @ axes
    return (columns * np.maximum(ratio, 1.0)) @ columns.T


def _newton_ascent(log_density: LogDensity, start: Floats) -> _End:
    """Newton's method with differences."""
    point = np.array(start, dtype=float)
    for _ in range(MAX_STEPS):
        value, gradient, curvature = _expand(log_density, point)
        if not np.isfinite(curvature).all() or np.abs(point - start).max() > FARTHEST:
            break
        direction = np.linalg.solve(curvature, gradient)
        gain = float(gradient @ direction)
        direction *= min(1.0, LONGEST_STEP / np.linalg.norm(direction)) if gain > 0 else 0.0
        length = 1.0
        while gain > 1e-4 and length > 1e-4:
            if log_density((point + length * direction)[None])[0] > value:
                break
            length /= 4
        if gain <= 1e-4 or length <= 1e-4:
            return _End(point, value, curvature, is_mode=True)
        point = point + length * direction
    return _End(point, value, curvature, is_mode=False)


def _expand(log_density: LogDensity, point: Floats) -> tuple[float, Floats, Floats]:
    """Log density, gradient and curvature (minus the Hessian, made positive) by differences."""
    d = len(point)
    width = _widths(log_density, point)
    unit = np.diag(width)
    pairs = [(i, j) for i in range(d) for j in range(i)]
    corners = [s * unit[i] + t * unit[j] for i, j in pairs for s in (1, -1) for t in (1, -1)]
    values = log_density(point + np.array([np.zeros(d), *unit, *-unit, *corners]))
    value, plus, minus = values[0], values[1 : d + 1], values[d + 1 : 2 * d + 1]
    hessian = np.diag((plus - 2 * value + minus) / width**2)
    for (i, j), (pp, pm, mp, mm) in zip(pairs, values[2 * d + 1 :].reshape(-1, 4), strict=True):
        hessian[i, j] = hessian[j, i] = (pp - pm - mp + mm) / (4 * width[i] * width[j])
    size, axes = np.linalg.eigh(-hessian)
    curvature = (axes * np.maximum(np.abs(size), FLATTEST)) @ axes.T
    return float(value), (plus - minus) / (2 * width), curvature


def _widths(log_density: LogDensity, point: Floats) -> Floats:
    """Widths of differences along each axis, within which the density is nearly a parabola."""
    width = np.full(len(point), WIDEST)
    while width.min() > NARROWEST:
        values = log_density(
            point + np.vstack([np.zeros(len(point)), *np.diag(width), *-np.diag(width)])
        )
        plus, minus = values[1:].reshape(2, -1)
        bend = np.abs(plus - 2 * values[0] + minus)
        bend = np.where(np.isfinite(bend), bend, np.inf)
        most = 8 * max(BEND, ROUNDING * abs(values[0]))
        if (bend <= most).all():
            return width
        width = np.where(bend <= most, width, width * (BEND / bend.clip(BEND)).clip(0.01) ** 0.5)
    raise LatticeError(f"the density is not smooth at {point}")
