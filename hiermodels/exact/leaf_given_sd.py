"""Effects of groups whose rows are not normal, given the sd of their level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.leaf_data import leaf_model, leaf_moments, with_intercept
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.model.spec import Spec

FINE = {1: 0.05, 2: 0.1, 3: 0.15, 4: 0.25, 5: 0.4}  # spacing of the sd, by dimension
COARSE = 0.6  # of the coefficients


def leaf_moments_given_sd(
    spec: Spec, data: GroupedData, effect: str, ends: tuple[float, float], place: Place | None
) -> tuple[Floats, Floats, Floats]:
    """Means and sds of effects given τ, the coefficients integrated out.

    Each layer of a lattice has one τ: over it the sums are those of the whole posterior.

    Parameters
    ----------
    spec, data
    effect : str
        Of the groups, such as ``"theta"`` or ``"p"``.
    ends : (2,)
        Probabilities of τ, between which it is laid out.
    place : Place, optional
        Values of the covariates that effects on the scale of the link belong to.

    Returns
    -------
    at : (n,)
        τ.
    mean, sd : (n, k)
    """
    model = leaf_model(spec, data)
    leaf_moments(spec, data, model)  # raises an error if the posterior does not exist
    marginal = LeafMarginal(model)
    d = marginal.coordinates.dimension
    spacing = np.full(d, COARSE)
    spacing[0] = FINE[d]
    layers = list(_layers(LeafPosterior(marginal, marginal.lattice(spacing)), ends))
    with np.errstate(invalid="ignore"):  # half of the points of a layer may be none
        moments = [_moments(spec, part, effect, place) for part in layers]
    mean, sd = np.array(moments).swapaxes(0, 1)
    return np.array([part.tau[0] for part in layers]), mean, sd


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
