"""Groups of counts left out, one at a time, without fitting anew.

The posterior without a group is the whole one divided by the group's own integral m, so that

    log p(y_i | y_−i) = −log E[1/m_i | y].
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.leaf_data import leaf_design
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.leaf_reference import LeafReference
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import leave_out, new_groups
from hiermodels.exact.left_out import LogDensities
from hiermodels.exact.precision import both_weights


def leave_out_groups(reference: LeafReference) -> LogDensities:
    """Log density of each group's rows given all other groups, and of another group like it."""
    posterior = reference.exact
    model = posterior.model
    again = np.empty(len(model.leaves))
    for alike in model.alike:
        again[alike.groups] = new_groups(posterior, model.leaves.take(alike.groups), alike.x)
    reasons = _reasons(reference)
    lost = np.isin(np.arange(len(again)), list(reasons))
    left_out = leave_out(posterior)
    error = _error(posterior, left_out)
    left_out, again, error = np.where(lost, np.nan, [left_out, again, error])
    return LogDensities(left_out, again, error, n_points=len(posterior.lattice), reasons=reasons)


def _error(posterior: LeafPosterior, left_out: Floats) -> Floats:
    """What sums over the whole lattice and over half of it differ by, for each group; (k,)."""
    if not posterior.marginal.coordinates.dimension:
        return np.zeros_like(left_out)
    _, half = both_weights(posterior.lattice)
    return np.abs(leave_out(posterior, half) - left_out)


def _reasons(reference: LeafReference) -> dict[int, str]:
    """Why groups cannot be left out: the posterior of the others does not exist.

    That depends on the sides to which a group's likelihood falls, and on its covariates.
    """
    model = reference.exact.model
    design = leaf_design(reference.spec, reference.data, model.leaves, model.x)
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
