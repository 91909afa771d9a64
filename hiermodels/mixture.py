"""Distribution functions, densities and quantiles of finite mixtures of normals."""

from __future__ import annotations

import numpy as np

from hiermodels.gaussian import Floats

MOST_STEPS = 100
CLOSE = 1e-13  # of a quantile, as a part of its bracket


def cdf(weights: Floats, mean: Floats, sd: Floats, values: Floats) -> Floats:
    """``Σ w Φ((x − mean)/sd)`` for components (n, u) at values (..., u)."""
    from scipy.special import ndtr

    flat = np.reshape(values, (-1, mean.shape[1]))
    return np.array([weights @ ndtr((x - mean) / sd) for x in flat]).reshape(np.shape(values))


def density(weights: Floats, mean: Floats, sd: Floats, values: Floats) -> Floats:
    """``Σ w φ((x − mean)/sd)/sd`` for components (n, u) at values (..., u)."""
    flat = np.reshape(values, (-1, mean.shape[1]))
    rows = [weights @ (np.exp(-0.5 * ((x - mean) / sd) ** 2) / sd) for x in flat]
    return np.array(rows).reshape(np.shape(values)) / np.sqrt(2 * np.pi)


def quantile(weights: Floats, mean: Floats, sd: Floats, probability: float) -> Floats:
    """Return the values at which :func:`cdf` is ``probability``; shape (u,).

    The quantile of a mixture lies between the least and the largest of its components'
    quantiles; in this bracket Newton's method is used, or bisection where that leaves it.
    """
    from scipy.special import ndtri

    ends = mean + ndtri(probability) * sd
    low, high = ends.min(axis=0), ends.max(axis=0)
    width = high - low
    x = weights @ ends
    for _ in range(MOST_STEPS):
        excess = cdf(weights, mean, sd, x) - probability
        low, high = np.where(excess < 0, x, low), np.where(excess > 0, x, high)
        slope = density(weights, mean, sd, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = x - excess / slope
        new = np.where((step > low) & (step < high), step, (low + high) / 2)
        if (np.abs(new - x) <= CLOSE * width).all():
            return new
        x = new
    return x
