"""Groups or rows of counts left out, where covariates vary within groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.glmm.laws import GlmmLaws
from hiermodels.exact.glmm_data import GlmmData
from hiermodels.exact.leaf_data import rows_or_totals
from hiermodels.exact.row_propriety import require_proper
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units

MANY = 300  # units without which it is looked at whether the posterior exists


def leave_out_units(spec: Spec, data: GroupedData, laws: GlmmLaws, units: Units) -> LogDensities:
    """Log density of each group's rows, or of each row, given all others.

    The posterior without a group is the whole one divided by the group's integral m, so that
    ``p(y_g | y_−g) = 1/E[1/m_g | y]``; without a row, that divided by the row's likelihood L:
    ``p(y_i | y_−i) = 1/E[1/L_i | y]``.
    """
    arrays, (rows, _) = GlmmData.of(spec, data), rows_or_totals(data)
    if units.level < len(spec.levels):
        own = np.bincount(rows.group[arrays.order], arrays.constant, rows.n_groups)
        left_out, error = laws.leave_out(0)
        again, unit = laws.again(0), rows.group
    else:
        own, unit = np.empty(rows.n_rows), np.arange(rows.n_rows)
        left_out, error, again = np.empty((3, rows.n_rows))
        left_out[arrays.order], error[arrays.order], again[arrays.order] = laws.rows_left_out()
        own[arrays.order] = arrays.constant
    reasons = _reasons(spec, rows, unit, error)
    lost = np.isin(np.arange(len(own)), list(reasons))
    left_out, again, error = np.where(lost, np.nan, [left_out + own, again + own, error])
    n_points = len(laws.posterior.points.tau)
    return LogDensities(left_out, again, error, n_points=n_points, reasons=reasons)


def _reasons(spec: Spec, rows: GroupedRows, unit: Indices, error: Floats) -> dict[int, str]:
    """Why units cannot be left out: the posterior of the others does not exist.

    Of very many units those are looked at that are known least well.
    """
    reasons: dict[int, str] = {}
    for one in np.argsort(-error, kind="stable")[:MANY].tolist():
        kept = unit != one
        try:
            require_proper(spec, some_rows(rows, kept))
        except ImproperPosteriorError as failure:
            reasons[one] = str(failure)
    return reasons


def some_rows(rows: GroupedRows, kept: Flags) -> GroupedRows:
    """Some of the rows of one column of groups, and the groups that they are in."""
    present, group = np.unique(rows.group[kept], return_inverse=True)
    return replace(
        rows,
        y=rows.y[kept],
        group=group,
        labels=(rows.labels[0][present],),
        own_labels=(rows.own_labels[0][present],),
        design=replace(rows.design, matrix=rows.design.matrix[kept]),
        columns={name: column[kept] for name, column in rows.columns.items()},
    )
