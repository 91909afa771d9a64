"""The same totals of counts wherever the rows lie: each engine adds up, and rows do not move."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest

import hiermodels as hm
from hiermodels.data import lazy_columns, lazy_counts
from hiermodels.data.read_rows import read_part
from hiermodels.data.statistics import SufficientStatistics, statistics_of
from hiermodels.data.totals import totals_of
from hiermodels.model.formula.columns import stated
from tests.data import counts, engines

pytestmark = engines.QUIET
BINOMIAL = "deaths | trials(cases) ~ size + (1 | hospital)"
POISSON = "events | rate(hours) ~ size + (1 | hospital)"


LAZY = [name for name in engines.PUT if name not in ("pandas", "pyarrow", "polars eager")]


@pytest.fixture(params=map(engines.parameter, LAZY))
def put(request, tmp_path):
    """A function that puts a pandas frame into an engine that is lazy."""
    engines.require(request.param)
    return partial(engines.PUT[request.param], folder=tmp_path)


def eager(frame: pd.DataFrame, case: str) -> tuple[SufficientStatistics, dict, np.ndarray]:
    """From rows in memory: moments, totals, and offsets."""
    rows = read_part(frame, stated(**counts.said(case)))
    found = statistics_of(rows)
    values = totals_of(rows)
    shift = values.pop("offset", np.zeros(rows.n_groups))
    if "exposure" in values:  # which an offset multiplies
        values["exposure"] = values["exposure"] * np.exp(shift)
    return found, values, shift


def assert_same(found: SufficientStatistics, frame: pd.DataFrame, case: str) -> None:
    """Group by group, whatever their order."""
    expected, values, shift = eager(frame, case)
    mine, theirs = (np.argsort(one.labels[-1], kind="stable") for one in (found, expected))
    assert found.labels[-1][mine].tolist() == expected.labels[-1][theirs].tolist()
    assert found.count[mine].tolist() == expected.count[theirs].tolist()
    assert found.design.names == expected.design.names
    np.testing.assert_allclose(found.mean[mine], expected.mean[theirs], rtol=1e-12, atol=1e-14)
    size = np.sqrt(np.outer(*[np.diag(expected.total[1])] * 2))
    np.testing.assert_allclose(found.scatter / size, expected.scatter / size, atol=1e-12)
    same = dict(found.totals)
    moved = same.pop("offset", np.zeros(found.n_groups))
    if "exposure" in same:
        same["exposure"] = same["exposure"] * np.exp(moved)
    else:
        np.testing.assert_allclose(moved[mine], shift[theirs], rtol=1e-15)
    assert same.keys() == values.keys()
    for name, column in values.items():
        np.testing.assert_allclose(same[name][mine], column[theirs], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", counts.FORMULAS)
def test_totals_are_the_same_wherever_rows_lie(put, case):
    frame = counts.rows()
    assert_same(SufficientStatistics.of(put(frame), **counts.said(case)), frame, case)


@pytest.mark.parametrize("column", ["deaths", "cases", "shift", "hospital", "size"])
def test_nulls_are_refused_or_dropped(put, column):
    case, frame = "shifted trials", counts.rows()
    is_gap = np.arange(len(frame)) % 50 == 0
    frame[column] = frame[column].astype(object).where(~is_gap, None)
    frame = frame.convert_dtypes()
    with pytest.raises(hm.DataError, match=rf"column '{column}': 8 missing values"):
        SufficientStatistics.of(put(frame), **counts.said(case))
    found = SufficientStatistics.of(put(frame), **counts.said(case), missing="drop")
    assert (found.dropped, found.n_rows) == (8, 392)
    assert_same(found, counts.rows()[~is_gap], case)


OUT_OF_DOMAIN = [
    (BINOMIAL, "deaths", 99, r"from 0 to the number of trials of its row; found 99 \(cases = "),
    (BINOMIAL, "deaths", -1, r"from 0 to the number of trials of its row; found -1 \(cases = "),
    (BINOMIAL, "deaths", 0.5, r"from 0 to the number of trials of its row; found 0.5 "),
    (BINOMIAL, "cases", 99.5, "expected a whole number, at least 0; found 99.5"),
    (BINOMIAL, "cases", np.inf, "expected finite numbers"),
    (POISSON, "events", -2, "expected a whole number, at least 0; found -2"),
    (POISSON, "events", 1.25, "expected a whole number, at least 0; found 1.25"),
    (POISSON, "hours", 0.0, "expected a positive, finite number; found 0"),
    (POISSON, "hours", -3.0, "expected a positive, finite number; found -3"),
]


@pytest.mark.parametrize(("formula", "column", "value", "expected"), OUT_OF_DOMAIN)
def test_values_out_of_their_domain_are_refused_with_their_groups(
    put, formula, column, value, expected
):
    frame = counts.rows()
    at = np.flatnonzero(frame["hospital"] == "h4")[0]
    frame[column] = frame[column].astype(float)
    frame.loc[at, column] = value
    with pytest.raises(hm.DataError, match=expected) as told:
        SufficientStatistics.of(put(frame), formula)
    assert str(told.value).startswith(f"column {column!r}: ")
    if np.isfinite(value):
        assert str(told.value).endswith("in rows of hospital 'h4'")


@pytest.mark.parametrize("column", ["hours", "own"])
def test_what_differs_within_groups_is_refused(put, column):
    term = "offset(own)" if column == "own" else column
    with pytest.raises(hm.SpecError, match=rf"'{column}' differs between rows of one hospital: 'h"):
        SufficientStatistics.of(
            put(counts.rows()), f"deaths | trials(cases) ~ {term} + (1|hospital)"
        )


def test_truth_values_are_trials_of_one_each(put):
    frame = put(counts.rows())
    with pytest.raises(hm.DataError, match="beside a number of trials in 'cases'"):
        SufficientStatistics.of(frame, outcome="died", trials="cases", groups="hospital")
    with pytest.raises(hm.DataError, match="say family='binomial'"):
        SufficientStatistics.of(frame, "died ~ (1 | hospital)", family="poisson")


def test_counts_take_two_queries_and_few_rows(monkeypatch):
    """One for gaps and ranges, and one that returns a row for each count in each group."""
    returned = []

    def counting(frame):
        result = lazy_columns.collected(frame)
        returned.append(len(result))
        return result

    original = lazy_columns.collected
    monkeypatch.setattr(lazy_counts, "collected", counting)
    frame = pl.from_pandas(counts.rows(size=20_000)).lazy()
    SufficientStatistics.of(frame, "died ~ size + (1 | hospital)", family="binomial")
    SufficientStatistics.of(frame, POISSON)
    assert original is lazy_columns.collected
    assert returned[0] == 2 * counts.HOSPITALS
    assert len(returned) == 2
    assert returned[1] <= counts.HOSPITALS * (1 + int(counts.rows(size=20_000)["events"].max()))


def test_a_lazy_frame_without_groups_or_trials_says_so():
    frame = pl.from_pandas(counts.rows()).lazy()
    with pytest.raises(hm.SpecError, match="groups: the family 'binomial' needs groups"):
        SufficientStatistics.of(frame, "deaths | trials(cases) ~ size")
    with pytest.raises(hm.DataError, match=r"name the column of the number of trials, trials="):
        SufficientStatistics.of(frame, "deaths ~ (1 | hospital)", family="binomial")


def test_rows_that_change_between_queries_are_noticed(monkeypatch):
    frame = pl.from_pandas(counts.rows()).lazy()
    collect = lazy_counts.collected
    monkeypatch.setattr(lazy_counts, "collected", lambda query: collect(query.head(30)))
    with pytest.raises(hm.DataError, match=r"400 rows were checked, and then .* were added up"):
        SufficientStatistics.of(frame, BINOMIAL)
