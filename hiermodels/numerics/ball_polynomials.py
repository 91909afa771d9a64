"""Polynomials in several variables that take given values in a ball.

At ``N(k) = (k + d choose d)`` points there is one polynomial of total degree k that has given
values.  The points are discrete Leja points: of a grid of the ball those that Gaussian elimination
with pivots picks of products of Chebyshev polynomials, the lower degrees first.  The first N(k) of
them are those of degree k, so that a higher degree takes but the points that are new.

Of a function that is analytic around the ball the error falls geometrically with the degree.

References
----------
Bos, De Marchi, Sommariva & Vianello (2010), SIAM Journal on Numerical Analysis 48:1984.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import scipy_linalg

DEGREES = {1: range(4, 25, 4), 2: range(4, 19, 2), 3: range(4, 17, 2)}  # that are tried
CHECKED = 12  # places at which each degree is compared
MAX_NUMBERS = 1 << 22  # that are held at a time
GRID = {1: 401, 2: 81, 3: 27}  # places of the grid along each axis


@dataclass(frozen=True, eq=False)
class BallPolynomials:
    """Polynomials of one total degree, one for each of several functions.

    Attributes
    ----------
    degree : int
    coefficients : (N(degree), m)
    error : float
        Largest distance from the functions at the places that were tried.
    """

    degree: int
    coefficients: Floats
    error: float

    def __call__(self, places: Floats) -> Floats:
        """Values at places (n, d) in the unit ball; (n, m)."""
        size = max(1, MAX_NUMBERS // len(self.coefficients))
        parts = [places[i : i + size] for i in range(0, len(places), size)]
        values = [products(part, self.degree) @ self.coefficients for part in parts]
        return np.vstack([np.empty((0, self.coefficients.shape[1])), *values])


def interpolated(
    functions: Callable[[Floats], Floats],
    dimension: int,
    distance: Callable[[Floats, Floats], float],
    tolerance: float,
) -> BallPolynomials | None:
    """Interpolate functions in the unit ball, by the lowest degree that is near enough.

    Parameters
    ----------
    functions : callable
        From places (n, d) to values (n, m), each place by itself.
    dimension : int
        d, up to 3.
    distance : callable
        Between values and true ones, (n, m) each.
    tolerance : float
        Distance that is near enough.

    Returns
    -------
    BallPolynomials or None
        None if no degree is near enough, or errors fall too slowly to expect it.
    """
    degrees, places = DEGREES[dimension], leja_points(dimension)
    known = functions(places[: size_of(dimension, degrees[0])])
    errors: list[float] = []
    for left, degree in zip(reversed(range(len(degrees))), degrees, strict=True):
        size = size_of(dimension, degree)
        known = np.vstack([known, functions(places[len(known) : size + CHECKED])])
        values = known[:size]
        coefficients = np.linalg.solve(products(places[:size], degree), values - values[0])
        coefficients[0] += values[0]
        tried = slice(size, size + CHECKED)
        found = products(places[tried], degree) @ coefficients
        errors.append(distance(found, known[tried]))
        if errors[-1] <= tolerance:
            return BallPolynomials(degree, coefficients, errors[-1])
        if not _expected(errors, left) <= tolerance:
            return None
    return None


def _expected(errors: list[float], left: int) -> float:
    """The error some degrees further on, if it goes on falling as it has from the first on."""
    if len(errors) < 2:
        return 0.0 if math.isfinite(errors[0]) else math.inf
    rate = (errors[-1] / errors[0]) ** (1 / (len(errors) - 1))
    return errors[-1] * rate**left


def size_of(dimension: int, degree: int) -> int:
    """Number of polynomials of a total degree, ``N(k)``."""
    return math.comb(degree + dimension, dimension)


@cache
def leja_points(dimension: int) -> Floats:
    """Points (n, d) in the unit ball, for all degrees that are tried and the next."""
    axis = np.linspace(-1, 1, GRID[dimension])
    grid = np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    grid = grid[(grid**2).sum(axis=1) <= 1]
    _, pivots, _ = scipy_linalg().lapack.dgetrf(products(grid, DEGREES[dimension][-1] + 2))
    order = np.arange(len(grid))
    for i, pivot in enumerate(pivots):
        order[[i, pivot]] = order[[pivot, i]]
    return np.asarray(grid[order[: len(pivots)]])


def products(places: Floats, degree: int) -> Floats:
    """Products of Chebyshev polynomials up to a total degree, by degree; (n, N(degree))."""
    d = places.shape[1]
    each = np.polynomial.chebyshev.chebvander(places, degree)
    powers = [power for power in product(range(degree + 1), repeat=d) if sum(power) <= degree]
    powers.sort(key=sum)
    own = [math.prod(each[:, j, k] for j, k in enumerate(power)) for power in powers]
    return np.stack(own, axis=1)
