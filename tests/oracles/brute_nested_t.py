"""Three levels of t errors by brute force, as of counts in ``tests/oracles/brute_nested.py``.

y_i ~ t_4(θ_i, sd_i),  θ_i ~ N(μ_s, τ²),  μ_s ~ N(λ, κ²),  λ ~ N(0, 1),  τ, κ ~ HalfNormal(1).

The places of μ reach farther, and Gauss's rule has more places: with those of the other module the
figures differ by 1e-6.  They stand in ``brute_nested_t.json``;
``python -m tests.oracles.brute_nested_t`` computes them anew, in half a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import stats
from scipy.special import expit

from tests.oracles.brute_nested import BruteNested, halved

FILE = Path(__file__).with_suffix(".json")
KNOWN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
NU = 4.0
Y = np.array([[0.1, -0.9, 1.2], [-0.4, 6.5, 0.2], [-1.9, -0.3, 0.6]])  # one is far from all
SD = np.array([[0.4, 0.9, 0.6], [0.5, 0.7, 1.0], [0.8, 0.5, 0.6]])


class BruteNestedT(BruteNested):
    """Outcomes ``r`` with scales ``n``, (S, m) each."""

    sds: ClassVar = halved(36, 7.5)
    mu: ClassVar = np.linspace(-80.0, 80.0, 1601)

    def given_tau(self, tau):
        """Likelihood of each group given μ, and times ``expit(θ)``; (2, S, m, K)."""
        step = min(0.2, 0.1 / tau)
        z = np.arange(-9.0, 9.0 + step, step)
        theta = self.mu[:, None] + tau * z
        share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        given = np.empty((2, *self.r.shape, len(self.mu)))
        for at in np.ndindex(self.r.shape):
            own = stats.t.pdf(theta, NU, self.r[at], self.n[at])
            given[(0, *at)], given[(1, *at)] = own @ share, (own * expit(theta)) @ share
        return given


if __name__ == "__main__":
    FILE.write_text(json.dumps(BruteNestedT(Y, SD).figures(), indent=1) + "\n", encoding="utf-8")
