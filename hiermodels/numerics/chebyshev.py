"""Sums of a smooth function over very many places, from its values at few.

A function that is analytic around an interval is, to rounding, its own polynomial interpolant at
Chebyshev points x_j of that interval, with Lagrange's polynomials L_j.  So

    Σ_i c_i f(x_i) = Σ_j C_j f(x_j),    C_j = Σ_i c_i L_j(x_i),

where the C_j are computed once for all such functions.  A long interval is cut into shorter ones,
so that f is known to rounding where it is small, too.

References
----------
Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, starmap
from typing import Any

import numpy as np

from hiermodels.core.arrays import Flags, Floats

LONGEST = math.log(10)  # interval of one interpolant
BOUND = 1e-14  # of the relative error of an interpolant: measured ones are below 1e-16
PART = 0.9  # of the way to the nearest singularity, in which the function is bounded
ROWS = 1 << 13  # places whose polynomials are held at a time


def n_points(length: float) -> int:
    """How many points interpolate ``1/(a + b e^{−x})`` to rounding, for any a and b ≥ 0.

    The function has its poles at a distance π from the real line.  In the ellipse that reaches
    ``θ = 0.9 π`` from it, of parameter ``ρ = θ/h + √(1 + θ²/h²)`` with h half of the length, it
    is at most ``M = exp(h + √(h² + θ²)) / cos(θ/2)`` times its least value in the interval; and n
    points leave an error of at most ``4 M ρ^{1−n} / (ρ − 1)``.  No a and b come near to that: those
    with M nearly so large have their poles elsewhere.  The logarithm is as smooth.

    Parameters
    ----------
    length : float
        Of the interval; above 0.
    """
    half, theta = length / 2, PART * math.pi
    rho = theta / half + math.hypot(1, theta / half)
    log_m = half + math.hypot(half, theta) - math.log(math.cos(theta / 2))
    return 1 + math.ceil((math.log(4 / BOUND / (rho - 1)) + log_m) / math.log(rho))


def unit_points(n: int) -> Floats:
    """Chebyshev points of the interval from −1 to 1, ascending; (n,)."""
    return -np.cos((np.arange(n) + 0.5) * np.pi / n)


def lagrange_shares(n: int) -> Floats:
    """Lagrange's polynomials of n Chebyshev points in terms of Chebyshev's; (n, n).

    ``L_j(x) = (2/n) Σ_m' T_m(x_j) T_m(x)``, where the prime halves the term of m = 0.
    """
    from numpy.polynomial.chebyshev import chebvander

    shares = 2 / n * chebvander(unit_points(n), n - 1)
    shares[:, 0] /= 2
    return np.asarray(shares)


def lagrange_polynomials(x: Floats, n: int) -> Floats:
    """Lagrange's polynomials of n Chebyshev points, at places (k,) from −1 to 1; (k, n)."""
    from numpy.polynomial.chebyshev import chebvander

    return np.asarray(chebvander(x, n - 1) @ lagrange_shares(n).T)


def interpolated(
    functions: Callable[[Floats], Floats], x: Floats, n: int, tol: float
) -> tuple[Floats, Flags]:
    """Values of k smooth functions at very many places, from those at n points of each.

    Parameters
    ----------
    functions : callable
        From places (n, k), a column for each function, to values (n, k).
    x : (u, k)
        Finite places.
    n : int
    tol : float
        At most which the last two of a function's coefficients have to be: they fall as powers, so
        that what is left out is about as large.

    Returns
    -------
    values : (u, k)
    known : (k,)
        Whether they are, of each function.
    """
    from numpy.polynomial.chebyshev import chebval

    low, high = x.min(axis=0), x.max(axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, np.finfo(float).tiny)
    coefficients = lagrange_shares(n).T @ functions(middle + half * unit_points(n)[:, None])
    known = np.abs(coefficients[-2:]).max(axis=0) <= tol
    return np.asarray(chebval((x - middle) / half, coefficients, tensor=False)), known


@dataclass(frozen=True)
class Interpolation:
    """Chebyshev points that stand for many places.

    Attributes
    ----------
    x : (k,)
        The places, ascending, the last above the first.
    """

    x: Floats

    def __len__(self) -> int:
        return len(self._parts) * self._n

    @cached_property
    def points(self) -> Floats:
        """The points, ascending in each interval; shape (k',)."""
        return np.concatenate([middle + half * self._unit for _, middle, half in self._parts])

    def moved(self, amounts: Any) -> Floats:
        """The amounts C at the points that stand for amounts c at the places.

        Parameters
        ----------
        amounts : (k, c), sparse or not

        Returns
        -------
        (k', c)
        """
        from numpy.polynomial.chebyshev import chebvander

        shares = lagrange_shares(self._n)
        moved: Floats = np.zeros((len(self._parts), self._n, amounts.shape[1]))
        for total, (part, middle, half) in zip(moved, self._parts, strict=True):
            for i in range(part.start, part.stop, ROWS):
                some = slice(i, min(i + ROWS, part.stop))
                polynomials = chebvander((self.x[some] - middle) / half, self._n - 1)
                total += (amounts[some].T @ polynomials).T
        return np.matmul(shares, moved).reshape(len(self), -1)

    @cached_property
    def _edges(self) -> Floats:
        low, high = self.x[0], self.x[-1]
        return np.linspace(low, high, math.ceil((high - low) / LONGEST) + 1)

    @cached_property
    def _parts(self) -> list[tuple[slice, float, float]]:
        """The places in each interval that holds any, its middle, and half its length."""
        edges, half = self._edges, (self._edges[1] - self._edges[0]) / 2
        first = [0, *np.searchsorted(self.x, edges[1:-1]).tolist(), len(self.x)]
        middles = (edges[:-1] + half).tolist()
        parts = zip(starmap(slice, pairwise(first)), middles, strict=True)
        return [(part, middle, half) for part, middle in parts if part.stop > part.start]

    @cached_property
    def _n(self) -> int:
        return n_points(float(self._edges[1] - self._edges[0]))

    @cached_property
    def _unit(self) -> Floats:
        """Chebyshev points of the interval from −1 to 1, ascending; shape (n,)."""
        return unit_points(self._n)
