"""Places of a table of a function whose tails are powers, so near to each other as it takes.

They are even between two ends, and beyond them move apart in proportion to the distance
(:class:`~hiermodels.exact.kernels.leaves.grid.ThetaGrid`): there logarithms of powers are straight.
Between places the function is known by Lagrange's formula; it is tabulated halfway between them as
well, again and again, until the formula finds what is there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.leaves.nested.inner_tables import HALF
from hiermodels.numerics.lagrange import lagrange_weights

BEND = 0.4  # share of itself that the spacing grows by from place to place, to begin with
NEGLIGIBLE = -75.0  # of the function, relative to its largest value
E_FOLDS = 40  # of the distance, as far as places reach
LOW = -15.0  # of the function, where it may err as much more as it is lower
CLOSE = 1e-6  # at twice the spacing: at the spacing itself about 1e-9
MAX_HALVINGS = 6

type Function = Callable[[Floats], Floats]
"""From places (K,) to logarithms of functions (k, K)."""


def refined(
    function: Function, even: tuple[float, float], step: float
) -> tuple[ThetaGrid, Floats, float]:
    """Tabulate functions wherever any of them is not negligible.

    Parameters
    ----------
    function : callable
    even : (2,)
        Ends, beyond which the functions are about powers.
    step : float
        Of the first places between them.

    Returns
    -------
    grid : ThetaGrid
    values : (k, K)
    error : float
        Largest of the formula's between places twice as far apart; where the exponential of the
        function is small, relative to ``e^−15`` of its largest value.
    """
    grid = ThetaGrid.of(even, _ends(function, even), step, BEND)
    values = function(grid.theta)
    near = _near(values).any(axis=0)
    seen = np.flatnonzero(near)
    kept = slice(max(int(seen[0]) - 2 * HALF, 0), int(seen[-1]) + 2 * HALF + 1)
    grid, values = grid.part(kept), values[:, kept]
    for _ in range(MAX_HALVINGS):
        grid, values, error = _halved(function, grid, values)
        if error < CLOSE:
            break
    return grid, values, error


def _near(values: Floats) -> np.ndarray:
    """Where functions (k, K) are not negligible; (k, K)."""
    return np.asarray(values > values.max(axis=1)[:, None] + NEGLIGIBLE)


def _ends(function: Function, even: tuple[float, float]) -> tuple[float, float]:
    """Where all functions have become negligible, or the farthest places."""
    away = (even[1] - even[0]) * np.exp(np.arange(E_FOLDS + 1.0))
    inside = np.linspace(*even, 2 * E_FOLDS)
    near = _near(function(np.concatenate([even[0] - away[::-1], inside, even[1] + away])))
    seen = np.flatnonzero(near.any(axis=0))
    below = np.clip(E_FOLDS + 1 - seen[0], 0, E_FOLDS)
    above = np.clip(seen[-1] - (E_FOLDS + len(inside)), 0, E_FOLDS)
    return even[0] - float(away[below]), even[1] + float(away[above])


def _halved(function: Function, grid: ThetaGrid, values: Floats) -> tuple[ThetaGrid, Floats, float]:
    """Tabulate between places as well, and say how well it was known there."""
    size = len(grid)
    theta, weight = grid.at(np.arange(2 * size - 1) / 2)
    finer = np.empty((len(values), 2 * size - 1))
    finer[:, ::2], finer[:, 1::2] = values, function(theta[1::2])
    known = np.zeros((len(values), size + 1 - 2 * HALF))
    for i, share in enumerate(lagrange_weights(np.array([0.5]), HALF)):
        known += share * values[:, i : i + known.shape[1]]
    right = finer[:, 2 * HALF - 1 : 2 * (size - HALF) : 2]
    below = np.minimum(right - finer.max(axis=1)[:, None] - LOW, 0.0)
    error = np.abs(np.expm1(np.clip(known - right, -1.0, 1.0))) * np.exp(below)
    own = ThetaGrid(grid.even, grid.step / 2, grid.first, theta, weight / 2, grid.bend / 2)
    return own, finer, float(error.max(initial=0.0))
