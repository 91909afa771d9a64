"""Columns of the covariates: their coding, their names, and every refusal."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal

import formulaic
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiermodels as hm
from hiermodels.data.collinearity import check_rank
from hiermodels.data.design import build
from hiermodels.model.formula.parse import parse

N = 60
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "ses": RNG.normal(size=N),
        "age": RNG.normal(10, 2, size=N),
        "sex": RNG.permutation(list("MF") * (N // 2)),
        "type": RNG.permutation(list("uvw") * (N // 3)),
        "year": RNG.permutation([1999, 2000, 2010] * (N // 3)),
        "new": RNG.permutation([True, False] * (N // 2)),
        "class size": RNG.integers(10, 30, size=N),
    },
    index=pd.RangeIndex(100, 100 + N),
)
NUMERIC = ("ses", "age")
LABELS = ("sex", "type", "new")


def make(covariates, frame=FRAME):
    return build(frame, parse(f"y ~ {covariates}").terms)


def refuse(message, call, *args, error=hm.DataError):
    with pytest.raises(error, match=message):
        call(*args)


@pytest.mark.parametrize(
    ("covariates", "names"),
    [
        ("1", ()),
        ("ses", ("ses",)),
        ("sex", ("sex[M]",)),
        ("C(sex)", ("sex[M]",)),
        ("type", ("type[v]", "type[w]")),
        ("C(year)", ("year[2000]", "year[2010]")),
        ("year", ("year",)),
        ("new", ("new[True]",)),
        ("ses*sex", ("ses", "sex[M]", "ses:sex[M]")),
        ("sex + ses:sex", ("sex[M]", "ses:sex[F]", "ses:sex[M]")),
        ("ses + sex:ses", ("ses", "sex[M]:ses")),
        ("`class size`:new", ("class size:new[False]", "class size:new[True]")),
        (
            "C(`class size`)",
            tuple(f"class size[{i}]" for i in sorted(set(FRAME["class size"]))[1:]),
        ),
    ],
)
def test_names(covariates, names):
    design = make(covariates)
    assert design.names == names
    assert design.matrix.shape == (N, len(names))
    assert design.matrix.dtype == float


def column(name, frame):
    """The column of the design with this name, written out by hand."""
    value = np.ones(len(frame))
    for part in name.split(":"):
        own, _, level = part.removesuffix("]").partition("[")
        value = value * (frame[own].astype(str) == level if level else frame[own])
    return value


terms = st.sampled_from(
    [":".join(c) for k in (1, 2, 3) for c in itertools.permutations(NUMERIC + LABELS, k)]
)


def over_complete(term):
    """Columns for all levels of all factors, which span what the term stands for."""
    columns = np.ones((N, 1))
    for name in term.split(":"):
        own = FRAME[[name]] if name in NUMERIC else pd.get_dummies(FRAME[name])
        columns = np.einsum("ni,nj->nij", columns, own.to_numpy(float)).reshape(N, -1)
    return columns


@settings(deadline=None, max_examples=50)  # the first example imports formulaic
@given(st.lists(terms, min_size=1, max_size=4))
def test_coding_spans_what_the_terms_say_without_redundancy(covariates):
    design = make(" + ".join(covariates))
    for name, values in zip(design.names, design.matrix.T, strict=True):
        np.testing.assert_allclose(values, column(name, FRAME))
    ours = np.column_stack([np.ones(N), design.matrix])
    everything = np.column_stack([ours, *map(over_complete, covariates)])
    rank = np.linalg.matrix_rank(ours)
    assert rank == ours.shape[1] == np.linalg.matrix_rank(everything)
    check_rank(design.names, design.matrix)


def test_the_order_of_the_terms_changes_neither_columns_nor_names():
    design = build(FRAME, ["ses:sex", "sex", "ses", "ses"])
    assert design.names == ("sex[M]", "ses", "ses:sex[M]")


def test_levels_are_sorted_as_what_they_are():
    frame = FRAME.assign(year=RNG.permutation([9, 10, 100] * (N // 3)))
    assert make("C(year)", frame).levels == {"year": ("9", "10", "100")}
    assert make("C(year)", frame.astype({"year": str})).levels == {"year": ("10", "100", "9")}


def test_categories_keep_their_order_and_lose_those_that_do_not_occur():
    kind = pd.Categorical(FRAME["type"], categories=list("xwyvu"))
    design = make("type", FRAME.assign(type=kind))
    assert design.levels == {"type": ("w", "v", "u")}
    assert design.names == ("type[v]", "type[u]")


@pytest.mark.parametrize("is_lazy", [False, True])
def test_levels_of_polars_categories_do_not_depend_on_the_order_of_rows(is_lazy):
    """They came in the order in which polars met them, the first as the reference."""
    frame = pl.DataFrame(
        {
            "g": ["a", "a", "b", "b", "c", "c"],
            "side": pl.Series(["south", "north"] * 3, dtype=pl.Categorical),
            "kind": pl.Series(["q", "p"] * 2 + ["p", "q"], dtype=pl.Enum(["q", "p"])),
            "y": [1.0, 2.0, 4.0, 3.0, 0.0, 1.0],
        }
    )
    data = frame.lazy() if is_lazy else frame
    found = hm.SufficientStatistics.of(data, "y ~ side + kind + (1 | g)")
    assert found.design.levels == {"side": ("north", "south"), "kind": ("q", "p")}


@pytest.mark.parametrize("kind", ["string", "object", "category", "string[pyarrow]"])
def test_kinds_of_text(kind):
    plain, other = make("sex*ses"), make("sex*ses", FRAME.astype({"sex": kind}))
    assert (other.names, other.levels) == (plain.names, plain.levels)
    assert (other.matrix == plain.matrix).all()


@pytest.mark.parametrize("kind", ["float64", "Int64", "object", "int64[pyarrow]", "uint16"])
def test_kinds_of_numbers(kind):
    frame = FRAME.astype({"year": kind})
    assert (make("year", frame).matrix == make("year").matrix).all()
    assert make("C(year)", frame).names == make("C(year)").names


@pytest.mark.parametrize("kind", ["boolean", "object", "bool[pyarrow]"])
def test_kinds_of_truth_values(kind):
    design = make("new", FRAME.astype({"new": kind}))
    assert design.names == ("new[True]",)
    assert (design.matrix[:, 0] == FRAME["new"]).all()


def test_decimals():
    design = make("ses", FRAME.assign(ses=[Decimal(i) for i in range(N)]))
    assert design.matrix[:, 0].tolist() == list(range(N))


def test_names_that_are_code_are_only_names():
    name = "__import__('os').system('exit 1') + C(x0)[T.1]:x1"
    design = make(f"`{name}`*C", FRAME.rename(columns={"ses": name, "sex": "C"}))
    assert design.names == (name, "C[M]", f"{name}:C[M]")
    assert (design.matrix == make("ses*sex").matrix).all()


@pytest.mark.parametrize("covariates", ["1", "ses*sex*C(year)", "new:type + age"])
def test_the_same_columns_for_other_rows(covariates):
    design = make(covariates)
    some = RNG.permutation(N)[:7]
    assert (design.apply(FRAME.iloc[some]) == design.matrix[some]).all()
    one = FRAME.iloc[[3]].astype({"year": float, "sex": "category"})
    assert (design.apply(one) == design.matrix[[3]]).all()
    assert design.apply(FRAME.iloc[:0]).shape == (0, len(design.names))


def test_levels_that_the_data_had_not():
    design = make("sex + C(year)")
    new = FRAME.iloc[:3].assign(year=[2000, 2001, 2002])
    refuse(
        "column 'year': found 2001 in rows 101, 102; .* levels '1999', '2000', '2010'",
        design.apply,
        new,
    )


def test_new_data_of_another_kind():
    refuse(
        "'ses': expected numbers, .* found 'x' in row 100", make("ses").apply, FRAME.assign(ses="x")
    )
    refuse("there is no column 'sex'", make("sex").apply, FRAME[["ses"]])


def test_gaps_in_new_data():
    gap = FRAME.assign(ses=FRAME["ses"].where(FRAME.index != 104))
    refuse("'ses': 1 missing value, in row 104. Fill them", make("ses").apply, gap)


@pytest.mark.parametrize("name", ["ses", "sex", "new"])
def test_missing_values(name):
    gap = FRAME.astype({name: object})
    gap.loc[gap.index[2:9], name] = None
    refuse(
        f"column '{name}': 7 missing values, in rows 102, 103, 104, 105, 106 and 2 more. "
        f"Fill them, or leave these rows out with missing='drop'",
        make,
        f"age*{name}",
        gap,
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("covariates", ["ses", "C(ses)"])
def test_infinite_and_huge_values(value, covariates):
    bad = FRAME.copy()
    bad.loc[103, "ses"] = value
    refuse("column 'ses': expected finite numbers .* in row 103", make, covariates, bad)


def test_products_that_overflow():
    bad = FRAME.assign(ses=1e120, age=1e120)
    refuse("column 'ses:age': expected finite numbers", make, "ses*age", bad)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1, "a"], "int, str"),
        ([True, 2.0], "bool, float"),
        ([1j, 2j], "complex"),
        ([datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)], "date"),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), "Timestamp"),
    ],
)
def test_values_that_are_no_covariates(values, found):
    frame = FRAME.assign(ses=pd.Series(list(values) * (N // 2), index=FRAME.index))
    refuse(f"column 'ses': expected numbers, truth values, .* found {found}", make, "ses", frame)


def test_levels_that_are_written_alike():
    both = pd.Series(pd.Categorical([1, "1"] * (N // 2)), index=FRAME.index)
    refuse("some levels differ but are written alike", make, "sex", FRAME.assign(sex=both))


@pytest.mark.parametrize(("covariates", "value"), [("sex", "'M'"), ("C(year)", "'2000'")])
def test_a_single_level(covariates, value):
    frame = FRAME.assign(sex="M", year=2000)
    message = f"expected two levels or more to compare; found {value} in every row"
    for intercept in (True, False):
        with pytest.raises(hm.DataError, match=message):
            build(frame, [covariates], intercept=intercept)


@pytest.mark.parametrize("term", ["ses", "ses:age"])
def test_numbers_whose_squares_are_too_small(term):
    tiny = FRAME.assign(ses=1e-80 * FRAME["ses"], age=1e-80 * FRAME["age"])
    assert len(make("ses", tiny).names) == 1
    frame = tiny if ":" in term else FRAME.assign(ses=1e-160 * FRAME["ses"])
    message = f"column '{term}': numbers are of size up to .*e-1.*; expected 1e-140"
    refuse(message, make, term, frame)


def test_columns_that_are_not_there():
    refuse("there is no column 'x'; the data have 'ses', 'age', .* and 2 more", make, "x")
    twice = pd.concat([FRAME, FRAME[["ses"]]], axis=1)
    refuse("there is more than one column 'ses'", make, "ses", twice)


def test_a_column_as_a_number_and_as_a_category():
    refuse("both as year and as C\\(year\\)", make, "year + C(year)", error=hm.SpecError)


MOVED = "center(age) + scale(`class size`) + sex + center(age):sex + scale(`class size`):ses"


def test_center_and_scale_are_those_of_formulaic():
    """Its transforms keep the constants of the rows that they saw first, as R's predict does."""
    frame = FRAME.rename(columns={"class size": "size"})
    design = make(MOVED.replace("`class size`", "size"), frame)
    assert design.names == (
        *("center(age)", "scale(size)", "sex[M]"),
        *("center(age):sex[M]", "scale(size):ses"),
    )
    theirs = formulaic.model_matrix(
        "center(age) + scale(size) + sex + center(age):sex + scale(size):ses", frame
    )
    np.testing.assert_allclose(design.matrix, theirs.iloc[:, 1:], atol=1e-14)
    other = frame[:7].assign(age=lambda df: df["age"] + 100, size=5)
    again = theirs.model_spec.get_model_matrix(other).iloc[:, 1:]
    np.testing.assert_allclose(design.apply(other), again, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [1e-150, 1e-3, 1e140])
