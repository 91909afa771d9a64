"""Statistics of groups from data that stay where they are: the engine adds up, rows do not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul, or_
from typing import Any, Literal, NamedTuple, NoReturn

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST, listed, plural, short
from hiermodels.data.backend_errors import told_as_data_errors
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
from hiermodels.data.design import Design, layout
from hiermodels.data.frame import LEAVE_OUT, Frame
from hiermodels.data.grouped import Missing, require_missing
from hiermodels.data.nesting import nest
from hiermodels.data.roles import NO_GROUPS, Roles, infer_roles
from hiermodels.errors import DataError, SpecError
from hiermodels.model.formula.terms import factors
from hiermodels.model.standard_errors import KINDS, SMALLEST, Scale
from hiermodels.numerics.group_sums import two_sum

TOLERANCE = 1e-12  # of the scatter, by rounding, where deviations are not from the groups' means
FIRST = 1000  # rows at which a look is taken
CATEGORIES = (nw.Categorical, nw.Enum)


def as_lazy(data: Any) -> nw.LazyFrame[Any] | None:
    """The data as narwhals' lazy frame, if they are lazy: polars, DuckDB, Dask, Ibis, PySpark."""
    if isinstance(data, pd.DataFrame):  # whose names of columns may be repeated
        return None
    frame = nw.from_native(data, pass_through=True)
    return frame if isinstance(frame, nw.LazyFrame) else None


def aggregate_lazily(
    frame: nw.LazyFrame[Any],
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] = (),
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
    intercept: bool = True,
) -> dict[str, Any]:
    """Let the engine that holds the rows reduce them to statistics.

    The engine reads the rows once, after a look at the first few, for sums over each group of
    deviations d from a point c in the midst of those few::

        weight = Σ ω   mean = c + Σ ω d / weight   scatter = Σ ω d d' − Σ ω d (Σ ω d)' / weight

    The last is a difference of large sums if the groups lie far apart for the spread within them.
    Where that could cost more than ``TOLERANCE`` of the scatter, the sums are discarded, and one
    more query, of two reads, takes deviations from each group's own mean.

    Where something is missing or out of range, and always with standard errors, categorical
    covariates, interactions, ``center`` or ``scale``, a query over all rows comes first, for gaps,
    ranges and means; two, if rows are left out; one for the levels of each categorical covariate;
    and one for the constants of ``center`` and ``scale``.

    A query by groups returns a row for each innermost one, of its labels and at most
    ``5 + 4q + (q + 1)(q + 2)/2`` numbers with q columns of covariates.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    outcome, groups, se, variance, covariates, levels, missing, intercept
        As in :func:`hiermodels.data.grouped.read_part`.  Groups are inferred where there is one
        column of text or categories only.

    Returns
    -------
    dict of str to object
        The fields of :class:`hiermodels.SufficientStatistics`.
        With the groups in the order of their labels: lazy frames have none of their own.

    Raises
    ------
    DataError
        If the data cannot be used as they are, or the engine fails.
    """
    with told_as_data_errors(frame):
        terms = Terms(tuple(covariates), intercept)
        return _aggregated(frame, outcome, groups, se, variance, terms, levels, missing)


class Terms(NamedTuple):
    """The covariates' terms, and whether there is an intercept beside them."""

    written: tuple[str, ...]
    intercept: bool

    def design(
        self, levels: Mapping[str, tuple[str, ...]], constants: Constants
    ) -> tuple[Design, list[tuple[Part, ...]]]:
        """The design, without its rows, and what each of its columns is the product of."""
        names, parts = layout(self.written, levels, self.intercept)
        none = np.empty((0, len(names)))
        design = Design(names, none, levels, self.written, constants, intercept=self.intercept)
        return design, parts


