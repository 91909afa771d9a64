"""Correlation matrices by canonical partial correlations.

With ``r_ij = tanh z_ij``, i > j, the Cholesky factor of a correlation matrix has the rows

    C_ij = tanh z_ij Π_(k<j) sech z_ik,    C_ii = Π_(k<i) sech z_ik,

so that no digits are lost where correlations come near ±1.  In these coordinates LKJ(η) is a
product of ``p(z_ij) ∝ sech(z_ij)^(2α_j)``: see :mod:`hiermodels.model.priors.covariance`.

Beyond ±``STRAIGHT`` the coordinate is bent, ``z = u − exp(−STRAIGHT − u) + exp(u − STRAIGHT)``:
what falls as exp(−2η|z|) falls doubly exponentially.

References
----------
Lewandowski, Kurowicka & Joe (2009), Journal of Multivariate Analysis 100:1989.
"""

from __future__ import annotations

import math

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.model.priors.covariance import LKJ, cholesky_rows

STRAIGHT = 2.5


def z_of(u: Floats) -> Floats:
    """Z at coordinates u."""
    return u - np.exp(-STRAIGHT - u) + np.exp(u - STRAIGHT)


def coordinate(z: Floats) -> Floats:
    """The coordinate u of z, by Newton's method on the increasing ``z_of``."""
    u = np.sign(z) * np.minimum(np.abs(z), STRAIGHT + np.log1p(np.abs(z)))
    for _ in range(60):
        u = u - (z_of(u) - z) / np.exp(log_slope(u))
    return u


def log_slope(u: Floats) -> Floats:
    """``log dz/du``."""
    return np.logaddexp(0, np.logaddexp(-STRAIGHT - u, u - STRAIGHT))


def log_sech(z: Floats) -> Floats:
    """Logarithm of sech z."""
    return LOG_2 - np.abs(z) - np.log1p(np.exp(-2 * np.abs(z)))


def log_lkj(z: Floats, eta: float) -> Floats:
    """Log density of z (k, n), row by row below the diagonal, under LKJ(η); (n,)."""
    prior, e = LKJ(eta), effects(len(z))
    alpha = np.array(list(prior.exponents(e)))
    return 2 * alpha @ log_sech(z) - prior.log_constant(e)


def z_of_correlations(rho: Floats) -> Floats:
    """Z of correlations (n, k); (k, n)."""
    rows = cholesky_rows(list(rho.T), np.sqrt)
    z = []
    for row in rows:
        left = np.ones(len(rho))
        for value in row[:-1]:
            partial = value / left
            z.append(np.arctanh(partial))
            left = left * np.sqrt((1 - partial) * (1 + partial))
    return np.array(z)


def effects(k: int) -> int:
    """Number of effects that have k correlations."""
    return round((1 + math.sqrt(1 + 8 * k)) / 2)


def cholesky(z: Floats) -> Floats:
    """Lower triangular C (e, e, n) of the correlation matrices with z (k, n)."""
    e, row = effects(len(z)), 0
    factor = np.zeros((e, e, z.shape[-1]))
    for i in range(e):
        left = np.ones(z.shape[-1])
        for j in range(i):
            factor[i, j] = np.tanh(z[row]) * left
            left = left * np.exp(log_sech(z[row]))
            row += 1
        factor[i, i] = left
    return factor
