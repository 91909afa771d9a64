"""A log density between the points of a lattice, by Lagrange's formula along each axis.

It is for densities of which each evaluation is dear: where the lattice is fine enough for sums over
it, the logarithm between its points is known about as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lagrange import lagrange_weights
from hiermodels.numerics.lattice import Integers, Lattice, LogDensity
from hiermodels.numerics.rejection import propose

HALF = {1: 5, 2: 5, 3: 6}  # half the number of points along each axis that a place is between
MAX_BOX = 1 << 24  # places of the box around the lattice
MAX_NUMBERS = 1 << 22  # that are held at a time
CHECKED = 100  # places
TOLERANCE = 1e-8  # of the log density


@dataclass(frozen=True, eq=False)
class LatticeInterpolant:
    """A log density, interpolated where all points around a place are known, or else as it is.

    Attributes
    ----------
    lattice : Lattice
        In one to three dimensions.
    log_density : callable
    """

    lattice: Lattice
    log_density: LogDensity

    def __call__(self, points: Floats) -> Floats:
        """Log density at points (n, d); (n,)."""
        size = max(1, MAX_NUMBERS // (2 * self._half) ** points.shape[1])
        parts = [self._between(points[i : i + size]) for i in range(0, len(points), size)]
        interpolated = np.concatenate([np.empty(0), *parts])
        others = ~np.isfinite(interpolated)
        if others.any():
            interpolated[others] = self.log_density(points[others])
        return interpolated

    @property
    def _half(self) -> int:
        return HALF[len(self.lattice.origin)]

    @cached_property
    def _box(self) -> tuple[Integers, Floats]:
        """Index of the first corner (d,), and the log density in a box, −inf where unknown."""
        low, shape, _, _ = self.lattice.sorted_keys
        box = np.full(np.maximum(shape, 2 * self._half), -np.inf)
        box[tuple((self.lattice.index - low).T)] = self.lattice.log_density
        return low, box

    def _between(self, points: Floats) -> Floats:
        """Interpolated at points (n, d), and −inf or nan next to where the lattice ends; (n,)."""
        lattice, half, (low, box) = self.lattice, self._half, self._box
        place = np.linalg.solve(lattice.step, (points - lattice.origin).T).T
        corner = np.floor(place).astype(np.int64)
        first = corner - low - (half - 1)
        inside = ((first >= 0) & (first + 2 * half <= box.shape)).all(axis=1)
        windows = sliding_window_view(box, (2 * half,) * points.shape[1])
        values = windows[tuple(np.where(inside[:, None], first, 0).T)]
        weights = np.array(lagrange_weights(place - corner, half))
        with np.errstate(invalid="ignore"):
            for axis in reversed(range(points.shape[1])):
                values = np.einsum("n...k,kn->n...", values, weights[:, :, axis])
        return np.where(inside, values, -np.inf)


def interpolated_values(lattice: Lattice, values: Floats, points: Floats) -> Floats:
    """Other functions (k, n), known at a lattice's points, at others (m, d); (k, m).

    They are nan next to where the lattice ends.
    """

    def unknown(places: Floats) -> Floats:
        return np.full(len(places), np.nan)

    each = (LatticeInterpolant(replace(lattice, log_density=own), unknown) for own in values)
    return np.array([one(points) for one in each])


def interpolated(
    lattice: Lattice, log_density: LogDensity, rng: np.random.Generator, checked: int = CHECKED
) -> LogDensity:
    """Interpolate a log density, if that is good to 1e-8 at places that draws are proposed at.

    Parameters
    ----------
    lattice : Lattice
        On which the density was laid out.
    log_density : callable
    rng : numpy.random.Generator
        Of the places.
    checked : int
        How many of them there are.

    Returns
    -------
    callable
        The interpolant, or ``log_density`` itself.
    """
    if len(lattice.origin) not in HALF or np.prod(lattice.sorted_keys[1]) > MAX_BOX:
        return log_density
    interpolant = LatticeInterpolant(lattice, log_density)
    points = propose(lattice, checked, rng)
    error = np.abs(interpolant(points) - log_density(points)).max()
    return interpolant if error <= TOLERANCE else log_density
