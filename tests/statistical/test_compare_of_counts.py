"""The comparison passes right draws of counts, and catches samplers that are wrong."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from tests.statistical.count_samplers import Corrected, Counts, Laplace

MU, WIDE = np.linspace(-6, 3, 181), np.linspace(-9, 9, 181)
LOG_TAU = np.linspace(np.log(1e-4), np.log(15), 201)
COLUMNS = {"outcome": "responders", "trials": "patients", "groups": "subtype"}


def half_normal(tau):
    return -(tau**2) / 2


def half_normal_of_variance(tau):
    """A density that is meant for tau² and used for tau: the Jacobian 2 tau is missing."""
    return half_normal(tau) + np.log(tau)


@pytest.fixture(scope="module")
def baskets():
    return hm.datasets.load_sarcoma_baskets()


@pytest.fixture(scope="module")
def exact(baskets):
    with contextlib.redirect_stdout(None):
        return hm.reference(baskets, priors={"tau": hm.HalfNormal(1)}, **COLUMNS)


def drawn(baskets, kind=Counts, log_prior=half_normal, mu=MU):
    sampler = kind(baskets["responders"], baskets["patients"], log_prior, mu, LOG_TAU)
    tree = sampler.draw(np.random.default_rng(1))
    draws = tree["posterior"].to_dataset().assign_coords(subtype=baskets["subtype"].to_numpy())
    tree["posterior"] = draws
    return tree


@pytest.fixture(scope="module")
def right(baskets):
    return drawn(baskets)


def test_a_right_sampler_passes(right, exact):
    comparison = hm.compare(right, exact)
    assert comparison.passed, comparison.verdict
    assert comparison.p_value > 0.02


def test_effects_on_both_scales_are_tested_once(right, exact):
    """p is a function of theta: its quantiles and its uniformity are those of theta."""
    comparison = hm.compare(right, exact)
    assert set(comparison.pit) == {"mu", "tau", "theta"}
    both = hm.compare(right, exact, var_names=["theta", "p"]).table["p"].unstack()
    same = ["5%", "50%", "95%", "uniformity"]
    theta = both[both.index.str.startswith("theta")][same]
    p = both[both.index.str.startswith("p[")][same]
    np.testing.assert_allclose(theta, p, atol=0.03)


def test_a_confused_prior_is_caught(baskets, exact):
    comparison = hm.compare(drawn(baskets, log_prior=half_normal_of_variance), exact)
    assert not comparison.passed
    assert "tau" in comparison.verdict


def test_flat_sd_for_flat_variance_is_caught(baskets):
    """Exact draws under the other prior, as a table of draws from elsewhere."""
    with contextlib.redirect_stdout(None):
        other = hm.fit(baskets, priors={"tau": hm.FlatSD()}, random_seed=2, **COLUMNS)
        exact = hm.reference(baskets, priors={"tau": hm.FlatVariance()}, **COLUMNS)
    assert not hm.compare(other.datatree, exact).passed
    with pytest.raises(hm.SpecError, match="the prior of tau is FlatSD"):
        hm.compare(other, exact)


@pytest.fixture(scope="module")
def few():
    """Of three patients each: all that an approximation can get wrong."""
    counts = [0, 0, 3, 1, 0, 2, 3, 0, 1, 3]
    names = [f"s{i}" for i in range(10)]
    return pd.DataFrame({"subtype": names, "responders": counts, "patients": 3})


@pytest.mark.parametrize(("kind", "passes"), [(Counts, True), (Laplace, False), (Corrected, False)])
def test_approximations_posing_as_exact_are_caught(few, kind, passes):
    def log_prior(tau):
        return half_normal(tau / 3)

    with contextlib.redirect_stdout(None):
        exact = hm.reference(few, priors={"tau": hm.HalfNormal(3)}, **COLUMNS)
    comparison = hm.compare(drawn(few, kind, log_prior, WIDE), exact)
    assert comparison.passed == passes, comparison.verdict
    assert passes or comparison.p_value < 1e-6


def test_with_covariates_both_scales_are_tested():
    frame = pd.DataFrame({"g": list("abcd"), "n": 12, "x": [0, 0, 1, 1], "y": [3, 5, 7, 4]})
    priors = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1), "beta": hm.Normal(0, 1)}
    with contextlib.redirect_stdout(None):
        fit = hm.fit(
            frame, "y | trials(n) ~ x + (1 | g)", family="binomial", priors=priors, random_seed=1
        )
    comparison = hm.compare(fit, fit)
    assert set(comparison.pit) == {"mu", "tau", "theta", "beta", "p"}
    assert comparison.passed, comparison.verdict
