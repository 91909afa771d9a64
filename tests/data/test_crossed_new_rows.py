"""Rows of crossed groups to predict: which groups are known, which are new, which are shared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.covariates import OWN, locate
from hiermodels.data.every_member import every_member
from hiermodels.data.new_rows import NEW, read_new_rows
from hiermodels.data.prepare import prepare
from tests.data.test_crossed_rows import FRAME

ROWS = FRAME.assign(x=np.arange(7.0))


@pytest.fixture(scope="module")
def crossed():
    return prepare(ROWS, "y ~ x + (1 | a) + (1 | b)", se="w")[1]


@pytest.fixture(scope="module")
def nested():
    return prepare(ROWS, "y ~ x + (1 | a/c) + (1 | b)")[1]


def test_known_and_new_pairs(crossed):
    new = pd.DataFrame({"a": ["q", "s", "s", "r"], "b": [1, 3, 9, 9], "x": 0.0})
    rows = read_new_rows(new, crossed, outcomes=False)
    assert [list(unit) for unit in rows.units] == [[1, -1, -1, 2], [1, 0, -1, -1]]
    shared_a, shared_b = rows.fresh
    assert shared_a[1] == shared_a[2] >= 0
    assert shared_b[2] == shared_b[3] >= 0  # one new item, whoever meets it
    assert (shared_a[[0, 3]] == -1).all()
    assert list(rows.kinds(crossed.roles.groups)) == [
        "known a, known b",
        "new a, known b",
        "new a, new b",
        "known a, new b",
    ]
    assert [list(unit) for unit in rows[1:3].units] == [[-1, -1], [0, -1]]


def test_a_column_that_is_not_there(crossed):
    rows = read_new_rows(pd.DataFrame({"b": [3, 3], "x": 0.0}), crossed, outcomes=False)
    assert [list(unit) for unit in rows.units] == [[-1, -1], [0, 0]]
    assert len(set(rows.fresh[0])) == 2  # each row a new group of its own
    with pytest.raises(hm.DataError, match=r"no column 'a'.*found 'A'"):
        read_new_rows(pd.DataFrame({"A": ["q"], "b": [3], "x": 0.0}), crossed, outcomes=False)


def test_missing_labels_are_new_groups(crossed):
    new = pd.DataFrame({"a": ["q", None, None], "b": [3, 3, 3], "x": 0.0})
    rows = read_new_rows(new, crossed, outcomes=False)
    assert list(rows.units[0]) == [1, -1, -1]
    assert rows.fresh[0][1] != rows.fresh[0][2]
    assert list(rows.labels["a"]) == ["q", NEW, NEW]


def test_labels_of_another_kind_and_near_ones(crossed):
    with pytest.raises(hm.DataError, match=r"column 'b'.*whole numbers"):
        read_new_rows(pd.DataFrame({"a": ["q"], "b": ["z"], "x": 0.0}), crossed, outcomes=False)
    with pytest.warns(hm.DataWarning, match="nearly a known one"):
        read_new_rows(pd.DataFrame({"a": ["Q"], "b": [3], "x": 0.0}), crossed, outcomes=False)


def test_nested_beside_crossed(nested):
    new = pd.DataFrame({"a": ["p", "p", "s"], "c": ["v", "w", "v"], "b": [1, 9, 2], "x": 0.0})
    rows = read_new_rows(new, nested, outcomes=False)
    names = [level.labels[unit] for level, unit in zip(nested.levels, rows.units, strict=True)]
    assert [names[i][0] for i in range(3)] == ["p", "p/v", 1]
    assert [list(unit < 0) for unit in rows.units] == [
        [False, False, True],
        [False, True, True],
        [False, True, False],
    ]
    with pytest.raises(hm.DataError, match=r"no column 'a'.*labels of 'c' stand under"):
        read_new_rows(new.drop(columns="a"), nested, outcomes=False)
    read_new_rows(new.drop(columns=["a", "c"]), nested, outcomes=False)  # b is by itself


def test_every_member(crossed):
    place = locate(crossed, OWN)
    rows = every_member(crossed, place, outcomes=True)
    assert len(rows) == 3 + 3 + 1
    assert list(rows.labels["a"]) == [NEW] * 3 + ["p", "q", "r", NEW]
    assert list(rows.labels["b"]) == ["3", "1", "2", *[NEW] * 4]
    assert [list(unit) for unit in rows.units] == [
        [-1, -1, -1, 0, 1, 2, -1],
        [0, 1, 2, -1, -1, -1, -1],
    ]
    for unit, number in zip(rows.units, rows.fresh, strict=True):
        assert ((unit < 0) == (number >= 0)).all()
        assert len(set(number[number >= 0])) == (number >= 0).sum()
    of_q = ROWS[ROWS.a == "q"]
    weight = of_q.w**-2.0
    assert rows.x[4, 0] == pytest.approx((weight * of_q.x).sum() / weight.sum(), rel=1e-14)
    assert rows.se[4] == pytest.approx(of_q.w.median())
    assert rows.se[-1] == pytest.approx(ROWS.w.median())


def test_every_member_of_nested_ones(nested):
    rows = every_member(nested, locate(nested, OWN), outcomes=False)
    sizes = [len(level) for level in nested.levels]
    assert len(rows) == sum(sizes) + 1
    in_c = slice(sizes[2], sizes[2] + sizes[1])  # the columns upwards: b, c, a
    parents = nested.levels[1].parent
    np.testing.assert_array_equal(rows.units[0][in_c], parents)
    np.testing.assert_array_equal(rows.units[1][in_c], np.arange(sizes[1]))
    assert (rows.units[2][in_c] == -1).all()
