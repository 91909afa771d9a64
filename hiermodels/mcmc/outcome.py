"""The outcome in a PyMC model: as rows, or as the groups' means and the scatter around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.data.strata import strata_of
from hiermodels.exact.standardized import Standardized
from hiermodels.families.normal import STRATA
from hiermodels.mcmc.transforms import matrix_times
from hiermodels.model.spec import Spec
from hiermodels.model.standard_errors import from_se

type Sds = Mapping[str, TensorVariable]


def outcome_statistics(standard: Standardized) -> dict[str, Floats]:
    """Return all that a model takes from the outcome, by the name of its ``pm.Data``.

    Parameters
    ----------
    standard : Standardized
        In the location and scale of the data that the model was built with.
    """
    tree = standard.tree
    return {"_means": standard.group_means, "_rows": tree.mean, "_scatter": tree.scatter}


def add_statistics(standard: Standardized) -> None:
    """Add what the model takes from the outcome as data that can be exchanged."""
    for name, value in outcome_statistics(standard).items():
        pm.Data(name, value, shape=value.shape)


def statistic(standard: Standardized, name: str) -> Floats | TensorVariable:
    """Return a statistic of the outcome: the open model's data if it has such, or a constant."""
    model = pm.modelcontext(None)
    return model[name] if name in model else outcome_statistics(standard)[name]


def add_rows(spec: Spec, data: GroupedData, sds: Sds) -> None:
    """Add the rows, each given ``theta_g[i] + x_i'β`` and its columns, as their family states them.

    An offset is added to the linear predictor.
    """
    model, rows = pm.modelcontext(None), require_rows(data, "observed='rows'")
    model.add_coord("row", np.arange(len(rows.y)))
    eta = model[spec.intercept] if spec.intercept and not spec.levels else pt.zeros(())
    if spec.is_crossed:
        eta = model[spec.intercept] if spec.intercept else pt.zeros(())
        for level, member in zip(spec.levels, rows.memberships, strict=True):
            of_row = pm.Data(f"{level.column}_of_row", member, dims="row")
            eta = eta + model[level.effect][of_row]
    elif spec.levels:
        inner = spec.levels[-1]
        eta = model[inner.effect][pm.Data(f"{inner.column}_of_row", rows.group, dims="row")]
    if spec.covariates:
        x = pm.Data("x", rows.design.matrix, dims=("row", COEFFICIENT_DIM))
        eta = eta + matrix_times(x, model["beta"])
    add_outcome(spec, rows, eta, sds.get("sigma"))


def add_outcome(
    spec: Spec, rows: GroupedRows, eta: TensorVariable, sigma: TensorVariable | None
) -> None:
    """Add the rows, given their linear predictors (row,) without offsets, and their columns."""
    if rows.covariance is not None:
        pm.MvNormal(spec.outcome, eta, chol=_root(rows.covariance), observed=rows.y, dims="row")
        return
    columns: dict[str, Any] = dict(rows.columns)
    stratum = columns.pop(STRATA, None)
    for role, name in spec.columns.items():
        if role != STRATA:
            columns[role] = pm.Data(name, rows.columns[role], dims="row")
    if stratum is not None and sigma is not None:
        name = f"{spec.columns[STRATA]}_stratum_of_row"
        sigma = sigma[pm.Data(name, strata_of(rows.columns), dims="row")]
    if "offset" in columns:
        eta = eta + columns.pop("offset")
    if "sd" in spec.family.columns:
        columns["sd"] = sigma if spec.se is None else _known_sd(spec, rows)
    spec.family.to_pymc(pm, spec.outcome, eta, columns, rows.y, "row")


def _root(covariance: SamplingCovariance) -> Floats:
    """The lower triangular C of all rows, ``V = C C'``; (N, N)."""
    root = np.zeros((len(covariance.order), len(covariance.order)))
    for rows, own in covariance.roots:
        order = np.argsort(rows)
        v = (own @ own.T)[np.ix_(order, order)]
        root[np.ix_(rows[order], rows[order])] = np.linalg.cholesky(v)
    return root


def _known_sd(spec: Spec, data: GroupedRows) -> TensorVariable:
    """The rows' standard errors, from a column of the data."""
    assert data.se is not None
    known = pm.Data(str(spec.se), from_se(data.se, spec.se_scale), dims="row")
    return pt.sqrt(known) if spec.se_scale == "variance" else known


def add_means(
    spec: Spec,
    standard: Standardized,
    theta: TensorVariable,
    sds: Sds,
    beta: TensorVariable,
    dims: tuple[str, ...] | None = None,
) -> None:
    """Add the groups' means and, where groups have several rows, the rows around them.

    ``ȳ_g ~ N(theta_g + x̄_g'β, σ²/ω_g)``, with ω_g the sum of the rows' weights (their number, or
    that of ``se⁻²``); the rows around it have the density ``exp(−½ S(β)/σ²)``, with S the sum
    of squares of their residuals, times a constant and a power of σ.

    Parameters
    ----------
    dims : tuple of str, optional
        Of the means; by default the groups'.
    """
    tree, scale = standard.tree, standard.scale
    sigma2 = row_variance(standard, sds)
    several = tree.n_rows > tree.n_groups
    pm.Normal(
        f"{spec.outcome}_mean" if several else spec.outcome,
        theta + scale * matrix_times(tree.mean[:, :-1], beta),
        scale * pt.sqrt(sigma2 / tree.weight),
        observed=statistic(standard, "_means"),
        dims=dims or spec.dims("theta") or None,
    )
    if several:
        residual = pt.concatenate([-beta, [1.0]])
        squares = matrix_times(matrix_times(statistic(standard, "_scatter"), residual), residual)
        pm.Potential("within_groups", log_normalizer(standard, sigma2) - 0.5 * squares / sigma2)


def row_variance(standard: Standardized, sds: Sds) -> TensorVariable:
    """Variance of a standardised row of weight 1: 1 if the standard errors are known."""
    return (sds["sigma"] / standard.scale) ** 2 if "sigma" in sds else pt.as_tensor(1.0)


def log_normalizer(standard: Standardized, sigma2: TensorVariable) -> TensorVariable:
    """What stands before the exponential in the density of rows around their group's mean."""
    tree = standard.tree
    df = tree.n_rows - tree.n_groups
    return tree.log_constant - df * (0.5 * (LOG_2PI + pt.log(sigma2)) + np.log(standard.scale))
