"""Totals of counts from rows that stay where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed
from hiermodels.data.frame import Frame
from hiermodels.data.lazy_columns import LazyColumns, array_of, as_number, collected
from hiermodels.data.nesting import GroupLevel, attributes_of, nest
from hiermodels.data.outcome import default_columns, require_domain, require_single_trials
from hiermodels.data.roles import Roles
from hiermodels.data.totals import OFFSET, as_mapping, require_one_predictor
from hiermodels.families.checks import OUTCOME
from hiermodels.families.totals import Counts, totals

EXPOSURE = "exposure"  # the one column of counts that is no whole number


class Kinds(NamedTuple):
    """Rows of one group with the same counts: of each such kind what all its rows come to.

    Attributes
    ----------
    group : (n,)
        Index of each kind's innermost group.
    levels : tuple of GroupLevel
        The outermost first.
    values : mapping of str to (n,)
        What the query returned, by name.
    """

    group: Indices
    levels: tuple[GroupLevel, ...]
    values: Mapping[str, Floats]

    def constant(self, name: str) -> tuple[Floats, NDArray[np.bool_]]:
        """A column's least value in each group, and whether there are others; (g,) each."""
        size = len(self.levels[-1])
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(low, self.group, self.values[f"{name}_low"])
        np.maximum.at(high, self.group, self.values[f"{name}_high"])
        return low, low < high


def with_truth_as_numbers(columns: LazyColumns, roles: Roles) -> LazyColumns:
    """The same columns with truth values of the outcome as numbers, 0 and 1."""
    if columns.schema[roles.outcome] != nw.Boolean:
        return columns
    require_single_trials(roles)
    number = nw.col(roles.outcome).cast(nw.Int64)
    return LazyColumns(columns.frame.with_columns(number.alias(roles.outcome)))


def kinds_of(
    columns: LazyColumns,
    frame: nw.LazyFrame[Any],
    roles: Roles,
    x: Sequence[nw.Expr],
    middle: float,
) -> Kinds:
    """Run one query for all kinds of rows, and put the groups in the order of their labels.

    A kind is of one group, with one count, and one number of trials if there are any.  So the
    constants of the likelihood are computed here, once for each kind, and values that no count can
    have are found with the group that they are in.  With an exposure E and an offset o in a kind of
    m rows, the sums of ``E e^o`` and of ``log E + o`` say all.

    Parameters
    ----------
    columns : LazyColumns
    frame : narwhals.LazyFrame
        Rows without gaps.
    roles : Roles
    x : sequence of narwhals.Expr
        Columns of the design.
    middle : float
        An offset among those of the rows.
    """
    keys = {f"k{i}": columns.label(name) for i, name in enumerate(roles.groups)}
    counts = {OUTCOME: roles.outcome, **roles.columns}
    given = [role for role in (EXPOSURE, OFFSET) if role in roles.columns]
    kept = {role: as_number(name) for role, name in counts.items()}
    select = frame.select(**keys, **kept, **{f"x{i}": column for i, column in enumerate(x)})
    by = [*keys, *(role for role in counts if role not in given)]
    sums = {"rows": nw.len()}
    if given and roles.family.link == "log":
        select = select.with_columns(**_weights(given, middle))
        sums |= {name: nw.col(name).sum() for name in ("weight", "log_weight")}
    for name in (*given, *(f"x{i}" for i in range(len(x)))):
        sums |= {f"{name}_low": nw.col(name).min(), f"{name}_high": nw.col(name).max()}
    result = collected(select.group_by(*by).agg(*(sum_.alias(name) for name, sum_ in sums.items())))
    named = Frame(result.select(list(keys)).rename(dict(zip(keys, roles.groups, strict=True))))
    labels = {name: named.labels(name) for name in roles.groups}
    order = np.lexsort([array_of(result, OUTCOME), *reversed(labels.values())])
    group, levels = nest({name: column[order] for name, column in labels.items()}, len(order))
    values = {name: array_of(result, name)[order] for name in (*by[len(keys) :], *sums)}
    return Kinds(group, levels, values)


