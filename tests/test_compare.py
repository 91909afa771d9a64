"""The comparison passes right draws and catches wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import hiermodels as hm


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


def changed(fit, **variables):
    draws = fit.datatree["posterior"].to_dataset().assign(variables)
    return xr.DataTree.from_dict({"posterior": draws})


def test_right_draws_pass(fit):
    comparison = hm.compare(fit, fit)
    assert comparison.passed
    assert comparison.verdict.startswith("The draws agree with the exact posterior")


def test_the_table_has_every_scalar_and_statistic(fit):
    table = hm.compare(fit, fit).table
    assert table.index.names == ["quantity", "statistic"]
    assert len(table) == 10 * 5
    assert list(table.loc["tau"].index) == ["mean", "sd", "5%", "50%", "95%"]
    row = table.loc[("tau", "mean")]
    assert row["z"] == pytest.approx((row["mcmc"] - row["exact"]) / row["mcse"])
    row = table.loc[("tau", "50%")]
    assert row["exact"] == pytest.approx(2.774182, abs=1e-5)
    share = float((fit.datatree["posterior"]["tau"] <= row["exact"]).mean())
    assert row["z"] == pytest.approx((0.5 - share) / np.sqrt(0.25 / 4000), rel=0.1)
    assert 0 < row["p"] <= 1


def test_z_scores_are_about_standard_normal(schools):
    """Over many right fits the z of means and quantiles have mean 0 and sd 1, and few are large."""
    z, passed = [], 0
    exact = hm.reference(schools, priors={"tau": hm.HalfCauchy(5)})
    for seed in range(60):
        draws = hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=seed)
        comparison = hm.compare(draws, exact)
        passed += comparison.passed
        judged = ["mean", "5%", "50%", "95%"]
        z.append(comparison.table["z"].unstack()[judged].loc[["mu", "tau"]].to_numpy())
    assert np.abs(np.mean(z)) < 0.15
    assert 0.85 < np.std(z) < 1.15
    assert passed >= 57  # at alpha = 0.01, fewer have probability 0.003


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_the_threshold_follows_alpha(fit, alpha):
    from scipy.stats import norm

    assert hm.compare(fit, fit, alpha).threshold == pytest.approx(norm.isf(alpha / 80))


def test_another_prior_is_caught(schools, fit):
    wrong = hm.fit(schools, priors={"tau": hm.FlatSD()}, random_seed=1)
    comparison = hm.compare(wrong, fit)
    assert not comparison.passed
    assert "do NOT agree" in comparison.verdict
    assert "of tau is too high" in comparison.verdict


def test_a_shift_is_caught_and_named(fit):
    shifted = changed(fit, mu=fit.datatree["posterior"]["mu"] - 0.5)
    verdict = hm.compare(shifted, fit).verdict
    assert "mean of mu is too low" in verdict


def test_groups_in_another_order_are_matched_by_label(fit):
    draws = fit.datatree["posterior"].to_dataset().isel(school=slice(None, None, -1))
    assert hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit).passed


def test_other_groups_are_refused(fit, schools):
    other = hm.fit(schools.assign(school=list("STUVWXYZ")), random_seed=1)
    with pytest.raises(hm.SpecError, match="different 'school' labels"):
        hm.compare(other, fit)


def test_missing_variables_are_refused(fit):
    draws = fit.datatree["posterior"].to_dataset().drop_vars("tau")
    with pytest.raises(hm.SpecError, match="the draws have no variable 'tau'"):
        hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit)


def test_alpha_must_be_a_probability(fit):
    with pytest.raises(hm.SpecError, match="alpha: expected a number between 0 and 1"):
        hm.compare(fit, fit, alpha=1.0)


def test_moments_that_do_not_exist_are_left_out(schools):
    few = hm.fit(schools.iloc[:4], random_seed=1)
    comparison = hm.compare(few, few)
    assert np.isnan(comparison.table.loc[("tau", "mean"), "z"])
    assert comparison.passed
    assert "|z| is" in comparison.verdict


def lecture_draws(players, rng):
    """The lecture's recipe: V = σ² + τ² not truncated at σ², negative τ² set to 0."""
    y, sigma2, shape = players["y"].to_numpy(), 0.06**2, (4, 1000)
    v = 17 * y.var(ddof=1) / 2 / rng.gamma(7.5, size=shape)
    tau2 = np.maximum(v - sigma2, 0)
    mu = rng.normal(y.mean(), np.sqrt((sigma2 + tau2) / 18))
    shrink = (sigma2 / (sigma2 + tau2))[..., None]
    theta = shrink * mu[..., None] + (1 - shrink) * y
    theta = rng.normal(theta, np.sqrt((1 - shrink) * sigma2))
    dims = ("chain", "draw")
    variables = {
        "mu": (dims, mu),
        "tau": (dims, np.sqrt(tau2)),
        "theta": ((*dims, "player"), theta),
    }
    posterior = xr.Dataset(variables, {"player": players["player"].to_numpy()})
    return xr.DataTree.from_dict({"posterior": posterior})


def test_the_lecture_recipe_is_caught(baseball):
    exact = hm.reference(baseball)
    for seed in range(5):
        comparison = hm.compare(lecture_draws(baseball, np.random.default_rng(seed)), exact)
        assert not comparison.passed
        assert "of tau is too low" in comparison.verdict
