"""Distribution functions of effects whose densities are known on a grid.

The places are fine enough that the sinc interpolant of the masses there is the density itself; so
the distribution function is an integral of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial.polynomial import polyval

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.inversion import inverse

FINE = 0.42  # of the density's narrowest width: the interpolant errs by exp(−28)
HEAVY = 1e-10  # mass of a line of τ that tells how narrow the density is
CORE = 8.0  # sds, over which the grid is even
WIDE = 12.0  # steps, which a line is at least as wide as where the grid may become coarser
REACH = 9.0  # τ
NOTHING = 1e-20  # mass of a place
XTOL = 1e-12  # of a quantile, in steps of the grid
MAX_NUMBERS = 1 << 20  # that are held at a time

# Gauss's rule from a place of the grid to the next.
_X, _WEIGHTS = np.polynomial.legendre.leggauss(8)
UNIT, UNIT_WEIGHTS = (_X + 1) / 2, _WEIGHTS / 2


@dataclass(frozen=True, eq=False)
class EffectLaws:
    """Posteriors of the effects of groups that share a grid.

    Attributes
    ----------
    groups : (g,)
        Which groups.
    grid : ThetaGrid
    mass : (g, K)
        Density of each effect times the local spacing.
    """

    groups: Indices
    grid: ThetaGrid
    mass: Floats

    def moments(self, function: Callable[[Floats], Floats] | None = None) -> tuple[Floats, Floats]:
        """Means and sds of the effects, or of a function of them; (g,) each."""
        values = self.grid.theta if function is None else function(self.grid.theta)
        mean = self.mass @ values
        variance = (self.mass * (values - mean[:, None]) ** 2).sum(axis=1)
        return mean, np.sqrt(variance)

    def means(self, function: Callable[[Indices, Floats], Floats]) -> Floats:
        """Means of a function that differs by group, from groups and effects (K,) to (g, K)."""
        values = function(self.groups, self.grid.theta)
        return (self.mass * values).sum(axis=1) / self.mass.sum(axis=1)

    @cached_property
    def _below(self) -> Floats:
        """Distribution functions at the places of the grid; (g, K)."""
        from scipy.special import sici

        size = len(self.grid)
        steps = np.arange(1 - size, size)
        integral = 0.5 + sici(np.pi * steps)[0] / np.pi
        return self.mass @ integral[np.arange(size) - np.arange(size)[:, None] + size - 1]

    def cdf(self, values: Floats) -> Floats:
        """Probabilities that effects are at most values (g, n); (g, n)."""
        place = self.grid.place_of(values)
        rows = np.broadcast_to(np.arange(len(self.groups))[:, None], values.shape)
        probability = self._cdf_at(rows.ravel(), place.ravel()).reshape(values.shape)
        return np.clip(probability, 0.0, 1.0)

    def density(self, values: Floats) -> Floats:
        """Densities at values (g, n); (g, n)."""
        place = self.grid.place_of(values)
        rows = np.broadcast_to(np.arange(len(self.groups))[:, None], values.shape)
        density = self._density_at(rows.ravel(), place.ravel()).reshape(values.shape)
        return np.maximum(density / self.grid.at(place)[1], 0.0)

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles of all effects; (g, p).

        Between two places of the grid the density is a polynomial, to rounding.
        """
        g, p = len(self.groups), len(probabilities)
        rows, wanted = np.repeat(np.arange(g), p), np.tile(probabilities, g)
        running = np.maximum.accumulate(self._below, axis=1)
        above = np.array([np.searchsorted(row, probabilities) for row in running])
        left = np.clip(above.ravel(), 1, len(self.grid) - 1) - 1
        values = np.empty((len(UNIT), g * p))
        for x, row in zip(UNIT, values, strict=True):
            for some in self._parts(g * p):
                row[some] = self._density_at(rows[some], left[some] + x)
        slopes = np.linalg.solve(np.vander(UNIT, increasing=True), values)
        powers = np.vstack([self._below[rows, left], slopes / np.arange(1, len(UNIT) + 1)[:, None]])

        def below(x: Floats) -> tuple[Floats, Floats]:
            both = (np.asarray(polyval(x, each, tensor=False), float) for each in (powers, slopes))
            return next(both), next(both)

        inside = inverse(below, wanted, (np.zeros(g * p), np.ones(g * p)), XTOL)
        return self.grid.at(left + inside)[0].reshape(g, p)

    def _parts(self, size: int) -> Iterator[slice]:
        """Parts of so many places whose interpolants can be held."""
        step = max(1, MAX_NUMBERS // len(self.grid))
        for first in range(0, size, step):
            yield slice(first, first + step)

    def _density_at(self, rows: Indices, place: Floats) -> Floats:
        """Sinc interpolant of the masses of some rows (n,) at places (n,) counted in steps."""
        nearest = np.clip(np.rint(place), 0, len(self.grid) - 1)
        away = place - nearest
        sign = np.where((np.arange(len(self.grid)) - nearest[:, None]) % 2 == 0, 1.0, -1.0)
        distance = place[:, None] - np.arange(len(self.grid))
        at = np.arange(len(place)), nearest.astype(np.intp)
        distance[at] = 1.0
        terms = sign / distance
        terms[at] = 0.0
        wave = np.sin(np.pi * away) / np.pi
        far = np.einsum("nk,nk->n", self.mass[rows], terms) * wave
        return far + self.mass[rows, at[1]] * np.sinc(away)

    def _cdf_at(self, rows: Indices, place: Floats) -> Floats:
        """Distribution function: at the nearest place of the grid, and on by Gauss's rule."""
        nearest = np.clip(np.rint(place), 0, len(self.grid) - 1)
        probability, away = self._below[rows, nearest.astype(np.intp)], place - nearest
        for x, weight in zip(UNIT, UNIT_WEIGHTS, strict=True):
            for some in self._parts(len(rows)):
                density = self._density_at(rows[some], nearest[some] + away[some] * x)
                probability[some] += away[some] * weight * density
        return probability


def cores(leaves: Leaves) -> tuple[Floats, Floats]:
    """Ends between which each leaf is narrow; (k,) each.

    That is around its centre, or if there may be other modes wherever it bends.
    """
    reach = CORE * leaves.information**-0.5
    low, high = leaves.centre - reach, leaves.centre + reach
    if leaves.log_concave:
        return low, high
    first, last = leaves.bend_range.T
    return np.minimum(low, first), np.maximum(high, last)
