"""Three levels of counts with a covariate by brute force, as :mod:`.brute_nested`, and over β.

y_i ~ Binomial(n_i, p_i),  logit p_i ~ N(μ_s + x_i β, τ²),  μ_s ~ N(λ, κ²),  λ, β ~ N(0, 1),
τ, κ ~ HalfNormal(1).

What it gives for counts of ``tests/exact/nested_models.py`` stands in ``brute_covariate.json``;
``python -m tests.oracles.brute_covariate`` computes it anew, in a minute.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from scipy.interpolate import make_interp_spline
from scipy.special import binom, expit

from tests.oracles.brute_nested import LAMBDA, MU, NARROW, BruteNested, halved

FILE = Path(__file__).with_suffix(".json")
KNOWN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
BETA = np.linspace(-6.3, 6.3, 43)


@dataclass(frozen=True)
class BruteCovariate(BruteNested):
    """The same with a covariate x, (S, m)."""

    x: np.ndarray

    def given_tau(self, tau, beta):
        """Likelihood of each group given μ, and times p; (2, S, m, K)."""
        step = min(0.25, 0.35 / tau)
        z = np.arange(-8.5, 8.5 + step, step)
        share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        p = expit(MU[:, None] + (self.x * beta)[..., None, None] + tau * z)
        ways = binom(self.n, self.r)[..., None, None]
        own = p ** self.r[..., None, None] * (1 - p) ** (self.n - self.r)[..., None, None]
        return ways[..., 0] * np.stack([own @ share, (own * p) @ share])

    @cached_property
    def sums(self):
        """Integrals of 1, τ, τ², κ, κ², λ, λ², β, β², of each p, and of E[μ_s] at x = 0."""
        prior = stats.norm.pdf(LAMBDA) * (LAMBDA[1] - LAMBDA[0])
        total, means = np.zeros(9), np.zeros(self.r.shape)
        outer = np.zeros((2, len(self.r)))
        for beta in BETA:
            at_beta = stats.norm.pdf(beta) * (BETA[1] - BETA[0])
            for tau, at in zip(*halved(), strict=True):
                given = self.given_tau(tau, beta)
                f = given[0].prod(axis=1)
                with_p = np.where(given[0] > 0, f[:, None] / given[0] * given[1], 0.0)
                for kappa, weight in zip(*halved(), strict=True):
                    columns = self.columns(kappa)
                    own, own_p = columns(f), columns(with_p)
                    density = prior * own.prod(axis=0) * (weight * at * at_beta)
                    mass, first, second = (density @ LAMBDA**n for n in range(3))
                    total += [mass, tau * mass, tau**2 * mass, kappa * mass, kappa**2 * mass,
                              first, second, beta * mass, beta**2 * mass]  # fmt: skip
                    means += (density * own_p / own[:, None]).sum(axis=-1)
                    for power, row in zip((1, 2), outer, strict=True):
                        row += (density * columns(f, power) / own).sum(axis=-1)
        return total, means, outer

    @staticmethod
    def columns(kappa):
        """``∫ f(μ) μ^n N(μ | λ, κ²) dμ`` of functions (..., K); (..., places of λ)."""
        if kappa > NARROW:
            normal = stats.norm.pdf(MU[:, None], LAMBDA, kappa) * (MU[1] - MU[0])
            return lambda f, power=0: (f * MU**power) @ normal
        near = (MU > -10.5) & (MU < 10.5)
        z = np.linspace(-9.0, 9.0, 61)
        share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        at = LAMBDA[:, None] + kappa * z

        def above(f, power=0):
            log = np.log(np.maximum(f[..., near], 1e-300))
            return (np.exp(make_interp_spline(MU[near], log, k=7, axis=-1)(at)) * at**power) @ share

        return above

    def moments(self, which):
        """Mean and sd of tau, kappa, lam or beta."""
        total = self.sums[0]
        i = {"tau": 1, "kappa": 3, "lam": 5, "beta": 7}[which]
        mean = total[i] / total[0]
        return mean, np.sqrt(total[i + 1] / total[0] - mean**2)

    @property
    def outer_moments(self):
        """Means and sds of μ_s."""
        first, second = self.sums[2] / self.sums[0][0]
        return first, np.sqrt(second - first**2)

    def figures(self):
        """All of it, as it stands in the file."""
        known: dict[str, Any] = {
            name: self.moments(name) for name in ("tau", "kappa", "lam", "beta")
        }
        known["mu"] = [values.tolist() for values in self.outer_moments]
        return known | {"mean_p": self.mean_p.ravel().tolist(), "log_integral": self.log_integral}


if __name__ == "__main__":
    from tests.exact.nested_models import FEW, N, R, X

    few = [values.ravel()[:FEW].reshape(-1, 3) for values in (R, N, X)]
    figures = BruteCovariate(*few).figures()
    FILE.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
