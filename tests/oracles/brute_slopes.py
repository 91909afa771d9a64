"""Slopes at both of two levels by importance sampling, in plain numpy with dense covariances.

For rows y of a school with columns Z = (1, x), and S_ij = 1 where rows i, j share a class,

    y ~ N(Zγ, Z T_s Z' + S ∘ (Z T_c Z') + σ²),  γ ~ N(0, diag(9, 4)),
    T = (τ₀², ρτ₀τ₁; ρτ₀τ₁, τ₁²) of each level, ρ ~ LKJ(2), τ, σ ~ HalfNormal(1).

A random walk of many chains finds where the seven log sds and atanh ρ lie; a mixture of t
densities around 60 of its points is then weighed by importance, a third of it effective.  All
figures have standard errors, which stand beside them in ``brute_slopes.json``.
``python -m tests.oracles.brute_slopes`` computes them anew, in two minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln

FILE = Path(__file__).with_suffix(".json")
KNOWN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
POINTS, BATCH = 250_000, 2000
BOUNDS = -9.0, 4.0  # of coordinates in the likelihood, which tells nothing of those beyond
CHAINS, STEPS, TUNE, EVERY = 200, 600, 150, 10
CENTERS, DF = 60, 5
START = np.array([0.0, -0.5, 0.1, -0.9, -1.4, 0.1, -0.3])
LEVELS = (0, 1, 2), (3, 4, 5)  # log τ₀, log τ₁ and atanh ρ of schools and of classes
SDS, CORRELATIONS = [0, 1, 3, 4, 6], [2, 5]
NAMES = ("tau_school", "tau_class", "sigma", "rho_school", "rho_class", "gamma", "school", "class")


def pupils(seed=1, schools=7, classes=(3, 4), rows=5):
    """120 rows of 24 classes in seven schools."""
    rng = np.random.default_rng(seed)
    cells = []
    for s in range(schools):
        a = rng.normal(size=2) * (1.0, 0.5)
        a[1] += 0.2 * a[0]
        for c in range(classes[s % len(classes)]):
            b = rng.normal(size=2) * (0.6, 0.4)
            x = np.round(rng.uniform(-1.5, 1.5, rows), 2)
            mean = 1 + a[0] + b[0] + (0.5 + a[1] + b[1]) * x
            y = np.round(mean + 0.7 * rng.normal(size=rows), 3)
            cells += [(f"s{s}", f"c{c}", *pair) for pair in zip(x, y, strict=True)]
    return pd.DataFrame(cells, columns=["school", "class", "x", "y"])


def covariance(u):
    """T at (n, 3) log sds and atanh ρ; (n, 2, 2)."""
    t0, t1, rho = np.exp(u[:, 0]), np.exp(u[:, 1]), np.tanh(u[:, 2])
    entries = np.stack([t0**2, rho * t0 * t1, rho * t0 * t1, t1**2], axis=-1)
    return entries.reshape(-1, 2, 2)


def log_prior(u):
    """Of the seven coordinates (n, 7), normalised."""
    sd, rho = np.exp(u[:, SDS]), np.tanh(u[:, CORRELATIONS])
    half_normal = np.log(2) - 0.5 * np.log(2 * np.pi) - sd**2 / 2 + u[:, SDS]
    return half_normal.sum(axis=1) + (np.log(0.75) + 2 * np.log1p(-(rho**2))).sum(axis=1)


class Dense:
    """The rows, school by school."""

    def __init__(self, frame):
        labels = frame["school"] + frame["class"]
        self.parts = []
        for _, own in frame.groupby("school", sort=True):
            z = np.column_stack([np.ones(len(own)), own["x"]])
            c = labels[own.index].to_numpy()
            same = (c[:, None] == c).astype(float)
            self.parts.append((z, own["y"].to_numpy(), same))

    def log_posterior(self, u):
        """Log of prior times likelihood, γ integrated out; (n,)."""
        return self._whitened(u)[0]

    def _whitened(self, u):
        inside = u.clip(*BOUNDS)
        outer, inner = (covariance(inside[:, some]) for some in LEVELS)
        sigma2, n = np.exp(2 * inside[:, 6]), len(u)
        precision = np.tile(np.diag([1 / 9, 1 / 4]), (n, 1, 1))
        said, log, first = np.zeros((n, 2)), log_prior(u) - 0.5 * np.log(9 * 4), None
        for z, y, same in self.parts:
            v = np.einsum("ia,nab,jb->nij", z, outer, z)
            v += same * np.einsum("ia,nab,jb->nij", z, inner, z)
            root = np.linalg.cholesky(v + sigma2[:, None, None] * np.eye(len(y)))
            white = np.linalg.solve(root, np.tile(np.column_stack([z, y]), (n, 1, 1)))
            log -= np.log(np.einsum("nii->ni", root)).sum(axis=1) + len(y) / 2 * np.log(2 * np.pi)
            log -= 0.5 * (white[:, :, 2] ** 2).sum(axis=1)
            precision += np.einsum("nia,nib->nab", white[:, :, :2], white[:, :, :2])
            said += np.einsum("nia,ni->na", white[:, :, :2], white[:, :, 2])
            first = first or (root, white)
        mean = np.linalg.solve(precision, said[:, :, None])[:, :, 0]
        log += 0.5 * (said * mean).sum(axis=1) - 0.5 * np.linalg.slogdet(precision)[1]
        return log, mean, np.linalg.inv(precision), outer, inner, first

    def moments(self, u):
        """Log densities, and means and squares (n, 13) of NAMES: the first school and class."""
        log, mean, cov, outer, inner, (root, white) = self._whitened(u)
        z, _, same = self.parts[0]
        hyper = np.column_stack([np.exp(u[:, SDS]), np.tanh(u[:, CORRELATIONS])])
        means, squares = [hyper, mean], [hyper**2, mean**2 + np.einsum("naa->na", cov)]
        above = np.einsum("ia,nab->nib", z, outer)
        own = same[0][None, :, None] * np.einsum("ia,nab->nib", z, inner)
        for prior, cross in ((outer, above), (outer + inner, above + own)):
            half = np.linalg.solve(root, cross)
            free = np.eye(2) - np.einsum("nia,nib->nab", half, white[:, :, :2])
            effect = np.einsum("nab,nb->na", free, mean)
            effect += np.einsum("nia,ni->na", half, white[:, :, 2])
            variance = np.einsum("nab,nbc,nac->na", free, cov, free)
            variance += np.einsum("naa->na", prior - np.einsum("nia,nib->nab", half, half))
            means.append(effect)
            squares.append(effect**2 + variance)
        return log, np.hstack(means), np.hstack(squares)


def walked(dense, rng):
    """Points of random walks whose steps have the chains' own covariance."""
    u = START + 0.1 * rng.normal(size=(CHAINS, 7))
    log, kept = dense.log_posterior(u), []
    for step in range(STEPS):
        spread = np.cov(u.T) + 1e-4 * np.eye(7)
        new = u + 2 / np.sqrt(7) * rng.multivariate_normal(np.zeros(7), spread, size=CHAINS)
        there = dense.log_posterior(new)
        accepted = np.log(rng.random(CHAINS)) < there - log
        u[accepted], log[accepted] = new[accepted], there[accepted]
        if step >= TUNE and step % EVERY == 0:
            kept.append(u.copy())
    return np.concatenate(kept)


