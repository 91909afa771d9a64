"""Dicts of arrays, series, xarray and what an index holds are read as frames with these columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hiermodels as hm


def fitted(data, *more, **roles):
    return hm.fit(data, *more, draws=5, random_seed=1, **roles)


@pytest.fixture(scope="module")
def expected(schools):
    return fitted(schools)


@pytest.mark.parametrize(
    "given",
    [
        lambda df: {name: df[name].to_numpy() for name in df},
        lambda df: {name: df[name].tolist() for name in df},
        lambda df: df.set_index("school"),
        lambda df: df.set_index(["school", "sigma"]),
        lambda df: df.set_index("school").to_xarray(),
        lambda df: xr.Dataset(
            {"y": ("row", df["y"]), "sigma": ("row", df["sigma"]), "school": ("row", df["school"])}
        ),
    ],
    ids=["arrays", "lists", "index", "levels of an index", "dimension", "no coordinate"],
)
def test_the_same_data_in_another_form_have_the_same_fit(schools, expected, given):
    fit = fitted(given(schools))
    assert fit.spec == expected.spec
    assert fit.datatree["posterior"].equals(expected.datatree["posterior"])


@pytest.mark.parametrize("form", ["series", "data array"])
def test_a_series_is_an_outcome_with_its_index(form):
    sleep = hm.datasets.load_sleepstudy()
    series = sleep.set_index(["Subject", "Days"])["Reaction"]
    formula = "Reaction ~ Days + (1 | Subject)"
    rows = xr.DataArray(series.rename_axis(["Subject", "Days"])).rename({"dim_0": "row"})
    given = series if form == "series" else rows
    fit, expected = fitted(given, formula), fitted(sleep, formula)
    assert fit.spec == expected.spec
    assert fit.datatree["posterior"].equals(expected.datatree["posterior"])


def test_a_series_without_a_name_is_y():
    sleep = hm.datasets.load_sleepstudy()
    series = pd.Series(sleep["Reaction"].to_numpy(), index=sleep["Subject"])
    assert fitted(series).spec.outcome == "y"
    assert fitted(series).spec.groups == ("Subject",)


def test_an_index_is_not_looked_at_where_a_column_will_do(schools):
    """Labels of rows beside a column of groups are no level, and numbers no outcome."""
    pupils = pd.DataFrame({"school": list("aabbccdd"), "score": np.arange(8.0) ** 2})
    named = pupils.set_index(pd.Index([f"pupil {i}" for i in range(8)], name="pupil"))
    assert fitted(named).spec.groups == ("school",)
    numbered = pupils.set_index(pd.Index(np.linspace(0, 1, 8), name="time"))
    assert fitted(numbered).spec.outcome == "score"
    assert fitted(numbered, covariates="time").spec.coefficients == ("beta[time]",)


def test_rows_to_predict_may_have_their_labels_in_the_index(expected, schools):
    new = schools[["school", "sigma"]]
    columns = expected.predict(new).to_frame()
    index = expected.predict(new.set_index("school")).to_frame()
    np.testing.assert_array_equal(index["mean"], columns["mean"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1.0, 2.0], "g": ["a"]}, "dict of arrays of one length each; found a dict of 'y'"),
        (xr.Dataset({"y": (("a", "b"), np.ones((2, 3)))}), "expected one dimension.*'a', 'b'"),
        (xr.DataArray(np.ones((2, 3))), "expected one dimension.*DataArray.*data.stack"),
        ("pupils.csv", "or a dict of arrays; found str"),
    ],
)
def test_what_cannot_be_rows_is_refused(given, message):
    with pytest.raises(hm.DataError, match=message):
        hm.fit(given)


def test_labels_in_an_index_without_a_name_are_pointed_at(schools):
    unnamed = schools.set_index("school").rename_axis(None)
    with pytest.raises(hm.DataError, match=r"index of the rows holds labels.*rename_axis\('group'"):
        hm.fit(unnamed)
    with pytest.raises(hm.DataError, match=r"outer to the inner level$"):
        hm.fit(unnamed.reset_index(drop=True))
