"""Data as nobody should give them, and the same data as plain as can be.

A :class:`Case` holds a nest of groups as plain arrays.  :func:`dressed` puts its columns into some
of the many clothes that data come in; what is read must not depend on them.
:func:`columns_of_anything` makes columns that may mean nothing at all; what is read of them is held
against plain Python.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

# Multiples of 1/4 are numbers of every type here, so that conversions lose nothing.
quarters = st.integers(-40, 40).map(lambda n: n / 4)
wholes = st.integers(-100, 100)

ODD_TEXT = (
    *("a", "b", "A", " ", " a", "a ", "a b", "a/b", "a:b", "/", ":", "'", '"', "`", "\\", "%s"),
    *("1", "1.0", "01", "-1", "1e3", "nan", "NaN", "None", "NA", "<NA>", "NaT", "True", "inf"),
    *("é", "e\u0301", "Å", "\u212b", "ß", "日本", "\u200b", "\u202e", "🦆", "\n", "\t", "\r"),
    *("theta", "mu", "tau", "beta", "chain", "draw", "row", "group", "coef", "coefficient", "__x"),
    *("(new)", "[a]", "a[b]", "{x}", "<b>", "$x$", "x" * 300, "-", "~", "+", "C(x)", "."),
)
texts = st.sampled_from(ODD_TEXT) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
)
OURS = (
    *("sigma", "lam", "kappa", "y", "se", "x", "kind", "mean", "sd", "rows", "index", "sample"),
    *("quantile", "y_mean", "residual", "level_0", "__index_level_0__", "value", "theta "),
    *("", "a\0", "if", "lambda", "_", "#", ",", "=", "|"),
)
names = st.sampled_from([*ODD_TEXT, *OURS])


@dataclass(frozen=True)
class Case:
    """A nest of groups in plain arrays.

    Attributes
    ----------
    codes : tuple of (n,)
        Units of each level, from the outermost to the innermost, numbered over all parents in the
        order in which they appear.
    own : tuple of (n,)
        Numbers of the groups within their parent, which begin anew under each, or the same as
        ``codes``: what stands in the column.
    y, se, x : (n,)
        Outcome, standard errors or None, and a covariate or None.
    """

    codes: tuple[np.ndarray, ...]
    own: tuple[np.ndarray, ...]
    y: np.ndarray
    se: np.ndarray | None
    x: np.ndarray | None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def frame(self) -> pd.DataFrame:
        """The plainest frame: numbers as float64, labels as g0, g1, … that never repeat."""
        columns: dict[str, Any] = {"y": self.y}
        for i, codes in enumerate(self.codes):
            columns[f"level{i}"] = [f"g{code}" for code in codes]
        if self.se is not None:
            columns["se"] = self.se
        if self.x is not None:
            columns["x"] = self.x
        return pd.DataFrame(columns)

    @property
    def roles(self) -> dict[str, Any]:
        """What is to be given with ``frame``."""
        return {
            "outcome": "y",
            "groups": [f"level{i}" for i in range(len(self.codes))],
            "se": None if self.se is None else "se",
            "covariates": None if self.x is None else ["x"],
        }


def appearance(values: Sequence[Any]) -> np.ndarray:
    """Number values in the order in which they appear."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values])


@st.composite
def cases(draw: Any, levels: Sequence[int] = (1, 2), known: bool | None = None) -> Case:
    """Nests with two or three levels: unbalanced, with singletons, numbered anew or throughout."""
    count = draw(st.sampled_from(levels))
    known = draw(st.booleans()) if known is None else known
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    outer = np.repeat(np.arange(len(sizes)), sizes)
    inner = np.concatenate([np.arange(size) for size in sizes])
    rows = draw(st.lists(st.integers(0, len(outer) - 1), max_size=6))
    row = np.array([*range(len(outer)), *rows, *(() if known else (0, 1, 0, 1))])
    row = row[draw(st.permutations(range(len(row))))]
    outer, inner = outer[row], inner[row]
    full = appearance(list(zip(outer.tolist(), inner.tolist(), strict=True)))
    outer = appearance(outer.tolist())
    anew = draw(st.booleans())
    codes, own = (
        ((full,), (full,)) if count == 1 else ((outer, full), (outer, inner if anew else full))
    )
    n = len(row)
    column = st.lists(quarters, min_size=n, max_size=n)
    y = np.array(draw(column.filter(lambda values: len(set(values)) > 2)))
    x = None
    if draw(st.booleans()) and n > 6:
        x = np.array(draw(column.filter(lambda values: len(set(values)) > 3)))
    se = np.array(draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))) / 4 if known else None
    return Case(codes, own, y, se, x)


# Clothes of numbers: from floats that are multiples of 1/4 to a column of another type.
type Dress = Callable[[np.ndarray], Any]

