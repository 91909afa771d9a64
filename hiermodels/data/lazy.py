"""Statistics of groups from data that stay where they are: the engine adds up, rows do not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pandas as pd

from hiermodels.data.backend_errors import translate_errors
from hiermodels.data.coding import Constants, Part, declared_levels, moved, term_columns
from hiermodels.data.design import Design, layout
from hiermodels.data.frame import Frame
from hiermodels.data.lazy_columns import (
    LazyColumns,
    as_number,
    categorical_columns,
    collected,
    constants_of_columns,
    design_column,
    middle_of_column,
    middles_of_first,
    require_numbers,
    values_of_levels,
    without_gaps,
)
from hiermodels.data.lazy_counts import counted, kinds_of, with_truth_as_numbers
from hiermodels.data.lazy_sums import (
    Sums,
    check_unchanged,
    design_rows,
    sums_around_point,
    with_all_digits,
)
from hiermodels.data.nesting import attributes_of, number_groups
from hiermodels.data.read_rows import Missing, require_missing
from hiermodels.data.roles import (
    NO_COVARIANCES,
    NO_GROUPS,
    Roles,
    infer_roles,
)
from hiermodels.data.shared_groups import check_shared
from hiermodels.data.slopes import columns_with_slopes, slopes_of_products
from hiermodels.data.totals import OFFSET, require_additive
from hiermodels.errors import SpecError
from hiermodels.families.normal import STRATA
from hiermodels.model.formula.columns import Stated
from hiermodels.numerics.group_sums import two_sum

type Fields = tuple[Any, dict[str, Any]]
"""Label of a stratum, or None, and the fields of :class:`hiermodels.SufficientStatistics`."""


def as_lazy(data: Any) -> nw.LazyFrame[Any] | None:
    """The data as narwhals' lazy frame, if they are lazy: polars, DuckDB, Dask, Ibis, PySpark."""
    if isinstance(data, pd.DataFrame):  # whose names of columns may be repeated
        return None
    frame = nw.from_native(data, pass_through=True)
    return frame if isinstance(frame, nw.LazyFrame) else None


