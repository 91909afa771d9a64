"""What laying a lattice over sds and coefficients takes, whatever lies below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import PrecisionError
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice, LatticeError
from hiermodels.numerics.modes import LARGEST_LOG, peaks

SCAN_STEP = 1.0  # of the coordinate of an sd, in the first look at the density
MAX_ASCENTS = 8
LONGEST = 0.8  # spacings, of a step along the coordinate of an sd: it bends over a distance
TAIL_MASS = 1e-12  # share of the posterior


def modes_of(
    log_density: Callable[[Floats], Floats], axes: Sequence[SdAxis], t: Sequence[Floats]
) -> lattice.ModesAndScale:
    """Find where a posterior lies: Newton's method from the peaks on a coarse grid.

    Parameters
    ----------
    log_density : callable
        From points (n, d).
    axes : sequence of SdAxis
        Of the first coordinates.
    t : sequence of (m,)
        Places of the others.
    """
    sds = [axis.pilot_places(SCAN_STEP) for axis in axes]
    grid = np.stack(np.meshgrid(*sds, *t, indexing="ij"), axis=-1)
    points = grid.reshape(-1, grid.shape[-1])
    values = log_density(points).reshape(grid.shape[:-1])
    places = np.flatnonzero(peaks(values) & np.isfinite(values))
    highest = places[np.argsort(-values.flat[places], kind="stable")][:MAX_ASCENTS]
    return lattice.find_modes(log_density, points[highest])


def spacing_by_axis(spacing: float | Floats, scale: lattice.ModesAndScale, n_sds: int) -> Floats:
    """Spacings of all axes, those of the first ``n_sds`` at most as wide as these may be; (d,)."""
    widest = np.ones(len(scale.basis))
    widest[:n_sds] = np.minimum(1.0, LONGEST / np.diag(scale.basis)[:n_sds])
    return np.asarray(spacing * widest, dtype=float)


def require_numbers(log_density: Floats) -> None:
    """Raise LatticeError if a log density (n,) is not a number, or infinite."""
    wrong = np.isnan(log_density) | (log_density == np.inf)
    if wrong.any():
        raise LatticeError(f"at {wrong.sum()} of {len(wrong)} points its density is not a number")


def require_range(laid: Lattice, axes: Sequence[SdAxis]) -> None:
    """Raise LatticeError if the posterior reaches variances beyond ``exp(±LARGEST_LOG)``."""
    for axis, u in zip(axes, laid.points.T, strict=False):
        beyond = np.abs(axis.x(u)) >= LARGEST_LOG
        if laid.weights[beyond].sum() > TAIL_MASS:
            raise LatticeError(f"it reaches sds beyond exp(±{LARGEST_LOG / 2:g})")


@contextmanager
def within_range(what: str, priors: str) -> Iterator[None]:
    """Say of a posterior that no lattice can hold what stands in the way."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except LatticeError as error:
        raise PrecisionError(
            f"the posterior of {what} cannot be integrated: {error}. Their priors, {priors} among "
            f"them, lie too far from the data, or are too narrow; or the posterior does not exist"
        ) from error
