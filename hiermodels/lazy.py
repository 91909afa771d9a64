"""Statistics of groups from data that stay where they are: the engine adds up, rows do not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul, or_
from typing import Any, NoReturn

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from hiermodels.data import LEAVE_OUT, Frame, Missing, Roles, infer_roles, nest, require_missing
from hiermodels.design import (
    Design,
    Part,
    declared_levels,
    layout,
    level_text,
    levels_of,
    term_columns,
)
from hiermodels.errors import DataError, SpecError
from hiermodels.failures import told_as_data_errors
from hiermodels.formula import factors
from hiermodels.gaussian import Floats
from hiermodels.statistics import NO_GROUPS, SufficientStatistics, two_sum
from hiermodels.wording import LARGEST, listed, plural, short

CATEGORIES = (nw.Categorical, nw.Enum)


def as_lazy(data: Any) -> nw.LazyFrame[Any] | None:
    """The data as narwhals' lazy frame, if they are lazy: polars, DuckDB, Dask, Ibis, PySpark."""
    frame = nw.from_native(data, pass_through=True)
    return frame if isinstance(frame, nw.LazyFrame) else None


def aggregate_lazily(
    frame: nw.LazyFrame[Any],
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | None = None,
    covariates: Sequence[str] = (),
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
) -> SufficientStatistics:
    """Let the engine that holds the rows reduce them to statistics.

    The engine reads the rows three times, in two queries: once for gaps and ranges; then for the
    groups' means and, joined with these, for the sums of deviations d from them.  With the means
    at hand no difference of large sums is formed::

        weight = Σ ω   mean + Σ ω d / weight   scatter = Σ ω d d' − Σ ω d (Σ ω d)' / weight

    Each categorical covariate takes one more query, for its levels.  One row for each innermost
    group comes back, of its labels and ``3 + 2(q + 1) + (q + 1)(q + 2)/2`` numbers with q
    columns of covariates.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    outcome, groups, se, covariates, levels, missing
        As in :func:`hiermodels.data.read_part`.  Groups are inferred where there is one column of
        text or categories only.

    Returns
    -------
    SufficientStatistics
        With the groups in the order of their labels: lazy frames have none of their own.

    Raises
    ------
    DataError
        If the data cannot be used as they are, or the engine fails.
    """
    with told_as_data_errors(frame):
        return _aggregated(frame, outcome, groups, se, covariates, levels, missing)


def _aggregated(
    frame: nw.LazyFrame[Any],
    outcome: str | None,
    groups: Sequence[str] | str | None,
    se: str | None,
    covariates: Sequence[str],
    levels: Mapping[str, Sequence[str]] | None,
    missing: Missing,
) -> SufficientStatistics:
    """Check the rows, and reduce them: see :func:`aggregate_lazily`."""
    columns = LazyColumns(frame)
    roles = infer_roles(columns, outcome, groups, se, term_columns(covariates))
    if not roles.groups:
        raise SpecError(NO_GROUPS)
    require_missing(missing)
    categorical = _categorical(columns, covariates, levels)
    numbers = [name for name in term_columns(covariates) if name not in categorical]
    numbers = [roles.outcome, *([roles.se] if roles.se else []), *numbers]
    _require_numbers(columns, numbers)
    frame, kept, dropped = _without_gaps(columns, roles, numbers, categorical, missing)
    levels_by_text = _levels(columns, frame, covariates, categorical, levels)
    known = {name: tuple(values) for name, values in levels_by_text.items()}
    names, parts = layout(covariates, known)
    design = Design(names, np.empty((0, len(names))), known, tuple(covariates))
    x = [_column(columns, product, levels_by_text) for product in parts]
    sums = _sums(frame, columns, roles, [*x, _number(roles.outcome)])
    _check_unchanged(kept, int(sums["n"].sum()))
    return _statistics(sums, roles, design, dropped)


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
        gap = nw.col(name).is_null()
        return gap | nw.col(name).is_nan() if self.schema[name].is_float() else gap


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
) -> tuple[nw.LazyFrame[Any], int, int]:
    """Check gaps and ranges in one query; returns the rows to use, their number, and of others."""
    used = [*roles.groups, *numbers, *categorical]
    any_gap = reduce(or_, map(columns.is_gap, used))
    flags = {f"gap{i}": columns.is_gap(name).cast(nw.Int64) for i, name in enumerate(used)}
    values = {f"x{i}": nw.when(~any_gap).then(_number(name)) for i, name in enumerate(numbers)}
    checked = columns.frame.select(gap=any_gap.cast(nw.Int64), **flags, **values)
    found = checked.select(
        nw.len().alias("rows"),
        *(nw.col(name).sum() for name in ("gap", *flags)),
        *(nw.col(name).min().alias(f"low_{name}") for name in values),
        *(nw.col(name).max().alias(f"high_{name}") for name in values),
    )
    (row,) = _collected(found).iter_rows(named=True)
    if not row["rows"]:
        raise DataError("data: expected rows; the frame is empty")
    gaps = {name: int(row[f"gap{i}"]) for i, name in enumerate(used)}
    dropped = _check_gaps(gaps, int(row["gap"]), int(row["rows"]), missing)
    for i, name in enumerate(numbers):
        _check_range(name, row[f"low_x{i}"], row[f"high_x{i}"], name == roles.se)
    return columns.frame.filter(~any_gap), int(row["rows"]) - dropped, dropped


