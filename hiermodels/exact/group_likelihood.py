"""Densities of all rows of a group, its effect and those below it integrated out."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.exact.block_group_likelihood import log_densities_of_outermost
from hiermodels.exact.kernels.records import Rows
from hiermodels.exact.leaf_data import nested_model, two_level_model
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.marginal import Line, NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.model.nests import describe_groups
from hiermodels.model.spec import Spec
from hiermodels.numerics.group_sums import starts
from hiermodels.posterior.arviz_groups import with_group
from hiermodels.posterior.record import Posterior


def standardized_rows(data: GroupedData, standard: Standardized) -> Rows:
    """Rows ``[x, y − x'anchor]`` in the coordinates of the tree of residuals."""
    rows = require_rows(data, "the density of a group's rows")
    x = (rows.design.matrix - standard.centre) @ standard.basis
    weight = rows.precision if rows.se is None else (rows.se / standard.scale) ** -2.0
    residual = (rows.y - standard.location) / standard.scale - x @ standard.tree.left.anchor
    return Rows(np.column_stack([x, residual]), weight, rows.group)


def require_groups_of_rows(spec: Spec, data: GroupedData) -> None:
    """Raise SpecError if the model has no groups, or crossed ones, or the data are statistics."""
    if not spec.groups:
        raise SpecError(
            "log_likelihood: 'marginal' integrates the effects of groups out, and this model has "
            "no groups; use log_likelihood=True"
        )
    if spec.is_crossed:
        raise SpecError(
            f"log_likelihood: 'marginal' is of all rows of a group, where groups are independent "
            f"given the sds, and crossed ones, {describe_groups(spec.groups, spec.nesting)}, are "
            f"not. Use log_likelihood=True, or .loo({spec.groups[-1]!r}), which leaves groups out"
        )
    require_rows(data, "log_likelihood='marginal'")


@one_blas_thread()
def with_group_log_likelihood(posterior: Posterior) -> Posterior:
    """Add a group ``log_likelihood`` with a number for each draw and outermost group.

    It is ``log p(y_u | mu, tau, sigma, beta)`` of all rows of the group, ``theta`` integrated out;
    with two grouping columns ``log p(y_u | lam, kappa, tau, sigma, beta)`` of all rows of an outer
    group, its ``mu`` and their ``theta`` integrated out; with slopes or more columns likewise,
    given correlations as well.  Given the hyperparameters these are what is independent, so that
    ``arviz_stats.loo`` leaves out whole groups.

    Raises
    ------
    SpecError
        If the model has no groups, or the data are statistics without rows.
    """
    spec, data = posterior.spec, posterior.data
    require_groups_of_rows(spec, data)
    draws = posterior.datatree["posterior"].to_dataset().stack(all_=SAMPLE_DIMS, create_index=False)
    of = _of_blocks if spec.is_blocks else _of_normal_rows if spec.is_normal else _of_other_rows
    log_likelihood = of(spec, data, draws)
    sizes = posterior.datatree["posterior"].sizes
    values = log_likelihood.reshape(*(sizes[dim] for dim in SAMPLE_DIMS), -1)
    labels = {data.levels[0].column: data.levels[0].labels}
    return with_group(posterior, "log_likelihood", {spec.outcome: values}, labels)


def _of_normal_rows(spec: Spec, data: GroupedData, draws: xr.Dataset) -> Floats:
    """Log densities of outermost groups whose rows are normal, given draws (n,); (n, u)."""
    marginal = Marginal.of(spec, standardize(data))
    standard = marginal.data
    beta = np.empty((0, draws.sizes["all_"]))
    if spec.covariates:
        beta = np.linalg.solve(standard.scale * standard.basis, draws["beta"].to_numpy())
    top = draws[spec.intercept].to_numpy() if spec.intercept else np.zeros(draws.sizes["all_"])
    root = (top - standard.location) / standard.scale
    root = root + standard.origin @ beta
    given = marginal.given_sds(np.stack([draws[name].to_numpy() for name in spec.sds], 1))
    within = marginal.kernel.within(standardized_rows(data, standard))
    log_likelihood = given.densities_of_outermost(within, root, beta.T)
    log_likelihood -= _rows_of_outermost(data) * np.log(standard.scale)
    return log_likelihood


def _of_blocks(spec: Spec, data: GroupedData, draws: xr.Dataset) -> Floats:
    """The same of groups with slopes, or of many levels; (n, u)."""
    own = [name for name in draws.data_vars if name not in spec.effects]
    variables = {str(name): np.moveaxis(draws[name].to_numpy(), -1, 0) for name in own}
    return log_densities_of_outermost(spec, data, variables)


def _of_other_rows(spec: Spec, data: GroupedData, draws: xr.Dataset) -> Floats:
    """Log densities of outermost groups whose rows are not normal, given draws (n,); (n, u)."""
    means = [draws[name].to_numpy()[None] for name in spec.top]
    means += [draws["beta"].to_numpy()] if spec.covariates else []
    gamma = np.concatenate(means).T if means else np.empty((draws.sizes["all_"], 0))
    sds = np.stack([draws[level.sd].to_numpy() for level in spec.levels], axis=1)
    if len(spec.levels) == 1:
        return _of_groups(two_level_model(spec, data), sds[:, 0], gamma)
    return _of_outer_groups(nested_model(spec, data), sds, gamma)


def _of_groups(model: LeafModel, tau: Floats, gamma: Floats) -> Floats:
    """``log ∫ L_i(θ) N(θ; x_i'γ, τ²) dθ`` of each group at nodes (n,); (n, k)."""
    log_likelihood = np.empty((len(gamma), len(model.leaves)))
    own = LeafMarginal(model).log_integrals(tau, gamma)
    for alike, log_integrals in zip(model.alike, own, strict=True):
        log_likelihood[:, alike.groups] = log_integrals[alike.leaf_of].T
    return log_likelihood + model.leaves.constant


def _of_outer_groups(model: NestedModel, sds: Floats, gamma: Floats) -> Floats:
    """The same of all rows of each outer group, its μ ~ N(λ, κ²) integrated out; (n, S)."""
    marginal = NestedMarginal(model)
    mean, constant = marginal.mean_of(gamma), model.outer_sums(model.leaves.constant)
    log_likelihood = np.empty((len(gamma), model.n_outer))
    for tau in np.unique(sds[:, 1]):
        line, nodes = Line.of(marginal.kinds, float(tau)), np.flatnonzero(sds[:, 1] == tau)
        own = line.log_integrals(mean[nodes], sds[nodes, 0])
        log_likelihood[nodes] = own[marginal.kinds.kind_of].T
    return log_likelihood + constant


def _rows_of_outermost(data: GroupedData) -> Floats:
    """Number of rows of each outermost group."""
    count = np.bincount(data.group)
    for level in reversed(data.levels[1:]):
        count = np.add.reduceat(count, starts(level.parent))
    return count.astype(float)
