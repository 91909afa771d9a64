"""What laying a lattice over sds and coefficients takes, whatever lies below them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.lattice_errors import within_range
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics import lattice
from hiermodels.numerics.finer import points_within
from hiermodels.numerics.lattice import Lattice, LatticeError, LogWeight
from hiermodels.numerics.modes import LARGEST_LOG, find_modes, peaks

DROP = 30.0  # the lattice ends where the density is exp(−30) ≈ 1e-13 of its largest value
START = 5.0  # about this many sds around the mode are laid out at once
SCAN_STEP = 1.0  # of the coordinate of an sd, in the first look at the density
MAX_ASCENTS = 8
LONGEST = 0.8  # spacings, of a step along the coordinate of an sd: it bends over a distance
TAIL_MASS = 1e-12  # share of the posterior


def modes_of(
    log_density: Callable[[Floats], Floats], axes: Sequence[SdAxis | None], t: Sequence[Floats]
) -> lattice.ModesAndScale:
    """Find where a posterior lies: Newton's method from the peaks on a coarse grid.

    Parameters
    ----------
    log_density : callable
        From points (n, d).
    axes : sequence of SdAxis or None
        Of the first coordinates; None of one that is not of an sd, and starts at 0.
    t : sequence of (m,)
        Places of the others.
    """
    sds = [np.zeros(1) if axis is None else axis.pilot_places(SCAN_STEP) for axis in axes]
    grid = np.stack(np.meshgrid(*sds, *t, indexing="ij"), axis=-1)
    points = grid.reshape(-1, grid.shape[-1])
    values = log_density(points).reshape(grid.shape[:-1])
    places = np.flatnonzero(peaks(values) & np.isfinite(values))
    highest = places[np.argsort(-values.flat[places], kind="stable")][:MAX_ASCENTS]
    return find_modes(log_density, points[highest])


def spacing_by_axis(
    spacing: float | Floats, scale: lattice.ModesAndScale, axes: Sequence[SdAxis | None]
) -> Floats:
    """Spacings of all axes, those of sds at most as wide as these may be; (d,)."""
    widest = np.ones(len(scale.basis))
    some = [number for number, axis in enumerate(axes) if axis is not None]
    widest[some] = np.minimum(1.0, LONGEST / np.diag(scale.basis)[some])
    return np.asarray(spacing * widest, dtype=float)


def lay(
    evaluate: Callable[[Floats], tuple[Floats, Floats]],
    scale: lattice.ModesAndScale,
    spacing: float | Floats,
    axes: Sequence[SdAxis | None],
    coarser: Lattice | None = None,
) -> Lattice:
    """Lay a lattice over a posterior, wide enough for what the weights make of it.

    Parameters
    ----------
    evaluate : callable
        From points (n, d) to log densities and the logarithms of weights, (n,) each.
    scale : ModesAndScale
    spacing : float or (d,)
    axes : sequence of SdAxis or None
        Of the first coordinates; None of one that is not of an sd.
    coarser : Lattice, optional
        One of the same posterior, that tells where it lies.

    Raises
    ------
    LatticeError
        If no lattice can hold it.
    """

    @one_blas_thread()
    def checked(points: Floats) -> tuple[Floats, LogWeight]:
        log_density, weights = evaluate(points)
        require_numbers(log_density)
        return log_density, lambda some: weights[some]

    own = spacing_by_axis(spacing, scale, axes)
    first = lattice.ball(START / own) if coarser is None else points_within(coarser, own)
    laid = lattice.grow_weighted(checked, scale, own, DROP, first)
    require_range(laid, axes)
    return laid


def require_numbers(log_density: Floats) -> None:
    """Raise LatticeError if a log density (n,) is not a number, or infinite."""
    wrong = np.isnan(log_density) | (log_density == np.inf)
    if wrong.any():
        raise LatticeError(f"at {wrong.sum()} of {len(wrong)} points its density is not a number")


def require_range(laid: Lattice, axes: Sequence[SdAxis | None]) -> None:
    """Raise LatticeError if the posterior reaches variances beyond ``exp(±LARGEST_LOG)``."""
    for axis, u in zip(axes, laid.points.T, strict=False):
        if axis is None:
            continue
        beyond = np.abs(axis.x(u)) >= LARGEST_LOG
        if laid.weights[beyond].sum() > TAIL_MASS:
            raise LatticeError(f"it reaches sds beyond exp(±{LARGEST_LOG / 2:g})")


def within_range_of_priors(what: str, priors: str) -> AbstractContextManager[None]:
    """Say of a posterior that no lattice can hold which priors it has."""
    advice = (
        f"Their priors, {priors} among them, lie too far from the data, or are too narrow; or the "
        f"posterior does not exist"
    )
    return within_range(what, advice)
