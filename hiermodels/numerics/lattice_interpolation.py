"""A log density between the points of a lattice, by Lagrange's formula along each axis.

It is for densities of which each evaluation is dear: where the lattice is fine enough for sums over
it, the logarithm between its points is known about as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lagrange import lagrange_weights
from hiermodels.numerics.lattice import Lattice, LogDensity
from hiermodels.numerics.rejection import known_log_density, propose

HALF = 5  # half the number of points along each axis that a place is between
MAX_DIMENSION = 2  # in which a place is between 100 points
CHECKED = 100  # places
TOLERANCE = 1e-8  # of the log density


@dataclass(frozen=True, eq=False)
class LatticeInterpolant:
    """A log density, interpolated where all points around a place are known, or else as it is.

    Attributes
    ----------
    lattice : Lattice
    log_density : callable
    """

    lattice: Lattice
    log_density: LogDensity

    def __call__(self, points: Floats) -> Floats:
        """Log density at points (n, d); (n,)."""
        interpolated = self._between(points)
        others = ~np.isfinite(interpolated)
        if others.any():
            interpolated[others] = self.log_density(points[others])
        return interpolated

    def _between(self, points: Floats) -> Floats:
        """Interpolated at points (n, d), and −inf or nan next to where the lattice ends; (n,)."""
        lattice = self.lattice
        place = np.linalg.solve(lattice.step, (points - lattice.origin).T).T
        corner = np.floor(place).astype(np.int64)
        weights = np.array(lagrange_weights(place - corner, HALF))
        total = np.zeros(len(points))
        with np.errstate(invalid="ignore"):
            for offset in np.ndindex((2 * HALF,) * points.shape[1]):
                share = np.prod([weights[k, :, axis] for axis, k in enumerate(offset)], axis=0)
                total += share * known_log_density(lattice, corner + offset - (HALF - 1))
        return total


def interpolated(lattice: Lattice, log_density: LogDensity, rng: np.random.Generator) -> LogDensity:
    """Interpolate a log density, if that is good to 1e-8 at places that draws are proposed at.

    Parameters
    ----------
    lattice : Lattice
        On which the density was laid out.
    log_density : callable
    rng : numpy.random.Generator
        Of the places.

    Returns
    -------
    callable
        The interpolant, or ``log_density`` itself.
    """
    if not 0 < len(lattice.origin) <= MAX_DIMENSION:
        return log_density
    interpolant = LatticeInterpolant(lattice, log_density)
    points = propose(lattice, CHECKED, rng)
    error = np.abs(interpolant(points) - log_density(points)).max()
    return interpolant if error <= TOLERANCE else log_density
