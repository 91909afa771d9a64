"""Counts and what belongs to them, such as trials: what is read, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare

CLOTHES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": pa.Table.from_pandas,
    "nullable": lambda frame: frame.convert_dtypes(),
    "arrow dtypes": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "objects": lambda frame: frame.astype(object),
}
BINOMIAL = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
POISSON = {"outcome": "deaths", "exposure": "expected", "groups": "hospital"}


def hospitals(**columns) -> pd.DataFrame:
    """Six hospitals, one of them without cases; rows have labels from 10."""
    frame = pd.DataFrame(
        {
            "hospital": list("abcdef"),
            "deaths": [1, 0, 3, 0, 8, 4],
            "cases": [10, 5, 20, 0, 9, 12],
            "age": [60.0, 61.5, 58.0, 59.0, 70.0, 64.0],
            "expected": [1.5, 2.0, 3.5, 0.5, 5.0, 6.0],
            "shift": [0.1, 0.2, 0.0, -0.1, 0.3, 0.0],
            "died": [True, False, True, True, False, True],
            "error": 1.0,
        },
        index=range(10, 16),
    )
    return frame.assign(**columns)


def refusal(frame, *formula, **said) -> str:
    with pytest.raises(hm.HierModelsError) as told:
        prepare(frame, *formula, **said)
    return str(told.value)


@pytest.mark.parametrize("clothes", CLOTHES)
@pytest.mark.parametrize(
    ("said", "y", "columns"),
    [
        (BINOMIAL, [1, 0, 3, 0, 8, 4], {"trials": [10, 5, 20, 0, 9, 12]}),
        (POISSON, [1, 0, 3, 0, 8, 4], {"exposure": [1.5, 2.0, 3.5, 0.5, 5.0, 6.0]}),
        (
            {"outcome": "deaths", "groups": "hospital", "family": "poisson", "offset": "shift"},
            [1, 0, 3, 0, 8, 4],
            {"exposure": [1] * 6, "offset": [0.1, 0.2, 0.0, -0.1, 0.3, 0.0]},
        ),
        (
            {"outcome": "died", "groups": "hospital", "family": "binomial"},
            [1, 0, 1, 1, 0, 1],
            {"trials": [1] * 6},
        ),
    ],
)
def test_counts_are_read_from_any_frame(clothes, said, y, columns):
    _, rows = prepare(CLOTHES[clothes](hospitals()), **said)
    assert rows.y.tolist() == y
    assert {role: values.tolist() for role, values in rows.columns.items()} == columns


@pytest.mark.parametrize("clothes", ["pandas", "polars", "pyarrow", "nullable", "arrow dtypes"])
@pytest.mark.parametrize("column", ["deaths", "cases", "died", "shift"])
def test_missing_values_are_refused_or_their_rows_dropped(clothes, column):
    frame = hospitals()
    frame[column] = frame[column].astype(object).where(frame["hospital"] != "c", None)
    frame = CLOTHES[clothes](frame.convert_dtypes())
    outcome = {"outcome": "died"} if column == "died" else {"outcome": "deaths", "trials": "cases"}
    said = {**outcome, "groups": "hospital", "family": "binomial", "offset": "shift"}
    assert f"column '{column}': 1 missing value, in row" in refusal(frame, **said)
    _, rows = prepare(frame, **said, missing="drop")
    assert rows.labels[0].tolist() == list("abdef")
    assert rows.dropped == 1
    assert all(len(values) == 5 for values in rows.columns.values())


OUT_OF_DOMAIN = [
    (BINOMIAL, "deaths", 21, "a whole number from 0 to the number of trials of its row; found 21"),
    (BINOMIAL, "deaths", -1, "a whole number from 0 to the number of trials of its row; found -1"),
    (BINOMIAL, "deaths", 0.5, "a whole number from 0 to the number of trials"),
    (BINOMIAL, "cases", 20.5, "a whole number, at least 0; found 20.5"),
    (BINOMIAL, "cases", -2, "a whole number, at least 0; found -2"),
    (BINOMIAL, "cases", np.inf, "finite numbers"),
    (POISSON, "deaths", -1, "a whole number, at least 0; found -1"),
    (POISSON, "deaths", 2.5, "a whole number, at least 0; found 2.5"),
    (
        POISSON,
        "deaths",
        2.0**53 + 2,
        "at most 2^53, since double precision is not exact for larger",
    ),
    (BINOMIAL, "cases", 1e20, "at most 2^53, since double precision is not exact for larger"),
    (POISSON, "expected", 0.0, "a positive, finite number; found 0"),
    (POISSON, "expected", -0.5, "a positive, finite number; found -0.5"),
]


@pytest.mark.parametrize(("said", "column", "value", "expected"), OUT_OF_DOMAIN)
def test_values_out_of_their_domain_are_refused(said, column, value, expected):
    frame = hospitals()
    frame[column] = frame[column].astype(float).where(frame["hospital"] != "c", value)
    message = refusal(frame, **said)
    assert message.startswith(f"column {column!r}: expected {expected}")
    assert message.endswith("in row 12")


def test_more_successes_than_trials_are_shown_beside_these():
    message = refusal(hospitals(deaths=[1, 0, 3, 2, 10, 4]), **BINOMIAL)
    assert message.endswith("found 2 (cases = 0) in rows 13, 14")


def test_counts_without_trials_are_taken_for_forgotten_ones():
    message = refusal(hospitals(), outcome="deaths", groups="hospital", family="binomial")
    assert message.endswith("in rows 12, 14, 15. If these are counts, name the column of the "
                            "number of trials, trials=…")  # fmt: skip


@pytest.mark.parametrize("clothes", CLOTHES)
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"trials": "cases"}, "beside a number of trials in 'cases'. Leave trials out"),
        ({"family": "poisson"}, "say family='binomial'"),
        ({"se": False}, "say family='binomial'"),
    ],
)
def test_truth_values_are_trials_of_one_each(clothes, more, expected):
    frame = CLOTHES[clothes](hospitals())
    message = refusal(frame, outcome="died", groups="hospital", **more)
    assert message.startswith("column 'died': ")
    assert expected in message


ROLES = {
    "no groups": (
        {**BINOMIAL, "groups": []},
        "groups: the family 'binomial' needs groups; found a model without any. Name their column",
    ),
    "both": (
        {**BINOMIAL, "exposure": "expected"},
        "trials and exposure: expected one of them",
    ),
    "both, and a family": (
        {**BINOMIAL, "exposure": "expected", "family": "binomial"},
        "exposure: rows of the family 'binomial' have no such column; leave exposure out",
    ),
    "trials of events": (
        {**BINOMIAL, "family": "poisson"},
        "trials: rows of the family 'poisson' have no such column",
    ),
    "se": ({**BINOMIAL, "se": "error"}, "se: rows of the family 'binomial' have no standard"),
    "variance": ({**POISSON, "variance": "shift"}, "variance: rows of the family 'poisson' have"),
    "offset of normal rows": (
        {"outcome": "deaths", "groups": "hospital", "offset": "shift"},
        "offset: rows are normal; subtract 'shift' from the outcome",
    ),
    "twice": ({**BINOMIAL, "trials": "deaths"}, "column 'deaths' was given more than one role"),
    "a covariate": ({**BINOMIAL, "covariates": "cases"}, "column 'cases' was given more than one"),
    "no column": ({**BINOMIAL, "trials": "beds"}, "there is no column 'beds'; the data have"),
    "no name": ({**BINOMIAL, "trials": 3}, "trials: expected the name of a column as text"),
    "no outcome": ({"trials": "cases"}, "outcome: counts are not inferred among 'hospital',"),
    "unknown": ({**BINOMIAL, "family": "binomal"}, "family: expected 'normal' or 'binomial' or"),
    "a class": ({**BINOMIAL, "family": hm.Poisson}, "family: expected 'normal' or 'binomial' or"),
    "without its size": (
        {**POISSON, "family": "negative_binomial"},
        "family: 'negative_binomial' has parameters: give hm.NegativeBinomial(size=…)",
    ),
    "t without errors": (
        {"outcome": "age", "groups": "hospital", "family": hm.StudentT(4)},
        "se: the family 'student_t' needs the known standard errors of the rows",
    ),
    "a table without its columns": (
        {**BINOMIAL, "family": hm.OddsRatio()},
        "there is no column 'control_events'; the data have 'hospital',",
    ),
}


@pytest.mark.parametrize("case", ROLES)
def test_columns_that_do_not_suit_the_family_are_refused(case):
    said, expected = ROLES[case]
    assert refusal(hospitals(), **said).startswith(expected)


FORMULAS = {
    "deaths | trials(cases) ~ age + (1 | hospital)": {"trials": "cases"},
    "p(deaths, cases) ~ age + (1 | hospital)": {"trials": "cases"},
    "prop(deaths, `cases`) ~ age + offset(shift) + (1 | hospital)": {
        "trials": "cases",
        "offset": "shift",
    },
    "deaths | rate(expected) ~ age + (1 | hospital)": {"exposure": "expected"},
    "deaths ~ offset(log(expected)) + age + (1 | hospital)": {"exposure": "expected"},
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_name_what_belongs_to_counts(formula):
    spec, rows = prepare(hospitals(), formula)
    assert dict(spec.columns) == FORMULAS[formula]
    assert spec.family == (hm.Binomial() if "trials" in spec.columns else hm.Poisson())
    assert spec.covariates == ("age",)
    assert rows.roles.outcome == "deaths"
    for role, column in spec.columns.items():
        assert rows.columns[role].tolist() == hospitals()[column].tolist()


def test_a_formula_with_an_offset_takes_the_family_beside_it():
    formula = "deaths ~ offset(shift) + (1 | hospital)"
    spec, rows = prepare(hospitals(), formula, family="poisson")
    assert rows.columns["exposure"].tolist() == [1.0] * 6
    assert spec.describe()[0] == "deaths ~ Poisson(exp(theta[hospital] + shift))"
    assert refusal(hospitals(), formula).startswith("offset: rows are normal")
    size = hm.NegativeBinomial(size=3.0)
    logarithm = formula.replace("shift", "log(expected)")
    spec, _ = prepare(hospitals(), logarithm, family=size)
    assert (spec.family, dict(spec.columns)) == (size, {"exposure": "expected"})


REFUSED_FORMULAS = {
    "deaths | trials(cases) ~ age": "groups: the family 'binomial' needs groups",
    "deaths | trials(cases + 1) ~ (1 | hospital)": "found 'deaths | trials(cases + 1)'",
    "deaths | beds(cases) ~ (1 | hospital)": "found 'beds('",
    "p(deaths) ~ (1 | hospital)": "p(…) takes two columns, the counts and the numbers of trials",
    "log(deaths) ~ (1 | hospital)": "found 'log('",
    "deaths ~ log(age) + (1 | hospital)": "found 'log('",
    "deaths ~ trials(cases) + (1 | hospital)": "found 'trials('",
    "deaths ~ offset(age)*shift + (1 | hospital)": "offset(…) takes one column, or the logarithm",
    "deaths ~ offset(log()) + (1 | hospital)": "offset(…) takes one column, or the logarithm",
    "deaths ~ offset(sqrt(age)) + (1 | hospital)": "found 'sqrt('",
    "deaths ~ offset(age) + offset(shift) + (1 | hospital)": "Add them up in the data frame first",
    "deaths | rate(expected) ~ offset(log(expected)) + (1 | hospital)": "on both sides of ~",
}


@pytest.mark.parametrize("formula", REFUSED_FORMULAS)
def test_formulas_of_counts_that_are_not_understood(formula):
    assert REFUSED_FORMULAS[formula] in refusal(hospitals(), formula)


@pytest.mark.parametrize("role", ["trials", "exposure", "offset"])
def test_what_a_formula_says_is_not_said_again(role):
    formula = "deaths | trials(cases) ~ offset(shift) + (1 | hospital)"
    if role == "exposure":
        formula = "deaths | rate(expected) ~ (1 | hospital)"
    message = refusal(hospitals(), formula, **{role: "age"})
    assert message == f"the formula says what {role} is; leave out {role}=…"


@pytest.mark.parametrize("family", ["normal", "binomial"])
def test_an_exposure_in_a_formula_is_called_one(family):
    message = refusal(hospitals(), "deaths ~ offset(log(expected)) + (1 | hospital)", family=family)
    expected = rf"exposure: rows of the family '{family}' .*offset\(log\(…\)\) in a formula is an"
    assert re.search(expected, message)
