"""Predictions, ranks, shares and files of crossed groups, against dense normal algebra."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm
from hiermodels.posterior.linear_predictor import linear_predictor
from hiermodels.results.other_priors import priors_with

FORMULA = "y ~ x + (1 | a/c) + (1 | b)"
PAIRS = "y ~ 1 + (1 | a) + (1 | b)"
SDS = {"tau_a": 1.5, "tau_c": 0.7, "tau_b": 2.0, "sigma": 0.9}


def rows(n=50, seed=4):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.choice(list("pqrst"), n),
            "c": rng.choice(["u", "v"], n),
            "b": rng.integers(0, 6, n),
            "x": rng.normal(2, 1, n),
        }
    )
    return frame.assign(y=10 + frame["b"] * 0.8 + frame["x"] + rng.normal(0, 1, n))


NEW = pd.DataFrame(
    {
        "a": ["p", "p", "new", "p", "new", "q", "other"],
        "c": ["u", "w", "u", "u", "u", "v", "u"],
        "b": [1, 1, 1, 99, 99, 5, 99],
        "x": [0.0, 1.0, 2.0, 0.5, 1.5, 3.0, 0.0],
    }
)


@pytest.fixture(scope="module")
def known_sds():
    """A fit in which all sds are known, so that the posterior is normal."""
    priors = {name: hm.Fixed(value) for name, value in SDS.items()}
    return hm.fit(rows(), FORMULA, priors=priors, random_seed=1, draws=5000)


@pytest.fixture(scope="module")
def fitted():
    priors = {"tau": hm.HalfNormal(3.0), "tau_c": hm.Fixed(0.7), "sigma": hm.Fixed(0.9)}
    return hm.fit(rows(), FORMULA, priors=priors, random_seed=1)


def labels(frame):
    """Each row's label in every column, that of c within its a."""
    return {"a": frame["a"], "c": frame["a"] + "/" + frame["c"], "b": frame["b"].astype(str)}


def covariance(one, other):
    """Of the means of two frames' rows, less the flat coefficients: ``Σ τ² [same group]``."""
    mine, theirs = labels(one), labels(other)
    return sum(
        SDS[f"tau_{name}"] ** 2 * np.equal.outer(mine[name].to_numpy(), theirs[name].to_numpy())
        for name in mine
    )


def dense(new):
    """Mean and covariance of ``mu + x'beta + Σ theta`` at rows, by generalised least squares."""
    old = rows()
    v = covariance(old, old) + SDS["sigma"] ** 2 * np.eye(len(old))
    design, at = (np.column_stack([np.ones(len(f)), f["x"]]) for f in (old, new))
    inverse = np.linalg.inv(v)
    spread = np.linalg.inv(design.T @ inverse @ design)
    beta = spread @ design.T @ inverse @ old["y"].to_numpy()
    gain = covariance(new, old) @ inverse
    mean = at @ beta + gain @ (old["y"].to_numpy() - design @ beta)
    rest = at - gain @ design
    return mean, covariance(new, new) - gain @ covariance(old, new) + rest @ spread @ rest.T


