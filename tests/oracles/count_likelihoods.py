"""Likelihoods of two-level models of counts, with the effects integrated out, in plain scipy.

Two rules that share nothing with the package's: adaptive Gauss–Hermite with 25 points, as in
``glmer(…, nAGQ = 25)`` of R's lme4 (Pinheiro & Bates 1995), and 2,001 even places over 14 sds of
the groups.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special, stats


def binomial(y, n):
    return lambda theta: stats.binom.logpmf(y, n, special.expit(theta))


def poisson(y, exposure):
    return lambda theta: stats.poisson.logpmf(y, exposure * np.exp(theta))


def negative_binomial(y, exposure, size):
    return lambda theta: stats.nbinom.logpmf(y, size, size / (size + exposure * np.exp(theta)))


def student_t(y, se, nu):
    return lambda theta: stats.t.logpdf((y - theta) / se, nu) - np.log(se)


def odds_ratio(a, n1, c, n2):
    def log_likelihood(theta):
        events = a + c
        counts = np.arange(max(0, events - n2), min(n1, events) + 1)
        log_ways = log_binomial(n1, counts) + log_binomial(n2, events - counts)
        theta = np.asarray(theta)[..., None]
        all_of_them = special.logsumexp(log_ways + counts * theta, axis=-1)
        return log_binomial(n1, a) + log_binomial(n2, c) + a * theta[..., 0] - all_of_them

    return log_likelihood


def log_binomial(n, k):
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)


def by_even_places(rows, means, tau):
    """Log likelihood, and means and sds of each group's effect."""
    z = np.linspace(-14, 14, 2001)
    log_weight = stats.norm.logpdf(z) + np.log(z[1] - z[0])
    total, moments = 0.0, []
    for row, mean in zip(rows, means, strict=True):
        theta = mean + tau * z
        log_terms = row(theta) + log_weight
        own = special.logsumexp(log_terms)
        weight = np.exp(log_terms - own)
        total += own
        moments.append((theta, weight))
    return total, moments


def by_adaptive_hermite(rows, means, tau, points=25):
    """Log likelihood with points around each group's mode, as glmer places them."""
    x, weight = np.polynomial.hermite_e.hermegauss(points)
    total = 0.0
    for row, mean in zip(rows, means, strict=True):

        def joint(theta, row=row, mean=mean):
            return row(theta) + stats.norm.logpdf(theta, mean, tau)

        found = optimize.minimize_scalar(
            lambda t: -joint(t), bracket=(mean - tau, mean + tau), options={"xtol": 1e-9}
        )
        step = 1e-3
        around = joint(found.x + step * np.array([-1.0, 0.0, 1.0]))
        sd = (-(around[0] - 2 * around[1] + around[2]) / step**2) ** -0.5
        terms = joint(found.x + sd * x) + x**2 / 2 + np.log(weight)
        total += special.logsumexp(terms) + np.log(sd)
    return total
