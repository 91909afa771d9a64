"""Labels that are asked for: those that were fitted, however they are written, or others."""

from __future__ import annotations

import datetime
import unicodedata
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiermodels as hm
from hiermodels.data.labels import fold, kind_of, places_of, spelled, value_of, value_of_text

PRIORS = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}
DAYS = pd.date_range("2024-01-01", periods=4)


def fitted(labels, priors=PRIORS, **columns) -> hm.Fit:
    """A fit with three rows of each label."""
    frame = pd.DataFrame({"g": labels, **columns})
    frame = pd.concat([frame] * 3, ignore_index=True)
    frame["y"] = np.random.default_rng(1).normal(size=len(frame)) + frame.index % len(labels)
    groups = [*columns, "g"]
    if len(groups) > 1:
        priors = {**priors, "kappa": hm.HalfNormal(1)}
    return hm.fit(frame, outcome="y", groups=groups, priors=priors, draws=10, random_seed=1)


def attempt(call):
    """What a call returns, or how it is refused."""
    try:
        return call(), ""
    except hm.DataError as error:
        return None, str(error)


def predicted(fit, labels, **columns):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fit.predict(pd.DataFrame({"g": labels, **columns}), random_seed=1)


@pytest.fixture(scope="module")
def whole():
    return fitted([1, 2, 3, 4])


@pytest.fixture(scope="module")
def days():
    return fitted(DAYS)


@pytest.fixture(scope="module")
def names():
    return fitted(["A", "New York", "Zürich", "3", "005"])


# The same label, written otherwise


@pytest.mark.parametrize(
    "labels",
    [
        [3.0, 4.0],
        np.array([3, 4], dtype=np.float32),
        pd.array([3, 4], dtype="Int8"),
        pd.array([3, 4], dtype="Float64"),
        pd.Series([3, 4.0], dtype=object),
        [Decimal("3.00"), Decimal(4)],
        pd.Categorical([3.0, 4.0]),
        ["3", "4"],
    ],
)
def test_whole_numbers_are_the_same_as_floats(whole, labels):
    found = predicted(whole, labels)
    assert found.kind.tolist() == ["known g"] * 2
    np.testing.assert_allclose(found.mean["y_mean"], whole.reference().mean["theta"][2:], rtol=1e-9)
    assert found.rows.labels["g"].tolist() == [3, 4]


def test_a_gap_among_whole_numbers_makes_them_floats_and_no_new_groups(whole):
    new = pd.DataFrame({"g": [3, np.nan, 99, None, 99]})
    assert new["g"].dtype == float
    found = predicted(whole, new["g"])
    assert found.kind.tolist() == ["known g", *["new g"] * 4]
    assert found.rows.labels["g"].tolist() == ["3", "(new)", "99", "(new)", "99"]
    (fresh,) = found.rows.fresh
    assert fresh[0] == -1
    assert fresh[2] == fresh[4]
    assert len({fresh[1], fresh[2], fresh[3]}) == 3
    same = fitted([1.0, 2.0, 3.0, 4.0])
    assert predicted(same, [3, 4]).kind.tolist() == ["known g"] * 2


@pytest.mark.parametrize(
    "labels",
    [
        ["2024-01-02", "2024-01-03"],
        ["2024-01-02T00:00", "2024-01-03 00:00:00.000"],
        [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)],
        DAYS[1:3],
        np.array(DAYS[1:3], dtype="datetime64[s]"),
        DAYS[1:3].astype(object),
    ],
)
def test_dates_are_the_same_as_their_text(days, labels):
    found = predicted(days, labels)
    assert found.kind.tolist() == ["known g"] * 2
    expected = days.reference().mean["theta"][1:3]
    np.testing.assert_allclose(found.mean["y_mean"], expected, rtol=1e-9)
    text = fitted(DAYS.strftime("%Y-%m-%d"))
    assert predicted(text, labels).kind.tolist() == ["known g"] * 2
    frame = polars.DataFrame({"g": [datetime.date(2024, 1, 2)]})
    assert days.predict(frame).kind.tolist() == ["known g"]


def test_a_new_date_is_new(days):
    labels = ["2024-01-02 00:01", "2025-01-01", None]
    assert predicted(days, labels).kind.tolist() == ["new g"] * 3
    labels = [pd.Timestamp("2024-01-01"), pd.NaT, pd.Timestamp("2025-01-01")]
    assert predicted(days, labels).kind.tolist() == ["known g", "new g", "new g"]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["02.01.2024"], "dates"),
        (["Jan 2, 2024"], "dates"),
        ([20240102], "dates"),
        (["2024-01-02 00:00+00:00"], "dates"),
        (pd.date_range("2024-01-02", periods=1, tz="UTC"), "dates"),
        ([pd.Period("2024-01")], "dates"),
    ],
)
def test_other_ways_to_write_a_date_are_refused(days, labels, kind):
    with pytest.raises(hm.DataError, match=f"such as '2024-01-01 00:00:00', .* must be {kind}"):
        predicted(days, labels)


