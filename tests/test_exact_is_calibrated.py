"""Simulation-based calibration of the exact draws (Talts et al. 2018, arXiv:1804.06788).

Parameters are drawn from proper priors and data from the model; the rank of each parameter
among its posterior draws is then uniform.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm

SIMULATIONS = 150
DRAWS = 99  # so that there are 100 ranks
PRIORS = {
    "mu": hm.Normal(0.0, 1.0),
    "lam": hm.Normal(0.0, 1.0),
    "kappa": hm.HalfNormal(1.0),
    "tau": hm.Exponential(0.7),
    "sigma": hm.InverseGamma(3.0, 2.0),
    "beta": hm.Normal(0.0, 1.0),
}


def draw_sd(name, rng):
    if name == "sigma":
        return np.sqrt(2.0 / rng.gamma(3.0))
    return abs(rng.normal()) if name == "kappa" else rng.exponential(0.7)


def simulate(groups, known, covariate, rng):
    """True values and data of one simulation."""
    truth = {"tau": draw_sd("tau", rng), "sigma": draw_sd("sigma", rng)}
    rows = 12 if known else 24
    room = np.sort(rng.integers(0, 6, rows))
    room[:6] = range(6)
    school = np.array([0, 0, 1, 1, 1, 2])
    top = rng.normal()
    if len(groups) == 2:
        truth |= {"lam": top, "kappa": draw_sd("kappa", rng)}
        truth["mu"] = rng.normal(top, truth["kappa"], 3)
        theta = rng.normal(truth["mu"][school], truth["tau"])
    else:
        truth["mu"] = top
        theta = rng.normal(top, truth["tau"], 6)
    truth["theta"] = theta
    se = rng.uniform(0.3, 1.5, rows) if known else np.full(rows, truth["sigma"])
    x = rng.normal(size=rows)
    slope = rng.normal() if covariate else 0.0
    if covariate:
        truth["beta"] = np.array([slope])
    y = rng.normal(theta[room] + slope * x, se)
    data = pd.DataFrame({"y": y, "x": x, "school": school[room], "room": room})
    if known:
        data["se"] = se
        del truth["sigma"]
    return truth, data


CASES = {
    "one variance": (["room"], True, False),
    "one variance, covariate": (["room"], True, True),
    "two variances": (["room"], False, True),
    "two variances, three levels": (["school", "room"], True, False),
    "three variances": (["school", "room"], False, True),
}


def collect_ranks(name, simulations):
    """Rank of one element of each parameter among its draws, in every simulation."""
    groups, known, covariate = CASES[name]
    rng = np.random.default_rng(list(name.encode()))
    ranks = {}
    for _ in range(simulations):
        truth, data = simulate(groups, known, covariate, rng)
        draws = fit(groups, covariate, truth, data, rng)
        labels = {
            "theta": {"room": range(6)},
            "mu": {"school": range(3)} if len(groups) == 2 else {},
        }
        for key, value in truth.items():
            found = draws[key].sel(labels.get(key, {})).to_numpy()[0]
            ranks.setdefault(key, []).append(int(np.ravel((found < value).sum(axis=0))[0]))
    return ranks


def fit(groups, covariate, truth, data, rng):
    """Draw from the posterior under the priors that the truth was drawn from."""
    means = {"mu"} if len(groups) == 1 else {"lam"}
    names = means | (set(truth) & {"kappa", "tau", "sigma", "beta"})
    found = hm.fit(
        data,
        outcome="y",
        groups=groups,
        se="se" if "se" in data else None,
        covariates=["x"] if covariate else [],
        priors={name: PRIORS[name] for name in names},
        draws=DRAWS,
        chains=1,
        random_seed=rng,
    )
    return found.datatree["posterior"].to_dataset()


@pytest.mark.parametrize("name", CASES)
def test_ranks_are_uniform(name):
    for key, values in collect_ranks(name, SIMULATIONS).items():
        counts = np.bincount(np.array(values) // 10, minlength=10)
        assert stats.chisquare(counts).pvalue > 1e-3, (key, counts)
