"""Right and wrong samplers of the two-level model with known standard errors.

They share no code with the package: tau is drawn by inverting a distribution function on a fine
grid, mu and theta from textbook conditionals (Gelman et al., Bayesian Data Analysis, 3rd ed.,
section 5.4).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from scipy.special import logsumexp, ndtr

CHAINS, DRAWS = 4, 1000


def flat_variance(tau):
    return np.log(tau)


def flat_sd(tau):
    return np.zeros_like(tau)


def half_cauchy(tau, scale=5.0):
    return -np.log1p((tau / scale) ** 2)


class TwoLevel:
    """y_g ~ N(theta_g, se_g²), theta_g ~ N(mu, tau²), mu flat, tau with a log density."""

    def __init__(self, y, se, log_prior, lowest=0.0):
        self.y, self.se = np.asarray(y, float), np.asarray(se, float)
        unit = self.y.std() + self.se.mean()
        self.tau = np.exp(np.linspace(np.log(unit) - 14, np.log(unit) + 9, 40_001))
        self.tau = self.tau[self.tau >= lowest]
        weight, mean = self.of_mu(self.tau)
        log_density = (
            log_prior(self.tau)
            + 0.5 * np.log(weight).sum(axis=1)
            - 0.5 * np.log(weight.sum(axis=1))
            - 0.5 * (weight * (self.y - mean[:, None]) ** 2).sum(axis=1)
            + np.log(self.tau)  # equal steps of log tau
        )
        self.cdf = np.cumsum(np.exp(log_density - logsumexp(log_density)))

    def of_mu(self, tau):
        """Weights of the groups, and the mean of mu given tau."""
        weight = 1 / (tau[..., None] ** 2 + self.se**2)
        return weight, (weight * self.y).sum(axis=-1) / weight.sum(axis=-1)

    def draw(self, rng, rho=0.0, mu_is_random=True):
        """Draws of mu, tau and theta from normal scores that are AR(1) series within chains."""
        z = autoregressive((CHAINS, DRAWS, len(self.y) + 2), rho, rng)
        tau = np.interp(ndtr(z[..., 0]), self.cdf, self.tau)
        return self.given_tau(tau, z[..., 1] * mu_is_random, z[..., 2:])

    def given_tau(self, tau, z_mu, z_theta):
        weight, mean = self.of_mu(tau)
        mu = mean + z_mu / np.sqrt(weight.sum(axis=-1))
        shrink = self.se**2 * weight
        centre = shrink * mu[..., None] + (1 - shrink) * self.y
        return mu, tau, centre + np.sqrt(shrink) * tau[..., None] * z_theta


def autoregressive(shape, rho, rng):
    """Standard normal AR(1) series along the second axis."""
    shocks = rng.standard_normal(shape)
    shocks[:, 1:] *= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], shocks, axis=1)


def tree(draws, dim, labels):
    """Put (mu, tau, theta) into a DataTree."""
    mu, tau, theta = draws
    variables = {
        "mu": (("chain", "draw"), mu),
        "tau": (("chain", "draw"), tau),
        "theta": (("chain", "draw", dim), theta),
    }
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables, {dim: list(labels)})})


def untruncated(data, rng):
    """The lecture's recipe: V = σ² + τ² not truncated at σ², negative τ² set to 0."""
    y, k, variance = data["y"].to_numpy(), len(data), data["sigma"].iloc[0] ** 2
    total = (k - 1) * y.var(ddof=1) / 2 / rng.gamma((k - 3) / 2, size=(CHAINS, DRAWS))
    tau = np.sqrt(np.maximum(total - variance, 0))
    model = TwoLevel(y, data["sigma"], flat_variance)
    z = rng.standard_normal((CHAINS, DRAWS, k + 1))
    return model.given_tau(tau, z[..., 0], z[..., 1:])


def of_prior(log_prior, lowest=0.0):
    """A sampler of the posterior under another prior."""

    def sample(data, rng):
        return TwoLevel(data["y"], data["sigma"], log_prior, lowest).draw(rng)

    return sample


def without_jacobian(data, rng):
    """The density of tau, taken for that of log tau."""
    model = TwoLevel(data["y"], data["sigma"], lambda tau: flat_variance(tau) - np.log(tau))
    return model.draw(rng)


def se_as_variance(data, rng):
    return TwoLevel(data["y"], np.sqrt(data["sigma"]), flat_variance).draw(rng)


def empirical_bayes(data, rng):
    """Mu is its estimate, whatever tau: theta lacks the uncertainty of mu."""
    mu, tau, theta = TwoLevel(data["y"], data["sigma"], flat_variance).draw(rng, mu_is_random=False)
    return mu, tau, theta


def too_narrow(data, rng):
    """Sds of everything are 10 % too small."""
    draws = TwoLevel(data["y"], data["sigma"], flat_variance).draw(rng)
    return tuple((centre := x.mean(axis=(0, 1), keepdims=True)) + 0.9 * (x - centre) for x in draws)


WRONG = {
    "untruncated inverse gamma, clamped at 0": ("baseball", untruncated),
    "flat on tau for flat on tau²": ("baseball", of_prior(flat_sd)),
    "no Jacobian of log tau": ("schools", without_jacobian),
    "se as a variance": ("schools", se_as_variance),
    "mu fixed at its estimate": ("baseball", empirical_bayes),
    "sds 10 % too small": ("schools", too_narrow),
    "chains stuck above tau = 1": ("schools", of_prior(flat_variance, lowest=1.0)),
}