@pytest.mark.parametrize("away", [0.0, 1e6])
def test_scaled_numbers_have_mean_0_and_sd_1(size, away):
    column = make("scale(ses)", FRAME.assign(ses=size * (FRAME["ses"] + away))).matrix[:, 0]
    assert abs(column.mean()) < 1e-15 * (1 + away)
    assert column.std(ddof=1) == pytest.approx(1, abs=1e-15 * (1 + away))


def test_center_and_scale_need_numbers_that_vary():
    for name in LABELS:
        refuse(
            rf"'{name}': center\({name}\) needs numbers; found .* in row 100",
            make,
            f"center({name})",
        )
    message = r"column 'ses' is constant: .*, by which scale\(ses\) cannot divide"
    refuse(message, make, "scale(ses)", FRAME.assign(ses=2.0))
    refuse(message, make, "scale(ses)", FRAME[:1])
    message = r"both as age and as center\(age\)"
    refuse(message, make, "age + center(age):ses", error=hm.SpecError)


def test_terms_that_are_no_terms():
    refuse("Give each term by itself", build, FRAME, ["ses*sex"], error=hm.SpecError)
    refuse("of functions, C", build, FRAME, ["log(ses)"], error=hm.SpecError)


def test_coefficients_of_one_name():
    frame = FRAME.assign(**{"sex[M]": 1.0})
    refuse("two columns of the design would both be called", make, "sex + `sex[M]`", frame)


