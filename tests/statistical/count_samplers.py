"""Right and wrong samplers of binomial counts, which share no code with the package.

mu and log tau lie on a grid; each group's likelihood is integrated over its effect by the trapezoid
rule, by Laplace's method, or is a normal density with ½ added to the counts.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr
from scipy.special import expit, gammaln

CHAINS, DRAWS = 4, 1000
Z = np.linspace(-8, 8, 129)


def log_likelihood(y, n, theta):
    """Binomial, groups along the first axis."""
    y, n = (np.reshape(v, (-1,) + (1,) * (theta.ndim - 1)) for v in (y, n))
    constant = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
    return constant + y * theta - n * np.logaddexp(0, theta)


def running_share(log_density):
    """Share of the mass up to each point, of points of equal size, one after the other."""
    mass = np.exp(log_density - log_density.max()).ravel()
    return np.cumsum(mass / mass.sum())


def drawn_place(density, rng):
    """A place for each row of densities (n, K) that are not normalised; (n,)."""
    below = np.cumsum(density, axis=1)
    target = rng.random(len(density)) * below[:, -1]
    return (below < target[:, None]).sum(axis=1)


class Counts:
    """y_g ~ Binomial(n_g, expit(theta_g)), theta_g ~ N(mu, tau²), mu flat, tau with a density."""

    def __init__(self, y, n, log_prior, mu, log_tau):
        self.y, self.n = np.asarray(y, float), np.asarray(n, float)
        self.mu, self.tau = np.meshgrid(mu, np.exp(log_tau), indexing="ij")
        self.steps = mu[1] - mu[0], log_tau[1] - log_tau[0]
        self.log_prior = log_prior(self.tau) + np.log(self.tau)  # of log tau

    @cached_property
    def cdf(self):
        """Of the points of the grid, one after the other."""
        log_density = sum(self.log_integral(g) for g in range(len(self.y))) + self.log_prior
        return running_share(log_density)

    def log_integral(self, g):
        """``log ∫ Bin(y_g; n_g, θ) N(θ; mu, tau²) dθ`` at all points of the grid."""
        theta = self.mu[None, ..., None] + self.tau[None, ..., None] * Z
        each = log_likelihood(self.y[g], self.n[g], theta)[0] - Z**2 / 2
        return np.log(np.exp(each).sum(axis=-1))

    def draw(self, rng):
        """Independent draws as a DataTree."""
        place = np.searchsorted(self.cdf, rng.random(CHAINS * DRAWS))
        jitter = rng.random((2, CHAINS * DRAWS)) - 0.5
        mu = self.mu.ravel()[place] + self.steps[0] * jitter[0]
        tau = self.tau.ravel()[place] * np.exp(self.steps[1] * jitter[1])
        theta = [self.effect(g, mu, tau, rng) for g in range(len(self.y))]
        return self.as_tree(mu, tau, np.stack(theta, axis=1))

    def effect(self, g, mu, tau, rng):
        """From its conditional density, on 401 places; (n,)."""
        z = np.linspace(-8, 8, 401)
        theta = mu[:, None] + tau[:, None] * z
        density = np.exp(self.y[g] * theta - self.n[g] * np.logaddexp(0, theta) - z**2 / 2)
        place = drawn_place(density, rng)
        return mu + tau * (z[place] + (z[1] - z[0]) * (rng.random(len(mu)) - 0.5))

    def as_tree(self, mu, tau, theta):
        shape = (CHAINS, DRAWS)
        dims = ("chain", "draw")
        draws = {
            "mu": (dims, mu.reshape(shape)),
            "tau": (dims, tau.reshape(shape)),
            "theta": ((*dims, "subtype"), theta.reshape(*shape, -1)),
            "p": ((*dims, "subtype"), expit(theta).reshape(*shape, -1)),
        }
        return xr.DataTree.from_dict({"posterior": xr.Dataset(draws)})


class Laplace(Counts):
    """The same with Laplace's method, and normal effects around the modes."""

    def log_integral(self, g):
        mode, information = self.mode(g, self.mu, self.tau)
        z = (mode - self.mu) / self.tau
        height = log_likelihood(self.y[g], self.n[g], mode[None])[0] - z**2 / 2
        return height - 0.5 * np.log(information * self.tau**2)

    def mode(self, g, mu, tau):
        theta = mu.copy()
        for _ in range(60):
            p = expit(theta)
            slope = self.y[g] - self.n[g] * p - (theta - mu) / tau**2
            information = self.n[g] * p * (1 - p) + tau**-2.0
            theta = theta + np.clip(slope / information, -1, 1)
        return theta, information

    def effect(self, g, mu, tau, rng):
        mode, information = self.mode(g, mu, tau)
        return mode + rng.standard_normal(len(mu)) / np.sqrt(information)


class Corrected(Counts):
    """Log odds with ½ added to each count as normal estimates with known standard errors."""

    def __init__(self, y, n, *rest):
        y, n = np.asarray(y, float), np.asarray(n, float)
        self.odds = np.log((y + 0.5) / (n - y + 0.5))
        self.variance = 1 / (y + 0.5) + 1 / (n - y + 0.5)
        super().__init__(y, n, *rest)

    def log_integral(self, g):
        total = self.variance[g] + self.tau**2
        return -0.5 * np.log(total) - 0.5 * (self.odds[g] - self.mu) ** 2 / total

    def effect(self, g, mu, tau, rng):
        information = 1 / self.variance[g] + tau**-2.0
        mean = (self.odds[g] / self.variance[g] + mu / tau**2) / information
        return mean + rng.standard_normal(len(mu)) / np.sqrt(information)