def _aggregated(
    frame: nw.LazyFrame[Any],
    outcome: str | None,
    groups: Sequence[str] | str | None,
    se: str | Literal[False] | None,
    variance: str | None,
    terms: Terms,
    levels: Mapping[str, Sequence[str]] | None,
    missing: Missing,
) -> dict[str, Any]:
    """Check the rows, and reduce them: see :func:`aggregate_lazily`."""
    columns, covariates = LazyColumns(frame), terms.written
    roles = infer_roles(columns, outcome, groups, se, term_columns(covariates), variance)
    if not roles.groups:
        raise SpecError(NO_GROUPS)
    require_missing(missing)
    categorical = _categorical(columns, covariates, levels)
    numbers = [name for name in term_columns(covariates) if name not in categorical]
    numbers = [roles.outcome, *([roles.se] if roles.se else []), *numbers]
    _require_numbers(columns, numbers)
    simple = not categorical and not roles.se and not moved(covariates)
    found = _at_first_sight(columns, roles, numbers, terms) if simple else None
    if found is None:
        declared = declared_levels(levels, term_columns(covariates))
        found = _after_checks(columns, roles, numbers, categorical, terms, declared, missing)
    return _statistics(roles, *found)


type _Found = tuple[_Sums, Design, int]
"""Sums of the groups, columns of the design, and the number of rows that were left out."""


def _at_first_sight(
    columns: LazyColumns, roles: Roles, numbers: Sequence[str], terms: Terms
) -> _Found | None:
    """Sums in one read of the rows, around a point among the first of them.

    None where they do not show that every value is there and in range.
    """
    design, parts = terms.design({}, {})
    if any(len(product) > 1 for product in parts):
        return None
    middles = _middles_of_first(columns, numbers)
    if not middles:
        return None
    z = [*(name for ((name, _),) in parts), roles.outcome]
    rows = _rows(columns.frame, columns, roles, [_number(name) for name in z])
    sums = _sums_around_point(rows, roles, [middles[name] for name in z])
    if not sums.complete:
        return None
    sums = _with_all_digits(sums, rows, roles)
    return sums, design, 0


def _middles_of_first(columns: LazyColumns, numbers: Sequence[str]) -> dict[str, float]:
    """A point in the midst of each column's first values; nothing if there are none."""
    first = _collected(columns.frame.select(*map(_number, numbers)).head(FIRST))
    middles = {}
    for name in numbers:
        values = _array(first, name)
        values = values[np.abs(values) <= LARGEST]
        if len(values):
            middles[name] = _rounded(float(values.mean()), float(np.ptp(values)))
    return middles if len(middles) == len(numbers) else {}


