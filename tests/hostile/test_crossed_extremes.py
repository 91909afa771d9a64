"""Crossed groups whose rows leave nothing, or next to nothing, to learn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm

FORMULA = "y ~ 1 + (1 | a) + (1 | b)"
A, B = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
PROPER = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(2)}


def frame(y):
    return pd.DataFrame({"y": y, "a": A.astype(str), "b": B.astype(str)})


@pytest.mark.parametrize("priors", [None, PROPER])
@pytest.mark.parametrize(
    "y",
    [np.ones(48), np.zeros(48), 0.3 * A + 0.7 * B, 1e9 + 0.3 * A + 0.7 * B],
    ids=["all alike", "zeros", "sums", "sums far from 0"],
)
def test_rows_without_a_remainder_have_no_posterior(y, priors):
    with pytest.raises(hm.ImproperPosteriorError, match="without a remainder"):
        hm.reference(frame(y), FORMULA, priors=priors)


def test_rows_far_from_0_keep_their_digits():
    y = np.random.default_rng(1).normal(size=48) + 0.3 * A
    near, far = (hm.reference(frame(y + shift), FORMULA, priors=PROPER) for shift in (0, 2**30))
    for name in ("tau_a", "tau_b", "sigma"):
        assert_allclose(far.mean[name], near.mean[name], rtol=1e-6)
    assert far.mean["mu"] - 2**30 == pytest.approx(float(near.mean["mu"]), abs=1e-6)


def test_without_an_intercept_it_is_known_to_be_0():
    rows = frame(np.random.default_rng(1).normal(size=48) + 0.3 * A)
    without = hm.reference(rows, FORMULA.replace("1 +", "0 +"), priors=PROPER)
    known = hm.reference(rows, FORMULA, priors={**PROPER, "mu": hm.Normal(0, 1e-7)})
    for name in ("tau_a", "tau_b", "sigma", "theta_a", "theta_b"):
        assert_allclose(without.mean[name], known.mean[name], rtol=1e-8, atol=1e-8)
        assert_allclose(without.sd[name], known.sd[name], rtol=1e-8, atol=1e-8)


def test_rows_that_effects_can_fit_are_refused():
    some = frame(np.random.default_rng(1).normal(size=48)).iloc[:7]
    some = some.assign(a=list("aabbccd"), b=list("xyyzzww"))
    with pytest.raises(hm.ImproperPosteriorError, match="fit all 7 rows"):
        hm.reference(some, FORMULA, priors={"tau": hm.HalfNormal(1)})
    with pytest.raises(hm.SpecError, match=r"found 7 rows, 4 'a' groups and 4 'b' groups"):
        hm.reference(some, FORMULA, priors=PROPER)


def test_shares_with_an_sd_that_is_fixed_are_those_of_the_tree():
    pastes = hm.datasets.load_pastes()
    pastes["jar"] = pastes["batch"] + pastes["cask"]
    prior, fixed = hm.HalfNormal(2), hm.Fixed(2.0)
    nested, crossed = (
        hm.fit(pastes, formula, priors=priors, draws=10, random_seed=1).variance_components()
        for formula, priors in (
            ("strength ~ 1 + (1 | batch/jar)", {"kappa": prior, "tau": fixed}),
            ("strength ~ 1 + (1 | batch) + (1 | jar)", {"tau_batch": prior, "tau_jar": fixed}),
        )
    )
    names = [f"share[{name}]" for name in ("batch", "jar", "residual")]
    assert_allclose(crossed.loc[names].astype(float), nested.loc[names].astype(float), rtol=1e-6)


def test_four_groups_of_a_column_under_the_default_prior():
    some = hm.datasets.load_penicillin().query("plate in ['a', 'b', 'c', 'd']")
    exact = hm.reference(some, "diameter ~ 1 + (1 | plate) + (1 | sample)")
    assert exact.certificate <= 1e-8
    assert np.isnan(exact.mean["tau_plate"])  # 3 contrasts say something of it


def test_the_only_group_cannot_be_left_out():
    rows = frame(np.random.default_rng(1).normal(size=48)).assign(b="one")
    fit = hm.fit(rows, FORMULA, priors=PROPER, draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match="the only group of 'b'"):
        fit.loo("b")


def test_sensitivity_says_nothing_of_sds_that_are_fixed():
    rows = frame(np.random.default_rng(1).normal(size=48))
    fit = hm.fit(rows, FORMULA, priors={**PROPER, "tau_b": hm.Fixed(0)}, draws=10, random_seed=1)
    assert "tau_a" in str(fit.sensitivity())


def test_deviations_that_are_0_are_not_compared():
    rows = frame(np.random.default_rng(1).normal(size=48))
    fit = hm.fit(rows, FORMULA, priors={**PROPER, "tau_b": hm.Fixed(0)}, draws=400, random_seed=1)
    found = hm.compare(fit.datatree, fit)
    assert found.passed
    assert set(found.table.index.get_level_values("quantity")) >= {"mu", "tau_a", "sigma"}
    assert not any("_b" in name for name in found.table.index.get_level_values("quantity"))


def test_estimates_say_which_sds_are_fixed():
    rows = frame(np.random.default_rng(1).normal(size=48)).assign(se=0.7)
    priors = {"tau_a": hm.Fixed(0.5), "tau_b": hm.HalfNormal(1)}
    fit = hm.fit(rows, FORMULA, se="se", priors=priors, draws=10, random_seed=1)
    assert str(fit.estimates()).count("\ntau_a = 0.5: fixed, not estimated\n") == 1
