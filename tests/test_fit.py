"""The face of a fit: what it shows."""

from __future__ import annotations

import re

import pandas as pd
import pytest

import hiermodels as hm


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


def test_repr_states_model_priors_sizes_engine_and_certificate(fit):
    text = repr(fit)
    for part in (
        "y ~ Normal(theta[school], sigma) with known sigma",
        "theta[school] ~ Normal(mu, tau)",
        "mu ~ Flat()",
        "tau ~ HalfCauchy(beta=5), on the sd tau",
        "8 rows in 8 school",
        "exact, 4 chains × 1000 draws",
    ):
        assert part in text
    assert re.search(
        r"largest ratio: 1\.\d+ of density to interpolant; at most 1\.\d+ is exact", text
    )
    assert re.search(r"two spacings differ by \d\.\de-\d\d posterior sd", text)


def test_html_says_the_same_and_escapes_labels(fit, schools):
    assert "HalfCauchy(beta=5), on the sd tau" in fit._repr_html_()
    evil = schools.rename(columns={"school": "<script>"})
    assert "<script>" not in hm.fit(evil, draws=10)._repr_html_()


def test_summary_is_arviz_below_model_and_priors(fit):
    table = fit.summary(round_to="none")
    assert isinstance(table, pd.DataFrame)
    assert list(table.index[:3]) == ["mu", "tau", "theta[A]"]
    assert {"mean", "sd", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat", "mcse_mean"} <= set(
        table.columns
    )
    assert repr(table).startswith("y ~ Normal(theta[school], sigma) with known sigma\n")
    assert "  tau ~ HalfCauchy(beta=5), on the sd tau\n" in repr(table)
    assert "on the sd tau" in table._repr_html_()
    assert type(table.loc[["mu"]]) is pd.DataFrame


def test_summary_passes_options_on(fit):
    table = fit.summary(var_names=["tau"], ci_prob=0.5, ci_kind="hdi")
    assert list(table.index) == ["tau"]
    assert "hdi50_lb" in table.columns


def test_reference_is_computed_once(fit):
    assert fit.reference() is fit.reference()


def test_reference_says_what_it_is(fit):
    text = repr(fit.reference())
    assert "no Monte Carlo error" in text
    assert re.search(r"certificate: two spacings differ by \d\.\de-\d\d posterior sd", text)


def test_labels_with_markup_and_spaces(schools):
    names = ["a b", "<b>", "ü/ñ", "x:y", "'", '"', "nan", "1e5"]
    fit = hm.fit(schools.assign(school=names), random_seed=1)
    assert fit.datatree["posterior"]["school"].values.tolist() == names
    assert list(fit.reference().summary().index[2:]) == [f"theta[{name}]" for name in names]


@pytest.mark.parametrize("seed", [-1, "1", 1.5])
def test_what_is_no_seed_is_refused(fit, schools, seed):
    for use in (
        lambda: hm.fit(schools, random_seed=seed),
        lambda: fit.check(random_seed=seed),
        lambda: fit.predict(random_seed=seed),
    ):
        with pytest.raises(hm.SpecError, match="random_seed: expected a non-negative integer"):
            use()


def test_prior_predictives_have_a_number_of_draws(fit):
    with pytest.raises(hm.SpecError, match="draws: expected a positive integer; found 0"):
        fit.prior_predictive(draws=0)


def test_draws_of_one_group_by_its_label(fit):
    assert fit.draws("B").identical(fit.draws(["B"]))
    with pytest.raises(hm.DataError, match="there is no school 'Z'"):
        fit.draws("Z")