NUMBERS: dict[str, Dress] = {
    "float64": lambda v: v,
    "float32": lambda v: v.astype("float32"),
    "float16": lambda v: v.astype("float16"),
    "longdouble": lambda v: v.astype("longdouble"),
    "Float64": lambda v: pd.array(v, dtype="Float64"),
    "Float32": lambda v: pd.array(v, dtype="Float32"),
    "decimal": lambda v: pd.Series([Decimal(str(x)) for x in v], dtype=object),
    "objects": lambda v: pd.Series([int(x) if x == int(x) else x for x in v], dtype=object),
    "numpy scalars": lambda v: pd.Series([np.float32(x) for x in v], dtype=object),
    "category": lambda v: pd.Series(v).astype("category"),
    "sparse": lambda v: pd.arrays.SparseArray(v),
    "double[pyarrow]": lambda v: pd.Series(v).astype("double[pyarrow]"),
    "decimal[pyarrow]": lambda v: pd.Series(
        [Decimal(str(x)) for x in v], dtype=pd.ArrowDtype(pa.decimal128(12, 2))
    ),
}

# Clothes of labels: from the numbers of the groups to as many different labels.
LABELS: dict[str, Dress] = {
    "int64": lambda c: c,
    "negative": lambda c: -1 - c,
    "largest int64": lambda c: 2**63 - 1 - c,
    "smallest int64": lambda c: -(2**63) + c,
    "largest uint64": lambda c: np.array([2**64 - 1 - int(i) for i in c], dtype=np.uint64),
    "uint8": lambda c: c.astype("uint8"),
    "Int64": lambda c: pd.array(c, dtype="Int64"),
    "int64[pyarrow]": lambda c: pd.Series(c).astype("int64[pyarrow]"),
    "float": lambda c: c + 0.5,
    "whole floats": lambda c: c.astype(float),
    "Float64": lambda c: pd.array(c + 0.5, dtype="Float64"),
    "huge integers": lambda c: pd.Series([10**30 + int(i) for i in c], dtype=object),
    "text": lambda c: [f"u{i}" for i in c],
    "string": lambda c: pd.array([f"u{i}" for i in c], dtype="string"),
    "string[pyarrow]": lambda c: pd.array([f"u{i}" for i in c], dtype="string[pyarrow]"),
    "category": lambda c: pd.Categorical([f"u{i}" for i in c]),
    "unused levels": lambda c: pd.Categorical(
        [f"u{i}" for i in c], categories=[f"u{i}" for i in range(99, -1, -1)], ordered=True
    ),
    "numbers as categories": lambda c: pd.Categorical(c),
    "dates": lambda c: pd.Series([datetime.date(2024, 1, 1 + int(i)) for i in c], dtype=object),
    "datetimes": lambda c: pd.Timestamp("2024-01-01") + pd.to_timedelta(c, unit="h"),
    "time zones": lambda c: pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(c, unit="h"),
    "spans": lambda c: pd.to_timedelta(c, unit="s"),
    "periods": lambda c: pd.PeriodIndex.from_ordinals(c, freq="M"),
    "intervals": lambda c: pd.arrays.IntervalArray.from_arrays(c, c + 1),
    "decimal": lambda c: pd.Series([Decimal(int(i)) / 4 for i in c], dtype=object),
    "tuples": lambda c: pd.Series([("u", int(i)) for i in c], dtype=object),
    "bytes": lambda c: pd.Series([b"u%d" % i for i in c], dtype=object),
    "sparse": lambda c: pd.arrays.SparseArray(c),
    "mixed": lambda c: pd.Series([int(i) if i % 2 else f"u{i}" for i in c], dtype=object),
    "numbers and their like": lambda c: [
        ("1", "01", "1.0", "+1", "1e0", "１")[i % 6] + "x" * (i // 6) for i in c
    ],
    "lookalikes": lambda c: [
        ("é", "e\u0301", "Å", "\u212b", "A\u030a", "È")[i % 6] * (1 + i // 6) for i in c
    ],
    "missing in words": lambda c: [
        ("nan", "None", "NA", "<NA>", "NaT", "null")[i % 6] + "_" * (i // 6) for i in c
    ],
    "long": lambda c: ["x" * 500 + str(i) for i in c],
}

INDEXES: dict[str, Callable[[int], pd.Index]] = {
    "range": pd.RangeIndex,
    "from 5": lambda n: pd.RangeIndex(5, n + 5),
    "backwards": lambda n: pd.Index(range(n))[::-1],
    "all the same": lambda n: pd.Index([0] * n),
    "named as a column": lambda n: pd.Index(range(n), name="y"),
    "text": lambda n: pd.Index([f"r{i}" for i in range(n)], name="row"),
    "two levels": lambda n: pd.MultiIndex.from_arrays([[0] * n, range(n)], names=["g", None]),
    "dates": lambda n: pd.date_range("2024", periods=n),
    "missing": lambda n: pd.Index([np.nan] * n),
    "mixed": lambda n: pd.Index(
        [(1, "1", None, (2,), b"x")[i % 5] for i in range(n)], dtype=object
    ),
}


@dataclass(frozen=True)
class Dressed:
    """A case in other clothes: a frame, and what to give with it."""

    case: Case
    frame: pd.DataFrame
    roles: dict[str, Any]
    labels: tuple[Sequence[Any], ...]


@st.composite
def dressed(draw: Any, source: st.SearchStrategy[Case] = cases()) -> Dressed:  # noqa: B008
    """The same rows in columns of any type, order and name, with any index."""
    case = draw(source)
    levels = len(case.codes)
    wanted = 1 + levels + (case.se is not None) + (case.x is not None)
    taken = draw(st.lists(texts.map(str), min_size=wanted, max_size=wanted, unique=True))
    columns: dict[str, Any] = {}
    clothes = st.sampled_from(sorted(NUMBERS))
    spare = iter(taken)
    roles: dict[str, Any] = {"outcome": next(spare), "se": None, "covariates": None}
    columns[roles["outcome"]] = NUMBERS[draw(clothes)](case.y)
    if case.se is not None:
        roles["se"] = next(spare)
        columns[roles["se"]] = NUMBERS[draw(clothes)](case.se)
    if case.x is not None:
        roles["covariates"] = [next(spare)]
        columns[roles["covariates"][0]] = NUMBERS[
            draw(clothes.filter(lambda name: name != "category"))
        ](case.x)
    roles["groups"] = list(spare)
    labels = []
    for name, own in zip(roles["groups"], case.own, strict=True):
        columns[name] = LABELS[draw(st.sampled_from(sorted(LABELS)))](own)
        labels.append(list(columns[name]))
    order = draw(st.permutations(list(columns)))
    frame = pd.DataFrame({name: pd.Series(columns[name]).array for name in order})
    frame.index = INDEXES[draw(st.sampled_from(sorted(INDEXES)))](len(case))
    return Dressed(case, frame, roles, tuple(labels))


# Values that may stand in a column of objects.
MISSING = (
    None,
    math.nan,
    pd.NA,
    pd.NaT,
    Decimal("NaN"),
    np.float64("nan"),
    np.datetime64("NaT", "s"),
)
VALUES = (
    *MISSING,
    *(0, 1, -1, True, False, 1.0, "1", 0.25, -0.0, 2**63 - 1, 2**64, 10**400, -(10**400)),
    *(math.inf, -math.inf, 1e200, 5e-324, Decimal("0.5"), Decimal("sNaN"), Decimal("1e999")),
    *(1j, np.complex128(1), np.float16(1.5), np.longdouble("1e4000"), np.int8(3), np.bool_(True)),
    *("", " ", "a", "b", "nan", "a\0", "\ud800", b"a", (1, 2), [1], {"a": 1}, frozenset({1})),
    *(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), datetime.timedelta(1)),
    *(
        np.timedelta64(1, "s"),
        np.datetime64("2024-01-01"),
        pd.Period("2024", "Y"),
        pd.Interval(0, 1),
    ),
    *(np.array([1.0, 2.0]), np.array(1.0), object, len),
)
values = st.sampled_from(VALUES) | quarters | wholes | texts


@st.composite
def columns_of_anything(draw: Any, size: int, usual: st.SearchStrategy[Any]) -> pd.Series:
    """A column of objects: what is usual, mostly, and now and then a value that may be anything."""
    strange = draw(st.sampled_from([0, 0, 0, 1, 1, 2, size]))
    found = draw(st.lists(usual, min_size=size, max_size=size))
    for place in draw(st.lists(st.integers(0, size - 1), min_size=strange, max_size=strange)):
        found[place] = draw(values)
    series = pd.Series(index=range(size), dtype=object)
    for i, value in enumerate(found):
        series.iat[i] = value
    return series


@st.composite
def frames_of_anything(draw: Any, names: Sequence[str], size: int) -> pd.DataFrame:
    """Columns ``y``, ``e`` and ``x`` of numbers and others of labels, or of anything."""
    few = draw(st.lists(wholes | texts | quarters | values, min_size=2, max_size=4))
    usual = {
        "y": quarters | wholes,
        "e": st.integers(1, 12).map(lambda n: n / 4),
        "x": draw(st.sampled_from([quarters, wholes, st.sampled_from(few), st.booleans()])),
    }
    labels = st.sampled_from([value for value in few if isinstance(value, str)] or ["a", "b", "c"])
    return pd.DataFrame(
        {name: draw(columns_of_anything(size, usual.get(name, labels))) for name in names}
    )
