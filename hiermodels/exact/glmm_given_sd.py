"""Effects of counts with covariates that vary within groups, given τ."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import PrecisionError, SpecError
from hiermodels.exact.glmm.lattice_points import LatticePoints
from hiermodels.exact.glmm.laws import GlmmLaws, GlmmSums
from hiermodels.exact.glmm.path import ModePath
from hiermodels.exact.glmm.points import WeightedPoints
from hiermodels.exact.glmm.proposals import Proposals
from hiermodels.exact.glmm.sphere_points import SpherePoints
from hiermodels.exact.glmm_data import groups_at_means
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.glmm_reference import NO_SUMS
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.model.spec import Spec
from hiermodels.posterior.precision import WORST

PLACES = 13  # of τ
FEW = 4  # coefficients, of which a lattice has fewer points than random directions take
MOST = 1 << 17  # points at one τ, along random directions


def glmm_moments_given_sd(
    spec: Spec, data: GroupedData, effect: str, ends: tuple[float, float], place: Place | None
) -> tuple[Floats, Floats, Floats]:
    """Means and sds of effects given τ, the coefficients integrated out, to three digits.

    At each τ there is a posterior of the coefficients, which is summed over weighted points.

    Parameters
    ----------
    spec, data
    effect : str
        ``"theta"``, or on the outcome's scale ``"p"`` or ``"rate"``.
    ends : (2,)
        Probabilities of τ, about, between which it is laid out: by Laplace's approximation.
    place : Place, optional
        Values of the covariates that effects on the scale of the link belong to.

    Returns
    -------
    at : (n,)
        τ.
    mean, sd : (n, u)

    Raises
    ------
    PrecisionError
        If three digits would take too many points.
    """
    grid = GlmmGrid(spec, data)
    proposals = grid.marginal
    if not isinstance(proposals, Proposals):
        raise SpecError(NO_SUMS)
    x = np.zeros(len(spec.covariates)) if place is None else place.of(0)
    at, moments = places_of_tau(proposals, ends), []
    for tau in at.tolist():
        laws = laws_given_tau(grid, tau)
        if effect in spec.on_outcome_scale:
            moments.append(laws.function_moments(spec.family.inverse_link))
        else:
            groups = laws.posterior.groups.x
            row = np.broadcast_to(with_intercept(spec, x), groups.shape)
            moments.append(laws.effect_moments(0, row))
    mean, sds = np.array(moments).swapaxes(0, 1)
    return at, mean, sds


def places_of_tau(proposals: Proposals, ends: tuple[float, float]) -> Floats:
    """Values of τ that are even in its coordinate, between quantiles by Laplace; (n,)."""
    of_tau = proposals.laplace_lattice
    order = np.argsort(of_tau.points[:, 0])
    below = np.cumsum(of_tau.weights[order]) / of_tau.weights.sum()
    low, high = np.interp(ends, below, of_tau.points[order, 0])
    return proposals.tau_of(np.linspace(low, high, PLACES)[:, None])


def laws_given_tau(grid: GlmmGrid, tau: float) -> GlmmLaws:
    """The posterior of the coefficients and the effects given τ."""
    arrays = grid.arrays
    points = _points(Proposals(ModePath.at_one(arrays.model, tau), None))
    if points.error > WORST:
        raise PrecisionError(
            f"effects given tau = {tau:.3g} are known to {points.error:.1e} posterior sds only, "
            f"where three digits take {WORST:g}: there are few rows for "
            f"{points.gamma.shape[1]} coefficients. .sensitivity() compares priors of tau"
        )
    groups = groups_at_means(grid.spec, grid.data)
    return GlmmLaws(GlmmSums(points, groups, arrays.basis, None, float(arrays.constant.sum())))


def _points(proposals: Proposals) -> WeightedPoints:
    """Of a lattice over few coefficients, or along not too many random directions, if these do."""
    if proposals.path.gamma.shape[1] > FEW:
        points = SpherePoints.of(proposals, most=MOST)
        if points.error <= WORST or not LatticePoints.can_hold(proposals):
            return points
    return LatticePoints.of(proposals)
