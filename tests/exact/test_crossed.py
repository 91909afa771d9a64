"""Fits of crossed groups by the exact engine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm
from hiermodels.data.covariates import locate
from hiermodels.exact.left_out import without
from hiermodels.posterior.record import level_draws

FORMULA = "y ~ x + (1 | a) + (1 | b)"
PROPER = {
    "tau": hm.HalfNormal(2.0),
    "sigma": hm.HalfNormal(2.0),
    "mu": hm.Normal(3.0, 5.0),
    "beta": hm.Normal(0.0, 2.0),
}


def frame(seed=0, n=40):
    rng = np.random.default_rng(seed)
    a, b = (rng.permutation(np.resize(np.arange(size), n)) for size in (7, 5))
    x, w = rng.normal(size=n), rng.uniform(0.5, 2, n)
    y = 3 + 0.5 * x + rng.normal(size=7)[a] + 0.8 * rng.normal(size=5)[b] + rng.normal(size=n)
    labels = np.array(list("pqrstuv"))[a], np.array(list("ABCDE"))[b]
    return pd.DataFrame({"y": y, "x": x, "a": labels[0], "b": labels[1], "w": w, "error": w})


@pytest.fixture(scope="module")
def fit():
    return hm.fit(frame(), FORMULA, priors=PROPER, weights="w", random_seed=1)


def test_draws_and_sums_agree(fit):
    comparison = hm.compare(fit, fit.reference())
    assert comparison.passed, comparison.verdict


def test_draws_are_the_same_of_the_same_seed(fit):
    again = hm.fit(frame(), FORMULA, priors=PROPER, weights="w", random_seed=1)
    for name, values in fit.datatree["posterior"].data_vars.items():
        assert np.array_equal(values, again.datatree["posterior"][name])


def test_draws_on_demand_are_those_that_are_kept(fit, monkeypatch, tmp_path):
    monkeypatch.setattr("hiermodels.exact.drawn.MANY_CROSSED", 10)
    asked = hm.fit(frame(), FORMULA, priors=PROPER, weights="w", random_seed=1)
    draws = fit.datatree["posterior"].to_dataset()
    kept = asked.datatree["posterior"].to_dataset()
    assert set(draws.data_vars) - set(kept.data_vars) == {"theta_a", "theta_b"}
    assert np.array_equal(kept["tau_a"], draws["tau_a"])
    assert_allclose(asked.draws(groups=["C", "A"]), draws["theta_b"].sel(b=["C", "A"]), rtol=1e-9)
    assert_allclose(level_draws(asked.posterior, "theta_a"), draws["theta_a"], rtol=1e-9)
    assert "not kept: with 7 a and 5 b" in repr(asked)
    assert "left out: theta_a" in str(asked.summary())
    asked.to_netcdf(tmp_path / "asked.nc")
    again = hm.load(tmp_path / "asked.nc")
    assert_allclose(again.draws(groups=["C"]), draws["theta_b"].sel(b=["C"]), rtol=1e-9)


def test_dear_nodes_make_draws_by_interpolation(fit, monkeypatch):
    monkeypatch.setattr("hiermodels.exact.crossed.marginal.DEAR", 1)
    dear = hm.fit(frame(), FORMULA, priors=PROPER, weights="w", random_seed=1)
    comparison = hm.compare(dear, fit.reference())
    assert comparison.passed, comparison.verdict


def test_names_and_dimensions(fit):
    draws = fit.datatree["posterior"].to_dataset()
    names = ["mu", "tau_a", "theta_a", "tau_b", "theta_b", "beta", "sigma"]
    assert list(draws.data_vars) == names
    assert draws["theta_a"].dims == ("chain", "draw", "a")
    assert list(fit.reference().mean["theta_b"]["b"].to_numpy()) == list(draws["b"].to_numpy())


def test_intercept_elsewhere(fit):
    exact = fit.reference().at({"x": 2.0})
    draws = fit.datatree["posterior"].to_dataset()
    moved = draws["mu"] + 2.0 * draws["beta"][..., 0]
    assert float(exact.mean["mu"]) == pytest.approx(float(moved.mean()), abs=0.1)
    assert float(exact.sd["mu"]) == pytest.approx(float(moved.std()), rel=0.06)
    assert_allclose(exact.mean["theta_a"], fit.reference().mean["theta_a"])


@pytest.fixture(scope="module")
def left_out(fit):
    return {unit: fit.loo(unit) for unit in ("row", "a", "b")}


@pytest.mark.parametrize(("unit", "place"), [("row", 3), ("row", 17), ("b", 2), ("a", 0), ("a", 5)])
def test_units_left_out_are_fits_without_them(fit, left_out, unit, place):
    found = left_out[unit]
    exact = fit.reference()
    data = exact.data
    index = np.arange(data.n_rows) if unit == "row" else data.crossed["ab".index(unit)]
    rest = type(exact).of(fit.spec, without(data, index != place))
    expected = exact.log_marginal_likelihood - rest.log_marginal_likelihood
    assert float(found.elpd_i[place]) == pytest.approx(expected, abs=1e-7)


def test_shares_of_the_variance(fit):
    table = fit.variance_components()
    draws = fit.datatree["posterior"].to_dataset()
    total = draws["tau_a"] ** 2 + draws["tau_b"] ** 2 + draws["sigma"] ** 2
    for name, own in (("a", "tau_a"), ("b", "tau_b"), ("residual", "sigma")):
        share = (draws[own] ** 2 / total).to_numpy().ravel()
        row = table.loc[f"share[{name}]"]
        error = share.std() / np.sqrt(share.size)
        assert row["mean"] == pytest.approx(share.mean(), abs=4.5 * error)
        assert row["median"] == pytest.approx(np.median(share), abs=6 * error)
    assert not [name for name in table.index if name.startswith("icc")]
    square = (draws["tau_a"] ** 2).to_numpy().ravel()
    found = table.loc["tau_a²", "mean"]
    assert found == pytest.approx(square.mean(), abs=4.5 * square.std() / np.sqrt(square.size))


@pytest.mark.parametrize(
    ("formula", "more"),
    [
        ("y ~ (1 | a) + (1 | b)", {"se": "error"}),
        ("y ~ 0 + x + (1 | a) + (1 | b)", {}),
        ("y ~ (1 | a/b) + (1 | w)", {}),
    ],
)
def test_other_models(formula, more):
    data = frame()
    data["w"] = np.arange(len(data)) % 3
    priors = {name: prior for name, prior in PROPER.items() if name == "tau"}
    fit = hm.fit(data, formula, priors=priors, random_seed=2, **more)
    exact, draws = fit.reference(), fit.datatree["posterior"].to_dataset()
    for name, values in draws.data_vars.items():
        mean, sd = (values.reduce(how, ("chain", "draw")) for how in (np.mean, np.std))
        away = np.abs(mean - exact.mean[name]) / exact.sd[name]
        assert float(away.max()) < 4.5 / np.sqrt(4000)
        assert_allclose(sd, exact.sd[name], rtol=0.12)


def test_what_is_said_of_parts_without_common_rows():
    data = frame()
    data["b"] = np.where(data["a"] < "s", "L", "R") + data["b"]
    fit = hm.fit(data, "y ~ (1 | a) + (1 | b)", priors={"tau": hm.HalfNormal(2.0)}, random_seed=1)
    for said in (repr(fit), repr(fit.reference())):
        assert "a and b fall into 2 parts that share no rows" in said


def test_what_is_said_of_columns_that_covariates_explain():
    data = frame().assign(copy=lambda rows: rows["b"])
    said = "b is a function of the covariates: nothing but priors says how its groups differ"
    for formula in ("y ~ copy + (1 | a) + (1 | b)", "y ~ x + (1 | a) + (1 | b)"):
        fit = hm.fit(data, formula, priors={"tau": hm.HalfNormal(2.0)}, draws=100, random_seed=1)
        assert (said in repr(fit)) == (said in repr(fit.reference())) == ("copy" in formula)
    assert "a is" not in repr(fit.reference())


def test_estimates_of_penicillin_are_those_of_lme4():
    """Bates (2010), lme4: Mixed-effects modeling with R, section 2.1: by restricted likelihood."""
    data, formula = hm.datasets.load_penicillin(), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    fit = hm.fit(data, formula, priors={"tau": hm.FlatSD()}, random_seed=1)
    found = fit.reference().plug_in("reml", locate(fit.reference().data, "zero"))
    for name, value in {"tau_plate": 0.84671, "tau_sample": 1.93157, "sigma": 0.54992}.items():
        assert found.sds.sds[name] == pytest.approx(value, abs=1e-4)
    assert found.coefficients == pytest.approx([22.9722], abs=1e-4)
    assert found.coefficient_ses == pytest.approx([0.8086], abs=1e-4)
    effects = found.effects["theta_sample"]
    means = data.groupby("sample")["diameter"].mean().to_numpy() - data["diameter"].mean()
    assert_allclose(effects["raw"], means, atol=1e-8)  # of balanced rows
    share = 1 - found.weights["theta_sample"]["shrinkage_eb"]
    assert_allclose(effects["eb"], share * means, atol=1e-8)
    assert "tau_sample = 1.9316" in str(fit.estimates())
