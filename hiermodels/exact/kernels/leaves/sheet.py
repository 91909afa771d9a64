"""Places of (τ, μ), between which log integrals of leaves are interpolated.

As a function of the prior's mean μ and sd τ,

    log m(μ, τ) = log ∫ L(θ) N(θ | μ, τ²) dθ

is smooth over about what leaves are smooth over, or over τ if that is more.  Coordinates are

    t = asinh(τ/√v),    u = asinh((μ − c)/w(τ)),    w² = W² + τ²,

with W about half as far as the leaves' centres are apart, and v below each leaf's variance: few
places reach far, and τ = 0 is a place like any other.  Places of u are even, with polynomials
through the nearest of them; those of t are Chebyshev points of short intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.chebyshev import lagrange_polynomials, unit_points

HALF = 6  # half the number of even places that a point is between
STEP = 1.0  # of μ, in steps at which the trapezoid rule integrates the smoothest leaf
LENGTH = 1.0  # of t: of an interval, at most
LOG_ERROR = -23.0  # of the polynomials in t
STRIP = 1.3  # how far from the real line they have no singularity, about
LEAST_WIDTH = 10.0  # steps, of W
BELOW = 0.25  # v, as a share of the least variance


def _taylor() -> Floats:
    """From values at ±½, …, ±(HALF − ½) to coefficients of powers, the lowest first.

    Row n, of ``x^n``, holds what each value adds to its coefficient; (2·HALF, 2·HALF).
    """
    places = np.arange(2 * HALF) - (HALF - 0.5)
    columns = []
    for j, own in enumerate(places):
        others = np.delete(places, j)
        columns.append(np.poly(others)[::-1] / np.prod(own - others))
    return np.array(columns).T


TAYLOR = _taylor()


@dataclass(frozen=True)
class MuAxis:
    """The coordinate ``u = asinh((μ − c)/w)``, with ``w² = W² + τ²``.

    Attributes
    ----------
    middle, width : float
        c and W.
    """

    middle: float
    width: float

    @classmethod
    def of(cls, leaves: Leaves) -> Self:
        """Suit leaves that are not constant, or all if they are."""
        centre, step = _seen(leaves, leaves.centre), float(_seen(leaves, leaves.step).max())
        width = max(float(np.ptp(centre)) / 2, LEAST_WIDTH * step)
        return cls(float(centre.max() + centre.min()) / 2, width)

    def u(self, mu: Floats, tau: Floats) -> Floats:
        """Coordinates of points (n,)."""
        return np.arcsinh((mu - self.middle) / np.hypot(self.width, tau))

    def mu(self, u: Floats, tau: Floats) -> Floats:
        """The inverse; (n,)."""
        return self.middle + np.hypot(self.width, tau) * np.sinh(u)


def _seen(leaves: Leaves, values: Floats) -> Floats:
    """Values (k,) of the leaves that are not constant, or of all if they are."""
    seen = leaves.falls_below | leaves.falls_above
    return values[seen] if seen.any() else values


@dataclass(frozen=True)
class Sheet:
    """Places.

    Attributes
    ----------
    axis : MuAxis
    step, first, size : float, int, int
        Places of u are ``(first + k)·step`` for k below size.
    sd : float
        √v.
    start, length, intervals, lines : float, float, int, int
        Of t: where the first interval starts, their length and number, and the points of each.
    """

    axis: MuAxis
    step: float
    first: int
    size: int
    sd: float
    start: float
    length: float
    intervals: int
    lines: int

    @classmethod
    def around(
        cls, leaves: Leaves, tau: Floats, u: tuple[float, float], finer: tuple[float, float]
    ) -> Self:
        """Lay places that suit leaves around values of τ (M,) and from one u to another.

        Steps of u, and intervals of t, are those that usually suffice, divided by ``finer``.
        """
        axis = MuAxis.of(leaves)
        step = STEP * float(_seen(leaves, leaves.step).max()) / axis.width / finer[0]
        first = int(np.floor(u[0] / step)) + 1 - HALF
        size = int(np.floor(u[1] / step)) + HALF + 1 - first
        sd = float(np.sqrt(BELOW / _seen(leaves, leaves.information).max()))
        t = np.arcsinh(tau / sd)
        start, reach = float(t.min()), float(np.ptp(t))
        intervals = max(1, int(np.ceil(reach * finer[1] / LENGTH)))
        ratio = 2 * STRIP * intervals / max(reach, np.finfo(float).tiny)
        lines = 2 + int(np.ceil(LOG_ERROR / -np.arcsinh(ratio))) if reach else 1
        return cls(axis, step, first, size, sd, start, reach / intervals or 1.0, intervals, lines)

    def window(self, u: Floats) -> tuple[Indices, Indices]:
        """First place, and one beyond the last, of those between which u (..., 2) are."""
        cell = np.floor(u / self.step).astype(np.intp) - self.first
        return np.maximum(cell[..., 0] + 1 - HALF, 0), cell[..., 1] + 1 + HALF

    def points(self, begin: int, end: int) -> tuple[Floats, Floats]:
        """μ and τ of places ``begin ≤ k < end``, line by line; (lines·places,) each."""
        middle = self.start + self.length * (np.arange(self.intervals) + 0.5)
        if self.lines == 1:
            middle -= self.length / 2
        t = (middle[:, None] + self.length / 2 * unit_points(self.lines)).ravel()
        u = self.step * (self.first + np.arange(begin, end))
        tau = np.repeat(self.sd * np.sinh(t), len(u))
        return self.axis.mu(np.tile(u, len(t)), tau), tau

    def around_each(self, first: Indices, tau: Floats) -> Floats:
        """μ at the ``2·HALF`` places from a first one on (n,), at τ (n,); (n, 2·HALF)."""
        number = self.first + first[:, None] + np.arange(2 * HALF)
        return self.axis.mu(self.step * number.astype(float), tau[:, None])

    def between(self, beyond: Floats, width: Floats) -> tuple[Indices, Floats]:
        """Number of the first of the ``2·HALF`` places around points, and where in the middle.

        Parameters
        ----------
        beyond, width : (n,)
            ``μ − c`` and w.

        Returns
        -------
        first, inside : (n,)
            The latter from −½ to ½.
        """
        place = np.arcsinh(beyond / width)
        place /= self.step
        place -= self.first
        cell = np.floor(place)
        place -= cell
        place -= 0.5
        return cell.astype(np.intp) - (HALF - 1), place

    def across(self, tau: Floats) -> tuple[Indices, Floats]:
        """Interval of values of τ (M,), and what each of its lines adds (M, lines)."""
        place = (np.arcsinh(tau / self.sd) - self.start) / self.length
        interval = np.minimum(place.astype(np.intp), self.intervals - 1)
        return interval, lagrange_polynomials(2 * (place - interval) - 1, self.lines)