def aggregate_lazily(
    frame: nw.LazyFrame[Any],
    said: Stated,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
) -> list[Fields]:
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
    ``5 + 4q + (q + 1)(q + 2)/2`` numbers with q columns of covariates.  Of counts it returns a row
    for each number of successes (and of trials) in each group, after the query for gaps and ranges,
    see :func:`hiermodels.data.lazy_counts.counted`.

    Parameters
    ----------
    frame : narwhals.LazyFrame
    said, levels, missing
        As in :func:`hiermodels.data.read_rows.read_part`.  Groups are inferred where there is one
        column of text or categories only.

    Returns
    -------
    list of Fields
        Of the rows of each stratum, if there are any, else one of all without a label.
        With the groups in the order of their labels: lazy frames have none of their own.

    Raises
    ------
    DataError
        If the data cannot be used as they are, or the engine fails.
    """
    with translate_errors(frame):
        return _aggregated(frame, said, levels, missing)


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
    said: Stated,
    levels: Mapping[str, Sequence[str]] | None,
    missing: Missing,
) -> list[Fields]:
    """Check the rows, and reduce them: see :func:`aggregate_lazily`."""
    columns, covariates = LazyColumns(frame), tuple(said.covariates)
    terms = Terms(covariates, said.intercept)
    roles = infer_roles(columns, said, term_columns(covariates))
    if not roles.groups:
        raise SpecError(NO_GROUPS)
    if roles.sampling is not None:
        raise SpecError(NO_COVARIANCES)
    require_missing(missing)
    has_totals = require_additive(roles)
    if has_totals:
        columns = with_truth_as_numbers(columns, roles)
    categorical = categorical_columns(columns, covariates, levels)
    numbers = [name for name in term_columns(covariates) if name not in categorical]
    errors = [roles.se] if roles.se else []
    more = (name for role, name in roles.columns.items() if role != STRATA)
    numbers = [roles.outcome, *errors, *more, *numbers]
    require_numbers(columns, numbers)
    declared = declared_levels(levels, term_columns(covariates))
    if has_totals:
        rows = _checked(columns, roles, numbers, categorical, terms, declared, missing)
        return [(None, _counted(columns, roles, rows))]
    if STRATA in roles.columns:
        rows = _checked(columns, roles, numbers, categorical, terms, declared, missing)
        return _by_stratum(columns, roles, rows)
    simple = not categorical and not roles.is_weighted and not moved(covariates)
    sums = _at_first_sight(columns, roles, numbers, terms) if simple else None
    if sums is None:
        rows = _checked(columns, roles, numbers, categorical, terms, declared, missing)
        sums = _after_checks(columns, roles, rows)
        check_unchanged(rows.kept, int(sums[0].count.sum()))
    return [(None, _statistics(roles, *sums))]


type _Aggregated = tuple[Sums, Design, int]
"""Sums of the groups, columns of the design, and the number of rows that were left out."""


def _at_first_sight(
    columns: LazyColumns, roles: Roles, numbers: Sequence[str], terms: Terms
) -> _Aggregated | None:
    """Sums in one read of the rows, around a point among the first of them.

    None where they do not show that every value is there and in range.
    """
    design, parts = terms.design({}, {})
    if any(len(product) > 1 for product in parts):
        return None
    middles = middles_of_first(columns, numbers)
    if not middles:
        return None
    z = [*(name for ((name, _),) in parts), roles.outcome]
    rows = design_rows(columns.frame, columns, roles, [as_number(name) for name in z])
    slopes = columns_with_slopes(roles.varying, design)
    sums = sums_around_point(rows, roles, [middles[name] for name in z], slopes)
    if not sums.complete:
        return None
    sums = with_all_digits(sums, rows, roles)
    return sums, design, 0


class Checked(NamedTuple):
    """Rows whose gaps, ranges and levels were looked at.

    Attributes
    ----------
    frame : narwhals.LazyFrame
    middles : mapping of str to float
        A point in the midst of each column of numbers.
    kept, dropped : int
        Numbers of rows that are used and that are not.
    design : Design
        Without its rows.
    x : list of narwhals.Expr
        Its columns.
    point : list of float
        A point in the midst of each of these.
    """

    frame: nw.LazyFrame[Any]
    middles: Mapping[str, float]
    kept: int
    dropped: int
    design: Design
    x: list[nw.Expr]
    point: list[float]


def _checked(
    columns: LazyColumns,
    roles: Roles,
    numbers: Sequence[str],
    categorical: Sequence[str],
    terms: Terms,
    declared: Mapping[str, tuple[str, ...]],
    missing: Missing,
) -> Checked:
    """Look at the rows in queries, and write the columns of the design."""
    strata = [name for role, name in roles.columns.items() if role == STRATA]
    labels = [*categorical, *strata]
    frame, middles, kept, dropped = without_gaps(columns, roles, numbers, labels, missing)
    levels = values_of_levels(frame, categorical, declared)
    known = {name: tuple(values) for name, values in levels.items()}
    constants = constants_of_columns(frame, terms.written, middles)
    design, parts = terms.design(known, constants)
    x = [design_column(columns, product, levels, constants) for product in parts]
    inside = middles | dict.fromkeys(constants, 0.0)
    point = [middle_of_column(product, inside) for product in parts]
    return Checked(frame, middles, kept, dropped, design, x, point)


def _by_stratum(columns: LazyColumns, roles: Roles, checked: Checked) -> list[Fields]:
    """Fields of the rows of each stratum that were looked at before, in the order of labels.

    Which strata there are takes a query, and each of them what all rows take without strata.
    """
    name, parts = roles.columns[STRATA], []
    label = columns.label(name)
    found = Frame(collected(checked.frame.select(**{name: label}).unique()))
    values, labels = found.select([name])[name].tolist(), found.labels(name)
    for k in np.argsort(labels):
        own = checked._replace(frame=checked.frame.filter(label == values[k]))
        sums = _after_checks(columns, roles, own)
        parts.append((labels[k], _statistics(roles, *sums)))
    check_unchanged(checked.kept, sum(int(own["count"].sum()) for _, own in parts))
    for _, fields in parts[1:]:
        fields["dropped"] = 0
    return parts


def _after_checks(columns: LazyColumns, roles: Roles, checked: Checked) -> _Aggregated:
    """Sums over rows that were looked at before."""
    z, point = as_number(roles.outcome), checked.middles[roles.outcome]
    rows = design_rows(checked.frame, columns, roles, [*checked.x, z])
    slopes = columns_with_slopes(roles.varying, checked.design)
    sums = sums_around_point(rows, roles, [*checked.point, point], slopes)
    sums = with_all_digits(sums, rows, roles)
    return sums, checked.design, checked.dropped


def _counted(columns: LazyColumns, roles: Roles, checked: Checked) -> dict[str, Any]:
    """Totals of counts of rows that were looked at before."""
    middle = checked.middles.get(roles.columns.get(OFFSET, ""), 0.0)
    kinds = kinds_of(columns, checked.frame, roles, checked.x, middle)
    check_unchanged(checked.kept, int(kinds.values["rows"].sum()))
    fields = counted(roles, kinds, checked.design.names, middle)
    return {"roles": roles, "design": checked.design, "dropped": checked.dropped, **fields}


def _statistics(roles: Roles, sums: Sums, design: Design, dropped: int) -> dict[str, Any]:
    """Put the groups in order, and their sums in terms of means."""
    keys = sums.keys
    named = Frame(keys.rename(dict(zip(keys.columns, roles.groups, strict=True))))
    labels = {name: named.labels(name) for name in roles.groups}
    order = np.lexsort([*reversed(labels.values())])  # by its last key first
    ordered = {name: column[order] for name, column in labels.items()}
    members, levels = number_groups(ordered, len(order), roles.nesting)
    if not roles.nesting:
        order = order[np.argsort(members[-1])]
    count, weight = sums.count[order], sums.weight[order]
    if not roles.nesting:
        check_shared(roles, levels, count, lambda shared: f"{count[shared]} rows")
    mean, rest = two_sum(sums.centre[order], sums.deviation[order] / weight[:, None])
    slopes = None
    if roles.varying:
        slopes = slopes_of_products(sums.own_scatter[order], sums.scatter, sums.slopes)
    return {
        "roles": roles,
        "design": design,
        **attributes_of(levels),
        "count": count,
        "weight": weight,
        "mean": mean,
        "rest": rest,
        "scatter": sums.scatter,
        "log_weight": sums.log_weight,
        "dropped": dropped,
        "slopes": slopes,
        "crossed": members if roles.nesting else (),
    }
