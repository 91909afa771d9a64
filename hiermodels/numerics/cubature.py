"""Few of many weighted points that have the same moments.

Of any weights on finitely many points there are others, on as many of the points as there are
polynomials up to some degree or fewer, that give each of these polynomials the same mean, and
they are not negative (Tchakaloff's theorem).  What is nearly a polynomial where the weight lies
has nearly the same mean, too: for an analytic function the error falls geometrically with the
degree.

References
----------
Tchakaloff (1957), Bulletin des Sciences Mathématiques 81:123.
Piazzon, Sommariva & Vianello (2017), Dolomites Research Notes on Approximation 10:57
(computation by non-negative least squares).
"""

from __future__ import annotations

from itertools import product

import numpy as np

from hiermodels.core.arrays import Floats, Indices

TAIL_MASS = 1e-13  # share of the weight, on the lightest points, that is left out


def compress(points: Floats, weights: Floats, degree: int) -> tuple[Indices, Floats]:
    """Weights on few of the points with the same mean of each polynomial up to a degree.

    Parameters
    ----------
    points : (n, d)
    weights : (n,)
        Not negative, of sum 1.
    degree : int
        Total degree; there are ``(degree + d choose d)`` polynomials.

    Returns
    -------
    chosen : (m,)
        Which points.
    weights : (m,)
        Positive, of sum 1 to rounding.
    """
    from scipy.optimize import nnls

    kept = heaviest(weights)
    share = weights[kept] / weights[kept].sum()
    polynomials = orthonormal(points[kept], share, degree)
    length = np.linalg.norm(polynomials, axis=0)
    solution, _ = nnls(polynomials / length, polynomials @ share)
    chosen = np.flatnonzero(solution)
    return kept[chosen], solution[chosen] / length[chosen]


def heaviest(weights: Floats) -> Indices:
    """Points that hold all but a negligible part of the weight, in their order."""
    order = np.argsort(-weights, kind="stable")
    enough = np.searchsorted(np.cumsum(weights[order]), 1 - TAIL_MASS) + 1
    return np.sort(order[:enough])


def orthonormal(points: Floats, weights: Floats, degree: int) -> Floats:
    """Polynomials up to a degree at the points, orthonormal under the weights; (p, n).

    They begin as products of Hermite polynomials of the whitened points, which are nearly so
    where the weights are nearly normal.
    """
    deviation = points - weights @ points
    factor = np.linalg.cholesky((weights[:, None] * deviation).T @ deviation)
    hermite = _hermite(np.linalg.solve(factor, deviation.T), degree)
    d = points.shape[1]
    powers = [power for power in product(range(degree + 1), repeat=d) if sum(power) <= degree]
    columns = [np.prod([hermite[k, j] for j, k in enumerate(power)], axis=0) for power in powers]
    root = np.sqrt(weights)
    return (np.linalg.qr(root[:, None] * np.stack(columns, axis=1))[0] / root[:, None]).T


def _hermite(x: Floats, degree: int) -> Floats:
    """Hermite polynomials orthonormal under N(0, 1), by their recursion; (degree + 1, …)."""
    values = np.ones((degree + 1, *x.shape))
    for k in range(degree):
        before = np.sqrt(k) * values[k - 1] if k else 0.0
        values[k + 1] = (x * values[k] - before) / np.sqrt(k + 1)
    return values
