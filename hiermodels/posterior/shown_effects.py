"""Intercepts of groups that have slopes too, shown at some values of the covariates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec


def shown_effects(
    spec: Spec, data: GroupedData, draws: xr.Dataset, place: Place, name: str
) -> dict[str, xr.DataArray]:
    """The intercepts of a level, or of the root, with what the covariates x add to them.

    That is ``Σ_j x_j θ_j`` over the covariates, with the slope of the group itself, of the group
    that it lies in, or of the population. Slopes stay what they are.

    Parameters
    ----------
    draws : Dataset
        Of all variables.
    place : Place
        The covariates x.
    name : str
        Of the effects.
    """
    number, values = spec.level_of(name), draws[name]
    if number == ROOT:
        beta = draws["beta"].to_numpy()
        return {name: values + place.shift(ROOT, beta)[..., 0]}
    level = spec.levels[number]
    if INTERCEPT not in level.terms:
        return {}
    shift = _shift(spec, data, draws, place, number)
    if not level.has_slopes:
        return {name: values + shift}
    moved = values.copy()
    moved[..., level.terms.index(INTERCEPT)] += shift
    return {name: moved}


def shown_groups(
    spec: Spec,
    data: GroupedData,
    draws: xr.Dataset,
    place: Place,
    effects: Floats,
    groups: Indices,
) -> Floats:
    """The same of some of the innermost groups, from draws of theirs (chain, draw, g, …)."""
    number, level = len(spec.levels) - 1, spec.levels[-1]
    if INTERCEPT not in level.terms:
        return effects
    moved = effects.copy() if level.has_slopes else effects[..., None]
    x, shift = np.atleast_2d(place.of(number)), np.zeros(1)
    x = x if len(x) == 1 else x[groups]
    for j, term in enumerate(spec.covariates):
        if term in level.terms:
            own = effects[..., level.terms.index(term)]
        else:
            own = coefficient_of_members(spec, data, draws, number, term)
            own = own if own.shape[-1] == 1 else own[..., groups]
        shift = shift + own * x[:, j]
    moved[..., level.terms.index(INTERCEPT)] += shift
    return moved if level.has_slopes else moved[..., 0]


def _shift(spec: Spec, data: GroupedData, draws: xr.Dataset, place: Place, number: int) -> Floats:
    """``Σ_j x_j θ_j`` of each group of a level; (chain, draw, u)."""
    x = np.atleast_2d(place.of(number))
    total: Floats = np.zeros(1)
    for j, term in enumerate(spec.covariates):
        total = total + coefficient_of_members(spec, data, draws, number, term) * x[:, j]
    return total


def coefficient_of_members(
    spec: Spec, data: GroupedData, variables: Mapping[Any, Any], number: int, term: str
) -> Floats:
    """The intercept or the slope that each group of a level has, its own or from above it.

    Parameters
    ----------
    variables : mapping of str to array
        Of any shape (...,): scalars with this shape, effects (..., u) or (..., u, e), and ``beta``
        (..., q).
    number : int
        Of the level; of ``ROOT`` it is the population's.
    term : str
        ``"Intercept"`` or the name of a covariate.

    Returns
    -------
    (..., u), or (..., 1) where all groups have the population's
    """
    member = np.arange(len(data.levels[number]))
    for above in range(number, ROOT, -1):
        level = spec.levels[above]
        if term in level.terms:
            effects = np.asarray(variables[level.effect])
            own = effects[..., level.terms.index(term)] if level.has_slopes else effects
            return np.asarray(own[..., member])
        member = data.levels[above].parent[member]
    if term != INTERCEPT:
        return np.asarray(variables["beta"])[..., spec.covariates.index(term)][..., None]
    return np.asarray(variables[spec.intercept])[..., None] if spec.intercept else np.zeros(1)