def _after_checks(
    columns: LazyColumns,
    roles: Roles,
    numbers: Sequence[str],
    categorical: Sequence[str],
    terms: Terms,
    declared: Mapping[str, tuple[str, ...]],
    missing: Missing,
) -> _Found:
    """Sums over rows whose gaps, ranges and levels were looked at in queries before."""
    frame, middles, kept, dropped = _without_gaps(columns, roles, numbers, categorical, missing)
    levels = _levels(frame, categorical, declared)
    known = {name: tuple(values) for name, values in levels.items()}
    constants = _constants(frame, terms.written, middles)
    design, parts = terms.design(known, constants)
    x = [_column(columns, product, levels, constants) for product in parts]
    rows = _rows(frame, columns, roles, [*x, _number(roles.outcome)])
    inside = middles | dict.fromkeys(constants, 0.0)
    point = [*(_middle(product, inside) for product in parts), middles[roles.outcome]]
    sums = _with_all_digits(_sums_around_point(rows, roles, point), rows, roles)
    _check_unchanged(kept, int(sums.count.sum()))
    return sums, design, dropped


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
        """Refuse a name that is no column."""
        if name not in self.schema:
            raise DataError(f"there is no column {name!r}; the data have {listed(self.columns)}")

    def is_continuous(self, name: str) -> bool:
        """Whether a column holds floating-point numbers."""
        return bool(self.schema[name].is_float())

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories."""
        return self.schema[name] in (nw.String, *CATEGORIES)

    def check_gaps(self, names: Sequence[str]) -> None:
        """Do nothing: gaps are counted in one query, with all else that is to be checked."""

    def strings(self, name: str) -> NoReturn:
        """Refuse to fetch a column of rows, which only the order of several levels would need."""
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
        return _gaps(nw.col(name), self.schema[name])


def _gaps[Column: (nw.Expr, nw.Series[Any])](column: Column, kind: Any) -> Column:
    """Where values of a kind are null or not a number."""
    return column.is_null() | column.is_nan() if kind.is_float() else column.is_null()


def _collected(frame: nw.LazyFrame[Any]) -> nw.DataFrame[Any]:
    """Run a query, with polars in batches, which takes a third of the memory."""
    is_polars = frame.implementation is nw.Implementation.POLARS
    return frame.collect(engine="streaming") if is_polars else frame.collect()


def _number(name: str) -> nw.Expr:
    return nw.col(name).cast(nw.Float64)


def _categorical(
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


def _require_numbers(columns: LazyColumns, names: Sequence[str]) -> None:
    for name in names:
        if not columns.schema[name].is_numeric():
            raise DataError(
                f"column {name!r}: expected numbers; found the type {columns.schema[name]}. "
                f"Convert it where the data are"
            )


def _without_gaps(
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
    frame, found = columns.frame, _described(columns, columns.frame, used, numbers)
    rows = kept = int(found["rows"])
    if not rows:
        raise DataError("data: expected rows; the frame is empty")
    gaps = {name: int(found[f"gap{i}"]) for i, name in enumerate(used)}
    if any(gaps.values()):
        _check_gaps(gaps, rows, missing)
        frame = frame.filter(~reduce(or_, map(columns.is_gap, used)))
        found = _described(columns, frame, used, numbers)
        kept = int(found["rows"])
        if not kept:
            raise DataError(f"no rows are left after dropping {rows} with missing values")
    middles = {}
    for i, name in enumerate(numbers):
        low, high = found[f"low{i}"], found[f"high{i}"]
        _check_range(name, low, high, roles.se_scale if name == roles.se else None)
        middles[name] = _rounded(found[f"mean{i}"], high - low)
    return frame, middles, kept, rows - kept


def _described(
    columns: LazyColumns, frame: nw.LazyFrame[Any], used: Sequence[str], numbers: Sequence[str]
) -> dict[str, Any]:
    """Numbers of rows and of gaps, and ranges and means of numbers where there are no gaps."""
    flags = {f"gap{i}": columns.is_gap(name).cast(nw.Int64) for i, name in enumerate(used)}
    values = {f"x{i}": _number(name) for i, name in enumerate(numbers)}
    described = frame.select(**flags, **values).select(
        nw.len().alias("rows"),
        *(nw.col(name).sum() for name in flags),
        *(nw.col(f"x{i}").min().alias(f"low{i}") for i in range(len(numbers))),
        *(nw.col(f"x{i}").max().alias(f"high{i}") for i in range(len(numbers))),
        *(nw.col(f"x{i}").mean().alias(f"mean{i}") for i in range(len(numbers))),
    )
    (row,) = _collected(described).iter_rows(named=True)
    return row


def _check_unchanged(checked: int, added: int) -> None:
    """Refuse sums over other rows than those that were checked, in a query before."""
    if added != checked:
        raise DataError(
            f"data: {checked} rows were checked, and then {added} were added up: they changed in "
            f"between, or each query draws others. Store them, and fit what was stored"
        )


def _check_gaps(gaps: Mapping[str, int], rows: int, missing: Missing) -> None:
    """Refuse missing values, unless their rows are to be left out."""
    if missing == "drop":
        return
    name, count = next((name, count) for name, count in gaps.items() if count)
    raise DataError(
        f"column {name!r}: {count} missing value{plural(count)}, in {rows} rows. "
        f"{LEAVE_OUT} with missing='drop'"
    )


def _check_range(name: str, low: float, high: float, scale: Scale | None) -> None:
    """Refuse numbers out of range; ``scale`` is that of known errors."""
    if not max(abs(low), abs(high)) <= LARGEST:
        raise DataError(
            f"column {name!r}: expected finite numbers of size up to {LARGEST:g}; found values "
            f"from {low:g} to {high:g}"
        )
    if scale and low < SMALLEST[scale]:
        raise DataError(f"column {name!r}: expected positive {KINDS[scale]}; found {low:g}")


def _levels(
    frame: nw.LazyFrame[Any], categorical: Sequence[str], declared: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, list[Any]]]:
    """Values of each categorical covariate by the level that they are, a query for each."""
    found = {}
    for name in categorical:
        values = Frame(_collected(frame.select(name).unique()))
        series = values.select([name])[name]
        known = declared.get(name) or levels_of(name, series)
        by_level: dict[str, list[Any]] = {level: [] for level in known}
        for value in series.tolist():
            if level_text(value) not in by_level:
                raise DataError(
                    f"column {name!r}: found {value!r}; the levels declared are {listed(known)}"
                )
            by_level[level_text(value)].append(value)
        found[name] = by_level
    return found


def _constants(
    frame: nw.LazyFrame[Any], terms: Sequence[str], middles: Mapping[str, float]
) -> Constants:
    """Constants of ``center(x)`` and ``scale(x)``, in one query for all of them."""
    written = moved(terms)
    if not written:
        return {}
    away = {f"d{i}": _number(name) - middles[name] for i, name in enumerate(written)}
    squares = {f"s{i}": nw.col(f"d{i}") * nw.col(f"d{i}") for i in range(len(written))}
    sums = frame.select(**away).with_columns(**squares)
    total = [nw.col(name).sum() for name in (*away, *squares)]
    (found,) = _collected(sums.select(nw.len().alias("rows"), *total)).iter_rows(named=True)
    rows = int(found["rows"])
    constants = {}
    for i, (name, factor) in enumerate(written.items()):
        shift = found[f"d{i}"] / rows
        around = max(found[f"s{i}"] - rows * shift**2, 0.0)
        sd = float(np.sqrt(around / max(rows - 1, 1)))
        constants[name] = constants_of(factor, middles[name] + shift, sd)
    return constants


def _column(
    columns: LazyColumns,
    product: tuple[Part, ...],
    levels: Mapping[str, Mapping[str, list[Any]]],
    constants: Constants,
) -> nw.Expr:
    """A column of the design: a product of numbers and of indicators of levels."""

    def numbers(name: str) -> nw.Expr:
        if name not in constants:
            return _number(name)
        mean, unit = constants[name]
        return (_number(name) - mean) / unit

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


def _rounded(value: float, width: float) -> float:
    """A value to within a part of the width of the data, and of no more binary digits than that.

    Deviations from it have as few digits as the data: sums of integers or of halves stay exact.
    """
    if width == 0:
        return value
    unit = 2.0 ** (np.floor(np.log2(width)) - 3)
    return float(np.round(value / unit) * unit)


def _middle(product: tuple[Part, ...], middles: Mapping[str, float]) -> float:
    """A point in the midst of a column of the design."""
    return reduce(mul, (middles[name] if level is None else 0.5 for name, level in product))


@dataclass(frozen=True)
class _Sums:
    """Sums over each innermost group of deviations d of the columns z from a centre.

    Attributes
    ----------
    keys : narwhals.DataFrame
        Labels of the groups, a column for each level.
    count, weight : (g,)
    filled : (g, q + 1)
        Number of rows in which a column is not missing.
    log_weight : float
        Sum of ``log ω`` over all rows.
    centre : (g, q + 1)
    deviation : (g, q + 1)
        ``Σ ω d``
    product : (q + 1, q + 1)
        ``Σ ω d d'``, over all groups.
    varies : (q + 1,)
        Which columns differ between rows of one group.
    """

    keys: nw.DataFrame[Any]
    count: NDArray[np.intp]
    weight: Floats
    filled: Floats
    log_weight: float
    centre: Floats
    deviation: Floats
    product: Floats
    varies: NDArray[np.bool_]

    @property
    def complete(self) -> bool:
        """Whether no row lacks a value or a label, and all values are in range."""
        labels = (self.keys[name] for name in self.keys.columns)
        if any(_gaps(column, column.dtype).any() for column in labels):
            return False
        if (self.filled != self.count[:, None]).any() or not np.isfinite(self.deviation).all():
            return False
        with np.errstate(all="ignore"):
            largest = np.abs(self.centre).max(axis=0) + np.sqrt(np.diag(self.product))
        return bool((largest <= LARGEST).all())

    @property
    def scatter(self) -> Floats:
        """Cross-products around the groups' means; exactly 0 for a column that does not vary."""
        correction = (self.deviation / self.weight[:, None]).T @ self.deviation
        return np.where(np.outer(self.varies, self.varies), self.product - correction, 0.0)

    @property
    def rounding(self) -> float:
        """About the largest relative error of the sums of squares in the scatter.

        A sum of n positive numbers has a relative error of about ``√n ε`` (Higham & Mary, 2019,
        SIAM J. Sci. Comput. 41:A2815); what cancels makes it larger by as much.
        """
        with np.errstate(all="ignore"):
            left = np.diag(self.scatter)[self.varies] / np.diag(self.product)[self.varies]
        share = left.min(initial=1.0)
        if not share > 0:
            return float("inf")
        return float(np.finfo(float).eps * np.sqrt(self.count.max()) / share)


