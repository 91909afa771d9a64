"""Estimates of groups' effects from sds as numbers: no, complete and partial pooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.tree.conditional import BLOCK, shrinkage
from hiermodels.exact.kernels.tree.marginal import beta_moments, upward
from hiermodels.exact.kernels.tree.moments import level_moments
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from hiermodels.exact.lattice_mixture import LatticeMixture
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.point_estimates import estimate_sds
from hiermodels.posterior.estimation import ALIASED, PlugIn, PointEstimate

SAME = 1e-8  # of values where the data do not determine the sds: those that agree are determined


def plug_in_mixture(exact: LatticeMixture, method: str, place: Place) -> PlugIn:
    """Estimate as :func:`plug_in` does, of a posterior on a lattice of all sds."""
    return plug_in(exact.marginal, partial(_mean_shrinkage, exact), method, place)


def plug_in(
    marginal: Marginal, mean_shrinkage: Callable[[int], Floats], method: str, place: Place
) -> PlugIn:
    """Estimate the sds, and all effects given these; the coefficients have flat priors.

    Parameters
    ----------
    marginal : Marginal
    mean_shrinkage : callable
        From the number of a level to the posterior means of the weights of its members' parents.
    method : str
    place : Place

    Raises
    ------
    SpecError
        If the data do not tell the coefficients apart, or the method is not for this model.
    """
    spec = marginal.spec
    if (marginal.data.level < ROOT + spec.has_intercept).any():
        raise SpecError(ALIASED)
    sds = estimate_sds(marginal, method)
    effects: dict[str, dict[str, Floats]] = {}
    weights: dict[str, dict[str, Floats]] = {}
    for number, level in enumerate(spec.levels):
        columns = _of_level(marginal, sds.points, number, place.of(number))
        own = {name: columns.pop(name) for name in ("shrinkage_eb",)}
        effects[level.effect] = columns
        weights[level.effect] = own | {"shrinkage": mean_shrinkage(number)}
    coefficients, ses = _coefficients(marginal, sds, place)
    given = sds.as_if_known(method)
    notes = ["raw: corrected for the group's mean covariates, as in eb"] * bool(spec.covariates)
    return PlugIn(sds, method, effects, weights, coefficients, ses, given, given, tuple(notes))


def _determined(values: Floats) -> Floats:
    """What is the same at all of the points (m, …), and NaN elsewhere."""
    first = values[0]
    same = np.isclose(values, first, rtol=SAME, atol=SAME * np.abs(first).max(initial=0.0))
    return np.where(same.all(axis=0), first, np.nan)


@one_blas_thread()
def _coefficients(marginal: Marginal, sds: PointEstimate, place: Place) -> tuple[Floats, Floats]:
    """Coefficients by generalised least squares, ``(X'V⁻¹X)⁻¹ X'V⁻¹y``, and standard errors."""
    standard, spec = marginal.data, marginal.spec
    tree = standard.tree
    prior = Coefficients.flat(tree.n_covariates, spec.has_intercept)
    variances = marginal.variances_of(sds.points)
    origin = standard.origin_at(place.of(ROOT))
    mean, variance = level_moments(tree, variances, prior, origin, ROOT)
    own = slice(int(not spec.has_intercept), None)
    beta, covariance = beta_moments(tree, variances, prior)
    covariance = standard.basis @ covariance @ standard.basis.T
    center = np.append(standard.location, np.zeros(tree.n_covariates))
    value = center + standard.scale * np.hstack([mean, beta @ standard.basis.T])
    spread = np.hstack([variance, np.diagonal(covariance, axis1=1, axis2=2)])
    estimates = _determined(value[:, own])
    se = standard.scale * np.sqrt(_determined(spread[:, own]))
    return estimates, se


@one_blas_thread()
def _of_level(marginal: Marginal, points: Floats, level: int, at: Floats) -> dict[str, Floats]:
    """Estimates of a level given the sds (m, d): no pooling, complete pooling, and in between.

    They are effects at covariates (q,) or (u, q), and NaN where the points differ.
    """
    standard = marginal.data
    tree = standard.tree
    prior = Coefficients.flat(tree.n_covariates, marginal.spec.has_intercept)
    variances = marginal.variances_of(points)
    none = Variances(tuple(np.zeros_like(v) for v in variances.between), variances.sigma2)
    up = upward(tree, variances, prior)
    if level < tree.innermost:
        own, error = up.below(level).mean, up.below(level).error
    else:
        own, error = tree.mean[None], variances.sigma2[:, None] / tree.weight
    origin = standard.origin_at(at)
    x = own[:, :, :-1] + origin
    raw = own[:, :, -1] - np.einsum("nuq,nq->nu", x, up.beta)
    pooled = level_moments(tree, none, prior, origin, level)[0]
    mean, variance = level_moments(tree, variances, prior, origin, level)
    columns = {
        "raw": raw,
        "raw_se": error,
        "pooled": pooled,
        "eb": mean,
        "eb_sd": variance,
        "shrinkage_eb": shrinkage(error, variances.between[level][:, None]),
    }
    determined = {name: _determined(values) for name, values in columns.items()}
    for name in ("raw", "pooled", "eb"):
        determined[name] = standard.location + standard.scale * determined[name]
    for name in ("raw_se", "eb_sd"):
        determined[name] = standard.scale * np.sqrt(determined[name])
    return determined


def _mean_shrinkage(exact: LatticeMixture, level: int) -> Floats:
    """Posterior mean of the weight B of each group's parent; shape (u,)."""
    if level < exact.marginal.data.tree.innermost:
        return _mean_shrinkage_above(exact, level)
    weight, place = np.unique(exact.marginal.data.tree.weight, return_inverse=True)
    variances = exact.marginal.variances(exact.lattice.points)
    step = max(1, BLOCK // len(exact.lattice))
    parts = [
        shrinkage(variances.sigma2 / weight[i : i + step, None], variances.between[-1])
        @ exact.lattice.weights
        for i in range(0, len(weight), step)
    ]
    return np.concatenate(parts)[place]


@one_blas_thread()
def _mean_shrinkage_above(exact: LatticeMixture, level: int) -> Floats:
    """The same above the groups, where a member's error depends on all variances below."""
    marginal, lattice = exact.marginal, exact.lattice
    tree, prior = marginal.data.tree, marginal.coefficients
    variances = marginal.variances(lattice.points)
    total = np.zeros(tree.sizes[level])
    step = max(1, BLOCK // max(tree.sizes[: level + 1]))
    for i in range(0, len(lattice), step):
        part = variances[slice(i, i + step)]
        error = upward(tree, part, prior).below(level).error
        shares = shrinkage(error, part.between[level][:, None])
        total += lattice.weights[i : i + step] @ shares
    return total
