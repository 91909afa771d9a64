"""Effects of groups whose rows are not normal, given the sd of their level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.glmm_data import takes_rows
from hiermodels.exact.glmm_given_sd import glmm_moments_given_sd
from hiermodels.exact.leaf_data import leaf_model, leaf_moments, with_intercept
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.model.spec import Spec

FINE = {1: 0.05, 2: 0.1, 3: 0.15, 4: 0.25, 5: 0.4}  # spacing of the sd, by dimension
COARSE = 0.6  # of the coefficients
PLACES = 25  # of an sd, with three levels


def leaf_moments_given_sd(
    spec: Spec,
    data: GroupedData,
    sd: str,
    effect: str,
    ends: tuple[float, float],
    place: Place | None,
) -> tuple[Floats, Floats, Floats]:
    """Means and sds of effects given an sd, the coefficients and other sds integrated out.

    With two levels each layer of a lattice has one τ: over it the sums are those of the whole
    posterior.  With three there is a posterior for each of some values of the sd.

    Parameters
    ----------
    spec, data
    sd : str
        Which, such as ``"tau"``.
    effect : str
        Of the groups, such as ``"theta"`` or ``"p"``.
    ends : (2,)
        Probabilities of the sd, between which it is laid out.
    place : Place, optional
        Values of the covariates that effects on the scale of the link belong to.

    Returns
    -------
    at : (n,)
        The sd.
    mean, sd : (n, u)
    """
    if takes_rows(spec, data):
        return glmm_moments_given_sd(spec, data, effect, ends, place)
    model = leaf_model(spec, data)
    leaf_moments(spec, data, model)  # raises an error if the posterior does not exist
    if isinstance(model, NestedModel):
        return _three_levels(spec, model, (sd, effect), ends, place)
    marginal = LeafMarginal(model)
    d = marginal.coordinates.dimension
    spacing = np.full(d, COARSE)
    spacing[0] = FINE[d]
    layers = list(_layers(LeafPosterior(marginal, marginal.lattice(spacing)), ends))
    with np.errstate(invalid="ignore"):  # half of the points of a layer may be none
        moments = [_moments(spec, part, effect, place) for part in layers]
    mean, sds = np.array(moments).swapaxes(0, 1)
    return np.array([part.tau[0] for part in layers]), mean, sds


def _three_levels(
    spec: Spec,
    model: NestedModel,
    names: tuple[str, str],
    ends: tuple[float, float],
    place: Place | None,
) -> tuple[Floats, Floats, Floats]:
    """The same with three levels, at values of an sd that are even in its coordinate."""
    sd, effect = names
    number, level = [level.sd for level in spec.levels].index(sd), spec.level_of(effect)
    marginal = NestedMarginal(model)
    posterior = NestedPosterior(marginal, marginal.lattice(COARSE))
    free = posterior.coordinates.sd_axes[number]
    assert free is not None
    low, high = free[1].coordinate(posterior.sd_quantiles(number, np.array(ends)))
    at = np.exp(free[1].log_sd(np.linspace(low, high, PLACES)))
    moments, at_place = [], None
    if spec.covariates:
        x = np.zeros(len(spec.covariates)) if place is None else place.of(level)
        size = len(model.leaves) if level else model.n_outer
        row = with_intercept(spec, x)
        at_place = np.broadcast_to(row, (size, row.shape[-1]))
    for value in at:
        marginal = NestedMarginal(model.with_fixed_sd(number, float(value)))
        given = NestedPosterior(marginal, marginal.lattice(COARSE))
        if effect in spec.on_outcome_scale:
            moments.append(given.function_moments(spec.family.inverse_link))
        else:
            moments.append(given.effect_moments(level, at_place))
    mean, sds = np.array(moments).swapaxes(0, 1)
    return at, mean, sds


def _moments(
    spec: Spec, part: LeafPosterior, effect: str, place: Place | None
) -> tuple[Floats, Floats]:
    """Means and sds of all effects, which exist given τ whether they do without it or not."""
    if effect in spec.on_outcome_scale:
        return part.function_moments(spec.family.inverse_link)
    if not spec.covariates:
        return part.function_moments(lambda theta: theta)
    q = len(spec.covariates)
    at = np.zeros(q) if place is None else place.of(len(spec.levels) - 1)
    x: tuple[Floats, ...] = (np.broadcast_to(with_intercept(spec, at), part.model.x.shape),)
    return part.effect_moments(*x)


def _layers(posterior: LeafPosterior, ends: tuple[float, float]) -> Iterator[LeafPosterior]:
    """The posterior on the layers of its lattice, each of one τ, between probabilities of this."""
    lattice = posterior.lattice
    layer = lattice.index[:, 0] - lattice.index[:, 0].min()
    mass = np.bincount(layer, weights=lattice.weights)
    below = np.cumsum(mass)
    for number in np.flatnonzero((below > ends[0]) & (below - mass < ends[1])):
        own = layer == number
        part = replace(lattice, index=lattice.index[own], log_density=lattice.log_density[own])
        yield LeafPosterior(posterior.marginal, part)
