"""With three levels of counts right draws fail at the stated rate, and wrong ones are caught."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm
from tests.statistical.count_samplers import Corrected, Counts, Laplace
from tests.statistical.nested_count_samplers import NestedCounts

COMPARISONS = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 100
FEWER_DRAWS = 250  # in each chain
CHEAP = ["lam", "kappa", "mu", "tau"]  # whose distribution functions take little time
Y, TRIALS = np.array([0, 3, 0, 0, 3, 3, 1, 3, 0, 3]), 3
PARENT = np.arange(10) // 2
TOP, OUTER, INNER = 1.5, 1.0, 3.0  # scales of the priors of lam, kappa and tau
LAM, MU = np.linspace(-7, 7, 71), np.linspace(-7, 7, 141)
LOG_KAPPA, LOG_TAU = (np.linspace(np.log(2e-4), np.log(14), n) for n in (71, 91))


def log_normal(scale):
    """Of a normal or half-normal density, but for a constant."""
    return lambda x: -((x / scale) ** 2) / 2


def sampler(kind=Counts, outer=OUTER, inner=INNER):
    groups = kind(Y, np.full(len(Y), TRIALS), log_normal(inner), MU, LOG_TAU)
    return NestedCounts(groups, PARENT, log_normal(TOP), log_normal(outer), LAM, LOG_KAPPA)


@pytest.fixture(scope="module")
def right():
    return sampler()


@pytest.fixture(scope="module")
def exact():
    frame = pd.DataFrame({"y": Y, "n": TRIALS, "outer": PARENT, "inner": np.arange(len(Y))})
    priors = {
        "lam": hm.Normal(0, TOP),
        "kappa": hm.HalfNormal(OUTER),
        "tau": hm.HalfNormal(INNER),
    }
    with contextlib.redirect_stdout(None):
        return hm.reference(
            frame, outcome="y", trials="n", groups=["outer", "inner"], priors=priors
        )


@pytest.mark.slow
def test_right_draws_fail_at_the_stated_rate(right, exact):
    rng = np.random.default_rng(3)
    trees = (right.draw(rng, FEWER_DRAWS, inner=False) for _ in range(COMPARISONS))
    p = np.array([hm.compare(tree, exact, var_names=CHEAP).p_value for tree in trees])
    for alpha in (0.01, 0.05, 0.2):  # outside of the limits with probability 0.001
        least, most = stats.binom.ppf([0.0005, 0.9995], COMPARISONS, alpha)
        assert least <= (p < alpha).sum() <= most


@pytest.mark.slow
def test_right_draws_of_all_effects_pass(right, exact):
    comparison = hm.compare(right.draw(np.random.default_rng(1)), exact)
    assert set(comparison.pit) == {*CHEAP, "theta"}
    assert comparison.p_value > 0.02, comparison.verdict


def exchanged(tree):
    names = {"kappa": "tau", "tau": "kappa"}
    return xr.DataTree.from_dict({"posterior": tree["posterior"].to_dataset().rename(names)})


WRONG = {
    "the priors of kappa and tau confused": lambda: sampler(outer=INNER, inner=OUTER),
    "Laplace's method": lambda: sampler(Laplace),
    "normal estimates with ½ added to counts": lambda: sampler(Corrected),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_samplers_are_caught(name, exact):
    wrong = WRONG[name]()
    for seed in range(3):
        draws = wrong.draw(np.random.default_rng(seed), inner=False)
        comparison = hm.compare(draws, exact, var_names=CHEAP)
        assert not comparison.passed
        assert comparison.p_value < 1e-6


def test_sds_that_are_exchanged_are_caught(right, exact):
    draws = exchanged(right.draw(np.random.default_rng(1), inner=False))
    comparison = hm.compare(draws, exact, var_names=CHEAP)
    assert comparison.p_value < 1e-6
    medians = comparison.table["direction"].xs("50%", level="statistic")
    assert (medians["kappa"], medians["tau"]) == ("too high", "too low")
