"""A plain quadrature of models of binomial and Poisson counts, for tests: sums over wide grids.

Nothing here is clever: one grid that is even near 0 and geometric far out holds effects, means and
coefficients, and everything is summed over it.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.special import gammaln, log_expit, logsumexp
from scipy.stats import norm

STEP = 0.03
GRID = np.sinh(np.arange(-14.0, 14.0 + STEP, STEP))  # to ±600,000
LOG_WEIGHT = np.log(STEP) + 0.5 * np.log1p(GRID**2)  # of dθ = cosh(u) du


def binomial(r, n):
    """Log likelihood on the grid, or at other places."""
    return lambda theta: r * log_expit(theta) + (n - r) * log_expit(-theta)


def poisson(y, exposure=1.0):
    return lambda theta: y * theta - exposure * np.exp(np.minimum(theta, 700)) - gammaln(y + 1)


def log_marginal(log_likelihood, mu, tau):
    """``log ∫ L(θ) N(θ | μ, τ²) dθ`` at each μ; the step has to be small beside τ."""
    log_density = norm.logpdf(GRID, np.atleast_1d(mu)[:, None], tau)
    return logsumexp(log_likelihood(GRID) + log_density + LOG_WEIGHT, axis=1)


def log_given_tau(groups, x, tau, normal=None, factor=None):
    """``log p(y | τ)`` with γ integrated out: a sum over even grids of γ/τ, or of ``γ`` if normal.

    Parameters
    ----------
    groups : list of log likelihoods
    x : (k, p), with p of 1 or 2
    tau : float
    normal : float, optional
        The sd of a normal prior of γ, around 0; flat without.
    factor : (int, function), optional
        To multiply group i's likelihood with, a positive function of its linear predictor.
    """
    scale = tau if normal is None else normal
    axis = np.arange(-8.0, 8.05, 0.2 if x.shape[1] == 1 else 0.4)
    eta = np.array(list(itertools.product(axis, repeat=x.shape[1])))
    total = np.full(len(eta), x.shape[1] * np.log(scale * (axis[1] - axis[0])))
    if normal is not None:
        total += norm.logpdf(scale * eta, 0, normal).sum(axis=1)
    for i, (group, row) in enumerate(zip(groups, x, strict=True)):
        own = group if factor is None or factor[0] != i else times(group, factor[1])
        predictor, inverse = np.unique(np.round(scale * eta @ row, 9), return_inverse=True)
        total += log_marginal(own, predictor, tau)[inverse]
    return logsumexp(total)


def times(log_likelihood, function):
    with np.errstate(divide="ignore"):
        return lambda theta: log_likelihood(theta) + np.log(function(theta))


def log_given_sds(groups, parent, tau, kappa):
    """``log p(y | τ, κ)`` of three levels without covariates, λ flat."""
    own = np.arange(-8.0, 8.05, 0.2) * np.hypot(tau, kappa)
    total = np.full(len(own), np.log(own[1] - own[0]))
    places, log_weight = GRID[::2], LOG_WEIGHT[::2] + np.log(2)
    between = norm.logpdf(places, own[:, None], kappa) + log_weight
    tables = {group: log_marginal(group, places, tau) for group in set(groups)}
    for s in sorted(set(parent)):
        pooled = sum(tables[g] for g, p in zip(groups, parent, strict=True) if p == s)
        total += logsumexp(pooled + between, axis=1)
    return logsumexp(total)


def log_given_kappa(groups, x, parent, kappa):
    """``log p(y | τ = 0, κ)`` of three levels with one covariate or none, λ and β flat.

    An outer group's effect is counted from ``−xβ`` at its first group's x, where the grid is fine.
    """
    own = np.arange(-6.0, 6.1, 0.5) * kappa
    near = np.flatnonzero(np.abs(GRID) < 20 * kappa)[::4]
    grid, weight = GRID[near], 4 * np.exp(LOG_WEIGHT[near])
    beta, of_beta = (np.zeros(1), np.ones(1)) if x is None else (grid, weight)
    log_density = np.full((len(beta), len(own)), np.log(0.5 * kappa))
    x = np.zeros(len(groups)) if x is None else x
    for s in sorted(set(parent)):
        inside = [(g, v) for g, v, p in zip(groups, x, parent, strict=True) if p == s]
        first = inside[0][1]
        moved = grid + (np.array([v for _, v in inside]) - first)[:, None, None] * beta[:, None]
        pooled = np.exp(sum(group(m) for (group, _), m in zip(inside, moved, strict=True)))
        z = (grid - first * beta[:, None] - own[:, None, None]) / kappa
        between = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / kappa
        log_density += np.log(np.einsum("obm,bm,m->bo", between, pooled, weight) + 1e-300)
    return logsumexp(log_density + np.log(of_beta)[:, None])


def slope(function, low, high):
    """Exponent of τ in ``exp(function(τ))`` between two values."""
    return (function(high) - function(low)) / np.log(high / low)


def log_mean_power(groups, x, target, tau, reach):
    """``log E[e^(target'γ) | τ]`` with flat priors, on grids that reach ``reach τ²`` either way."""
    axis = np.arange(-reach * tau**2, reach * tau**2, 0.5 * tau)
    fine = np.arange(-3 * reach * tau**2, 3 * reach * tau**2, 0.25 * tau)
    gamma = np.stack(np.meshgrid(*[axis] * x.shape[1]), axis=-1).reshape(-1, x.shape[1])
    total = np.zeros(len(gamma))
    for group, row in zip(groups, x, strict=True):
        total += np.interp(gamma @ row, fine, log_marginal(group, fine, tau))
    return logsumexp(total + gamma @ target) - logsumexp(total)


def log_mean_power_outer(groups, parent, order, tau, kappa, own):
    """``log E[e^(order·λ) | τ, κ]``, λ flat; in place of λ the effect of outer group ``own``."""
    places = np.arange(-1.0, 1.0, 0.005) * (tau**2 + kappa**2)
    between = norm.logpdf(places, places[:, None], kappa)
    total, shifted = np.zeros(len(places)), np.zeros(len(places))
    for s in sorted(set(parent)):
        pooled = sum(
            log_marginal(g, places, tau) for g, p in zip(groups, parent, strict=True) if p == s
        )
        total += logsumexp(pooled + between, axis=1)
        power = order * places if s == own else 0.0
        shifted += logsumexp(pooled + between + power, axis=1)
    if own is None:
        shifted = shifted + order * places
    return logsumexp(shifted) - logsumexp(total)