def figures(seed=6, points=POINTS):
    """Mean, its standard error, sd, its standard error of each number; and the log evidence."""
    rng, dense = np.random.default_rng(seed), Dense(pupils())
    known = walked(dense, rng)
    some = known[rng.choice(len(known), CENTERS, replace=False)]
    centers = known.mean(axis=0) + 0.75 * (some - known.mean(axis=0))
    root = np.linalg.cholesky(0.7 * np.cov(known.T))
    constant = gammaln((DF + 7) / 2) - gammaln(DF / 2) - 3.5 * np.log(DF * np.pi)
    constant -= np.log(np.diag(root)).sum() + np.log(CENTERS)
    parts = []
    for _ in range(points // BATCH):
        noise = rng.normal(size=(BATCH, 7)) @ root.T
        noise /= np.sqrt(rng.chisquare(DF, size=BATCH) / DF)[:, None]
        u = centers[rng.integers(CENTERS, size=BATCH)] + noise
        away = np.linalg.solve(root, (u[:, None] - centers).reshape(-1, 7).T)
        logs = -(DF + 7) / 2 * np.log1p((away**2).sum(axis=0) / DF).reshape(BATCH, CENTERS)
        log, mean, square = dense.moments(u)
        parts.append((log - constant - np.logaddexp.reduce(logs, axis=1), mean, square))
    log, mean, square = (np.concatenate(part) for part in zip(*parts, strict=True))
    weights = np.exp(log - log.max())
    evidence = float(log.max() + np.log(weights.mean()))
    weights /= weights.sum()
    center = weights @ mean
    sd = np.sqrt(weights @ square - center**2)
    error = np.sqrt(weights**2 @ (mean - center) ** 2)
    away = ((mean - center) ** 2 + square - mean**2) / sd**2 - 1
    of_sd = sd / 2 * np.sqrt(weights**2 @ away**2)
    sizes = (2, 2, 1, 1, 1, 2, 2, 2)
    rows = np.split(np.stack([center, error, sd, of_sd], axis=1), np.cumsum(sizes)[:-1])
    found = {name: row.tolist() for name, row in zip(NAMES, rows, strict=True)}
    of_evidence = float(np.sqrt((weights**2).sum() - 1 / len(weights)))
    return found | {"log_evidence": [evidence, of_evidence]}


if __name__ == "__main__":
    FILE.write_text(json.dumps(figures(), indent=1) + "\n", encoding="utf-8")
