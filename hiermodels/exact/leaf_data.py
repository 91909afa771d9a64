"""From a specification and grouped data to the likelihoods of the groups, and their covariates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import short
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.data.totals import LOG_GIVEN, as_counts, totals_as_rows
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_design import LeafDesign, Wording
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.families.leaves import Leaves
from hiermodels.families.totals import leaves_of as leaves_of_totals
from hiermodels.model.spec import Spec


def rows_or_totals(data: GroupedData) -> tuple[GroupedRows, float]:
    """The rows; or of statistics of counts a row for each group, and what its total leaves out.

    That is the log probability of all rows given their totals, which no parameter changes.
    """
    if isinstance(data, SufficientStatistics) and data.totals:
        rows = totals_as_rows(data, data.totals, (data.mean + data.rest)[:, :-1])
        return rows, float(data.totals[LOG_GIVEN].sum())
    return require_rows(data, "the posterior of this family"), 0.0


def leaves_of(spec: Spec, data: GroupedData) -> Leaves:
    """What the rows of each innermost group say of its effect."""
    if isinstance(data, SufficientStatistics) and data.totals:
        return leaves_of_totals(spec.family, as_counts(spec.family, data.totals))
    rows = require_rows(data, "the posterior of this family")
    return _leaves(spec, rows, rows.group, rows.n_groups)


def leaves_of_rows(spec: Spec, rows: GroupedRows) -> Leaves:
    """What each row says of its linear predictor less its offset."""
    return _leaves(spec, rows, np.arange(rows.n_rows), rows.n_rows)


def _leaves(spec: Spec, rows: GroupedRows, group: Indices, size: int) -> Leaves:
    columns = dict(rows.columns)
    offset = columns.pop("offset", np.zeros(rows.n_rows))
    if rows.se is not None:
        columns["sd"] = rows.se
    return spec.family.leaves(rows.y, columns, offset, group, size)


def group_covariates(data: GroupedData) -> Floats:
    """Covariates of each innermost group, without the intercept; (k, q).

    Raises
    ------
    SpecError
        If they differ between rows of one group.
    """
    rows, _ = rows_or_totals(data)
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


def row_of_each(group: Indices, size: int) -> Indices:
    """Number of a row of each of so many groups; (size,)."""
    row = np.empty(size, dtype=np.intp)
    row[group] = np.arange(len(group))
    return row


def vary_within(x: Floats, group: Indices, row: Indices) -> bool:
    """Whether covariates (N, p) differ from those of their group's row (k,)."""
    return bool((x != x[row[group]]).any())


def with_intercept(spec: Spec, x: Floats) -> Floats:
    """Covariates (…, q) with a column of ones before them, if there is an intercept."""
    ones = np.ones((*x.shape[:-1], 1 if spec.intercept else 0))
    return np.concatenate([ones, x], axis=-1)


def coefficient_priors(spec: Spec) -> tuple[Floats, Floats]:
    """Means and precisions of the priors of the intercept, if there is one, and of β; (p,) each."""
    priors = [spec.coefficient_prior(name).mean_and_precision() for name in spec.means]
    mean, precision = np.array(priors, dtype=float).reshape(-1, 2).T
    return mean, precision


def leaf_model(spec: Spec, data: GroupedData) -> LeafModel | NestedModel:
    """The model as arrays: leaves, covariates with the intercept among them, priors."""
    return two_level_model(spec, data) if len(spec.levels) == 1 else nested_model(spec, data)


def two_level_model(spec: Spec, data: GroupedData) -> LeafModel:
    """The model of one column of groups."""
    (level,) = spec.levels
    mean, precision = coefficient_priors(spec)
    x = with_intercept(spec, group_covariates(data))
    return LeafModel(leaves_of(spec, data), x, mean, precision, level.prior)


def nested_model(spec: Spec, data: GroupedData) -> NestedModel:
    """The model of groups within outer groups."""
    outer, inner = spec.levels
    mean, precision = coefficient_priors(spec)
    return NestedModel(
        leaves=leaves_of(spec, data),
        parent=data.levels[-1].parent,
        x=with_intercept(spec, group_covariates(data)),
        has_intercept=bool(spec.intercept),
        mean=mean,
        precision=precision,
        outer_prior=outer.prior,
        prior=inner.prior,
    )


def leaf_moments(spec: Spec, data: GroupedData, model: LeafModel | NestedModel) -> LeafMoments:
    """Which moments of the posterior exist.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    """
    return LeafMoments(spec, check(leaf_design(spec, data, model.leaves, model.x)))


def moments_by_counting(spec: Spec, data: GroupedData) -> LeafMoments:
    """Which moments of the posterior exist, whichever engine draws from it.

    Coefficients of covariates that differ within groups are bounded by the rows; they are left out
    of what the groups have to bound.

    Raises
    ------
    ImproperPosteriorError
        If the groups leave the posterior open.
    """
    rows, _ = rows_or_totals(data)
    _, first = np.unique(rows.group, return_index=True)
    x = with_intercept(spec, rows.design.matrix)
    kept = np.flatnonzero((x == x[first][rows.group]).all(axis=0))
    whole = leaf_design(spec, data, leaves_of(spec, data), x[first])
    design = replace(
        whole,
        x=whole.x[:, kept],
        coefficients=tuple(whole.coefficients[i] for i in kept.tolist()),
        is_flat=whole.is_flat[kept],
    )
    return LeafMoments(spec, check(design))


def leaf_design(spec: Spec, data: GroupedData, leaves: Leaves, x: Floats) -> LeafDesign:
    """What the existence of the posterior depends on.

    Parameters
    ----------
    leaves : Leaves
        Of the k innermost groups.
    x : (k, p)
        Their covariates, with the intercept's column where there is one.
    """
    levels = data.levels
    nested = len(levels) > 1
    return LeafDesign(
        falls_below=leaves.falls_below,
        falls_above=leaves.falls_above,
        x=x,
        coefficients=spec.means,
        is_flat=coefficient_priors(spec)[1] == 0,
        has_intercept=spec.intercept is not None,
        priors={level.sd: level.prior for level in spec.levels},
        labels=[str(label) for label in data.labels[-1]],
        wording=Wording.of(spec),
        parent=levels[-1].parent if nested else None,
        n_parents=len(levels[0]) if nested else 0,
    )