def _check_unchanged(checked: int, added: int) -> None:
    """Refuse sums over other rows than those that were checked, in a query before."""
    if added != checked:
        raise DataError(
            f"data: {checked} rows were checked, and then {added} were added up: they changed in "
            f"between, or each query draws others. Store them, and fit what was stored"
        )


def _check_gaps(gaps: Mapping[str, int], gap: int, rows: int, missing: Missing) -> int:
    """Refuse missing values, or return the number of rows that have some."""
    if missing == "drop":
        if gap == rows:
            raise DataError(f"no rows are left after dropping {gap} with missing values")
        return gap
    for name, count in gaps.items():
        if count:
            raise DataError(
                f"column {name!r}: {count} missing value{plural(count)}, in {rows} rows. "
                f"{LEAVE_OUT} with missing='drop'"
            )
    return 0


def _check_range(name: str, low: float, high: float, is_se: bool) -> None:
    if not max(abs(low), abs(high)) <= LARGEST:
        raise DataError(
            f"column {name!r}: expected finite numbers of size up to {LARGEST:g}; found values "
            f"from {low:g} to {high:g}"
        )
    if is_se and low < 1 / LARGEST:
        raise DataError(f"column {name!r}: expected positive standard errors; found {low:g}")


def _levels(
    columns: LazyColumns,
    frame: nw.LazyFrame[Any],
    terms: Sequence[str],
    categorical: Sequence[str],
    levels: Mapping[str, Sequence[str]] | None,
) -> dict[str, dict[str, list[Any]]]:
    """Values of each categorical covariate by the level that they are, a query for each."""
    declared = declared_levels(levels, term_columns(terms))
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


def _column(
    columns: LazyColumns,
    product: tuple[Part, ...],
    levels: Mapping[str, Mapping[str, list[Any]]],
) -> nw.Expr:
    """A column of the design: a product of numbers and of indicators of levels."""
    factors_ = [
        _number(name)
        if level is None
        else nw.when(columns.label(name).is_in(levels[name][level]))
        .then(nw.lit(1.0))
        .otherwise(nw.lit(0.0))
        .cast(nw.Float64)
        for name, level in product
    ]
    return reduce(mul, factors_)


