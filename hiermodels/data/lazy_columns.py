"""Columns of lazy frames: checked by queries, and written as columns of the design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul, or_
from typing import Any, NoReturn

import narwhals as nw
import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST, listed, plural
from hiermodels.core.suggestions import did_you_mean
from hiermodels.data.coding import (
    Constants,
    Part,
    constants_of,
    declared_levels,
    level_text,
    levels_of,
    moved,
    refuse_moved,
    term_columns,
)
from hiermodels.data.collinearity import require_size
from hiermodels.data.frame import LEAVE_OUT, Frame
from hiermodels.data.read_rows import Missing
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.formula.terms import factors
from hiermodels.model.standard_errors import KINDS, SMALLEST

FIRST = 1000  # rows at which a look is taken
CATEGORIES = (nw.Categorical, nw.Enum)


class LazyColumns:
    """Names and types of the columns of a lazy frame.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    """

    def __init__(self, frame: nw.LazyFrame[Any]) -> None:
        self.frame = frame
        self.schema = frame.collect_schema()

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.schema)

    def require(self, name: str) -> None:
        """Raise DataError if a name is not that of a column."""
        if name not in self.schema:
            raise DataError(
                f"there is no column {name!r}; the data have {listed(self.columns)}"
                f"{did_you_mean(name, self.columns)}"
            )

    def is_continuous(self, name: str) -> bool:
        """Whether a column holds floating-point numbers."""
        return bool(self.schema[name].is_float())

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories."""
        return self.schema[name] in (nw.String, *CATEGORIES)

    def check_gaps(self, names: Sequence[str]) -> None:
        """Do nothing: gaps are counted in one query, with all else that is to be checked."""

    def whole_numbers(self, name: str) -> None:
        """Nothing: rows stay where they are."""

    def nameless_labels(self) -> str:
        """Nothing: rows that stay where they are have no index."""
        return ""

    def strings(self, name: str) -> NoReturn:
        """Raise DataError if a column of rows has to be fetched, as for the order of levels."""
        raise DataError(
            f"groups: column {name!r} is not the only one with labels, and how they are nested "
            f"does not show without the rows. Say groups=[…], from the outer to the inner level"
        )

    def label(self, name: str) -> nw.Expr:
        """A column of labels; categories as text."""
        column = nw.col(name)
        return column.cast(nw.String) if self.schema[name] in CATEGORIES else column

    def is_gap(self, name: str) -> nw.Expr:
        """Where a value is null or not a number."""
        return gaps_of(nw.col(name), self.schema[name])


def gaps_of[Column: (nw.Expr, nw.Series[Any])](column: Column, kind: Any) -> Column:
    """Where values of a kind are null or not a number."""
    return column.is_null() | column.is_nan() if kind.is_float() else column.is_null()


def collected(frame: nw.LazyFrame[Any]) -> nw.DataFrame[Any]:
    """Run a query, with polars in batches, which takes a third of the memory."""
    is_polars = frame.implementation is nw.Implementation.POLARS
    return frame.collect(engine="streaming") if is_polars else frame.collect()


def as_number(name: str) -> nw.Expr:
    """A column of floating-point numbers."""
    return nw.col(name).cast(nw.Float64)


def categorical_columns(
    columns: LazyColumns, terms: Sequence[str], levels: Mapping[str, Sequence[str]] | None
) -> list[str]:
    """Covariates that are categorical: by type, as ``C(column)`` or with declared levels."""
    declared = declared_levels(levels, term_columns(terms))
    parts = {factor.column: factor for term in terms for factor in factors(term)}
    for name, factor in moved(terms).items():
        if name in declared or not columns.schema[name].is_numeric():
            refuse_moved(factor, f"the type {columns.schema[name]}")
    return [
        name
        for name, factor in parts.items()
        if factor.categorical
        or name in declared
        or columns.is_label(name)
        or columns.schema[name] == nw.Boolean
    ]


