"""Standard errors, trials and the like as arrays in place of columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm


def fitted(data, **roles):
    return hm.fit(data, draws=5, random_seed=1, **roles)


FORMS = {
    "array": lambda column: column.to_numpy(),
    "list": lambda column: column.tolist(),
    "tuple": lambda column: tuple(column),
    "series": lambda column: column,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("role", ["se", "variance"])
def test_errors_of_an_array_are_those_of_a_column(schools, role, form):
    power = 1 if role == "se" else 2
    given = FORMS[form](schools["sigma"] ** power)
    fit = fitted(schools[["school", "y"]], outcome="y", groups="school", **{role: given})
    assert fit.spec.se == role
    expected = fitted(schools)
    np.testing.assert_allclose(
        fit.datatree["posterior"]["theta"], expected.datatree["posterior"]["theta"], rtol=1e-12
    )


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_trials_and_exposures_beside_any_frame(backend):
    counts = hm.datasets.load_surgical()
    rows = counts[["hospital", "deaths"]]
    frame = rows
    if backend == "polars":
        frame = pytest.importorskip("polars").DataFrame(rows.to_dict("list"))
    if backend == "pyarrow":
        frame = pytest.importorskip("pyarrow").table(rows.to_dict("list"))
    roles = {"outcome": "deaths", "groups": "hospital"}
    trials = counts["cases"].to_numpy()
    fit = fitted(frame, **roles, trials=trials)
    expected = fitted(counts, **roles, trials="cases")
    assert fit.datatree["posterior"].equals(expected.datatree["posterior"])
    poisson = fitted(frame, **roles, exposure=trials / 100.0, offset=np.zeros(len(rows)))
    column = fitted(counts.assign(e=counts["cases"] / 100.0), **roles, exposure="e")
    np.testing.assert_allclose(
        poisson.datatree["posterior"]["mu"], column.datatree["posterior"]["mu"], rtol=1e-9
    )


def test_a_name_that_is_taken_is_not_used(schools):
    """The column ``se`` has another meaning here, and keeps it."""
    data = schools.rename(columns={"sigma": "se"}).assign(se=1.0)
    fit = fitted(data, outcome="y", groups="school", se=schools["sigma"].to_numpy())
    assert fit.spec.se == "se_"
    assert (data["se"] == 1.0).all()


def test_statistics_and_references_take_arrays(schools):
    rows, se = schools[["school", "y"]], schools["sigma"].to_numpy()
    roles = {"outcome": "y", "groups": "school"}
    statistics = hm.SufficientStatistics.of(rows, **roles, se=se)
    expected = hm.reference(schools, outcome="y", groups="school", se="sigma").mean
    for given in (hm.reference(statistics), hm.reference(rows, **roles, se=se)):
        np.testing.assert_allclose(given.mean["theta"], expected["theta"], rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], r"se: expected 8 numbers, one for each row; found shape \(2,\)"),
        (np.ones((8, 1)), r"se: expected 8 numbers, one for each row; found shape \(8, 1\)"),
        (["a"] * 8, "se: expected the name of a column as text"),
        (np.array(["a"] * 8), "se: expected numbers"),
        ([np.nan] * 8, "se: expected numbers"),
        ([0.0] * 8, "column 'se': expected positive standard errors"),
        (pd.Series(np.ones(8), index=range(1, 9)), "another index than the rows.*to_numpy"),
        (5, "se: expected the name of a column as text; found 5"),
    ],
)
def test_arrays_that_are_not_the_rows_are_refused(schools, given, message):
    with pytest.raises(hm.HierModelsError, match=message):
        fitted(schools[["school", "y"]], outcome="y", groups="school", se=given)


def test_lazy_rows_take_names_alone(schools):
    polars = pytest.importorskip("polars")
    lazy = polars.DataFrame(schools.to_dict("list")).lazy()
    with pytest.raises(hm.SpecError, match="beside a data frame in memory alone"):
        fitted(lazy, outcome="y", groups="school", se=schools["sigma"].to_numpy())
