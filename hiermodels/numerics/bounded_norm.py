"""The shortest vector within bounds that solves linear equations."""

from __future__ import annotations

from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats

SLACK = 1e-6  # of the bounds, relative, by which a solution has to keep away from them
RTOL = 1e-13  # of the value, as far as rounding leaves anything to gain
RIDGE = 1e-12  # of the diagonal, where bounds hold so many entries that the rest is singular
STEPS = 200  # a dozen are usual
SUFFICIENT = 1e-4  # share of the decrease that a step promises


def is_solvable(matrix: Any, target: Floats, lower: Floats, upper: Floats) -> bool:
    """Whether some v within slightly narrower bounds has ``matrix.T @ v = target``.

    The arguments are those of ``least_square``.
    """
    from scipy import optimize

    size = np.abs(target).max(initial=0.0)
    if size == 0:
        return True
    bounds = np.stack([lower, upper], axis=1) * (1 - SLACK) / size
    equations = {"A_eq": matrix.T, "b_eq": target / size}
    return bool(optimize.linprog(np.zeros(len(lower)), bounds=bounds, **equations).status == 0)


def least_square(matrix: Any, target: Floats, lower: Floats, upper: Floats) -> float:
    """Least ``½ Σ v²`` with ``matrix.T @ v = target`` and ``lower ≤ v ≤ upper``.

    It is the largest value of its dual, which is concave and has few variables:
    ``target'g − Σ h(matrix @ g)``, where h is ½t² with its slope t cut off at the bounds.  That is
    a quadratic function in pieces, for which Newton's method is exact after finitely many steps.

    Parameters
    ----------
    matrix : (k, q)
        An array, or a sparse one.
    target : (q,)
        For which ``is_solvable``.
    lower, upper : (k,)
        At most 0 and at least 0; they may be infinite.

    References
    ----------
    Rockafellar (1970), Convex Analysis, section 31; Qi & Sun (1993), Mathematical Programming
    58:353, for Newton's method where the gradient has kinks.
    """
    size = np.abs(target).max(initial=0.0)
    if size == 0:
        return 0.0
    unit, low, high = target / size, lower / size, upper / size
    g = np.zeros(len(target))
    for _ in range(STEPS):
        value, gradient, inside = _dual(matrix, g, unit, low, high)
        step = _newton_step(matrix[np.flatnonzero(inside)], gradient)
        slope = gradient @ step
        if -slope <= RTOL * abs(value):
            break
        length, least = 1.0, RTOL * abs(value)
        while _dual(matrix, g + length * step, unit, low, high)[0] > (
            value + SUFFICIENT * length * slope + least
        ):
            length /= 2
        g = g + length * step
    return float(-_dual(matrix, g, unit, low, high)[0] * size * size)


def _dual(
    matrix: Any, g: Floats, unit: Floats, low: Floats, high: Floats
) -> tuple[float, Floats, Floats]:
    """Minus the dual, its gradient, and which entries no bound holds."""
    t = matrix @ g
    v = np.clip(t, low, high)
    return float((v * t - v * v / 2).sum() - unit @ g), matrix.T @ v - unit, v == t


def _newton_step(inside: Any, gradient: Floats) -> Floats:
    """Solve ``inside.T @ inside @ step = −gradient``."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    hessian = inside.T @ inside
    ridge = RIDGE * max(hessian.diagonal().max(initial=0.0), RIDGE)
    if sparse.issparse(hessian):
        step: Floats = spsolve(
            (hessian + ridge * sparse.eye_array(len(gradient))).tocsc(), -gradient
        )
        return step
    return np.linalg.solve(hessian + ridge * np.eye(len(gradient)), -gradient)
