"""The same fits wherever the rows lie: each engine adds up for itself, and rows do not move."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.lazy import as_lazy
from hiermodels.data.lazy_columns import FIRST
from hiermodels.data.read_rows import read_part
from hiermodels.data.statistics import SufficientStatistics, statistics_of
from hiermodels.model.formula.columns import stated
from tests.data import engines

pytestmark = engines.QUIET

OFFSET = 1e9


@pytest.fixture(params=map(engines.parameter, engines.PUT))
def put(request, tmp_path):
    """A function that puts a pandas frame into an engine."""
    engines.require(request.param)
    return partial(engines.PUT[request.param], folder=tmp_path)


def rows(seed: int = 1, size: int = 900, offset: float = OFFSET) -> pd.DataFrame:
    """Rows with labels and covariates of many kinds."""
    rng = np.random.default_rng(seed)
    school, room = rng.integers(10, size=size), rng.integers(1, 4, size=size)
    sex, ses = rng.choice(["F", "M"], size=size), rng.normal(size=size)
    effect = rng.normal(size=10)[school] + rng.normal(size=(10, 4))[school, room]
    return pd.DataFrame(
        {
            "school": [f"s{i}" for i in school],
            "pupil": np.arange(size),
            "room": room,
            "day": [datetime.date(2024, 1, 1 + i) for i in school],
            "fee": [Decimal(int(i)) / 4 for i in room],
            "size": np.array([0.1, 0.3, 0.7])[school % 3],
            "sex": sex,
            "old": rng.random(size) < 0.5,
            "grade": rng.integers(1, 4, size=size),
            "ses": ses,
            "se": (se := rng.uniform(0.5, 2.0, size=size)),
            "variance": se**2,
            "count": rng.integers(0, 9, size=size) + 10**9,
            "y": offset + effect + 0.5 * ses + (sex == "M") + rng.normal(size=size),
        }
    )


CASES = {
    "two levels": {"outcome": "y", "groups": ["school"]},
    "three levels": {"outcome": "y", "groups": ["school", "room"]},
    "dates": {"outcome": "y", "groups": ["day"]},
    "integers": {"outcome": "count", "groups": ["room"]},
    "decimals": {"outcome": "fee", "groups": ["school"]},
    "numbers": {"formula": "y ~ ses + size + (1 | school/room)"},
    "categories": {"formula": "y ~ sex + old + C(grade) + ses:sex + (1 | school)"},
    "interactions": {"formula": "y ~ sex:C(grade) + (1 | school)"},
    "moved": {"formula": "y ~ center(count)*sex + scale(ses) + (1 | school)"},
    "known errors": {"formula": "y ~ ses + sex + (1 | school)", "se": "se"},
    "known variances": {"formula": "y ~ ses + (1 | school)", "variance": "variance"},
    "slopes": {"formula": "y ~ ses + size + (1 + ses | school)"},
    "slopes of products": {"formula": "y ~ sex*ses + (1 + sex + sex:ses || school/room)"},
    "slopes with known errors": {"formula": "y ~ ses + (1 + ses | school)", "se": "se"},
    "a row each": {"formula": "y ~ ses + (1 | pupil)", "se": "se"},
}


def needed(frame: pd.DataFrame, case: dict) -> pd.DataFrame:
    """The frame without standard errors that would be inferred."""
    return frame if "se" in case else frame.drop(columns="se")


def expected_statistics(frame: pd.DataFrame, case: dict) -> SufficientStatistics:
    """From rows in memory, whatever ``of`` does."""
    names = ("formula", "outcome", "groups", "se", "variance")
    said = stated(**{name: case.get(name) for name in names})
    return statistics_of(read_part(frame, said))


def assert_same_statistics(found, expected, tolerance: float = 1e-12) -> None:
    """Of the spread of the rows, group by group, whatever the order of the groups."""
    mine, theirs = (np.argsort(one.labels[-1], kind="stable") for one in (found, expected))
    assert found.labels[-1][mine].tolist() == expected.labels[-1][theirs].tolist()
    assert found.own_labels[-1][mine].tolist() == expected.own_labels[-1][theirs].tolist()
    for parent, other in zip(found.parents, expected.parents, strict=True):
        outer = found.labels[0][parent[mine]]
        assert outer.tolist() == expected.labels[0][other[theirs]].tolist()
    assert found.count[mine].tolist() == expected.count[theirs].tolist()
    np.testing.assert_allclose(found.weight[mine], expected.weight[theirs], rtol=tolerance)
    assert found.log_weight == pytest.approx(expected.log_weight, rel=tolerance, abs=1e-9)
    spread = np.sqrt(np.diag(expected.total[1]) / expected.weight.sum())
    point = expected.mean[0]
    gap = (found.away(point)[mine] - expected.away(point)[theirs]) / spread
    assert np.abs(gap).max() < tolerance
    size = np.sqrt(np.diag(expected.total[1]))
    assert (np.abs(found.scatter - expected.scatter) / np.outer(size, size)).max() < tolerance
    constant = np.diag(expected.scatter) == 0
    assert (found.scatter[constant] == 0).all()  # exactly
    if expected.slopes is not None:
        assert_same_slopes(found, expected, tolerance)
    assert found.design.names == expected.design.names
    assert found.design.levels == expected.design.levels
    assert found.design.terms == expected.design.terms
    assert found.design.constants.keys() == expected.design.constants.keys()
    for name, constants in expected.design.constants.items():
        assert found.design.constants[name] == pytest.approx(constants, rel=tolerance)


def assert_same_slopes(found, expected, tolerance: float) -> None:
    """Cross-products of each group, and what is left of all, exactly 0 where nothing varies."""
    mine, theirs = (np.argsort(one.labels[-1], kind="stable") for one in (found, expected))
    columns = expected.with_slopes
    assert found.with_slopes.tolist() == columns.tolist()
    own = [one.slopes.products(columns) for one in (found, expected)]
    size = np.sqrt(np.diag(expected.total[1]))
    unit = np.outer(size[columns], size) / len(mine)
    assert (np.abs(own[0][mine] - own[1][theirs]) / unit).max() < 10 * tolerance
    assert ((own[0][mine] == 0) == (own[1][theirs] == 0)).all()
    left = np.abs(found.slopes.rest - expected.slopes.rest) / np.outer(size, size)
    assert left.max() < tolerance


@pytest.mark.parametrize("case", CASES)
def test_statistics_are_the_same_wherever_rows_lie(put, case):
    frame = needed(rows(), CASES[case])
    found = SufficientStatistics.of(put(frame), **CASES[case])
    assert_same_statistics(found, expected_statistics(frame, CASES[case]))


@pytest.mark.parametrize("case", ["three levels", "known errors"])
def test_posteriors_are_the_same_wherever_rows_lie(put, case):
    frame = needed(rows(), CASES[case])
    exact = hm.reference(frame, **CASES[case])
    found = hm.reference(put(frame), **CASES[case])
    for name in exact.spec.variables:
        dims = exact.spec.dims(name)
        mean, sd = exact.mean[name], exact.sd[name]
        other = {dim: mean[dim] for dim in dims}
        gap = (found.mean[name].sel(other) - mean) / sd
        assert float(np.abs(gap).max()) < 1e-9
        assert float(np.abs(found.sd[name].sel(other) / sd - 1).max()) < 1e-9


@pytest.mark.parametrize("column", ["y", "school", "ses", "sex"])
def test_nulls_are_refused_or_dropped(put, column):
    case = {"formula": "y ~ ses + sex + (1 | school)"}
    frame = needed(rows(), case).drop(columns="fee")
    frame[column] = frame[column].astype(object).where(np.arange(len(frame)) % 100 > 0, None)
    if column in ("y", "ses"):
        frame[column] = frame[column].astype("Float64")
    with pytest.raises(hm.DataError, match=rf"column '{column}': 9 missing values"):
        SufficientStatistics.of(put(frame), **case)
    found = SufficientStatistics.of(put(frame), **case, missing="drop")
    assert found.dropped == 9
    kept = frame[np.arange(len(frame)) % 100 > 0]
    assert_same_statistics(found, expected_statistics(kept, case))


def test_nan_is_as_good_as_null(put):
    case = CASES["two levels"]
    frame = needed(rows(), case)
    frame.loc[[5, 7], "y"] = np.nan
    with pytest.raises(hm.DataError, match="column 'y': 2 missing values"):
        SufficientStatistics.of(put(frame), **case)
    found = SufficientStatistics.of(put(frame), **case, missing="drop")
    assert_same_statistics(found, expected_statistics(frame.dropna(), case))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("y", np.inf, "column 'y': expected finite numbers"),
        ("ses", -np.inf, "column 'ses': expected finite numbers"),
        ("y", 1e200, "column 'y': expected finite numbers"),
        ("se", 0.0, "column 'se': expected positive standard errors"),
        ("se", -1.0, "column 'se': expected positive standard errors"),
        ("school", "", "column 'school': 1 empty label"),
    ],
)
def test_wrong_values_are_refused(put, column, value, message):
    frame = rows()
    frame.loc[3, column] = value
    with pytest.raises(hm.DataError, match=message):
        SufficientStatistics.of(put(frame), **CASES["known errors"])


def test_text_is_no_outcome(put):
    with pytest.raises(hm.DataError, match="column 'sex': expected numbers"):
        SufficientStatistics.of(put(rows()), outcome="sex", groups=["school"], se="se")


def test_no_rows(put):
    with pytest.raises(hm.DataError, match="the frame is empty"):
        SufficientStatistics.of(put(rows()[:0]), **CASES["known errors"])


def test_unknown_columns(put):
    with pytest.raises(hm.DataError, match="there is no column 'nothing'"):
        SufficientStatistics.of(put(rows()), outcome="nothing", groups=["school"])


def test_roles_are_inferred(put, capsys):
    frame = rows()[["school", "y"]]
    found = hm.reference(put(frame))
    assert capsys.readouterr().out == "outcome = y, groups = school (outcome, groups inferred)\n"
    assert found.spec.groups == ("school",)
    SufficientStatistics.of(put(frame))
    assert "inferred" in capsys.readouterr().out


def test_several_columns_of_labels_are_ambiguous_without_rows(put):
    frame = rows()[["school", "room", "y"]].astype({"room": str})
    frame["room"] = frame["school"] + frame["room"]
    if as_lazy(put(frame)) is None:
        assert hm.reference(put(frame)).spec.groups == ("school", "room")
        return
    with pytest.raises(hm.DataError, match=r"Say groups=\[…\]"):
        hm.reference(put(frame))


def test_shared_labels_with_known_errors_need_to_be_named(put):
    with pytest.raises(hm.DataError, match="standard error of its own"):
        hm.reference(put(rows()[["school", "y", "se"]]))


def test_declared_levels(put):
    frame = needed(rows(), {})
    formula = "y ~ sex + (1 | school)"
    declared = {"sex": ["M", "F", "X"]}
    found = SufficientStatistics.of(put(frame), formula, levels=declared)
    assert found.design.names == ("sex[F]", "sex[X]")
    expected = SufficientStatistics.of(frame, formula, levels=declared)
    size = expected.scatter[2, 2]
    assert np.abs(found.scatter - expected.scatter).max() < 1e-12 * size
    with pytest.raises(hm.DataError, match="'F'"):
        SufficientStatistics.of(put(frame), formula, levels={"sex": ["M", "X"]})


def test_parts_from_different_engines_add_up(put):
    case = CASES["categories"]
    frame = needed(rows(), case)
    first = SufficientStatistics.of(put(frame[:400]), **case)
    second = SufficientStatistics.of(frame[400:], **case)
    assert_same_statistics(first + second, expected_statistics(frame, case))


def test_a_lazy_fit_keeps_no_rows(put):
    case = CASES["three levels"]
    fit = hm.fit(put(needed(rows(), case)), **case, draws=50, random_seed=1)
    assert fit.data.n_rows == 900
    assert fit.data.has_rows == (as_lazy(put(needed(rows(), case))) is None)


def test_a_package_that_is_missing_is_named(monkeypatch):
    import narwhals as nw
    import polars as pl

    def fail(self, **options):
        raise ModuleNotFoundError(name="pyarrow")

    monkeypatch.setattr(nw.LazyFrame, "collect", fail)
    with pytest.raises(hm.DataError, match=r"'pyarrow'.*pip install 'hiermodels\[polars\]'"):
        hm.fit(pl.LazyFrame({"g": ["a"], "y": [1.0]}))


def test_rows_are_never_collected(monkeypatch):
    import polars as pl

    collect, sizes = pl.LazyFrame.collect, []

    def spy(self, *args, **kwargs):
        result = collect(self, *args, **kwargs)
        sizes.append(len(result))
        return result

    monkeypatch.setattr(pl.LazyFrame, "collect", spy)
    case = CASES["categories"]
    frame = pl.from_pandas(needed(rows(), case).drop(columns=["fee", "day"])).lazy()
    hm.fit(frame, **case, draws=50, random_seed=1)
    assert sizes
    assert max(sizes) == 10  # schools


@pytest.mark.parametrize(("apart", "queries"), [(0.0, 2), (5.0, 2), (1e3, 3), (1e9, 3)])
@pytest.mark.parametrize("se", [None, "se"])
def test_groups_far_apart_cost_no_digits_of_the_scatter(monkeypatch, apart, queries, se):
    import polars as pl

    rng = np.random.default_rng(3)
    school = rng.integers(20, size=2000)
    frame = pd.DataFrame({"school": [f"s{i}" for i in school], "se": rng.uniform(0.5, 2, 2000)})
    frame["x"] = rng.normal(size=2000)
    frame["fee"] = school / 7  # constant in each group
    frame["y"] = 1e9 + apart * school + 2 * frame["x"] + rng.normal(size=2000)
    case = {"formula": "y ~ x + fee + (1 | school)", "se": se}
    frame = needed(frame, {"se": se} if se else {})

    seen = watch_queries(monkeypatch)
    found = SufficientStatistics.of(pl.from_pandas(frame).lazy(), **case)
    assert len(seen) == queries
    scatter = scatter_with_many_digits(frame, ["x", "fee", "y"])
    size = np.sqrt(np.diag(scatter))
    size[1] = 1.0
    assert (np.abs(found.scatter - scatter) / np.outer(size, size)).max() < 1e-12
    assert (found.scatter[1] == 0).all()
    assert (found.mean[:, 1] == frame.groupby("school")["fee"].first().loc[found.labels[0]]).all()
    assert_same_statistics(found, expected_statistics(frame, case))


def watch_queries(monkeypatch) -> list[object]:
    """A list to which each query that is run from now on is added."""
    import narwhals as nw

    collect, seen = nw.LazyFrame.collect, []

    def watched(frame, *args, **options):
        seen.append(frame)
        return collect(frame, *args, **options)

    monkeypatch.setattr(nw.LazyFrame, "collect", watched)
    return seen


def late(column: str, value: object, fault: slice) -> pd.DataFrame:
    """More rows than are looked at first, some of them with a fault."""
    frame = rows(size=FIRST + 500)[["school", "ses", "y"]]
    frame.loc[frame.index[fault], column] = value
    return frame


FAULTS = {"late": slice(-3, None), "early": slice(0, 3), "all of the first": slice(0, FIRST)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("column", ["school", "ses", "y"])
def test_gaps_are_found_wherever_they_are(put, column, fault):
    """Among the rows that are looked at first, and among those that are only added up."""
    frame = late(column, None, FAULTS[fault])
    case = {"formula": "y ~ ses + (1 | school)"}
    with pytest.raises(hm.DataError, match=rf"column '{column}': (3|1000) missing values"):
        SufficientStatistics.of(put(frame), **case)
    found = SufficientStatistics.of(put(frame), **case, missing="drop")
    assert_same_statistics(found, expected_statistics(frame.dropna(), case))


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
@pytest.mark.parametrize("column", ["school", "ses", "y"])
def test_what_is_no_number_is_a_gap_where_engines_tell_it_from_null(column, engine):
    """On the way from pandas it becomes null; in a frame of theirs it is a value."""
    import duckdb
    import polars as pl

    plain = rows()[["school", "ses", "y"]].assign(
        school=lambda d: d["school"].str[1:].astype(float)
    )
    frame = pl.DataFrame({name: plain[name].to_numpy() for name in plain})
    nan = pl.when(pl.int_range(pl.len()) < 7).then(float("nan")).otherwise(pl.col(column))
    frame = frame.with_columns(nan.alias(column))
    assert frame[column].is_nan().sum() == 7
    data = frame.lazy() if engine == "polars" else duckdb.sql("from frame")
    case = {"formula": "y ~ ses + (1 | school)"}
    with pytest.raises(hm.DataError, match=f"column '{column}': 7 missing values"):
        SufficientStatistics.of(data, **case)
    found = SufficientStatistics.of(data, **case, missing="drop")
    assert_same_statistics(found, expected_statistics(plain[7:], case))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("value", [np.inf, -1e151])
@pytest.mark.parametrize("column", ["ses", "y"])
def test_numbers_out_of_range_are_found_wherever_they_are(column, value, fault):
    import polars as pl

    frame = pl.from_pandas(late(column, value, FAULTS[fault])).lazy()
    with pytest.raises(hm.DataError, match=f"column '{column}': expected finite numbers of size"):
        SufficientStatistics.of(frame, formula="y ~ ses + (1 | school)")


@pytest.mark.parametrize(("apart", "queries"), [(0.0, 2), (10.0, 2), (1e7, 3)])
def test_first_rows_that_are_unlike_the_rest(monkeypatch, apart, queries):
    """Those of one school: a point far from all others costs time, and no digits."""
    import polars as pl

    y = np.random.default_rng(5).normal(size=4000)
    school = np.arange(4000) // FIRST
    frame = pd.DataFrame({"school": [f"s{i}" for i in school], "y": y + apart * (school > 0)})
    seen = watch_queries(monkeypatch)
    found = SufficientStatistics.of(pl.from_pandas(frame).lazy(), outcome="y", groups="school")
    assert len(seen) == queries
    np.testing.assert_allclose(found.scatter, scatter_with_many_digits(frame, ["y"]), rtol=1e-12)


def scatter_with_many_digits(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Weighted cross-products around the groups' means, in rational arithmetic."""
    total = np.zeros((len(columns), len(columns)), dtype=object)
    weights = 1.0 / frame["se"] ** 2 if "se" in frame else pd.Series(1.0, frame.index)
    for _, part in frame.groupby("school"):
        z = np.array([[Fraction(value) for value in row] for row in part[columns].to_numpy()])
        w = np.array([Fraction(value) for value in weights[part.index]])
        away = z - (w @ z) / w.sum()
        total += (w[:, None] * away).T @ away
    return total.astype(float)


def test_sums_of_integers_are_exact():
    import polars as pl

    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"school": rng.integers(3, size=5000)})
    frame["y"] = 10**9 + rng.integers(10, size=5000) * frame["school"]
    found = SufficientStatistics.of(pl.from_pandas(frame).lazy(), outcome="y", groups="school")
    for label, count, mean, rest in zip(
        found.labels[0], found.count, found.mean, found.rest, strict=True
    ):
        total = int(frame["y"][frame["school"] == label].sum())
        assert abs(Fraction(mean[0]) + Fraction(rest[0]) - Fraction(total, int(count))) < 1e-15
