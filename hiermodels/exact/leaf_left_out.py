"""Groups of counts left out, one at a time, without fitting anew.

The posterior without a group is the whole one divided by the group's own integral m, so that

    log p(y_i | y_−i) = −log E[1/m_i | y].
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.exact.leaf_data import leaf_design
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import leave_out, new_groups
from hiermodels.exact.precision import both_weights
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units


def leave_out_groups(
    spec: Spec, data: GroupedData, posterior: LeafPosterior, units: Units
) -> LogDensities:
    """Log density of each group's rows given all other groups, and of another group like it."""
    _require_groups(spec, data, units)
    model = posterior.model
    again = np.empty(len(model.leaves))
    for alike in model.alike:
        again[alike.groups] = new_groups(posterior, model.leaves.take(alike.groups), alike.x)
    reasons = _reasons(spec, data, posterior)
    lost = np.isin(np.arange(len(again)), list(reasons))
    left_out = leave_out(posterior)
    error = _error(posterior, left_out)
    left_out, again, error = np.where(lost, np.nan, [left_out, again, error])
    return LogDensities(left_out, again, error, n_points=len(posterior.lattice), reasons=reasons)


def _require_groups(spec: Spec, data: GroupedData, units: Units) -> None:
    """Raise SpecError if rows of counts would be left out, and the rest of their group kept."""
    innermost = len(spec.levels) - 1
    if units.level != innermost and len(units) > data.n_groups:
        raise SpecError(
            "loo(unit='row'): of rows that are not normal whole groups are left out, and some have "
            "several rows here. Say unit='group'"
        )


def _error(posterior: LeafPosterior, left_out: Floats) -> Floats:
    """What sums over the whole lattice and over half of it differ by, for each group; (k,)."""
    if not posterior.marginal.coordinates.dimension:
        return np.zeros_like(left_out)
    _, half = both_weights(posterior.lattice)
    return np.abs(leave_out(posterior, half) - left_out)


def _reasons(spec: Spec, data: GroupedData, posterior: LeafPosterior) -> dict[int, str]:
    """Why groups cannot be left out: the posterior of the others does not exist.

    That depends on the sides to which a group's likelihood falls, and on its covariates.
    """
    model = posterior.model
    design = leaf_design(spec, data, model.leaves, model.x)
    kinds = np.column_stack([design.falls_below, design.falls_above, design.x])
    _, first, kind = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    reasons: dict[int, str] = {}
    for number, group in enumerate(first.tolist()):
        others = np.delete(np.arange(len(kinds)), group)
        rest = replace(
            design,
            falls_below=design.falls_below[others],
            falls_above=design.falls_above[others],
            x=design.x[others],
            labels=[design.labels[i] for i in others.tolist()],
        )
        try:
            check(rest)
        except ImproperPosteriorError as error:
            alike = np.flatnonzero(kind.ravel() == number)
            reasons |= dict.fromkeys(alike.tolist(), str(error))
    return reasons