def _rows(
    frame: nw.LazyFrame[Any], columns: LazyColumns, roles: Roles, z: Sequence[nw.Expr]
) -> nw.LazyFrame[Any]:
    """The rows, of labels ``k``, columns ``z`` of the design and outcome, and weight ``w``."""
    weight = {}
    if roles.se is not None:
        power = 1 if roles.se_scale == "variance" else 2
        weight = {"w": 1.0 / _number(roles.se) ** power}
    labels = {
        key: columns.label(name) for key, name in zip(_keys(roles), roles.groups, strict=True)
    }
    return frame.select(**labels, **{f"z{j}": column for j, column in enumerate(z)}, **weight)


def _keys(roles: Roles) -> list[str]:
    return [f"k{i}" for i in range(len(roles.groups))]


def _weighted(roles: Roles, name: str) -> nw.Expr:
    return nw.col(name) if roles.se is None else nw.col("w") * nw.col(name)


def _with_all_digits(sums: _Sums, rows: nw.LazyFrame[Any], roles: Roles) -> _Sums:
    """The sums, or those around the groups' means where rounding would show."""
    if sums.rounding <= TOLERANCE:
        return sums
    again = _sums_around_means(rows, roles, len(sums.varies))
    _check_unchanged(int(sums.count.sum()), int(again.count.sum()))
    return again