def _sums(
    frame: nw.LazyFrame[Any], columns: LazyColumns, roles: Roles, z: Sequence[nw.Expr]
) -> nw.DataFrame[Any]:
    """Sums over each innermost group of weights, deviations from the mean and their products.

    A column that is constant in a group has that very value for its mean there, so that its
    deviations are exactly 0.
    """
    q, keys = len(z), [f"k{i}" for i in range(len(roles.groups))]
    weight = nw.lit(1.0).cast(nw.Float64) if roles.se is None else 1.0 / _number(roles.se) ** 2
    rows = frame.select(
        **{key: columns.label(name) for key, name in zip(keys, roles.groups, strict=True)},
        **{f"z{j}": column for j, column in enumerate(z)},
        w=weight,
    )
    rows = rows.with_columns(**{f"wz{j}": nw.col("w") * nw.col(f"z{j}") for j in range(q)})
    means = rows.group_by(*keys).agg(
        nw.col("w").sum().alias("total"),
        *(nw.col(f"wz{j}").sum().alias(f"s{j}") for j in range(q)),
        *(nw.col(f"z{j}").min().alias(f"low{j}") for j in range(q)),
        *(nw.col(f"z{j}").max().alias(f"high{j}") for j in range(q)),
    )
    means = means.select(
        *keys,
        **{
            f"m{j}": nw.when(nw.col(f"low{j}") == nw.col(f"high{j}"))
            .then(nw.col(f"low{j}"))
            .otherwise(nw.col(f"s{j}") / nw.col("total"))
            for j in range(q)
        },
    )
    joined = rows.join(means, on=keys, how="inner")
    joined = joined.with_columns(**{f"d{j}": nw.col(f"z{j}") - nw.col(f"m{j}") for j in range(q)})
    joined = joined.with_columns(
        **{f"e{j}": nw.col("w") * nw.col(f"d{j}") for j in range(q)},
        **{f"p{j}_{k}": nw.col("w") * nw.col(f"d{j}") * nw.col(f"d{k}") for j, k in _pairs(q)},
        l=nw.col("w").log(),
    )
    added = ["w", "l", *(f"e{j}" for j in range(q)), *(f"p{j}_{k}" for j, k in _pairs(q))]
    sums = joined.group_by(*keys).agg(
        nw.len().alias("n"),
        *(nw.col(name).sum().alias(f"sum_{name}") for name in added),
        *(nw.col(f"m{j}").min() for j in range(q)),
    )
    return _collected(sums)


def _pairs(q: int) -> list[tuple[int, int]]:
    """Places on and above the diagonal."""
    return [(j, k) for j in range(q) for k in range(j, q)]


def _statistics(
    sums: nw.DataFrame[Any], roles: Roles, design: Design, dropped: int
) -> SufficientStatistics:
    """Put the sums together: a row of them for each innermost group."""
    keys = sums.select(f"k{i}" for i in range(len(roles.groups)))
    named = Frame(keys.rename(dict(zip(keys.columns, roles.groups, strict=True))))
    labels = [named.labels(name) for name in roles.groups]
    order = np.lexsort(labels[::-1])
    group, names, own, parents = nest([column[order] for column in labels], len(order))
    order = order[np.argsort(group)]

    def of(name: str) -> Floats:
        return np.array(sums[name].to_list(), dtype=float)[order]

    q = len(design.names) + 1
    weight, count = of("sum_w"), of("n").astype(np.intp)
    _check_shared(roles, names[-1], count)
    deviation = np.stack([of(f"sum_e{j}") for j in range(q)], axis=1)
    mean, rest = two_sum(
        np.stack([of(f"m{j}") for j in range(q)], axis=1), deviation / weight[:, None]
    )
    scatter = np.empty((q, q))
    for j, k in _pairs(q):
        correction = deviation[:, j] * deviation[:, k] / weight
        scatter[j, k] = scatter[k, j] = (of(f"sum_p{j}_{k}") - correction).sum()
    return SufficientStatistics(
        roles=roles,
        design=design,
        labels=names,
        own_labels=own,
        parents=parents,
        count=count,
        weight=weight,
        mean=mean,
        rest=rest,
        scatter=scatter,
        log_weight=float(of("sum_l").sum()),
        dropped=dropped,
    )


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
