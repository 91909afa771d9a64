"""Moments, distribution functions, densities and quantiles of finite mixtures of normals.

A component whose sd is 0 lies at its mean: there its distribution function is 1, and its density
infinite.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats

type Components = tuple[Floats, Floats, Floats]
"""Weights (n,), means and sds (n, u) of mixtures of normals."""

MAX_STEPS = 100
ROOT_2PI = np.sqrt(2 * np.pi)
XTOL = 1e-13  # of a quantile, as a part of its bracket
NEWTON_XTOL = 1e-8  # of a step of Newton's method, in the smallest component's sd


def moments(weights: Floats, mean: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """Means ``Σ w m`` and sds of mixtures of components (n, u); (u,) each."""
    centre = weights @ mean
    return centre, np.sqrt(weights @ (sd**2 + (mean - centre) ** 2))


def cdf(weights: Floats, mean: Floats, sd: Floats, values: Floats) -> Floats:
    """``Σ w Φ((x − mean)/sd)`` for components (n, u) at values (..., u)."""
    from scipy.special import ndtr

    flat = np.reshape(values, (-1, mean.shape[1]))
    rows = [weights @ ndtr(_scores(x, mean, sd)) for x in flat]
    return np.array(rows).reshape(np.shape(values))


def density(weights: Floats, mean: Floats, sd: Floats, values: Floats) -> Floats:
    """``Σ w φ((x − mean)/sd)/sd`` for components (n, u) at values (..., u)."""
    flat = np.reshape(values, (-1, mean.shape[1]))
    rows = [weights @ _densities(x, mean, sd) for x in flat]
    return np.array(rows).reshape(np.shape(values)) / ROOT_2PI


def quantile(weights: Floats, mean: Floats, sd: Floats, probability: float) -> Floats:
    """Return the values at which :func:`cdf` is ``probability``; shape (u,).

    The quantile of a mixture lies between the least and the largest of its components'
    quantiles.  In this bracket Newton's method is used on the normal score ``Φ⁻¹(F(x))``, which
    is nearly a straight line, or bisection where that leaves it.  Newton's method squares the
    error, in units of the smallest component: after a short enough step nothing is left of it.
    """
    from scipy.special import ndtri

    score = ndtri(probability)
    ends = mean + score * sd
    low, high = ends.min(axis=0), ends.max(axis=0)
    tolerance, newton_tolerance = XTOL * (high - low), NEWTON_XTOL * sd.min(axis=0)
    x = weights @ ends
    x = np.where(low < high, x, low)
    left = np.flatnonzero(low < high)  # columns that have not converged
    for _ in range(MAX_STEPS if len(left) else 0):
        all_left = len(left) == len(x)
        columns = (mean, sd) if all_left else (mean[:, left], sd[:, left])
        below, slope = _cdf_and_density(weights, *columns, x[left])
        low[left] = np.where(below < probability, x[left], low[left])
        high[left] = np.where(below > probability, x[left], high[left])
        current = ndtri(below)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = (current - score) * np.exp(-0.5 * current**2) / (ROOT_2PI * slope)
        new = np.where(below == probability, x[left], x[left] - step)
        inside = (new >= low[left]) & (new <= high[left])
        new = np.where(inside, new, (low[left] + high[left]) / 2)
        moved = np.abs(new - x[left]) > np.where(
            inside, np.maximum(tolerance, newton_tolerance)[left], tolerance[left]
        )
        x[left] = new
        left = left[moved]
        if not len(left):
            break
    return x


def quantiles(components: Components, probabilities: Floats) -> Floats:
    """Return :func:`quantile` at several probabilities; shape (p, u)."""
    return np.array([quantile(*components, p) for p in probabilities])


def _cdf_and_density(weights: Floats, mean: Floats, sd: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Distribution functions and densities at one value for each column; both (u,)."""
    from scipy.special import ndtr

    z = (x - mean) / sd
    below = weights @ ndtr(z)
    z *= z
    z *= -0.5
    np.exp(z, out=z)
    z /= sd
    return below, weights @ z / ROOT_2PI


def _scores(x: Floats, mean: Floats, sd: Floats) -> Floats:
    """``(x − mean)/sd``, infinite where sd is 0: at the mean and above it positive."""
    if sd.all():
        return np.asarray((x - mean) / sd)
    positive = np.where(sd > 0, sd, 1.0)
    return np.where(sd > 0, (x - mean) / positive, np.where(x >= mean, np.inf, -np.inf))


def _densities(x: Floats, mean: Floats, sd: Floats) -> Floats:
    """``exp(−½ z²)/sd``; where sd is 0 infinite at the mean, and else 0."""
    positive = np.where(sd > 0, sd, 1.0)
    own = np.exp(-0.5 * ((x - mean) / positive) ** 2) / positive
    return np.where(sd > 0, own, np.where(x == mean, np.inf, 0.0))