def counted(roles: Roles, kinds: Kinds, covariates: Sequence[str], middle: float) -> dict[str, Any]:
    """Statistics of groups of counts, from what :func:`kinds_of` returned.

    Parameters
    ----------
    roles : Roles
    kinds : Kinds
    covariates : sequence of str
        Names of the columns of the design.
    middle : float
        As it was for the kinds.

    Returns
    -------
    dict of str to object
        Fields of :class:`hiermodels.SufficientStatistics`.
    """
    _require_domain(roles, kinds)
    group, levels = kinds.group, kinds.levels
    size, (y, repeats) = len(levels[-1]), (kinds.values[name] for name in (OUTCOME, "rows"))
    count = np.bincount(group, weights=repeats, minlength=size)
    own = {name: kinds.constant(f"x{i}") for i, name in enumerate(covariates)}
    offsets, differ = np.zeros(size), np.zeros(size, dtype=bool)
    if OFFSET in roles.columns:
        offsets, differ = kinds.constant(OFFSET)
    differs = {name: others for name, (_, others) in own.items()}
    require_one_predictor(roles, count.astype(np.intp), differs, differ, levels[-1].labels)
    mean_y = np.bincount(group, weights=repeats * y, minlength=size) / count
    scatter = np.zeros((len(own) + 1, len(own) + 1))
    scatter[-1, -1] = repeats @ (y - mean_y[group]) ** 2
    mean = np.column_stack([*(values for values, _ in own.values()), mean_y])
    counts = _totals(roles, kinds, offsets if roles.family.link != "log" else middle)
    return {
        **attributes_of(levels),
        "count": count.astype(np.intp),
        "weight": count,
        "mean": mean,
        "rest": np.zeros_like(mean),
        "scatter": scatter,
        "log_weight": 0.0,
        "totals": as_mapping(roles, counts),
    }


def _weights(given: Sequence[str], middle: float) -> dict[str, nw.Expr]:
    """``E e^{o − middle}`` and its logarithm; of an exposure that is not positive, as of 1."""
    exposure, log_weight = nw.lit(1.0), nw.lit(0.0)
    if EXPOSURE in given:
        is_positive = nw.col(EXPOSURE) > 0
        exposure = nw.when(is_positive).then(nw.col(EXPOSURE)).otherwise(nw.lit(1.0))
        log_weight = exposure.log()
    if OFFSET in given:
        shift = nw.col(OFFSET) - middle
        return {"weight": exposure * shift.exp(), "log_weight": log_weight + shift}
    return {"weight": exposure, "log_weight": log_weight}


def _require_domain(roles: Roles, kinds: Kinds) -> None:
    """Raise DataError at the first column with values that the family does not take."""
    values, size = kinds.values, len(kinds.group)
    given = {
        role: values[f"{role}_low" if role == EXPOSURE else role]
        for role in roles.columns
        if role != OFFSET
    }
    by_name = {roles.outcome: values[OUTCOME]}
    by_name |= {roles.columns[role]: column for role, column in given.items()}

    def show_rows(rows: Indices) -> str:
        groups = kinds.levels[-1].labels[np.unique(kinds.group[rows])]
        return f"rows of {roles.groups[-1]} {listed(groups.tolist())}"

    def value(name: str, row: int) -> str:
        return f"{by_name[name][row]:g}"

    columns = {**default_columns(roles.family, size), **given}
    require_domain(roles, values[OUTCOME], columns, value, show_rows)


def _totals(roles: Roles, kinds: Kinds, offset: Floats | float) -> Counts:
    """Totals of the groups, whose offset is this.

    Rows of a kind that differ in exposure and offset stand in for one another with the same
    ``mean(log E + o)``: this changes the sum E of the exposures to E', which the constant
    ``y log(E'/E)`` puts right.
    """
    values, group, size = kinds.values, kinds.group, len(kinds.levels[-1])
    repeats, weights = values["rows"], values.get("weight")
    columns = default_columns(roles.family, len(group))
    columns |= {role: values[role] for role in roles.family.columns if role in values}
    if weights is not None:
        columns[EXPOSURE] = np.exp(values["log_weight"] / repeats)
    given = np.broadcast_to(np.asarray(offset, dtype=float), size)
    rows = Counts(values[OUTCOME], columns, given[group], np.zeros(len(group)))
    counts = totals(roles.family, rows, group, size, repeats)
    if weights is None:
        return counts
    exposure = np.bincount(group, weights=weights, minlength=size)
    right = counts.y * np.log(counts.columns[EXPOSURE] / exposure)
    columns = {**counts.columns, EXPOSURE: exposure}
    return Counts(counts.y, columns, counts.offset, counts.log_given + right)
