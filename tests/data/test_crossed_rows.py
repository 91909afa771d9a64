"""Rows of crossed groups: labels, memberships, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.core.codec import pack, unpack
from hiermodels.data.grouped import GroupedRows
from hiermodels.data.prepare import announce, prepare

FRAME = pd.DataFrame(
    {
        "y": [1.0, 2.0, 4.0, 3.0, 6.0, 5.0, 1.5],
        "a": ["p", "p", "q", "q", "r", "r", "p"],
        "b": [3, 1, 3, 2, 1, 3, 3],
        "c": ["u", "v", "u", "u", "v", "u", "u"],
        "w": [1.0, 2.0, 1.0, 1.0, 3.0, 1.0, 1.0],
    }
)


def labels_of_rows(data):
    return {
        level.column: list(level.labels[member])
        for level, member in zip(data.levels, data.memberships, strict=True)
    }


def test_each_column_by_itself():
    spec, data = prepare(FRAME, "y ~ 1 + (1 | a) + (1 | b)", weights="w")
    assert spec.nesting == data.roles.nesting == (-1, -1)
    assert isinstance(data, GroupedRows)
    assert labels_of_rows(data) == {"a": list(FRAME.a), "b": list(FRAME.b)}
    assert list(data.coords["b"]) == [3, 1, 2]
    assert all((level.parent == 0).all() for level in data.levels)
    np.testing.assert_array_equal(data.group, data.memberships[-1])
    assert str(data) == "7 rows in 3 a, 3 b"
    seen = data.observations
    assert list(seen.constant["group_a"]) == list(FRAME.a)
    assert list(seen.constant["group_b"]) == list(FRAME.b)
    assert "groups = a + b" in str(data.roles)


def test_nested_beside_crossed():
    _, data = prepare(FRAME, "y ~ 1 + (1 | a/c) + (1 | b)")
    rows = labels_of_rows(data)
    assert rows["c"] == [f"{a}/{c}" for a, c in zip(FRAME.a, FRAME.c, strict=True)]
    assert rows["b"] == list(FRAME.b)
    (pair,) = data.pairs
    assert [level.column for level in pair] == ["a", "c"]
    assert data.parent_names == ("c_a",)
    np.testing.assert_array_equal(pair[1].parent[data.memberships[1]], data.memberships[0])


def test_memberships_of_nested_groups():
    _, data = prepare(FRAME, "y ~ 1 + (1 | a/c)")
    assert data.crossed == ()
    assert labels_of_rows(data)["a"] == list(FRAME.a)


def test_files():
    _, data = prepare(FRAME, "y ~ 1 + (1 | a) + (1 | b)")
    arrays = {}
    packed = pack(data, "data", arrays)

    class Stored:
        def __init__(self, values):
            self.values = values

        def to_numpy(self):
            return self.values

    again = unpack(packed, {name: Stored(values) for name, (_, values) in arrays.items()})
    assert again.roles == data.roles
    assert labels_of_rows(again) == labels_of_rows(data)


def test_missing_labels():
    frame = FRAME.assign(b=FRAME.b.astype("Int64")).copy()
    frame.loc[2, "b"] = pd.NA
    with pytest.raises(hm.DataError, match="'b'"):
        prepare(frame, "y ~ 1 + (1 | a) + (1 | b)")
    _, data = prepare(frame, "y ~ 1 + (1 | a) + (1 | b)", missing="drop")
    assert data.n_rows == 6
    assert data.dropped == 1


def test_columns_in_order_are_nested():
    spec, data = prepare(FRAME, outcome="y", groups=["a", "b"], se=False)
    assert not spec.is_crossed
    assert len(data.levels[1]) == 7 - 1


def test_labels_that_cross_name_the_formula():
    frame = pd.DataFrame(
        {
            "y": np.arange(9.0),
            "a": list("pppqqqrrr"),
            "b": ["k1", "k2", "k3", "k3", "k4", "k5", "k6", "k7", "k8"],
        }
    )
    frame = pd.concat([frame, frame.assign(a=frame.a + "2", b=frame.b + "2")])
    with pytest.raises(hm.DataError, match=r"\(1 \| a\) \+ \(1 \| b\)"):
        prepare(frame, outcome="y", groups=["a", "b"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"family": "poisson"}, "need normal rows"),
        ({"residual_by": "c"}, "one residual sd"),
        ({"residual_by": "b"}, "crossed groups, a \\+ b, take one residual sd"),
        ({"covariance": np.eye(7)}, "independent errors"),
    ],
)
def test_refused_before_rows_are_read(columns, message):
    with pytest.raises(hm.SpecError, match=message):
        prepare(FRAME, "y ~ 1 + (1 | a) + (1 | b)", **columns)


def test_a_column_with_one_group():
    """All groups lie in it, which says nothing."""
    _, data = prepare(FRAME.assign(one="X"), "y ~ 1 + (1 | a) + (1 | one)", priors="weak")
    expected = "there is one one only, 'X': nothing but a prior says how they differ"
    assert data.nested_by_chance == [expected]


def test_columns_that_are_nested_are_read_as_such(capsys):
    frame = FRAME.assign(d=[f"{a}{c}" for a, c in zip(FRAME.a, FRAME.c, strict=True)])
    spec, data = prepare(frame, "y ~ 1 + (1 | d) + (1 | a)")
    said = "each d lies in one a, so that this is (1 | a/d): theta and tau of d, mu and kappa of a"
    assert str(data) == f"7 rows in 3 a, 5 d; {said}"
    announce(data)
    assert capsys.readouterr().out == f"{said}\n"
    nested_spec, nested = prepare(frame, "y ~ 1 + (1 | a/d)")
    assert spec == nested_spec
    assert not data.crossed
    for name in ("y", "group"):
        np.testing.assert_array_equal(getattr(data, name), getattr(nested, name))
    for name in ("labels", "own_labels", "parents"):
        for found, true in zip(getattr(data, name), getattr(nested, name), strict=True):
            np.testing.assert_array_equal(found, true)


def test_three_columns_that_are_nested():
    """Two of them are said to be, and one is found to be outside."""
    frame = pd.concat([FRAME, FRAME.assign(y=FRAME.y + 1)]).assign(row=np.arange(14) // 2)
    frame = frame.assign(e=frame.a.map({"p": "X", "q": "X", "r": "Y"}).fillna("Y"))
    assert 1 < frame.e.nunique() < frame.a.nunique()
    spec, data = prepare(frame, "y ~ 1 + (1 | a/c) + (1 | e)")
    assert spec == prepare(frame, "y ~ 1 + (1 | e/a/c)")[0]
    assert "each c lies in one a, each a lies in one e, so that this is (1 | e/a/c)" in str(data)


def test_priors_of_nested_columns_carry_over():
    frame = FRAME.assign(d=[f"{a}{c}" for a, c in zip(FRAME.a, FRAME.c, strict=True)])
    one, other, mean = hm.HalfNormal(1.0), hm.HalfNormal(2.0), hm.Normal(0.0, 9.0)
    for priors in (
        {"tau": one, "tau_d": other, "mu": mean},
        {"tau_a": one, "tau_d": other, "mu": mean},
        {"kappa": one, "tau_d": other, "lam": mean},
    ):
        spec = prepare(frame, "y ~ 1 + (1 | a) + (1 | d)", priors=priors)[0]
        assert spec.priors["kappa"] == one
        assert spec.priors["tau"] == other
        assert spec.priors["lam"] == mean
    with pytest.raises(hm.SpecError, match="has no parameter 'tau_x'; it has lam, kappa, tau"):
        prepare(frame, "y ~ 1 + (1 | a) + (1 | d)", priors={"tau_x": one})


def test_columns_that_are_nested_in_part_stay_crossed():
    frame = FRAME.assign(d=[f"{a}{c}" for a, c in zip(FRAME.a, FRAME.c, strict=True)])
    spec, data = prepare(frame, "y ~ 1 + (1 | a) + (1 | d) + (1 | b)", priors="weak")
    assert spec.is_crossed
    assert "each d lies in one a, as in (1 | a/d)" in str(data)
    spec, data = prepare(frame.assign(e=frame.a + "!"), "y ~ 1 + (1 | a/c) + (1 | e)")
    assert spec.is_crossed
    assert "a and e are the same groups, whose sds only priors tell apart" in str(data)
    assert "each c lies in one e" in str(data)
    assert not prepare(frame, "y ~ 1 + (1 | a) + (1 | b)")[1].nested_by_chance
