"""The comparison fails right draws at its stated rate, and catches wrong samplers."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from scipy import stats

import hiermodels as hm
from tests.statistical.samplers import WRONG, TwoLevel, flat_sd, flat_variance, half_cauchy, tree

COMPARISONS = 400 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 200
SEEDS = 10


@pytest.fixture(scope="module")
def exact(baseball, schools):
    return {"baseball": hm.reference(baseball), "schools": hm.reference(schools)}


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_right_draws_fail_at_the_stated_rate(schools, rho):
    """At rho = 0.9 each of the 4,000 draws is worth a nineteenth of an independent one."""
    reference = hm.reference(schools, priors={"tau": hm.HalfCauchy(5)})
    model = TwoLevel(schools["y"], schools["sigma"], half_cauchy)
    rng = np.random.default_rng(20)
    p = np.array(
        [
            hm.compare(tree(model.draw(rng, rho), "school", schools["school"]), reference).p_value
            for _ in range(COMPARISONS)
        ]
    )
    for alpha in (0.01, 0.05):  # outside of the limits with probability 0.001
        least, most = stats.binom.ppf([0.0005, 0.9995], COMPARISONS, alpha)
        assert least <= (p < alpha).sum() <= most


@pytest.mark.parametrize("name", WRONG)
def test_wrong_samplers_are_caught(name, baseball, schools, exact):
    which, sample = WRONG[name]
    data = {"baseball": baseball, "schools": schools}[which]
    for seed in range(SEEDS):
        draws = tree(sample(data, np.random.default_rng(seed)), data.columns[0], data.iloc[:, 0])
        comparison = hm.compare(draws, exact[which])
        assert not comparison.passed, seed
        assert "do NOT agree" in comparison.verdict


def test_the_right_sampler_of_the_same_data_passes(baseball, schools, exact):
    """What is caught is the defect: without it, the same code passes."""
    for which, data in {"baseball": baseball, "schools": schools}.items():
        model = TwoLevel(data["y"], data["sigma"], flat_variance)
        draws = tree(model.draw(np.random.default_rng(1)), data.columns[0], data.iloc[:, 0])
        assert hm.compare(draws, exact[which]).passed


def test_empirical_bayes_is_caught_by_theta_alone(baseball, exact):
    """Where mu is not even reported, its missing uncertainty shows in the players."""
    _, sample = WRONG["mu fixed at its estimate"]
    for seed in range(SEEDS):
        draws = tree(sample(baseball, np.random.default_rng(seed)), "player", baseball["player"])
        comparison = hm.compare(draws, exact["baseball"], var_names=["tau", "theta"])
        assert not comparison.passed
        assert "too narrow" in comparison.verdict


@pytest.mark.slow
def test_a_centred_model_that_diverges_is_caught(schools):
    """NUTS does not enter the neck of the funnel: small tau are missing."""
    priors = {"tau": hm.FlatSD()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hm.ConvergenceWarning)
        centred = hm.fit(
            schools,
            priors=priors,
            engine="nuts",
            parameterization="centered",
            target_accept=0.8,
            random_seed=2,
        )
    comparison = hm.compare(centred, hm.reference(schools, priors=priors))
    assert not comparison.passed
    assert comparison.table.loc[("tau", "5%"), "direction"] == "too high"
    assert "of the draws diverged" in comparison.verdict
    right = TwoLevel(schools["y"], schools["sigma"], flat_sd).draw(np.random.default_rng(1))
    assert hm.compare(
        tree(right, "school", schools["school"]), hm.reference(schools, priors=priors)
    ).passed


def test_the_stated_bias_is_seen(schools, exact):
    """A shift by ``detectable`` posterior sds is caught with about the stated probability."""
    model = TwoLevel(schools["y"], schools["sigma"], flat_variance)
    reference = exact["schools"]
    caught = 0
    for seed in range(60):
        mu, tau, theta = model.draw(np.random.default_rng(seed), rho=0.3)
        honest = hm.compare(tree((mu, tau, theta), "school", schools["school"]), reference)
        bias = honest.detectable["mu"] * float(reference.sd["mu"])
        shifted = tree((mu + bias, tau, theta), "school", schools["school"])
        caught += not hm.compare(shifted, reference).passed
    assert caught >= 48  # of 60 at 90 %: fewer have probability 0.003
