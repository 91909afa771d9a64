"""The exact draws are calibrated, with one, two and three unknown variances."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

SIMULATIONS = 150 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 100
PRIORS = {
    "mu": hm.Normal(0.0, 1.0),
    "lam": hm.Normal(0.0, 1.0),
    "kappa": hm.HalfNormal(1.0),
    "tau": hm.Exponential(0.7),
    "sigma": hm.InverseGamma(3.0, 2.0),
    "beta": hm.Normal(0.0, 1.0),
}
CASES = {
    "one variance": "y ~ (1 | room)",
    "one variance, covariate": "y ~ x + (1 | room)",
    "two variances": "y ~ x + (1 | room)",
    "two variances, three levels": "y ~ (1 | school/room)",
    "three variances": "y ~ x + (1 | school/room)",
}
KNOWN_ERRORS = ("one variance", "one variance, covariate", "two variances, three levels")


def design(known):
    """Rows in six rooms of unequal size in three schools; their outcome is not looked at."""
    rng = np.random.default_rng(1)
    rows = 12 if known else 24
    room = np.sort(np.append(np.arange(6), rng.integers(0, 6, rows - 6)))
    school = np.array([0, 0, 1, 1, 1, 2])[room]
    frame = pd.DataFrame({"y": 0.0, "x": rng.normal(size=rows), "school": school, "room": room})
    return frame.assign(se=rng.uniform(0.3, 1.5, rows)) if known else frame


def calibrate(name, simulations, **options):
    known, formula = name in KNOWN_ERRORS, CASES[name]
    top = ["lam", "kappa"] if "school" in formula else ["mu"]
    names = [*top, "tau", *([] if known else ["sigma"]), *(["beta"] if "x" in formula else [])]
    return hm.calibrate(
        design(known),
        formula,
        se="se" if known else None,
        priors={name: PRIORS[name] for name in names},
        simulations=simulations,
        random_seed=1,
        **options,
    )


@pytest.mark.parametrize("name", CASES)
def test_exact_draws_are_calibrated(name):
    calibration = calibrate(name, SIMULATIONS, alpha=1e-3)
    assert calibration.passed, calibration


def test_one_population_is_calibrated():
    prior = hm.NormalInverseGamma(m=3.0, s=2.0, alpha=2.0, beta=4.0)
    rows = pd.DataFrame({"y": [3.0, 5.5, 4.1]})
    calibration = hm.calibrate(
        rows, outcome="y", groups=[], priors={"theta": prior}, alpha=1e-3, random_seed=1
    )
    assert calibration.passed, calibration


# Of rows that are not normal: the columns of a frame of five groups, and the arguments.

OF_FAMILIES = {
    "binomial": {"trials": "n"},
    "poisson": {"exposure": "e"},
    "negative_binomial": {"exposure": "e", "family": hm.NegativeBinomial(size=2.5)},
    "student_t": {"se": "se", "family": hm.StudentT(nu=4)},
    "odds_ratio": {
        "trials": "n",
        "family": hm.OddsRatio(control_events="c", control_trials="m"),
    },
}
FEW = 60 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 30


def counts():
    columns = {"y": 1, "n": [3, 12, 1, 30, 7], "e": [0.5, 2, 9, 1, 4], "c": 2, "m": 9, "se": 1.0}
    return pd.DataFrame({"g": list("abcde"), **columns})


def calibrate_family(family, simulations, **options):
    return hm.calibrate(
        counts(),
        outcome="y",
        groups="g",
        priors={"mu": hm.Normal(-0.5, 0.7), "tau": hm.HalfNormal(0.8)},
        simulations=simulations,
        random_seed=1,
        **OF_FAMILIES[family],
        **options,
    )


@pytest.mark.parametrize("family", OF_FAMILIES)
def test_exact_draws_are_calibrated_in_every_family(family):
    calibration = calibrate_family(family, FEW, alpha=1e-3)
    assert calibration.passed, calibration
    assert not [name for name in calibration.table.index if name.startswith(("p[", "rate["))]
