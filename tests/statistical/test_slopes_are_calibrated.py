"""Exact draws of groups with slopes and of four levels are calibrated."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

SIMULATIONS = 150 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 60
MEANS = {"mu": hm.Normal(0.0, 1.0), "beta": hm.Normal(0.0, 1.0)}
SIGMA = {"sigma": hm.InverseGamma(3.0, 2.0)}
SLOPES = MEANS | SIGMA | {"tau": hm.HalfNormal(1.0), "tau[x]": hm.Exponential(0.7)}
BY_COLUMN = {
    f"tau_{name}": prior
    for name, prior in zip(
        "abg", (hm.HalfNormal(1.0), hm.HalfStudentT(5.0, 0.7), hm.Exponential(0.7)), strict=True
    )
}
CASES = {
    "slopes": ("y ~ x + w + (1 + x | g)", SLOPES | {"rho": hm.LKJ(2.0)}),
    "uncorrelated slopes": ("y ~ x + (1 + x || g)", SLOPES),
    "four levels": ("y ~ (1 | a/b/g)", {"mu": MEANS["mu"]} | SIGMA | BY_COLUMN),
}
TWO_LEVELS = {  # seconds a fit: too slow for a test, and run by benchmarks/bench_calibration.py
    "slopes at both levels": (
        "y ~ x + (1 + x | b/g)",
        MEANS
        | SIGMA
        | {"tau_b": hm.HalfNormal(1.0), "tau_b[x]": hm.Exponential(0.7), "rho_b": hm.LKJ(2.0)}
        | {"tau_g": hm.Exponential(0.7), "tau_g[x]": hm.HalfNormal(1.0), "rho_g": hm.LKJ(1.0)},
    ),
}


def design():
    """Rows of seven groups, one of which has one row; their outcome is not looked at."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(7), [1, 3, 3, 4, 5, 6, 3])
    covariates = {"x": rng.normal(size=len(g)), "w": rng.normal(size=len(g))}
    return pd.DataFrame({"y": 0.0, **covariates, "g": g, "b": g // 2, "a": g // 4})


def calibrate_slopes(name, simulations, **options):
    formula, priors = (CASES | TWO_LEVELS)[name]
    return hm.calibrate(
        design(), formula, priors=priors, simulations=simulations, random_seed=1, **options
    )


@pytest.mark.parametrize("name", CASES)
def test_exact_draws_are_calibrated(name):
    calibration = calibrate_slopes(name, SIMULATIONS, alpha=1e-3)
    assert calibration.passed, calibration
    if name == "slopes":
        assert_every_effect_is_ranked_by_itself(calibration.table)


def assert_every_effect_is_ranked_by_itself(table):
    effects = {f"theta[{g}, {term}]" for g in range(7) for term in ("Intercept", "x")}
    assert set(table.index) == effects | {
        *("mu", "tau[Intercept]", "tau[x]", "rho", "beta[x]", "beta[w]", "sigma"),
        "log_likelihood",
    }
