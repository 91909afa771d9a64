"""Counts with covariates that vary within groups, integrated by adaptive quadrature, slow.

Nothing is shared with the package.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import integrate, optimize, stats


def log_terms(kind, y, size, eta):
    """Log likelihoods of rows up to their constants: of binomial ones, or Poisson."""
    if kind == "binomial":
        return y * eta - size * np.logaddexp(0, eta)
    return y * eta - np.exp(np.minimum(eta, 300.0))


def log_likelihood(kind, y, size, eta, group, tau):
    """``Σ_g log ∫ exp(Σ_i v_i(eta_i + τz)) φ(z) dz``."""
    return sum(
        log_integral(kind, y[own], size[own], eta[own], tau)
        for own in (group == g for g in np.unique(group))
    )


def log_integral(kind, y, size, eta, tau):
    """The same of one group."""

    def log_density(z):
        return log_terms(kind, y, size, eta + tau * z).sum() - z * z / 2

    top = optimize.minimize_scalar(lambda z: -log_density(z), bounds=(-14, 14), method="bounded")
    middle, highest = top.x, -top.fun
    inside, _ = integrate.quad(
        lambda z: np.exp(log_density(z) - highest),
        middle - 14,
        middle + 14,
        points=sorted({middle + side * 2.0**-k for side in (-1, 1) for k in range(1, 30)}),
        epsabs=0,
        epsrel=1e-12,
        limit=500,
    )
    return highest + np.log(inside) - 0.5 * np.log(2 * np.pi)


def binary():
    """Rows of 0 and 1 in four rooms, with a covariate that differs between rows of a room."""
    rng = np.random.default_rng(4)
    room = np.repeat(np.arange(4), [2, 6, 8, 5])
    x = rng.normal(2, 1, len(room)).round(1)
    eta = rng.normal(-0.5, 0.7, 4)[room] + 0.8 * (x - 2)
    return pd.DataFrame({"y": rng.random(len(room)) < 1 / (1 + np.exp(-eta)), "room": room, "x": x})


def grid_means(frame, n=31):
    """Means over the posterior of :func:`binary` under its priors, on an even grid of everything.

    The priors are ``mu ~ N(−0.5, 1)``, ``beta ~ N(0, 1)`` and a half-normal tau with sd 0.7.  The
    trapezoid rule in log tau, mu, beta and, for each room, in its offset in units of tau.  ``p`` is
    that at the rooms' mean x, and ``theta`` at x = 0.
    """
    tau = np.exp(np.linspace(np.log(1e-6), np.log(5), 3 * n))
    mu, beta, z = np.linspace(-5, 4, n), np.linspace(-3.5, 3.5, n), np.linspace(-6, 6, n)
    t, m, b, offset = np.ix_(tau, mu, beta, z)
    log_prior = stats.halfnorm.logpdf(t, scale=0.7) + np.log(t)
    log_prior = log_prior + stats.norm.logpdf(m, -0.5, 1.0) + stats.norm.logpdf(b, 0.0, 1.0)
    weight, each, effects = np.exp(log_prior[..., 0]), [], []
    for _, rows in frame.groupby("room"):
        theta, inside = m + t * offset, stats.norm.pdf(offset)
        for x, y in zip(rows["x"], rows["y"], strict=True):
            eta = theta + b * x
            inside = inside / (1 + np.exp(np.where(y, -eta, eta)))
        p = 1 / (1 + np.exp(-(theta + b * rows["x"].mean())))
        total = inside.sum(axis=-1)
        each.append((p * inside).sum(axis=-1) / total)
        effects.append((theta * inside).sum(axis=-1) / total)
        weight = weight * total
    weight /= weight.sum()
    values = {"tau": t[..., 0], "mu": m[..., 0], "beta": b[..., 0]}
    found = {name: float((weight * own).sum()) for name, own in values.items()}
    for name, own in values.items():
        found[f"sd of {name}"] = float(np.sqrt((weight * (own - found[name]) ** 2).sum()))
    found |= {"p": np.array([(weight * own).sum() for own in each])}
    found |= {"theta": np.array([(weight * own).sum() for own in effects])}
    return found