def _sums_around_point(rows: nw.LazyFrame[Any], roles: Roles, point: Sequence[float]) -> _Sums:
    """Sums of deviations from one point for all groups, in one read of the rows.

    A covariate that is constant in each group has its value for its mean, and no deviations.
    """
    q = len(point) - 1
    away = rows.with_columns(**{f"d{j}": nw.col(f"z{j}") - c for j, c in enumerate(point)})
    ends = [
        end
        for j in range(q)
        for end in (nw.col(f"z{j}").min().alias(f"low{j}"), nw.col(f"z{j}").max().alias(f"high{j}"))
    ]
    sums = _added(away, roles, q + 1, ends)
    low, high = _stack(sums, "low", q), _stack(sums, "high", q)
    constant = np.append((low == high).all(axis=0), False)
    varies = np.append(~constant[:-1], sums["n"].max() > 1)
    centre = np.where(constant, np.column_stack([low, np.zeros(len(low))]), point)
    gathered = _gathered(sums, roles, centre, varies)
    return replace(gathered, deviation=np.where(constant, 0.0, gathered.deviation))


def _sums_around_means(rows: nw.LazyFrame[Any], roles: Roles, size: int) -> _Sums:
    """Sums of deviations from each group's own mean, in two reads of the rows.

    A column that is constant in a group has that very value for its mean there, so that its
    deviations are exactly 0.
    """
    keys = _keys(roles)
    total = nw.len() if roles.se is None else nw.col("w").sum()
    means = rows.with_columns(**{f"wz{j}": _weighted(roles, f"z{j}") for j in range(size)})
    means = means.group_by(*keys).agg(
        total.alias("total"),
        *(nw.col(f"wz{j}").sum().alias(f"s{j}") for j in range(size)),
        *(nw.col(f"z{j}").min().alias(f"low{j}") for j in range(size)),
        *(nw.col(f"z{j}").max().alias(f"high{j}") for j in range(size)),
    )
    means = means.select(
        *keys,
        **{
            f"m{j}": nw.when(nw.col(f"low{j}") == nw.col(f"high{j}"))
            .then(nw.col(f"low{j}"))
            .otherwise(nw.col(f"s{j}") / nw.col("total"))
            for j in range(size)
        },
    )
    joined = rows.join(means, on=keys, how="inner")
    away = joined.with_columns(**{f"d{j}": nw.col(f"z{j}") - nw.col(f"m{j}") for j in range(size)})
    sums = _added(away, roles, size, [nw.col(f"m{j}").min() for j in range(size)])
    varies = np.array([max(sums[f"p{j}_{j}"]) > 0 for j in range(size)])
    return _gathered(sums, roles, _stack(sums, "m", size), varies)


