"""Fits of rows that are not normal come back from files as they were."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.core import codec

PRIORS = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1)}
TRIALS = pd.DataFrame(
    {"trial": list("abcde"), "y": [3, 0, 7, 1, 4], "n": [20, 12, 30, 15, 9]}
    | {"c": [6, 4, 4, 2, 0], "m": [22, 11, 28, 16, 9]}
)
ARMS = hm.OddsRatio(control_events="c", control_trials="m")
FAMILIES = {
    "binomial": (hm.datasets.load_surgical, {"outcome": "deaths", "trials": "cases"}),
    "poisson": (hm.datasets.load_pumps, {"outcome": "failures", "exposure": "hours"}),
    "negative_binomial": (
        hm.datasets.load_pumps,
        {"outcome": "failures", "exposure": "hours", "family": hm.NegativeBinomial(size=2.5)},
    ),
    "student_t": (hm.datasets.load_eight_schools, {"family": hm.StudentT(nu=1 / 3)}),
    "odds_ratio": (TRIALS.copy, {"outcome": "y", "trials": "n", "family": ARMS}),
}
GROUPS = {"binomial": "hospital", "poisson": "pump", "negative_binomial": "pump"}
GROUPS |= {"student_t": "school", "odds_ratio": "trial"}
LITTLE = {"draws": 100, "chains": 2, "priors": PRIORS, "random_seed": 3}


def fitted(name, **options):
    load, given = FAMILIES[name]
    with contextlib.redirect_stdout(None):
        return hm.fit(load(), groups=GROUPS[name], **given, **LITTLE, **options)


@pytest.fixture(scope="module", params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fit(name):
    return fitted(name)


@pytest.fixture(scope="module")
def again(fit, tmp_path_factory):
    return hm.load(fit.to_netcdf(tmp_path_factory.mktemp("fits") / "fit.nc"))


def test_family_data_and_draws_are_the_same(fit, again):
    assert again.spec == fit.spec
    assert again.spec.family == fit.spec.family
    assert again.datatree.identical(fit.datatree)
    assert list(again.data.columns) == list(fit.data.columns)
    for column, values in fit.data.columns.items():
        assert again.data.columns[column].tobytes() == values.tobytes()
    assert repr(again) == repr(fit)
    assert again._repr_html_() == fit._repr_html_()


def test_the_posterior_without_error_is_the_same(fit, again):
    assert again.reference().mean.identical(fit.reference().mean)
    assert again.reference().sd.identical(fit.reference().sd)


def test_draws_on_demand_are_the_same(fit, name, tmp_path):
    """As those that were kept, before and after: a file holds the points they come from."""
    lazily = fitted(name, memory_budget=0)
    assert "theta" not in lazily.datatree["posterior"]
    again = hm.load(lazily.to_netcdf(tmp_path / "lazy.nc"))
    assert lazily.draws().identical(fit.draws())
    assert again.draws().identical(fit.draws())
    some = fit.data.labels[-1][[3, 1]]
    assert again.draws(some).identical(fit.draws(some))


@pytest.mark.parametrize("budget", [0, 2**31])
def test_a_zarr_store_has_all_draws(fit, name, budget, tmp_path):
    pytest.importorskip("zarr")
    path = fitted(name, memory_budget=budget).to_zarr(tmp_path / "fit.zarr", progressbar=False)
    with xr.open_datatree(path, engine="zarr") as tree:
        draws = tree["posterior"].to_dataset().load()
    for variable in fit.spec.variables:
        np.testing.assert_array_equal(draws[variable], fit.datatree["posterior"][variable])


@pytest.mark.parametrize("level", [None, "p"])
def test_a_parquet_file_has_raw_values_and_the_posterior(level, tmp_path):
    pytest.importorskip("pyarrow")
    fit = fitted("binomial")
    path = fit.to_parquet(tmp_path / "fit.parquet", level, row_group_size=5, progressbar=False)
    table, data = pd.read_parquet(path), hm.datasets.load_surgical()
    assert table["hospital"].tolist() == data["hospital"].tolist()
    np.testing.assert_allclose(table["raw_proportion"], data["deaths"] / data["cases"])
    np.testing.assert_array_equal(table["raw_size"], data["cases"])
    assert (table["n"] == 1).all()
    name = level or "theta"
    expected = fit.reference().quantile([0.055, 0.5, 0.945], [name])[name]
    found = table[["eti89_lb", "median", "eti89_ub"]].to_numpy().T
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    np.testing.assert_array_equal(table["mean"], fit.reference().mean[name])


@pytest.mark.parametrize(
    ("name", "raw"), [("student_t", "raw_mean"), ("odds_ratio", "raw_log_odds_ratio")]
)
def test_a_parquet_file_names_what_is_raw(name, raw, tmp_path):
    pytest.importorskip("pyarrow")
    fit = fitted(name)
    table = pd.read_parquet(fit.to_parquet(tmp_path / "fit.parquet", progressbar=False))
    assert list(table)[1:4] == ["n", raw, "mean"]
    assert (np.abs(table[raw] - table["mean"]) < 40).all()


def test_an_unknown_family_is_named(tmp_path, monkeypatch):
    fit = fitted("negative_binomial")
    path = fit.to_netcdf(tmp_path / "fit.nc")
    known = {key: kind for key, kind in codec.CLASSES.items() if key != "NegativeBinomial"}
    monkeypatch.setattr(codec, "CLASSES", known)
    with pytest.raises(hm.DataError, match=r"fit\.nc.*'NegativeBinomial'.*does not know. Install"):
        hm.load(path)


def test_what_is_no_family_is_refused(tmp_path, monkeypatch):
    path = fitted("negative_binomial").to_netcdf(tmp_path / "fit.nc")
    monkeypatch.setitem(codec.CLASSES, "NegativeBinomial", hm.InverseGamma)
    with pytest.raises(hm.DataError, match=r"fit\.nc.* cannot be read"):
        hm.load(path)


@pytest.fixture(scope="module")
def sampled():
    load, given = FAMILIES["binomial"]
    options = {"engine": "nuts", "draws": 500, "chains": 2, "progressbar": False}
    with contextlib.redirect_stdout(None):
        return hm.fit(load(), groups="hospital", priors=PRIORS, random_seed=3, **given, **options)


def test_draws_of_nuts_are_the_same_and_agree(sampled, tmp_path):
    again = hm.load(sampled.to_netcdf(tmp_path / "nuts.nc"))
    assert again.datatree.identical(sampled.datatree)
    assert again.spec == sampled.spec
    assert repr(again) == repr(sampled)
    comparison = hm.compare(again, fitted("binomial"))
    assert comparison.passed, comparison.verdict
