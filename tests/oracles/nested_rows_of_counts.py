"""Counts of groups that lie in outer groups, integrated by brute force.

Nothing is shared with the package.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

from tests.oracles.rows_of_counts import log_terms

REACH = 12.0  # prior sds to either side of the mode
STEP = 0.1  # between places: of an effect, or of its prior sd where that is smaller


def log_likelihood(kind, y, size, eta, group, outer, sds):
    """``Σ_h log ∫ φ(z) Π_w ∫ φ(u) exp(Σ_i v_i(eta_i + κz + τu)) du dz``.

    ``group`` and ``outer`` are those of the rows.
    """
    return sum(
        _log_integral(kind, y[own], size[own], eta[own], group[own], sds)
        for own in (outer == h for h in np.unique(outer))
    )


def _log_integral(kind, y, size, eta, group, sds):
    """The same of one outer group."""
    kappa, tau = sds
    parts = [group == w for w in np.unique(group)]

    def inner(a):
        return sum(_integral(_inner(kind, y[p], size[p], eta[p] + a), tau) for p in parts)

    return _integral(lambda places: np.array([inner(a) for a in places]), kappa)


def _inner(kind, y, size, eta):
    def log_likelihood(b):
        return log_terms(kind, y[:, None], size[:, None], eta[:, None] + b).sum(axis=0)

    return log_likelihood


def _integral(log_likelihood, sd):
    """``log ∫ φ(z) exp l(sd·z) dz`` by the trapezoid rule around the mode."""

    def log_density(z):
        return log_likelihood(sd * z) - z * z / 2

    top = optimize.minimize_scalar(
        lambda z: -log_density(np.array([z]))[0], bounds=(-20, 20), method="bounded"
    )
    step = STEP / max(sd, 1)
    values = log_density(top.x + np.arange(-REACH, REACH, step))
    return values.max() + np.log(step * np.exp(values - values.max()).sum()) - np.log(2 * np.pi) / 2