def require_numbers(columns: LazyColumns, names: Sequence[str]) -> None:
    """Raise DataError if a column's type is not one of numbers."""
    for name in names:
        if not columns.schema[name].is_numeric():
            raise DataError(
                f"column {name!r}: expected numbers; found the type {columns.schema[name]}. "
                f"Convert it where the data are"
            )


def without_gaps(
    columns: LazyColumns,
    roles: Roles,
    numbers: Sequence[str],
    categorical: Sequence[str],
    missing: Missing,
) -> tuple[nw.LazyFrame[Any], dict[str, float], int, int]:
    """Check gaps and ranges in one query, or in two where there are gaps.

    Returns the rows to use, a point in the midst of each column, and the numbers of rows that are
    used and that are not.
    """
    used = [*roles.groups, *numbers, *categorical]
    frame, described = columns.frame, _described(columns, columns.frame, used, numbers)
    rows = kept = int(described["rows"])
    if not rows:
        raise DataError("data: expected rows; the frame is empty")
    gaps = {name: int(described[f"gap{i}"]) for i, name in enumerate(used)}
    if any(gaps.values()):
        _check_gaps(gaps, rows, missing)
        frame = frame.filter(~reduce(or_, map(columns.is_gap, used)))
        described = _described(columns, frame, used, numbers)
        kept = int(described["rows"])
        if not kept:
            raise DataError(f"no rows are left after dropping {rows} with missing values")
    middles = {}
    for i, name in enumerate(numbers):
        low, high = described[f"low{i}"], described[f"high{i}"]
        _check_range(name, low, high, _smallest(roles, name))
        middles[name] = _rounded(described[f"mean{i}"], high - low)
    return frame, middles, kept, rows - kept


def _described(
    columns: LazyColumns, frame: nw.LazyFrame[Any], used: Sequence[str], numbers: Sequence[str]
) -> dict[str, Any]:
    """Numbers of rows and of gaps, and ranges and means of numbers where there are no gaps."""
    flags = {f"gap{i}": columns.is_gap(name).cast(nw.Int64) for i, name in enumerate(used)}
    values = {f"x{i}": as_number(name) for i, name in enumerate(numbers)}
    described = frame.select(**flags, **values).select(
        nw.len().alias("rows"),
        *(nw.col(name).sum() for name in flags),
        *(nw.col(f"x{i}").min().alias(f"low{i}") for i in range(len(numbers))),
        *(nw.col(f"x{i}").max().alias(f"high{i}") for i in range(len(numbers))),
        *(nw.col(f"x{i}").mean().alias(f"mean{i}") for i in range(len(numbers))),
    )
    (row,) = collected(described).iter_rows(named=True)
    return row


def _check_gaps(gaps: Mapping[str, int], rows: int, missing: Missing) -> None:
    """Raise DataError if values are missing, unless their rows are to be left out."""
    if missing == "drop":
        return
    name, count = next((name, count) for name, count in gaps.items() if count)
    raise DataError(
        f"column {name!r}: {count} missing value{plural(count)}, in {rows} rows. "
        f"{LEAVE_OUT} with missing='drop'"
    )


def _smallest(roles: Roles, name: str) -> tuple[float, str] | None:
    """The smallest value of a column of numbers above 0, and what these are; None of others."""
    if name == roles.se:
        return SMALLEST[roles.se_scale], KINDS[roles.se_scale]
    return (1 / LARGEST, WEIGHTS) if name == roles.columns.get(WEIGHTS) else None


def _check_range(name: str, low: float, high: float, above: tuple[float, str] | None) -> None:
    """Raise DataError if numbers are out of range, ``above`` 0 if they have to be."""
    if not max(abs(low), abs(high)) <= LARGEST:
        raise DataError(
            f"column {name!r}: expected finite numbers of size up to {LARGEST:g}; found values "
            f"from {low:g} to {high:g}"
        )
    if above is None:
        require_size([name], np.array([max(abs(low), abs(high))]))
    elif low < above[0]:
        raise DataError(f"column {name!r}: expected positive {above[1]}; found {low:g}")