def test_moments_with_time_zones_are_the_same_everywhere():
    fit = fitted(pd.date_range("2024-01-01", periods=4, tz="UTC"))
    labels = ["2024-01-02T01:00+01:00", "2024-01-03 00:00Z"]
    assert predicted(fit, labels).kind.tolist() == ["known g"] * 2
    with pytest.raises(hm.DataError, match="must be dates with a time zone"):
        predicted(fit, ["2024-01-02"])


@pytest.mark.parametrize("label", ["yes", "true", "1", 1, 0.0])
def test_truth_values_have_no_third(label):
    priors = {**PRIORS, "mu": hm.Normal(0, 1)}
    fit = fitted([True, False], priors)
    assert predicted(fit, [True, False]).kind.tolist() == ["known g"] * 2
    assert predicted(fit, ["True", None]).kind.tolist() == ["known g", "new g"]
    with pytest.raises(hm.DataError, match="labels of new groups must be True or False"):
        predicted(fit, [label])


@pytest.mark.parametrize(
    "label", [True, 2.5, 2.0**53, 1e300, "3 ", "3.0", "x", b"3", Decimal("1.5")]
)
def test_what_is_no_whole_number_is_refused(whole, label):
    with pytest.raises(hm.DataError, match="labels of new groups must be whole numbers"):
        predicted(whole, pd.Series([label], dtype=object))


# Nearly the same


@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("a", "A"),
        ("A ", "A"),
        ("\tA", "A"),
        ("new york", "New York"),
        ("New  York", "New York"),
        ("New\u00a0York", "New York"),
        (unicodedata.normalize("NFD", "Zürich"), "Zürich"),
        ("ZÜRICH", "Zürich"),
        ("A\u200b", "A"),
        ("3.0", "3"),
        ("03", "3"),
        ("5", "005"),
    ],
)
def test_labels_that_are_nearly_known_are_questioned(names, label, known):
    with pytest.warns(hm.DataWarning) as told:
        found = names.predict(pd.DataFrame({"g": ["A", label]}))
    assert found.kind.tolist() == ["known g", "new g"]
    text = str(told[0].message)
    assert repr(label) in text
    assert f"If it is {known!r}, write it so" in text
    assert "in row 1" in text
    assert told[0].filename == __file__


def test_labels_that_are_other_ones_are_not_questioned(names):
    found = predicted(names, ["B", "York", "A.", "33", "Zurich", "", None][:5])
    assert found.kind.tolist() == ["new g"] * 5


def test_near_labels_count_within_their_parent():
    fit = fitted(["a", "b", "a", "b", "a", "b"], s=list("ppqqrr"))
    new = {"s": ["p", "z"], "g": ["A", "A"]}
    with pytest.warns(hm.DataWarning, match=r"'A' in row 0 .*If it is 'a', write it so") as told:
        fit.predict(pd.DataFrame(new))
    assert "more label" not in str(told[0].message)
    own = fitted(["a", "b", "c", "d", "e", "f"], s=list("ppqqrr"))
    with pytest.warns(hm.DataWarning, match=r"'A' in row 0 .*If it is 'a', write it so"):
        own.predict(pd.DataFrame({"s": ["q"], "g": ["A"]}))


# Unknown groups


def test_a_row_of_an_unknown_group_is_a_new_group_at_every_level():
    fit = fitted(["a", "b", "a", "b", "a", "b"], s=list("ppqqrr"))
    new = {"s": ["p", "p", "p", None, None, "z"], "g": ["a", None, None, "a", "a", None]}
    found = predicted(fit, new.pop("g"), **new)
    inner, outer = "new g in known s", "new s"
    assert found.kind.tolist() == ["known g", inner, inner, outer, outer, outer]
    parents, groups = found.rows.fresh
    assert (groups[0], *parents[:3]) == (-1,) * 4
    assert len(set(groups[1:])) == 5
    assert len(set(parents[3:])) == 3
    exact = fit.reference()
    np.testing.assert_allclose(found.mean["y_mean"][1:3], [exact.mean["mu"].sel(s="p")] * 2)
    np.testing.assert_allclose(found.mean["y_mean"][3:], [exact.mean["lam"]] * 3, rtol=1e-9)
    assert found.rows.labels["s"].tolist() == ["p", "p", "p", "(new)", "(new)", "z"]
    alone = fit.predict(pd.DataFrame({"s": ["p"]}))
    assert float(found.sd["y"][1]) == pytest.approx(float(alone.sd["y"][0]), rel=1e-9)


def test_a_known_group_of_an_unknown_school_is_refused():
    fit = fitted(["a", "b", "c", "d", "e", "f"], s=list("ppqqrr"))
    with pytest.raises(hm.DataError, match=r"'c' stands under s None in row 0; .* of s 'q'"):
        predicted(fit, ["c"], s=[None])


# Look-ups