def test_predictions_are_those_of_dense_algebra(known_sds):
    mean, cov = dense(NEW)
    predicted = known_sds.predict(NEW)
    np.testing.assert_allclose(predicted.mean["y_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(predicted.sd["y_mean"], np.sqrt(np.diag(cov)), rtol=1e-9)
    outcome = np.sqrt(np.diag(cov) + SDS["sigma"] ** 2)
    np.testing.assert_allclose(predicted.sd["y"], outcome, rtol=1e-9)
    law = stats.norm(mean, outcome)
    np.testing.assert_allclose(predicted.quantile([0.1])["y"][0], law.ppf(0.1), rtol=1e-8)
    np.testing.assert_allclose(predicted.cdf("y", [12.0]), law.cdf(12.0), rtol=1e-8, atol=1e-12)


def test_draws_are_joint(known_sds):
    """Rows that share a new group share its effect."""
    mean, cov = dense(NEW)
    tree = known_sds.predict(NEW).datatree["predictions"]
    drawn = tree["y_mean"].to_numpy().reshape(-1, len(NEW))
    sd = np.sqrt(np.diag(cov))
    assert np.abs((drawn.mean(axis=0) - mean) / sd).max() < 4 / np.sqrt(len(drawn))
    found = np.cov(drawn.T) / np.outer(sd, sd)
    assert np.abs(found - cov / np.outer(sd, sd)).max() < 5 / np.sqrt(len(drawn))
    noise = (tree["y"] - tree["y_mean"]).to_numpy()
    assert noise.std() == pytest.approx(SDS["sigma"], rel=0.02)


def test_every_group_by_itself(known_sds):
    predicted = known_sds.predict(at="own")
    table = predicted.to_frame()
    means = rows().groupby("b")["x"].mean()
    shown = table[table["kind"] == "new a, new c, known b"]
    new = pd.DataFrame({"a": "new", "c": "new", "b": shown["b"].astype(int), "x": 0.0})
    new["x"] = means.loc[new["b"]].to_numpy()
    np.testing.assert_allclose(shown["mean"], dense(new)[0], rtol=1e-9)


def test_rows_that_were_fitted(known_sds):
    """Their linear predictors, from draws and from dense algebra."""
    frame, draws = rows(), known_sds.datatree["posterior"].to_dataset()
    values = {name: draws[name].to_numpy() for name in known_sds.spec.variables}
    eta = linear_predictor(known_sds.spec, known_sds.data, values).reshape(-1, len(frame))
    mean, cov = dense(frame)
    away = (eta.mean(axis=0) - mean) / np.sqrt(np.diag(cov))
    assert np.abs(away).max() < 4.5 / np.sqrt(len(eta))


def test_means_of_predictions_are_those_of_draws(fitted):
    predicted = fitted.predict(NEW)
    drawn = predicted.datatree["predictions"]["y"]
    size = drawn.sizes["chain"] * drawn.sizes["draw"]
    away = (drawn.mean(["chain", "draw"]) - predicted.mean["y"]) / predicted.sd["y"]
    assert np.abs(away).max() < 4 / np.sqrt(size)
    below = (drawn < predicted.quantile(0.8)["y"].isel(quantile=0)).mean(["chain", "draw"])
    assert np.abs(below - 0.8).max() < 4 * 0.4 / np.sqrt(size)


def test_no_table_says_that_deviations_are_at_some_covariates():
    """Only what moves with the covariates is said to be somewhere."""
    priors = {"tau": hm.HalfNormal(3.0)}
    fitted = hm.fit(rows(), "y ~ x + (1 | a) + (1 | b)", priors=priors, random_seed=1, draws=50)
    exact = fitted.reference()
    at_means = [
        [note for note in table.attrs["notes"] if "at the covariates' means" in note]
        for table in (
            fitted.summary(),
            exact.summary(),
            fitted.estimates().coefficients,
            fitted.sensitivity({"wide": {"tau_b": hm.HalfNormal(9.0)}}).table,
        )
    ]
    assert [len(notes) for notes in at_means] == [1] * 4
    assert all(note.startswith("mu at") for (note,) in at_means)
    for table in (
        fitted.summary(["theta_a"]),
        exact.summary(["theta_a"]),
        fitted.estimates().table,
        fitted.rank("a").table,
    ):
        assert not any("covariates" in note for note in table.attrs["notes"])


def test_one_prior_of_all_sds_is_another(fitted):
    """``tau`` in an alternative stands for every column's, as it does in a fit."""
    wide = hm.HalfNormal(9.0)
    changed = priors_with(fitted.spec, {"tau": wide, "tau_c": hm.Fixed(0.5)})
    named = {"tau_a": wide, "tau_c": hm.Fixed(0.5), "tau_b": wide}
    assert changed == {**fitted.spec.priors, **named}


def test_deviations_are_shown_as_they_are_whatever_the_covariates(fitted):
    zero, means = (fitted.summary(["mu", "theta_b"], at=at)["mean"] for at in ("zero", "means"))
    assert zero["mu"] != pytest.approx(means["mu"], rel=1e-3)
    assert (zero.drop("mu") == means.drop("mu")).all()
    ranked = fitted.rank("b", at="zero")
    assert (ranked.table["mean"] == fitted.rank("b").table["mean"]).all()
    assert list(fitted.rank("a").table.index.names) == ["a"]


def test_shares_add_up(fitted):
    table = fitted.variance_components()
    shares = [f"share[{name}]" for name in ("a", "c", "b", "residual")]
    assert table.loc[shares, "mean"].sum() == pytest.approx(1, abs=1e-8)
    draws = fitted.datatree["posterior"].to_dataset()
    total = sum(draws[name] ** 2 for name in SDS)
    share = draws["tau_b"] ** 2 / total
    spread = float(share.std()) / np.sqrt(share.size)
    assert abs(share.mean() - table.loc["share[b]", "mean"]) < 4 * spread


def test_files(fitted, tmp_path):
    again = hm.load(fitted.to_netcdf(tmp_path / "fit.nc"))
    assert again.spec == fitted.spec
    assert (
        again.datatree["posterior"].to_dataset().equals(fitted.datatree["posterior"].to_dataset())
    )
    np.testing.assert_array_equal(again.predict(NEW).mean["y"], fitted.predict(NEW).mean["y"])
    for column, by in (("b", ["b"]), ("c", ["a", "c"])):
        path = fitted.to_parquet(tmp_path / f"{column}.parquet", level=column)
        table = pd.read_parquet(path).set_index(by)
        np.testing.assert_array_equal(table["mean"], fitted.reference().mean[f"theta_{column}"])
        exact, frame, own = fitted.reference(), labels(rows()), rows()
        rest = own["y"] - float(exact.mean["mu"]) - own["x"] * float(exact.mean["beta"][0])
        for other in {"a", "b", "c"} - {column}:
            effects = exact.mean[f"theta_{other}"].to_series()
            effects.index = effects.index.astype(str)
            rest = rest - frame[other].map(effects)
        known = rest.groupby([own[name] for name in by]).agg(["size", "mean"]).loc[table.index]
        assert list(table["n"]) == list(known["size"])
        np.testing.assert_allclose(table["raw_deviation"], known["mean"], rtol=1e-12)
        notes = json.loads(pq.read_schema(path).metadata[b"hiermodels"])["notes"]
        assert not any("covariates" in note for note in notes)


def test_loo_by_column(known_sds):
    left_out = known_sds.loo("b")
    assert list(left_out.elpd_i["b"].to_numpy()) == list(known_sds.data.labels[2])
    by_class = known_sds.loo("c").elpd_i
    assert [str(c).split("/")[0] for c in by_class["c"].to_numpy()] == list(
        by_class["a"].to_numpy()
    )
    by_row = known_sds.loo()
    assert list(by_row.elpd_i["a"].to_numpy()) == list(rows()["a"])
    with pytest.raises(hm.SpecError, match="unit: expected 'row', 'a', 'c', 'b'; found 'group'"):
        known_sds.loo("group")


def test_effects_that_were_not_kept(tmp_path):
    """Of more than 1,000 groups draws are made when a prediction asks for them."""
    rng = np.random.default_rng(5)
    a, b = np.repeat(np.arange(1001), 2), rng.integers(0, 4, 2002)
    y = rng.normal(0, 2, 1001)[a] + b + rng.normal(0, 1, 2002)
    frame = pd.DataFrame({"y": y, "a": a, "b": b})
    priors = {"tau": hm.Fixed(2.0), "sigma": hm.Fixed(1.0)}
    fit = hm.fit(frame, PAIRS, priors=priors, random_seed=1, draws=250)
    assert "theta_a" not in fit.datatree["posterior"]
    predicted = fit.predict(pd.DataFrame({"a": [3, 3, 9999], "b": [1, 9, 2]}))
    drawn = predicted.datatree["predictions"]["y_mean"]
    away = (drawn.mean(["chain", "draw"]) - predicted.mean["y_mean"]) / predicted.sd["y_mean"]
    assert np.abs(away).max() < 4 / np.sqrt(1000)
    np.testing.assert_allclose(drawn.std(["chain", "draw"]), predicted.sd["y_mean"], rtol=0.1)
    for column, label in (("a", 3), ("b", 2)):
        every = fit.draws(level=column)
        assert every.dims == ("chain", "draw", column)
        exact = fit.reference().mean[f"theta_{column}"]
        spread = every.std(["chain", "draw"])
        away = (every.mean(["chain", "draw"]) - exact) / spread * np.sqrt(1000)
        assert np.abs(away).max() < 5
        assert every.sel({column: [label]}).equals(fit.draws([label], f"theta_{column}"))
    with pytest.raises(hm.SpecError, match=r"draws\(groups=\[…\], level='a'\) makes"):
        fit.summary(["theta_a"])
    assert "which .draws(groups=[…], level='a') asks" in str(fit.summary())
    with pytest.raises(hm.SpecError, match=r"var_names=\['mu', 'tau_a', 'tau_b', 'sigma'\]$"):
        hm.compare(fit, fit)
    few = hm.fit(frame, PAIRS, priors=priors, random_seed=1, draws=5, log_likelihood=True)
    drawn = few.datatree["posterior"]["mu"] + few.draws([0], "a")[..., 0]
    drawn = drawn + few.draws([int(b[0])])[..., 0]
    expected = stats.norm(drawn, 1.0).logpdf(y[0])
    found = few.datatree["log_likelihood"]["y"].sel(row=0)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    with xr.open_datatree(fit.to_zarr(tmp_path / "fit.zarr"), engine="zarr") as tree:
        for column in ("a", "b"):
            assert tree[f"posterior/theta_{column}"].equals(fit.draws(level=column))


def test_estimates_of_known_sds_are_those_of_dense_algebra(known_sds):
    """``τ_b² Z' V⁻¹ (y − X γ)`` with γ by generalised least squares."""
    found, old = known_sds.estimates(at="zero"), rows()
    v = covariance(old, old) + SDS["sigma"] ** 2 * np.eye(len(old))
    design = np.column_stack([np.ones(len(old)), old["x"]])
    solved = np.linalg.solve(v, np.column_stack([design, old["y"]]))
    gamma = np.linalg.solve(design.T @ solved[:, :2], design.T @ solved[:, 2])
    rest = SDS["tau_b"] ** 2 * pd.Series(solved[:, 2] - solved[:, :2] @ gamma)
    deviations = rest.groupby(old["b"]).sum().loc[found.table.index.astype(int)]
    np.testing.assert_allclose(found.table["eb"], deviations, rtol=1e-9)
    np.testing.assert_allclose(found.coefficients["estimate"], gamma, rtol=1e-9)
    assert found.sds == pytest.approx(SDS)


def test_rows_of_crossed_groups_have_no_likelihood_by_group():
    words = "'marginal' is of all rows of a group.*crossed ones, a/c \\+ b, are not.*loo\\('b'\\)"
    with pytest.raises(hm.SpecError, match=words):
        hm.fit(rows(), FORMULA, priors="weak", draws=10, log_likelihood="marginal")


def test_one_contrast_is_too_few():
    fit = hm.reference(rows().query("b < 2"), "y ~ x + (1 | a) + (1 | b)", priors="weak")
    said = "1 contrast that says something of tau_b is too few"
    assert said in str(fit.moments.shortage("mu", 4).reason)


def test_draws_by_column(known_sds):
    """As they are kept, with what each group is in."""
    draws = known_sds.datatree["posterior"].to_dataset()
    some = known_sds.draws(["p/u", "q/v"], "c")
    assert some["c_a"].to_numpy().tolist() == ["p", "q"]
    assert some.reset_coords(drop=True).equals(draws["theta_c"].sel(c=["p/u", "q/v"]))
    assert known_sds.draws(level="theta_a").equals(draws["theta_a"])
    assert known_sds.draws().equals(draws["theta_b"])
    with pytest.raises(hm.SpecError, match="level: expected"):
        known_sds.draws(level="z")


def test_a_column_whose_sd_is_0():
    """All else is as without it, which the engine of nested groups computes."""
    priors = {"tau": hm.HalfNormal(3.0)}
    zero = {**priors, "tau_a": hm.Fixed(0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = hm.reference(rows(), "y ~ x + (1 | a) + (1 | b)", priors=zero)
        table = exact.summary(["theta_a", "mu", "beta", "tau_b", "sigma"])
        below = exact.cdf("theta_a", [[-1e-9], [0.0]])
    assert (table.filter(like="theta_a", axis=0) == 0).all(axis=None)
    np.testing.assert_allclose(below, [[0.0] * 5, [1.0] * 5], rtol=1e-13)
    plain = hm.reference(rows(), "y ~ x + (1 | b)", priors=priors)
    others = plain.summary(["mu", "beta", "tau", "sigma"]).to_numpy()
    np.testing.assert_allclose(table.to_numpy()[5:], others, rtol=1e-6)