def test_so_many_levels_that_they_are_groups():
    frame = pd.DataFrame({"the pupil": [f"p{i}" for i in range(2000)]})
    refuse(
        r"1999 columns are more than 1000.*'the pupil' has 2000 levels.*\(1 \| `the pupil`\)",
        make,
        "`the pupil`",
        frame,
    )


X, Z = FRAME["ses"].to_numpy(), FRAME["age"].to_numpy()


def rank(**columns):
    check_rank(list(columns), np.column_stack(list(columns.values())))


def test_columns_that_can_be_told_apart():
    check_rank([], np.empty((N, 0)))
    rank(x=X * 1e-140, z=Z * 1e140, x2=X**2)
    rank(year=2000 + X, square=(2000 + X) ** 2)
    rank(x=X, nearly=X + 1e-7 * Z)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e100])
def test_a_constant_column(value):
    column = np.full(N, value)
    column[::2] *= 1 + 2 * np.finfo(float).eps
    refuse(
        "column 'one' is constant: it is .* cannot be told from the intercept",
        lambda: rank(x=X, one=column),
    )


def test_an_empty_cell_of_an_interaction():
    frame = FRAME[~((FRAME["sex"] == "M") & (FRAME["type"] == "w"))]
    design = make("sex*type", frame)
    refuse(
        r"column 'sex\[M\]:type\[w\]' is constant: it is 0", check_rank, design.names, design.matrix
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_linear_combination(scale):
    refuse(
        "column 'c' is a linear combination of the intercept and 'x', 'z', exactly or nearly so",
        lambda: rank(x=X, other=X * Z, z=Z, c=scale * (3 * X - 0.01 * Z + 7), last=Z**2),
    )
    refuse("column 'b' is .* the intercept and 'x', ex", lambda: rank(x=X, z=Z, b=scale * (1 - X)))


def test_nearly_a_linear_combination():
    refuse(
        "column 'nearly' is .* and 'x', exactly or nearly", lambda: rank(x=X, nearly=X + 1e-9 * Z)
    )


def test_dummies_that_sum_to_one():
    dummies = pd.get_dummies(FRAME["type"], dtype=float)
    refuse(
        "column 'w' is .* and 'u', 'v'",
        lambda: rank(x=X, u=dummies["u"], v=dummies["v"], w=dummies["w"]),
    )


def test_more_coefficients_than_rows():
    refuse("3 columns and an intercept need at least 4 rows; found 3", check_rank, "abc", np.eye(3))


def test_too_many_columns_of_numbers():
    frame = pd.DataFrame(np.zeros((2, 1001)), columns=[f"x{i}" for i in range(1001)])
    refuse("1001 columns are more than 1000.* Take some out", build, frame, list(frame))