def test_draws_of_groups_by_labels_of_another_kind(whole, days, names):
    expected = whole.draws([3, 4])
    for labels in ([3.0, 4.0], ["3", "4"], np.array([3.0, 4.0]), [Decimal(3), 4]):
        assert whole.draws(labels).identical(expected)
    assert days.draws(["2024-01-02"]).identical(days.draws([str(DAYS[1])]))
    assert days.draws(DAYS[1]).identical(days.draws(np.array([DAYS[1]], dtype="datetime64[ns]")))
    for label in (2.5, None, True, "three", ["x"]):
        with pytest.raises(hm.DataError, match="there is no g"):
            whole.draws([label])
    with pytest.raises(hm.DataError, match=r"there is no g 'a' in the data; there is 'A'"):
        names.draws("a")


def test_ranks_by_labels_of_another_kind(whole, names):
    league = whole.rank()
    assert league.prob_greater(3.0, "1") == league.prob_greater(3, 1)
    assert league.prob_greater_matrix([3.0, "1"]).index.tolist() == [3, 1]
    with pytest.raises(hm.DataError, match=r"there is no g 'zürich'; there is 'Zürich'"):
        names.rank().prob_greater("A", "zürich")


def test_truth_by_labels_of_another_kind(whole, days, names):
    expected = whole.estimates(truth=[1.0, 2, 3, 4]).table["truth"].tolist()
    for keys in ([4.0, 3.0, 2.0, 1.0], ["4", "3", "2", "1"]):
        truth = dict(zip(keys, [4, 3, 2, 1], strict=True))
        assert whole.estimates(truth=truth).table["truth"].tolist() == expected
    found = days.estimates(truth=pd.Series(range(4), DAYS.strftime("%Y-%m-%d")))
    assert found.table["truth"].tolist() == [0, 1, 2, 3]
    with pytest.raises(hm.DataError, match="expected one value for each g; several have"):
        whole.estimates(truth={1: 1, "1": 2, 2: 2, 3: 3, 4: 4})
    truth = {"a": 1, "New York": 2, "Zürich": 3, "3": 4, "005": 5}
    with pytest.raises(hm.DataError, match=r"there is no value for g 'A'; there is 'a'"):
        names.estimates(truth=truth)


# Any labels

WORDS = st.text("aAbBé é\u0301 \t0123.-", min_size=1, max_size=4).filter(str.strip)
NUMBERS = st.integers(-3, 30) | st.sampled_from([2.0, 3.0, 2.5, -1.0, Decimal(3), np.int8(2)])
MOMENTS = st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 3)) | st.dates(
    datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)
)
LABELS = WORDS | NUMBERS | MOMENTS | MOMENTS.map(str) | st.sampled_from([None, True, "2024-1-1"])


@settings(max_examples=80)
@given(st.lists(WORDS | MOMENTS.map(str), min_size=1, unique=True), st.lists(LABELS, min_size=1))
def test_labels_are_found_by_what_is_written_or_by_value(known, asked):
    places = places_of(np.array(known), asked)
    for label, place in zip(asked, places, strict=True):
        if str(label) in known:
            assert label is None or known[place] == str(label)
        elif place >= 0:
            assert value_of(label) == value_of_text(known[place])
            assert fold(str(label)) == fold(known[place]) or isinstance(label, float)
        else:
            same = [text for text in known if value_of_text(text) == value_of(label)]
            assert value_of(label) is None or len(same) != 1


@settings(max_examples=60)
@given(st.lists(st.integers(-5, 40), min_size=1, unique=True), st.lists(LABELS, min_size=1))
def test_whole_numbers_are_found_by_value(known, asked):
    numbers = np.array(known)
    assert kind_of(numbers) == "whole numbers"
    for label, place in zip(asked, places_of(numbers, asked), strict=True):
        plain = isinstance(label, (int, float, Decimal, np.integer)) and not isinstance(label, bool)
        same = [n for n in known if (plain and n == label) or str(n) == str(label)]
        assert ([known[place]] if place >= 0 else []) == same


@settings(max_examples=25)
@given(st.data())
def test_no_label_is_silently_new_that_is_nearly_known(names, whole, days, data):
    fit = data.draw(st.sampled_from([names, whole, days]))
    known = fit.data.labels[0]
    usual = st.sampled_from(known.tolist()).flatmap(
        lambda label: st.sampled_from([label, str(label), f"{label} ", str(label).upper()])
    )
    labels = data.draw(st.lists(usual | LABELS, min_size=1, max_size=4))
    frame = pd.DataFrame({"g": pd.Series(labels, dtype=object)})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found, message = attempt(lambda: fit.predict(frame))
    if message:
        assert "column 'g'" in message
        return
    theta = fit.reference().mean["theta"].to_numpy()
    mean = found.mean["y_mean"].to_numpy()
    for label, kind, value in zip(labels, found.kind, mean, strict=True):
        if kind == "known g":
            (place,) = places_of(known, [label])
            assert value == pytest.approx(theta[place], rel=1e-9, abs=1e-12)
            continue
        near = [text for text in map(str, known) if fold(text) == fold(str(label))]
        assert label is None or str(label) not in near
        assert label is None or not near or any(w.category is hm.DataWarning for w in told)


def test_spelling_is_kept_where_two_known_labels_are_one_number():
    assert spelled(["3", "3.0"], [Decimal("3.00"), 3, 3.0]) == ["3.00", "3", "3.0"]