def _added(
    away: nw.LazyFrame[Any], roles: Roles, size: int, more: Sequence[nw.Expr]
) -> nw.DataFrame[Any]:
    """Add up deviations ``d``, their products and more over each innermost group."""
    weighted = away.with_columns(**{f"e{j}": _weighted(roles, f"d{j}") for j in range(size)})
    products = {f"p{j}_{k}": nw.col(f"e{j}") * nw.col(f"d{k}") for j, k in _pairs(size)}
    names = [*(f"e{j}" for j in range(size)), *products]
    if roles.se:
        products["l"] = nw.col("w").log()
        names += ["w", "l"]
    filled = [nw.col(f"e{j}").count().alias(f"f{j}") for j in range(size)]
    sums = [nw.len().alias("n"), *filled, *(nw.col(name).sum() for name in names), *more]
    return _collected(weighted.with_columns(**products).group_by(*_keys(roles)).agg(*sums))


def _gathered(
    sums: nw.DataFrame[Any], roles: Roles, centre: Floats, varies: NDArray[np.bool_]
) -> _Sums:
    """Sums of the groups as arrays."""
    size = len(varies)
    product = np.zeros((size, size))
    with np.errstate(all="ignore"):  # of values out of range
        for j, k in _pairs(size):
            product[j, k] = product[k, j] = _array(sums, f"p{j}_{k}").sum()
    count = _array(sums, "n").astype(np.intp)
    return _Sums(
        keys=sums.select(_keys(roles)),
        count=count,
        weight=_array(sums, "w") if roles.se else count.astype(float),
        filled=_stack(sums, "f", size),
        log_weight=float(_array(sums, "l").sum()) if roles.se else 0.0,
        centre=centre,
        deviation=_stack(sums, "e", size),
        product=product,
        varies=varies,
    )


def _array(sums: nw.DataFrame[Any], name: str) -> Floats:
    return np.asarray(sums[name].to_numpy(), dtype=float)


def _stack(sums: nw.DataFrame[Any], name: str, size: int) -> Floats:
    """Numbered columns side by side; (g, size)."""
    columns = [_array(sums, f"{name}{j}") for j in range(size)]
    return np.stack(columns, axis=1) if columns else np.empty((len(sums), 0))


def _pairs(q: int) -> list[tuple[int, int]]:
    """Places on and above the diagonal."""
    return [(j, k) for j in range(q) for k in range(j, q)]


def _statistics(roles: Roles, sums: _Sums, design: Design, dropped: int) -> dict[str, Any]:
    """Put the groups in order, and their sums in terms of means."""
    keys = sums.keys
    named = Frame(keys.rename(dict(zip(keys.columns, roles.groups, strict=True))))
    labels = [named.labels(name) for name in roles.groups]
    order = np.lexsort(labels[::-1])
    group, names, own, parents = nest([column[order] for column in labels], len(order))
    order = order[np.argsort(group)]
    count, weight = sums.count[order], sums.weight[order]
    _check_shared(roles, names[-1], count)
    mean, rest = two_sum(sums.centre[order], sums.deviation[order] / weight[:, None])
    return {
        "roles": roles,
        "design": design,
        "labels": names,
        "own_labels": own,
        "parents": parents,
        "count": count,
        "weight": weight,
        "mean": mean,
        "rest": rest,
        "scatter": sums.scatter,
        "log_weight": sums.log_weight,
        "dropped": dropped,
    }


def _check_shared(roles: Roles, labels: NDArray[Any], count: NDArray[np.intp]) -> None:
    """Refuse groups of several rows that nobody named, where each row has a standard error."""
    if roles.se and "groups" in roles.inferred and count.max() > 1:
        shared = int(np.argmax(count > 1))
        raise DataError(
            f"column {roles.groups[-1]!r}: label {short(labels[shared])} stands in {count[shared]} "
            f"rows, and each row has a standard error of its own. If these are several "
            f"measurements of one group, say groups={list(roles.groups)}; if not, give each its "
            f"own label"
        )
