"""Three levels of counts by brute force: Gauss's rule in both sds, even places of all else.

y_i ~ Binomial(n_i, p_i),  logit p_i ~ N(μ_s, τ²),  μ_s ~ N(λ, κ²),  λ ~ N(0, 1),
τ, κ ~ HalfNormal(1).

What it gives for the counts of ``tests/exact/nested_models.py`` stands in ``brute_nested.json``;
``python -m tests.oracles.brute_nested`` computes it anew, in three seconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.interpolate import make_interp_spline
from scipy.special import expit

FILE = Path(__file__).with_suffix(".json")
KNOWN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
LONGEST = 6.5  # of an sd
SDS = 26
MU = np.linspace(-30.0, 30.0, 601)
LAMBDA = np.linspace(-6.5, 6.5, 66)
NARROW = 0.35  # κ, up to which the outer effects have places of their own


def halved(sds: int = SDS, longest: float = LONGEST):
    """Values of an sd, with weights times the prior's density."""
    x, weight = leggauss(sds)
    sd = longest * (x + 1) / 2
    return sd, weight * longest / 2 * stats.halfnorm.pdf(sd)


@dataclass(frozen=True)
class BruteNested:
    """Counts r of n, (S, m) each: m groups in each of S outer ones."""

    sds: ClassVar = halved()
    mu: ClassVar = MU

    r: np.ndarray
    n: np.ndarray

    def given_tau(self, tau):
        """Likelihood of each group given μ, and times p; (2, S, m, K)."""
        step = min(0.2, 0.3 / tau)
        z = np.arange(-9.0, 9.0 + step, step)
        p = expit(self.mu[:, None] + tau * z)
        share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        own = stats.binom.pmf(self.r[..., None, None], self.n[..., None, None], p)
        return np.stack([own @ share, (own * p) @ share])

    @cached_property
    def sums(self):
        """Integrals of 1, τ, τ², κ, κ², λ, λ² and of each p, with the likelihood and priors."""
        prior = stats.norm.pdf(LAMBDA) * (LAMBDA[1] - LAMBDA[0])
        total, means = np.zeros(7), np.zeros(self.r.shape)
        for tau, at in zip(*self.sds, strict=True):
            given = self.given_tau(tau)
            f = given[0].prod(axis=1)
            with np.errstate(invalid="ignore"):
                with_p = np.where(given[0] > 0, f[:, None] / given[0] * given[1], 0.0)
            for kappa, weight in zip(*self.sds, strict=True):
                own, own_p = self.above(f, kappa), self.above(with_p, kappa)
                density = prior * own.prod(axis=0) * weight * at
                mass = density.sum()
                first, second = density @ LAMBDA, density @ LAMBDA**2
                total += [mass, tau * mass, tau**2 * mass, kappa * mass, kappa**2 * mass,
                          first, second]  # fmt: skip
                means += (density * own_p / own[:, None]).sum(axis=-1)
        return total, means

    @classmethod
    def above(cls, f, kappa):
        """``∫ f(μ) N(μ | λ, κ²) dμ`` of functions (..., K); (..., places of λ)."""
        mu = cls.mu
        if kappa > NARROW:
            columns = stats.norm.pdf(mu[:, None], LAMBDA, kappa) * (mu[1] - mu[0])
            return f @ columns
        near = (mu > -10.5) & (mu < 10.5)
        floor = np.maximum(f[..., near], 1e-300)
        log = make_interp_spline(mu[near], np.log(floor), k=7, axis=-1)
        z = np.linspace(-9.0, 9.0, 61)
        share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        return np.exp(log(LAMBDA[:, None] + kappa * z)) @ share

    @property
    def log_integral(self):
        return np.log(self.sums[0][0])

    def moments(self, which):
        """Mean and sd of tau, kappa or lam."""
        total = self.sums[0]
        i = {"tau": 1, "kappa": 3, "lam": 5}[which]
        mean = total[i] / total[0]
        return mean, np.sqrt(total[i + 1] / total[0] - mean**2)

    @property
    def mean_p(self):
        return self.sums[1] / self.sums[0][0]

    def figures(self):
        """All of it, as it stands in the file."""
        known: dict[str, Any] = {name: self.moments(name) for name in ("tau", "kappa", "lam")}
        return known | {"mean_p": self.mean_p.tolist(), "log_integral": self.log_integral}


if __name__ == "__main__":
    from tests.exact.nested_models import N, R

    FILE.write_text(json.dumps(BruteNested(R, N).figures(), indent=1) + "\n", encoding="utf-8")
