"""Two levels of counts by brute force: even places of μ, log τ and standardised effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special, stats


@dataclass(frozen=True)
class CountGiven:
    """A count given its linear predictor.

    Attributes
    ----------
    log_probability : callable
        From a count and η of any shape.
    moments : callable
        From η to the mean and the variance.
    """

    log_probability: Callable[[float, np.ndarray], np.ndarray]
    moments: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    def density(self, y, eta):
        return np.exp(self.log_probability(y, eta))

    def cdf(self, y, eta):
        return sum(self.density(count, eta) for count in range(int(np.floor(y)) + 1))


def binomial(n):
    def log_probability(y, eta):
        ways = special.gammaln(n + 1) - special.gammaln(y + 1) - special.gammaln(n - y + 1)
        return ways - y * np.logaddexp(0, -eta) - (n - y) * np.logaddexp(0, eta)

    def moments(eta):
        p = special.expit(eta)
        return n * p, n * p * (1 - p)

    return CountGiven(log_probability, moments)


def poisson(exposure):
    def log_probability(y, eta):
        log_mean = np.minimum(eta + np.log(exposure), 500)
        return y * log_mean - np.exp(log_mean) - special.gammaln(y + 1)

    return CountGiven(log_probability, lambda eta: (exposure * np.exp(eta),) * 2)


def negative_binomial(exposure, size):
    def log_probability(y, eta):
        odds = eta + np.log(exposure / size)
        ways = special.gammaln(y + size) - special.gammaln(size) - special.gammaln(y + 1)
        return ways - y * np.logaddexp(0, -odds) - size * np.logaddexp(0, odds)

    def moments(eta):
        mean = exposure * np.exp(eta)
        return mean, mean + mean**2 / size

    return CountGiven(log_probability, moments)


@dataclass(frozen=True)
class StudentGiven:
    """``y ~ t_nu(η, sd)``."""

    nu: float
    sd: float

    def density(self, y, eta):
        z, nu = (y - eta) / self.sd, self.nu
        top = special.gamma((nu + 1) / 2) / special.gamma(nu / 2) / np.sqrt(np.pi * nu) / self.sd
        return top * (1 + z**2 / nu) ** (-(nu + 1) / 2)

    def cdf(self, y, eta):
        return special.stdtr(self.nu, (y - eta) / self.sd)

    def moments(self, eta):
        return eta, np.full_like(eta, self.sd**2 * self.nu / (self.nu - 2))


@dataclass(frozen=True)
class BruteForce:
    """``θ_i ~ N(μ, τ²)`` with ``μ ~ N(0, 1)`` and ``τ ~ HalfNormal(s)``.

    Attributes
    ----------
    likelihood : callable
        From the number of a group and θ, any shape, to the likelihood of its rows.
    groups : int
    scale : float
        The s.
    step : float
        Of the standardised effects.
    """

    likelihood: Callable[[int, np.ndarray], np.ndarray]
    groups: int
    scale: float = 1.0
    step: float = 0.1

    @cached_property
    def z(self):
        return np.arange(-9, 9 + self.step, self.step)

    @cached_property
    def share(self):
        share = np.exp(-0.5 * self.z**2)
        return share / share.sum()

    @cached_property
    def nodes(self):
        """Effects at all places (μ, τ, z), and weights of the prior."""
        mu, log_tau = np.linspace(-7, 7, 101), np.linspace(-23, np.log(9 * self.scale), 121)
        mu, tau = np.meshgrid(mu, np.exp(log_tau), indexing="ij")
        prior = stats.norm.pdf(mu) * stats.halfnorm(scale=self.scale).pdf(tau) * tau
        return mu[..., None] + tau[..., None] * self.z, prior

    @cached_property
    def likelihoods(self):
        return [self.likelihood(i, self.nodes[0]) for i in range(self.groups)]

    @cached_property
    def marginals(self):
        return [own @ self.share for own in self.likelihoods]

    @cached_property
    def weights(self):
        weights = self.nodes[1] * np.prod(self.marginals, axis=0)
        return weights / weights.sum()

    def mean(self, function, group=None):
        """Mean of a function of a group's effect, or of a new one's."""
        theta, _ = self.nodes
        if group is None:
            return float((self.weights * (function(theta) @ self.share)).sum())
        inner = (self.likelihoods[group] * function(theta)) @ self.share
        total = self.marginals[group]
        return float((self.weights * inner / np.where(total > 0, total, 1.0)).sum())
