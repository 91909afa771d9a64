"""Groups of counts, or rows of them, left out, one at a time, without fitting anew.

The posterior without a group is the whole one divided by the group's own integral m, so that

    log p(y_i | y_−i) = −log E[1/m_i | y].
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.leaf_data import leaf_design
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.leaf_rows_left_out import DistinctRows, change_rows
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import leave_out, new_groups
from hiermodels.exact.precision import both_weights
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units


def leave_out_units(
    spec: Spec, data: GroupedData, posterior: LeafPosterior, units: Units
) -> LogDensities:
    """Log density of each group's rows, or of each row, given all others."""
    if units.level < len(spec.levels):
        return _groups(spec, data, posterior)
    return _rows(spec, data, posterior)


def _groups(spec: Spec, data: GroupedData, posterior: LeafPosterior) -> LogDensities:
    """Log density of each group's rows given all other groups, and of another group like it."""
    model = posterior.model
    again = np.empty(len(model.leaves))
    for alike in model.alike:
        again[alike.groups] = new_groups(posterior, model.leaves.take(alike.groups), alike.x)
    left_out = leave_out(posterior)
    design = leaf_design(spec, data, model.leaves, model.x)
    every, no = np.arange(len(again)), np.zeros(len(again), dtype=bool)
    reasons = _reasons(design, every, no, no)
    error = _error(posterior, left_out)
    return _known(left_out, again, error, len(posterior.lattice), reasons)


def _rows(spec: Spec, data: GroupedData, posterior: LeafPosterior) -> LogDensities:
    """Log density of each row given all others, and of another row of its group like it."""
    model, rows = posterior.model, DistinctRows.of(spec.family, require_rows(data, "loo"))
    every, some = np.arange(len(rows.group)), np.flatnonzero(~rows.is_alone)
    left_out = leave_out(posterior)[rows.group]
    error = _error(posterior, leave_out(posterior))[rows.group]
    falls = np.zeros((2, len(every)), dtype=bool)
    less = change_rows(posterior, rows, some, -1)
    left_out[some], error[some] = -less.log_ratio, less.error
    falls[:, some] = less.falls_below, less.falls_above
    again = change_rows(posterior, rows, every, 1).log_ratio
    design = leaf_design(spec, data, model.leaves, model.x)
    of_kind = _reasons(design, rows.group, *falls)
    reasons = {
        row: of_kind[kind] for row, kind in enumerate(rows.of_row.tolist()) if kind in of_kind
    }
    left_out, again, error = (part[rows.of_row] for part in (left_out, again, error))
    return _known(left_out, again, error, len(posterior.lattice), reasons)


def _known(
    left_out: Floats, again: Floats, error: Floats, n_points: int, reasons: dict[int, str]
) -> LogDensities:
    """Log densities, nan of what cannot be left out."""
    lost = np.isin(np.arange(len(again)), list(reasons))
    left_out, again, error = np.where(lost, np.nan, [left_out, again, error])
    return LogDensities(left_out, again, error, n_points=n_points, reasons=reasons)


def _error(posterior: LeafPosterior, left_out: Floats) -> Floats:
    """What sums over the whole lattice and over half of it differ by, for each group; (k,)."""
    if not posterior.marginal.coordinates.dimension:
        return np.zeros_like(left_out)
    _, half = both_weights(posterior.lattice)
    return np.abs(leave_out(posterior, half) - left_out)


def _reasons(
    design: LeafDesign, groups: Indices, falls_below: Flags, falls_above: Flags
) -> dict[int, str]:
    """Why units cannot be left out: the posterior of the others does not exist.

    That depends on the sides to which the likelihood of a unit's group falls with and without it,
    and on the group's covariates.

    Parameters
    ----------
    design : LeafDesign
        Of all that was observed.
    groups : (u,)
        In which each unit is.
    falls_below, falls_above : (u,)
        Of the group's likelihood without the unit.
    """
    own = [design.falls_below[groups], design.falls_above[groups], design.x[groups]]
    kinds = np.column_stack([*own, falls_below, falls_above])
    _, first, kind = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    reasons: dict[int, str] = {}
    for number, unit in enumerate(first.tolist()):
        changed = _with_other_group(design, groups[unit], falls_below[unit], falls_above[unit])
        try:
            check(changed)
        except ImproperPosteriorError as error:
            alike = np.flatnonzero(kind.ravel() == number)
            reasons |= dict.fromkeys(alike.tolist(), str(error))
    return reasons


def _with_other_group(
    design: LeafDesign, group: int, falls_below: bool, falls_above: bool
) -> LeafDesign:
    """The same, but for where a group's likelihood falls; without the group if it does nowhere."""
    below, above = design.falls_below.copy(), design.falls_above.copy()
    below[group], above[group] = falls_below, falls_above
    kept = np.delete(np.arange(len(below)), [] if falls_below or falls_above else [group])
    return replace(
        design,
        falls_below=below[kept],
        falls_above=above[kept],
        x=design.x[kept],
        labels=[design.labels[i] for i in kept.tolist()],
    )