def values_of_levels(
    frame: nw.LazyFrame[Any], categorical: Sequence[str], declared: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, list[Any]]]:
    """Values of each categorical covariate by the level that they are, a query for each."""
    by_name = {}
    for name in categorical:
        values = Frame(collected(frame.select(name).unique()))
        series = values.select([name])[name]
        known = declared.get(name) or levels_of(name, series)
        by_level: dict[str, list[Any]] = {level: [] for level in known}
        for value in series.tolist():
            if level_text(value) not in by_level:
                raise DataError(
                    f"column {name!r}: found {value!r}; the levels declared are {listed(known)}"
                )
            by_level[level_text(value)].append(value)
        by_name[name] = by_level
    return by_name


def constants_of_columns(
    frame: nw.LazyFrame[Any], terms: Sequence[str], middles: Mapping[str, float]
) -> Constants:
    """Constants of ``center(x)`` and ``scale(x)``, in one query for all of them."""
    written = moved(terms)
    if not written:
        return {}
    deviations = {f"d{i}": as_number(name) - middles[name] for i, name in enumerate(written)}
    squares = {f"s{i}": nw.col(f"d{i}") * nw.col(f"d{i}") for i in range(len(written))}
    sums = frame.select(**deviations).with_columns(**squares)
    total = [nw.col(name).sum() for name in (*deviations, *squares)]
    (totals,) = collected(sums.select(nw.len().alias("rows"), *total)).iter_rows(named=True)
    rows = int(totals["rows"])
    constants = {}
    for i, (name, factor) in enumerate(written.items()):
        shift = totals[f"d{i}"] / rows
        around = max(totals[f"s{i}"] - rows * shift**2, 0.0)
        sd = float(np.sqrt(around / max(rows - 1, 1)))
        constants[name] = constants_of(factor, middles[name] + shift, sd)
    return constants


def design_column(
    columns: LazyColumns,
    product: tuple[Part, ...],
    levels: Mapping[str, Mapping[str, list[Any]]],
    constants: Constants,
) -> nw.Expr:
    """A column of the design: a product of numbers and of indicators of levels."""

    def numbers(name: str) -> nw.Expr:
        if name not in constants:
            return as_number(name)
        mean, unit = constants[name]
        return (as_number(name) - mean) / unit

    factors_ = [
        numbers(name)
        if level is None
        else nw.when(columns.label(name).is_in(levels[name][level]))
        .then(nw.lit(1.0))
        .otherwise(nw.lit(0.0))
        .cast(nw.Float64)
        for name, level in product
    ]
    return reduce(mul, factors_)


def middles_of_first(columns: LazyColumns, numbers: Sequence[str]) -> dict[str, float]:
    """A point in the midst of each column's first values; nothing if there are none."""
    first = collected(columns.frame.select(*map(as_number, numbers)).head(FIRST))
    middles = {}
    for name in numbers:
        values = array_of(first, name)
        values = values[np.abs(values) <= LARGEST]
        if len(values):
            middles[name] = _rounded(float(values.mean()), float(np.ptp(values)))
    return middles if len(middles) == len(numbers) else {}


def _rounded(value: float, width: float) -> float:
    """A value to within a part of the width of the data, and of no more binary digits than that.

    Deviations from it have as few digits as the data: sums of integers or of halves stay exact.
    """
    if width == 0:
        return value
    unit = 2.0 ** (np.floor(np.log2(width)) - 3)
    return float(np.round(value / unit) * unit)


def middle_of_column(product: tuple[Part, ...], middles: Mapping[str, float]) -> float:
    """A point in the midst of a column of the design."""
    return reduce(mul, (middles[name] if level is None else 0.5 for name, level in product))


def array_of(result: nw.DataFrame[Any], name: str) -> Floats:
    """A column of what a query returned."""
    return np.asarray(result[name].to_numpy(), dtype=float)
