"""Estimates of crossed groups given sds as numbers."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.errors import SpecError
from hiermodels.exact.crossed.likelihood import CrossedMaximum, maximize
from hiermodels.exact.crossed.posterior import CrossedPosterior, moments_of
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.crossed.downward import Effects
from hiermodels.exact.kernels.crossed.upward import Eliminated
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import PlugIn, PointEstimate, likelihood_method
from hiermodels.posterior.tables import shown

COLUMNS = ("raw", "raw_se", "pooled", "eb", "eb_sd")


@one_blas_thread()
def plug_in_crossed(
    spec: Spec, posterior: CrossedPosterior, method: object, place: Place
) -> PlugIn:
    """Estimate sds, and all deviations given these; coefficients are flat.

    Raises
    ------
    SpecError
        If the method is not for this model, or an sd is fixed beside an unknown σ.
    """
    name = likelihood_method(method)
    if spec.has_sigma and "sigma" not in spec.fixed and any(spec.fixed.values()):
        raise SpecError(
            "estimates: an sd is fixed beside an unknown sigma, of which there is no estimate. "
            "Leave the prior out, or see .summary() for the posterior"
        )
    model = posterior.model
    has_rows = isinstance(model.sigma, Fixed) or model.residual_df > 0
    found = maximize(model, restricted=name == "reml") if has_rows else None
    sds = _sds(spec, found)
    notes = sds.as_if_known(name)
    coefficients, ses, effects, weights = _given(spec, posterior, place, found)
    raw = "raw: mean of the group's rows after all else, as in eb, is subtracted"
    return PlugIn(sds, name, effects, weights, coefficients, ses, notes, notes, (raw,))


def _sds(spec: Spec, found: CrossedMaximum | None) -> PointEstimate:
    names = [level.sd for level in spec.levels] + (["sigma"] if spec.has_sigma else [])
    if found is None:
        return PointEstimate.nowhere(names, spec.fixed)
    every = [*(found.theta * found.sigma).tolist(), found.sigma]
    estimates = dict(zip(names, every, strict=False))
    known = ", ".join(f"{own} = {shown(value)}" for own, value in spec.fixed.items())
    notes = (f"{known}: fixed, not estimated",) if known else ()
    return PointEstimate(estimates, np.array([list(estimates.values())]), notes=notes)


def _given(
    spec: Spec, posterior: CrossedPosterior, place: Place, found: CrossedMaximum | None
) -> tuple[Floats, Floats, dict[str, dict[str, Floats]], dict[str, dict[str, Floats]]]:
    """Coefficients and their standard errors, and columns of the tables of each factor."""
    model, sizes = posterior.model, posterior.model.rows.sizes
    table = np.eye(model.n_coefficients)
    if spec.top:
        table[0] = with_intercept(spec, place.of(ROOT)[None])[0]
    names = [level.effect for level in spec.levels]
    coefficients = ses = np.full(len(table), np.nan)
    if found is None:
        columns = [dict.fromkeys(COLUMNS, np.full(size, np.nan)) for size in sizes]
        own = [np.full(size, np.nan) for size in sizes]
    else:
        gamma, covariance, columns = _at_maximum(posterior, found)
        coefficients = table @ gamma
        ses = np.sqrt(np.einsum("rc,cd,rd->r", table, covariance, table))
        own = [_shrinkage(posterior, k, found.theta[k : k + 1])[0] for k in range(len(sizes))]
    columns = [c | {"pooled": np.zeros(size)} for c, size in zip(columns, sizes, strict=True)]
    weights = [
        {
            "shrinkage_eb": at,
            "shrinkage": posterior.lattice.weights
            @ _shrinkage(posterior, k, np.exp(posterior.values.log_theta[k])),
        }
        for k, at in enumerate(own)
    ]
    ordered = [{name: c[name] for name in COLUMNS} for c in columns]
    tables = dict(zip(names, ordered, strict=True))
    return coefficients, ses, tables, dict(zip(names, weights, strict=True))


def _at_maximum(
    posterior: CrossedPosterior, found: CrossedMaximum
) -> tuple[Floats, Floats, list[dict[str, Floats]]]:
    """Coefficients (c,), their covariance (c, c), and columns of each factor's table."""
    design, rows = posterior.model.design, posterior.model.rows
    eliminated = Eliminated.of(design, found.theta[:, None])
    root, effects = eliminated.root(), Effects(eliminated)
    sigma2 = np.array([found.sigma**2])
    law = CoefficientLaw(root.mean, root.covariance * sigma2, sigma2)
    gamma = root.mean[:, 0] + design.anchor
    both = [[p[0] for p in moments_of(effects, law, k)] for k in range(len(rows.sizes))]
    left = rows.y - rows.x @ gamma
    left = left - sum(mean[own] for (mean, _), own in zip(both, rows.members, strict=True))
    columns = []
    for (mean, variance), own, size in zip(both, rows.members, rows.sizes, strict=True):
        count = np.bincount(own, rows.weights, size)
        total = np.bincount(own, rows.weights * left, size)
        raw, se = mean + total / count, found.sigma / np.sqrt(count)
        columns.append({"raw": raw, "raw_se": se, "eb": mean, "eb_sd": np.sqrt(variance)})
    return gamma, law.covariance[..., 0], columns


def _shrinkage(posterior: CrossedPosterior, factor: int, theta: Floats) -> Floats:
    """``B = 1/(1 + n θ²)`` of each member at sds θ (n,); (n, u)."""
    rows = posterior.model.rows
    count = np.bincount(rows.members[factor], rows.weights, rows.sizes[factor])
    return np.asarray(1 / (1 + np.multiply.outer(theta**2, count)))
