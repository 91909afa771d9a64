"""Quadrature and independent draws on a lattice, in one to five dimensions.

For a smooth density whose logarithm falls at least linearly in every direction, the plain
sum over a lattice (the trapezoid rule) converges geometrically in 1/spacing.  So a few
hundred points give integrals to ten digits, and the same points give independent draws by
rejection.  This module knows no statistics: it is given a function and places to start.

References
----------
Trefethen & Weideman (2014), SIAM Review 56:385 (the trapezoid rule).
Stenger (1993), Numerical Methods Based on Sinc and Analytic Functions (interpolation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.numerics.inversion import quantiles
from hiermodels.numerics.lagrange import lagrange_weights

type Integers = NDArray[np.int64]
type LogDensity = Callable[[Floats], Floats]
"""A function from points (n, d) to the logarithms of a density there (n,)."""
type LogWeight = Callable[[NDArray[np.bool_]], Floats]
"""A function from flags (n,) of points that are known to logarithms of a weight at these."""

DROP = 36.0  # the lattice ends where the density is exp(−36) ≈ 2e-16 of its largest value
XTOL = 1e-13  # of a quantile, as a part of the lattice's extent
FINER = 4  # places for each point of the lattice in a marginal density
STENCIL = 5  # half the number of places that a point is shared out among
BOX = {1: 1 << 22, 2: 1 << 13, 3: 1 << 9, 4: 112, 5: 52}  # widest lattice: points along each axis
FIRST = {5: 104}  # the same along the first axis, where it is longer: sds have the longest tails
STRIDE = {1: 16, 2: 1, 3: 1, 4: 1, 5: 1}  # how far the lattice is extended at a time


class LatticeError(ArithmeticError):
    """The density is not one that a lattice can hold."""


@dataclass(frozen=True)
class ModesAndScale:
    """Where a density lies, and how wide it is.

    The basis is the Cholesky factor of the inverse curvature at the highest mode; in directions in
    which another mode that matters is narrower, of that mode's.
    """

    modes: Floats  # local maxima that matter, the highest first; (m, d)
    basis: Floats  # lower triangular; (d, d)


@dataclass(frozen=True)
class Lattice:
    """A density on the points of a lattice.

    Attributes
    ----------
    origin : (d,)
        The point with index 0.
    step : (d, d)
        Lower triangular: its columns lead from a point to the next.
    index : (n, d)
        The points' integer coordinates: ``points = origin + index @ step.T``.
    log_density : (n,)
        Logarithm of the density at the points, as it was given (not normalised).
    spacing : (d,)
        Distance between points along each column of the basis, in that column's length.
    """

    origin: Floats
    step: Floats
    index: Integers
    log_density: Floats
    spacing: Floats

    @classmethod
    def of_nothing(cls, log_density: Floats) -> Lattice:
        """The one point (1, 0) of a density in no dimension, with its logarithm (1,)."""
        index = np.empty((1, 0), dtype=np.int64)
        return cls(np.empty(0), np.empty((0, 0)), index, log_density, np.empty(0))

    def __len__(self) -> int:
        return len(self.log_density)

    @cached_property
    def points(self) -> Floats:
        """Coordinates of the points; shape (n, d)."""
        return self.origin + self.index @ self.step.T

    @cached_property
    def log_sum(self) -> float:
        """Logarithm of the sum of the density over the points."""
        top = self.log_density.max()
        return float(top + np.log(np.exp(self.log_density - top).sum()))

    @property
    def log_integral(self) -> float:
        """Logarithm of the density's integral."""
        return self.log_sum + float(np.log(np.diag(self.step)).sum())

    @cached_property
    def weights(self) -> Floats:
        """Share of each point in the integral; of sum 1."""
        weights = np.exp(self.log_density - self.log_sum)
        return weights / weights.sum()

    @cached_property
    def checkerboard(self) -> NDArray[np.bool_]:
        """Every second point, as on a checkerboard: a lattice of wider spacing inside this one.

        Sums over it and over the whole lattice are two quadratures with different spacings.
        What they differ by is about the error of the wider, by far larger than that of the whole.
        """
        return self.index.sum(axis=1) % 2 == 0

    @property
    def quarter(self) -> NDArray[np.bool_]:
        """In three dimensions, the points whose coordinates are all even or all odd.

        The nearest places at which sums over them err are at √2 π/h, those of the checkerboard at
        √3 π/h.
        """
        parity = self.index % 2
        return (parity == parity[:, :1]).all(axis=1)

    @cached_property
    def sorted_keys(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Least index, extent, ascending keys of the points, and the points' order by key."""
        low, shape = self.index.min(axis=0), np.ptp(self.index, axis=0) + 1
        keys = np.ravel_multi_index(tuple((self.index - low).T), tuple(shape))
        order = np.argsort(keys)
        return low, shape, keys[order], order

    def places(self, index: Integers) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Which points have these integer coordinates (k, d), and whether there are any; (k,)."""
        low, shape, keys, order = self.sorted_keys
        inside = ((index >= low) & (index < low + shape)).all(axis=1)
        key = np.ravel_multi_index(tuple(np.where(inside[:, None], index - low, 0).T), tuple(shape))
        place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        return order[place], inside & (keys[place] == key)

    def cdf(self, axis: int, values: Floats) -> Floats:
        """Probability that a coordinate is at most each of ``values``.

        Along one axis, with spacing h, the density's interpolant is Σ p_k sinc((x − x_k)/h),
        whose integral is ``Σ p_k (½ + Si(π(x − x_k)/h)/π)``; across the others the sum over
        the lattice integrates.  ``step`` is triangular, so h is its diagonal element.
        """
        from scipy.special import sici

        nodes, weights = self._marginals[axis]
        steps = [(x - nodes) / self.step[axis, axis] for x in np.ravel(values)]
        return np.array([weights @ (0.5 + sici(np.pi * u)[0] / np.pi) for u in steps])

    def density(self, axis: int, values: Floats) -> Floats:
        """Marginal density of a coordinate: the interpolant whose integral :meth:`cdf` is.

        In the tails, where the interpolant swings around 0 by rounding errors, it is cut at 0.
        """
        nodes, weights = self._marginals[axis]
        h = self.step[axis, axis]
        density = [weights @ np.sinc((x - nodes) / h) / h for x in np.ravel(values)]
        return np.maximum(density, 0.0)

    def quantile(self, axis: int, probabilities: Floats) -> Floats:
        """Quantiles of a coordinate; (p,)."""
        x = self.points[:, axis]
        ends = float(x.min()), float(x.max())
        mean = float(x @ self.weights)
        about = mean, float(np.sqrt((x - mean) ** 2 @ self.weights))

        def law(places: Floats) -> tuple[Floats, Floats]:
            return self.cdf(axis, places), self.density(axis, places)

        return quantiles(law, probabilities, ends, XTOL * (ends[1] - ends[0]), about)

    @cached_property
    def _marginals(self) -> list[tuple[Floats, Floats]]:
        return [self._marginal(axis) for axis in range(len(self.origin))]

    def _projected(self, axis: int) -> tuple[Floats, Floats]:
        """Places on an axis and their weights: many points share one, as ``step`` is triangular."""
        part = self.index[:, : axis + 1]
        low, shape = part.min(axis=0), tuple(np.ptp(part, axis=0) + 1)
        if np.prod(shape) >= len(self):
            return self.points[:, axis], self.weights
        total = np.bincount(np.ravel_multi_index(tuple((part - low).T), shape), self.weights)
        there = np.flatnonzero(total)
        index = np.stack(np.unravel_index(there, shape), axis=1) + low
        return self.origin[axis] + index @ self.step[axis, : axis + 1], total[there]

    def _marginal(self, axis: int) -> tuple[Floats, Floats]:
        """Move the points' weights to a fine regular grid along one axis.

        Each weight is shared out by Lagrange's formula among the ``2·STENCIL`` nearest places,
        which keeps its contribution to every smooth function of the coordinate.
        """
        fine = self.step[axis, axis] / FINER
        x, own = self._projected(axis)
        place = (x - x.min()) / fine
        left = np.floor(place).astype(np.intp)
        size = int(left.max()) + 2 * STENCIL
        weights = np.zeros(size)
        for i, share in enumerate(lagrange_weights(place - left, STENCIL)):
            weights += np.bincount(left + i, weights=share * own, minlength=size)
        return x.min() + fine * (np.arange(size) - STENCIL + 1), weights


def grow(
    log_density: LogDensity,
    scale: ModesAndScale,
    spacing: float | Floats,
    log_weight: LogDensity,
) -> Lattice:
    """Lay a lattice over a density, outwards from its modes until nothing is left of it.

    Parameters
    ----------
    spacing : float or (d,)
        Distance between points, in units of the basis: one for all of its columns, or one for each.
    log_weight : LogDensity
        Logarithm of a function, at least 1, whose product with the density is to be summed too:
        points are added until the product has dropped by ``DROP`` from the density's top.
    """

    def evaluate(points: Floats) -> tuple[Floats, LogWeight]:
        return log_density(points), lambda some: log_weight(points[some])

    return grow_weighted(evaluate, scale, spacing)


def grow_weighted(
    evaluate: Callable[[Floats], tuple[Floats, LogWeight]],
    scale: ModesAndScale,
    spacing: float | Floats,
    drop: float = DROP,
    first: Integers | None = None,
) -> Lattice:
    """Lay a lattice over a density as :func:`grow` does, with its weight from the same evaluation.

    Parameters
    ----------
    evaluate : callable
        From points (n, d) to the log density (n,), and a function from flags (n,) of some of these
        points to the log weight there.
    spacing : float or (d,)
    drop : float
        Of the log density, at which the lattice ends.
    first : (n, d), optional
        Points that are evaluated at once, besides those nearest to the modes.
    """
    origin = scale.modes[0]
    d = len(origin)
    spacing = np.broadcast_to(np.asarray(spacing, dtype=float), d)
    step = scale.basis * spacing
    shape = np.array([FIRST.get(d, BOX[d]), *(BOX[d],) * (d - 1)])
    middle, strides = shape // 2, np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    reach = np.arange(1, STRIDE[d] + 1)[:, None] * strides
    around = np.concatenate([reach.ravel(), -reach.ravel()])
    nearest = np.linalg.solve(step, (scale.modes - origin).T).T.round().astype(np.int64)
    nearest = nearest if first is None else np.vstack([nearest, first])
    front = np.unique((nearest + middle).clip(0, shape - 1) @ strides)
    seen = np.zeros(shape.prod(), dtype=bool)
    seen[front] = True
    keys, logs = [], []
    top = -np.inf
    while len(front):
        index = np.stack(np.unravel_index(front, shape), axis=1)
        beyond = ((index <= STRIDE[d]) | (index >= shape - 1 - STRIDE[d])).any(axis=0)
        if beyond.any():
            most = middle[beyond].max()
            raise LatticeError(f"the density does not end within {most} points of its mode")
        values, log_weight = evaluate(origin + (index - middle) @ step.T)
        keys.append(index - middle)
        logs.append(values)
        top = max(top, values.max())
        inside = values > top - drop
        low = ~inside  # where the weight, which is at least 1, may matter
        inside[low] = values[low] + log_weight(low) > top - drop
        front = (front[inside][:, None] + around).ravel()
        front = np.unique(front[~seen[front]])
        seen[front] = True
    return Lattice(origin, step, np.concatenate(keys), np.concatenate(logs), spacing)


def ball(radii: Floats) -> Integers:
    """Integer points within an ellipsoid around 0; (n, d)."""
    axes = [np.arange(-int(r), int(r) + 1) for r in radii]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(radii))
    return points[((points / np.maximum(radii, 1.0)) ** 2).sum(axis=1) <= 1.0]
