"""From a specification and grouped data to the likelihoods of the groups, and their covariates."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.families.leaves import Leaves
from hiermodels.model.spec import Spec


def leaves_of(spec: Spec, data: GroupedData) -> Leaves:
    """What the rows of each innermost group say of its effect."""
    rows = require_rows(data, "the exact posterior of this family")
    columns = dict(rows.columns)
    offset = columns.pop("offset", np.zeros(rows.n_rows))
    if rows.se is not None:
        columns["sd"] = rows.se
    return spec.family.leaves(rows.y, columns, offset, rows.group, rows.n_groups)


def group_covariates(data: GroupedData) -> Floats:
    """Covariates of each innermost group, without the intercept; (k, q).

    Raises
    ------
    SpecError
        If they differ between rows of one group.
    """
    rows = require_rows(data, "the exact posterior of this family")
    x = rows.design.matrix
    _, first = np.unique(rows.group, return_index=True)
    own = x[first]
    differs = x != own[rows.group]
    if differs.any():
        column = int(np.argmax(differs.any(axis=0)))
        group = rows.group[int(np.argmax(differs[:, column]))]
        raise SpecError(
            f"covariates: engine 'exact' takes covariates that are constant within each group "
            f"where rows are not normal; {rows.design.names[column]!r} differs within "
            f"{rows.roles.groups[-1]} {short(rows.labels[-1][group])}. Use engine='nuts', or the "
            f"mean of each group"
        )
    return own


def with_intercept(spec: Spec, x: Floats) -> Floats:
    """Covariates (…, q) with a column of ones before them, if there is an intercept."""
    ones = np.ones((*x.shape[:-1], 1 if spec.intercept else 0))
    return np.concatenate([ones, x], axis=-1)


def coefficient_priors(spec: Spec) -> tuple[Floats, Floats]:
    """Means and precisions of the priors of the intercept, if there is one, and of β; (p,) each."""
    priors = [spec.coefficient_prior(name).mean_and_precision() for name in spec.means]
    mean, precision = np.array(priors, dtype=float).reshape(-1, 2).T
    return mean, precision
