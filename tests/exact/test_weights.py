"""Weights of rows, whose variance is sigma²/weight, in every model of normal rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.results.report.recipe import command, snippet


def rows(seed=1, groups=12, size=3):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    frame = pd.DataFrame(
        {"g": g.astype(str), "h": (g // 2).astype(str), "x": rng.normal(size=len(g))}
    )
    frame["w"] = rng.integers(1, 6, len(g)).astype(float)
    noise = rng.normal(size=len(g)) / np.sqrt(frame["w"])
    frame["y"] = 1 + frame["x"] + rng.normal(size=groups)[g] + noise
    return frame


MODELS = ("y ~ x + (1 | g)", "y ~ x + (1 | h/g)", "y ~ x + (x || g)", "y ~ x")


def same(a, b, tolerance=1e-9):
    for name in (n for n in a.spec.variables if n not in a.spec.fixed):
        sd = b.sd[name]
        np.testing.assert_allclose((a.mean[name] - b.mean[name]) / sd, 0, atol=tolerance)
        np.testing.assert_allclose(a.sd[name] / sd, 1, atol=tolerance)


@pytest.mark.parametrize("formula", MODELS)
def test_whole_weights_are_repeated_rows_but_for_the_degrees_of_freedom(formula):
    """A row of weight w is the mean of w rows: with sigma fixed, their posteriors are one."""
    frame = rows()
    repeated = frame.loc[frame.index.repeat(frame["w"].astype(int))].drop(columns="w")
    fixed = {} if formula == "y ~ x" else {"sigma": hm.Fixed(0.8)}
    if formula == "y ~ x":
        frame["se"], repeated["se"] = 0.8 / np.sqrt(frame["w"]), 0.8
        same(
            hm.reference(frame.drop(columns="w"), formula, se="se"),
            hm.reference(repeated, formula, se="se"),
        )
        return
    same(
        hm.reference(frame, formula, weights="w", priors=fixed),
        hm.reference(repeated, formula, priors=fixed),
    )


@pytest.mark.parametrize("formula", MODELS)
def test_equal_weights_scale_sigma(formula):
    frame = rows().assign(w=4.0)
    weighted, plain = (
        hm.reference(frame, formula, weights="w"),
        hm.reference(frame.drop(columns="w"), formula),
    )
    assert weighted.mean["sigma"].item() == pytest.approx(2 * plain.mean["sigma"].item(), rel=1e-9)
    for name in set(plain.spec.variables) - {"sigma"}:
        error = (weighted.mean[name] - plain.mean[name]) / plain.sd[name]
        np.testing.assert_allclose(error, 0, atol=1e-8)


def test_the_marginal_likelihood_is_that_of_dense_algebra():
    frame = rows(groups=3, size=2)
    priors = {"mu": hm.Normal(0, 2), "beta": hm.Normal(0, 2)}
    priors |= {"tau": hm.Fixed(0.7), "sigma": hm.Fixed(1.3)}
    same_group = frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()
    x = np.column_stack([np.ones(6), frame["x"]])
    cov = 4 * x @ x.T + 0.49 * same_group + np.diag(1.69 / frame["w"])
    expected = stats.multivariate_normal(np.zeros(6), cov).logpdf(frame["y"])
    for formula in ("y ~ x + (1 | g)", "y ~ x + (1 | g) + (0 + x | g)"):
        own = priors if "0 + x" not in formula else {**priors, "tau": hm.Fixed(0.7)}
        if "0 + x" in formula:
            own = {**own, "tau[x]": hm.Fixed(0.0)}
        exact = hm.reference(frame, formula, weights="w", priors=own)
        assert exact.log_marginal_likelihood == pytest.approx(expected, rel=1e-10)


def test_the_regression_is_weighted_least_squares():
    frame = rows()
    exact = hm.reference(frame, "y ~ x", weights="w")
    x, w = np.column_stack([np.ones(36), frame["x"]]), frame["w"].to_numpy()
    gram = x.T @ (w[:, None] * x)
    beta = np.linalg.solve(gram, x.T @ (w * frame["y"]))
    rest = frame["y"] - x @ beta
    scale = np.sqrt((w * rest**2).sum() / 34 * np.diag(np.linalg.inv(gram)))
    assert exact.mean["mu"].item() == pytest.approx(beta[0], rel=1e-12)
    assert exact.mean["beta"].to_numpy() == pytest.approx(beta[1:], rel=1e-12)
    expected = stats.t(34, beta[1], scale[1]).ppf([0.1, 0.9])
    found = exact.quantile([0.1, 0.9])["beta"].to_numpy().ravel()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("formula", MODELS)
def test_rows_left_out_are_those_of_refits(formula):
    frame = rows(groups=8)
    sds = ("tau", "sigma", "kappa")[: 3 if "h/g" in formula else 2 if "|" in formula else 0]
    priors = dict.fromkeys(sds, hm.HalfNormal(2))
    fit = hm.fit(frame, formula, weights="w", priors=priors, random_seed=1, draws=50)
    loo = fit.loo()
    for i in (0, 7):
        refit = hm.fit(frame.drop(index=i), formula, weights="w", priors=priors, draws=10)
        prediction, step = refit.predict(frame.iloc[[i]].drop(columns="y")), 1e-3
        ends = prediction.cdf("y", np.array([[frame["y"][i] - step], [frame["y"][i] + step]]))
        density = np.log((ends[1] - ends[0]) / (2 * step)).item()
        assert loo.elpd_i.values[i] == pytest.approx(density, abs=2e-6)


def test_predicted_outcomes_have_the_row_s_own_weight():
    frame = rows()
    priors = {"tau": hm.HalfNormal(1)}
    fit = hm.fit(frame, "y ~ x + (1 | g)", weights="w", priors=priors, random_seed=1)
    new = pd.DataFrame({"g": ["0", "0", "new"], "x": 0.0, "w": [1.0, 1e9, 4.0]})
    prediction = fit.predict(new, random_seed=2)
    mean, outcome = prediction.sd["y_mean"].to_numpy(), prediction.sd["y"].to_numpy()
    sigma2 = (fit.reference().mean["sigma"] ** 2 + fit.reference().sd["sigma"] ** 2).item()
    np.testing.assert_allclose(outcome**2 - mean**2, sigma2 / new["w"], rtol=1e-6, atol=1e-9)
    draws = prediction.datatree["predictions"]["y"]
    assert draws.std(("chain", "draw")).to_numpy() == pytest.approx(outcome, rel=0.05)
    with pytest.raises(hm.DataError, match="no column 'w'"):
        fit.predict(new.drop(columns="w"))


def test_log_likelihood_of_rows():
    frame = rows()
    fit = hm.fit(frame, "y ~ x + (1 | g)", weights="w", log_likelihood=True, draws=5, random_seed=1)
    one = fit.datatree["posterior"].to_dataset().isel(chain=1, draw=3)
    mean = one["theta"].sel(g=frame["g"].to_numpy()) + one["beta"].item() * frame["x"].to_numpy()
    expected = stats.norm(mean, one["sigma"].item() / np.sqrt(frame["w"])).logpdf(frame["y"])
    found = fit.datatree["log_likelihood"]["y"].isel(chain=1, draw=3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_lazy_rows_and_statistics_have_the_same_posterior():
    frame = rows()
    whole = hm.reference(frame, "y ~ x + (1 | g)", weights="w")
    same(hm.reference(pl.from_pandas(frame).lazy(), "y ~ x + (1 | g)", weights="w"), whole, 1e-8)
    kind = hm.SufficientStatistics
    parts = [kind.of(frame[a:b], "y ~ x + (1 | g)", weights="w") for a, b in ((0, 10), (10, 36))]
    same(hm.reference(parts[0] + parts[1]), whole, 1e-8)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf])
def test_weights_are_positive(bad):
    frame = rows()
    frame.loc[3, "w"] = bad
    with pytest.raises(hm.DataError, match=r"'w'.*(positive|finite)"):
        hm.fit(frame, "y ~ x + (1 | g)", weights="w")
    with pytest.raises(hm.DataError, match=r"'w'.*(positive|finite)"):
        hm.fit(pl.from_pandas(frame).lazy(), "y ~ x + (1 | g)", weights="w")


def test_weights_with_known_errors_or_counts():
    frame = rows().assign(se=1.0, n=3)
    with pytest.raises(hm.SpecError, match="errors are known here"):
        hm.fit(frame, "y ~ x + (1 | g)", weights="w", se="se")
    with pytest.raises(hm.SpecError, match="'binomial' have no such column"):
        hm.fit(frame, outcome="n", groups="g", weights="w", family="binomial")


def test_nuts_and_the_description():
    frame = rows()
    fit = hm.fit(frame, "y ~ x + (1 | g)", weights="w", draws=5, random_seed=1)
    assert fit.spec.describe()[0] == "y ~ Normal(theta[g] + x'beta, sigma/sqrt(w))"
    model = hm.build_model(fit.spec, fit.data)
    assert model is not None


def test_statistics_and_lazy_rows_are_fitted_too():
    frame = rows()
    priors = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}
    said = {"weights": "w", "priors": priors, "draws": 200, "random_seed": 1}
    for data in (
        pl.from_pandas(frame).lazy(),
        hm.SufficientStatistics.of(frame, "y ~ x + (1 | g)", weights="w"),
    ):
        given = {k: v for k, v in said.items() if k != "weights" or hasattr(data, "collect")}
        formula = "y ~ x + (1 | g)" if hasattr(data, "collect") else None
        fit = hm.fit(data, formula, **given)
        weights = fit.datatree["constant_data"]["w"].to_series()
        expected = frame.groupby("g")["w"].sum()
        np.testing.assert_allclose(weights.sort_index(), expected.sort_index())


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 + x | g)"])
def test_a_check_weighs_rows_as_if_these_were_scaled(formula):
    """Means of groups are weighted, in what is observed and in what is replicated."""
    frame = rows(groups=12, size=6)
    fit = hm.fit(frame, formula, weights="w", priors="weak", random_seed=1)
    weighted = frame.assign(wy=frame["w"] * frame["y"]).groupby("g")[["wy", "w"]].sum()
    largest = (weighted["wy"] / weighted["w"]).max()
    table = fit.check(random_seed=1)
    assert table.loc["largest g mean", "observed"] == pytest.approx(largest, rel=1e-12)


def test_a_report_says_how_to_make_the_same_fit(tmp_path):
    fit = hm.fit(rows(), "y ~ x + (1 | g)", weights="w", priors="weak", draws=5, random_seed=1)
    assert "weights='w'" in snippet(fit.posterior)
    assert "'y ~ x + (1 | g)' --weights w" in command(fit.posterior)


def test_draws_of_other_weights_are_not_compared():
    frame = rows()
    plain = hm.fit(frame.drop(columns="w"), "y ~ x + (1 | g)", draws=50, random_seed=1)
    weighted = hm.reference(frame, "y ~ x + (1 | g)", weights="w")
    with pytest.raises(hm.SpecError, match="weights"):
        hm.compare(plain, weighted)


def test_statistics_say_that_their_means_are_weighted():
    """Their rows' own means are gone: what stands in their place is not called these."""
    frame = rows()
    statistics = hm.SufficientStatistics.of(frame, "y ~ x + (1 | g)", weights="w")
    shown = hm.reference(statistics).summary(["mu"])
    mean = np.average(frame["x"], weights=frame["w"])
    assert f"at the covariates' means (weighted with w): x = {mean:.5g}" in repr(shown)
    with pytest.raises(hm.SpecError, match="where rows have weights needs rows"):
        _ = statistics.mean_covariates
