"""Reading data frames: what is inferred, and every refusal."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest

import hiermodels as hm
from hiermodels.data.read_rows import read

GIVEN = {"outcome": "y", "groups": "school", "se": "sigma"}


def refuse(data, message, **roles):
    with pytest.raises(hm.DataError, match=message):
        read(data, **roles)


def test_roles_are_inferred_and_printed(schools, capsys):
    fit = hm.fit(schools, draws=10)
    assert capsys.readouterr().out == (
        "outcome = y, groups = school, se = sigma (se, outcome, groups inferred)\n"
    )
    assert "outcome = y, groups = school, se = sigma" in repr(fit)


def test_nothing_is_printed_where_all_is_given(schools, capsys):
    hm.fit(schools, draws=10, **GIVEN)
    assert capsys.readouterr().out == ""


def test_the_only_continuous_column_is_the_outcome():
    data = pd.DataFrame({"trial": list("abcd"), "effect": [1.0, 2, 3, 4], "std_err": [1.0] * 4})
    roles = read(data).roles
    assert (roles.outcome, roles.groups, roles.se) == ("effect", ("trial",), "std_err")


def test_two_possible_outcomes():
    data = pd.DataFrame({"g": list("abcd"), "u": [1.0, 2, 3, 4], "v": [1.0, 2, 3, 5], "se": 1.0})
    refuse(
        data,
        r"outcome: expected a column 'y' or 'yi', or a single continuous one; several are: "
        r"'u', 'v'",
    )


def test_two_possible_standard_errors(schools):
    refuse(schools.assign(se=1.0), "columns 'sigma', 'se' may all hold standard errors; say se=")


def test_two_label_columns_that_are_not_nested(schools):
    data = schools.assign(town=list("xyxyxyxy"), street=list("ppqqppqq")).drop(columns="school")
    refuse(data, "is not nested in")


def test_no_label_column(schools):
    refuse(
        schools.assign(school=range(8)), r"groups: expected a column of labels .* among 'school'"
    )


def test_integer_labels_are_kept_as_they_are(schools):
    data = read(schools.assign(school=[11, 3, 7, 2, 5, 1, 4, 9]), **GIVEN)
    assert data.labels[0].tolist() == [11, 3, 7, 2, 5, 1, 4, 9]


def test_groups_stay_in_the_order_of_the_data(schools):
    data = read(schools.iloc[::-1], **GIVEN)
    assert data.labels[0].tolist() == list("HGFEDCBA")
    assert data.y.tolist() == schools["y"].tolist()[::-1]


def test_categories_that_do_not_occur_are_no_groups(schools):
    school = pd.Categorical(schools["school"], categories=list("ZHGFEDCBAY"))
    data = read(schools.assign(school=school), **GIVEN)
    assert data.labels[0].tolist() == list("ABCDEFGH")


@pytest.mark.parametrize("kind", ["Float64", "float32", "object", "Int64", "double[pyarrow]"])
def test_kinds_of_numbers(schools, kind):
    plain = read(schools, **GIVEN)
    other = read(schools.assign(y=schools["y"].astype(kind)), **GIVEN)
    assert (other.y == plain.y).all()


def test_decimals(schools):
    data = read(schools.assign(y=[Decimal(str(v)) for v in schools["y"]]), **GIVEN)
    assert (data.y == schools["y"]).all()


@pytest.mark.parametrize("convert", [polars.from_pandas, pyarrow.Table.from_pandas])
def test_a_polars_and_an_arrow_frame(schools, convert):
    data = read(convert(schools))
    assert data.labels[0].tolist() == list("ABCDEFGH")
    assert (data.y == schools["y"]).all()


@pytest.mark.parametrize("column", ["y", "sigma", "school"])
def test_missing_values(schools, column):
    gap = schools.astype({"school": object}).set_index(pd.Index(range(100, 108)))
    gap.loc[[102, 105], column] = None
    message = f"column '{column}': 2 missing values, in rows 102, 105.*missing='drop'"
    refuse(gap, message, **GIVEN)


def test_dropping_missing_values_says_how_many(schools):
    gap = schools.copy()
    gap.loc[[2, 5], "y"] = np.nan
    data = read(gap, missing="drop", **GIVEN)
    assert str(data) == "6 rows (2 with missing values dropped) in 6 school"
    assert data.labels[0].tolist() == list("ABDEGH")


def test_nothing_left(schools):
    refuse(schools.assign(y=np.nan), "no rows are left after dropping 8", missing="drop", **GIVEN)


def test_an_unknown_way_with_missing_values(schools):
    refuse(
        schools, "missing: expected 'error' or 'drop'; found 'ignore'", missing="ignore", **GIVEN
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200])
def test_infinite_and_huge_values(schools, value):
    bad = schools.copy()
    bad.loc[3, "y"] = value
    refuse(bad, "column 'y': expected finite numbers .* in row 3", **GIVEN)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-200])
def test_standard_errors_that_are_not_positive(schools, value):
    bad = schools.copy()
    bad.loc[[1, 4], "sigma"] = value
    refuse(bad, "column 'sigma': expected positive standard errors; found .* in rows 1, 4", **GIVEN)


def test_text_in_the_outcome(schools):
    bad = schools.astype({"y": object})
    bad.loc[6, "y"] = "12 points"
    refuse(bad, "column 'y': expected numbers; found '12 points' in row 6", **GIVEN)


def test_truth_values_in_the_outcome(schools):
    refuse(
        schools.assign(y=schools["y"] > 5),
        "column 'y': expected numbers; found truth values",
        **GIVEN,
    )


def test_a_missing_outcome_column(schools):
    refuse(schools.drop(columns="y"), "outcome: expected a column 'y'.*; none is")
    refuse(
        schools, "there is no column 'score'; the data have 'school', 'y', 'sigma'", outcome="score"
    )


def test_unknown_groups_and_se(schools):
    refuse(schools, "there is no column 'class'", groups=["class"])
    refuse(schools, "there is no column 'error'", se="error")


def test_an_empty_frame(schools):
    refuse(schools.iloc[:0], "the frame is empty")


def test_labels_that_repeat_are_questioned_where_groups_were_inferred(schools):
    twice = schools.assign(school=list("ABCDEFGA"))
    refuse(twice, r"label 'A' stands in rows 0, 7, .* say groups=\['school'\]")
    assert read(twice, groups="school").sizes == (7,)


def test_empty_labels(schools):
    refuse(
        schools.assign(school=["", *"BCDEFGH"]), "column 'school': 1 empty label, in row 0", **GIVEN
    )


@pytest.mark.parametrize("pair", [(1, "1"), (1, 1.0), (True, "True")])
def test_labels_that_are_written_alike_or_equal(schools, pair):
    bad = schools.assign(school=pd.Series([*pair, *"CDEFGH"], dtype=object))
    refuse(bad, "column 'school': (some )?labels .* make them all text", **GIVEN)


def test_two_columns_of_one_name(schools):
    twice = pd.concat([schools, schools[["y"]]], axis=1)
    refuse(twice, "there is more than one column 'y'")


def test_no_frame_at_all():
    refuse([1, 2, 3], "expected a data frame .*; found list")


def test_one_column_with_two_roles(schools):
    refuse(schools, "column 'y' was given more than one role", groups="school", outcome="y", se="y")


def test_long_lists_are_cut(schools):
    bad = pd.concat([schools] * 5, ignore_index=True).assign(sigma=0.0)
    refuse(bad, "in rows 0, 1, 2, 3, 4 and 35 more", **GIVEN)


def test_labels_that_repeat_under_several_parents_are_written_with_them():
    data = pd.DataFrame(
        {"school": list("xxyyx"), "class": list("abaca"), "y": [1.0, 2, 3, 4, 5], "se": 1.0}
    )
    grouped = read(data, groups=["school", "class"])
    assert grouped.labels[1].tolist() == ["x/a", "x/b", "y/a", "y/c"]
    assert grouped.parents[0].tolist() == [0, 0, 1, 1]
    assert grouped.group.tolist() == [0, 1, 2, 3, 0]


def test_labels_that_collide_with_their_parents_written_in_front():
    data = pd.DataFrame(
        {
            "o": ["a", "a/b", "a", "a/b"],
            "i": ["b/c", "c", "x", "b/c"],
            "y": [1.0, 2, 3, 4],
            "se": 1.0,
        }
    )
    refuse(data, "two different groups would both be called 'a/b/c'", groups=["o", "i"])


def test_groups_that_are_not_nested():
    """Classroom c4 is recorded under two of four schools; the others under one each."""
    data = pd.DataFrame(
        {"school": list("aabbccdda"), "room": [f"c{i}" for i in (1, 2, 3, 4, 5, 6, 7, 8, 4)]}
    ).assign(y=np.arange(9.0))
    refuse(
        data,
        "label 'c4' stands under 2 of 4 labels of 'school', 'a', 'b'",
        groups=["school", "room"],
    )


def test_what_a_frame_holds_beside_its_columns_is_not_copied(schools):
    class Large:
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    frame = schools.reset_index(drop=True)
    frame.attrs["truth"] = kept = Large()
    np.testing.assert_array_equal(read(frame, **GIVEN).y, schools["y"])
    assert frame.attrs["truth"] is kept
