"""Coefficients and effects of all levels in a PyMC model, whatever the rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.standardized import Standardized
from hiermodels.mcmc.outcome import Sds
from hiermodels.mcmc.parameterization import Form, Observed
from hiermodels.mcmc.transforms import UnitScale, matrix_times
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.coefficients import NormalInverseGamma, normal_to_pymc
from hiermodels.model.spec import Spec


def scaled_by(sigma: TensorVariable | None, *priors: Prior) -> dict[str, Any]:
    """The argument ``sigma`` of priors whose scale is in units of it; none of others."""
    scaled = any(isinstance(prior, NormalInverseGamma) for prior in priors)
    return {"sigma": sigma} if scaled else {}


def add_beta(
    spec: Spec, start: Floats, unit: UnitScale, sigma: TensorVariable | None = None
) -> TensorVariable:
    """Add β, of which there is at least one coefficient; shape (q,).

    Parameters
    ----------
    start : (q,)
        Where sampling starts, unless all priors are proper.
    unit : UnitScale
        Coordinates in which it is sampled.
    sigma : scalar, optional
        Of which priors' scales may be multiples.
    """
    mean, sd = np.array([spec.scaled_prior(name) or (0.0, np.inf) for name in spec.coefficients]).T
    how = scaled_by(sigma, *(spec.priors[name] for name in spec.coefficients))
    how |= {"dims": spec.dims("beta"), "transform": unit}
    beta: TensorVariable = normal_to_pymc(pm, "beta", mean, sd, start, **how)
    return beta


def add_coefficients(
    spec: Spec, standard: Standardized, sigma: TensorVariable | None = None
) -> TensorVariable:
    """Add β; return it in the tree's coordinates, with shape (q,)."""
    if not spec.covariates:
        return pt.zeros(0)
    basis = standard.scale * standard.basis
    start = basis @ standard.tree.left.anchor
    if spec.has_intercept:
        start = np.zeros_like(start)
    beta = add_beta(spec, start, UnitScale(start, basis), sigma)
    return matrix_times(np.linalg.inv(basis), beta)


def add_parents(
    spec: Spec, data: GroupedData, observed: Observed
) -> tuple[Indices | TensorVariable, ...]:
    """Index of each member's parent, level by level from the outermost; to be seen, beside rows."""
    parents: list[Indices | TensorVariable] = [level.parent for level in data.levels]
    if observed == "rows":
        for number, (outer, inner) in enumerate(pairwise(spec.groups), start=1):
            parents[number] = pm.Data(f"{outer}_of_{inner}", parents[number], dims=inner)
    return tuple(parents)


def is_moved(spec: Spec) -> bool:
    """Whether the effects that are sampled belong to the covariates' means, and not to x = 0."""
    return bool(spec.covariates and spec.intercept)


def add_effects(
    spec: Spec,
    parents: Sequence[Indices | TensorVariable],
    unit: UnitScale,
    shift: TensorVariable | float,
    sds: Sds,
    forms: Mapping[str, Form],
    start: Mapping[str, Floats] | None = None,
) -> TensorVariable:
    """Add the intercept and all effects, from the top downwards; return the groups'.

    The groups' effects that are returned (g,), and those that are sampled, belong to the
    covariates' means; those that are reported belong to x = 0, less by ``shift = centre'β``.
    Without an intercept, all belong to x = 0, and 0 stands at the top.

    Parameters
    ----------
    unit : UnitScale
        Coordinates in which the intercept and centred effects are sampled; its location is where
        an intercept with a flat prior starts.
    start : mapping of str to (u,), optional
        Where centred effects start, by name; those that are not named, at their parents.
    """
    centre = "_centre" if is_moved(spec) else ""

    def report(name: str, location: TensorVariable) -> TensorVariable:
        if name in pm.modelcontext(None):
            return location
        reported = pm.Deterministic(name, location - shift, dims=spec.dims(name))
        return location if centre else reported

    location = pt.zeros(())
    for name in spec.top:
        prior = spec.priors[name]
        how = scaled_by(sds.get("sigma"), prior) | {"shift": shift, "transform": unit}
        location = prior.to_pymc(pm, name + centre, float(unit.location), **how)
        location = report(name, location)
    for number, level in enumerate(spec.levels):
        name, sd, dims = level.effect, sds[level.sd], (level.column,)
        parent = location[parents[number]] if number else location
        if forms[name] == "noncentered":
            location = parent + sd * pm.Normal(f"{name}_offset", dims=dims)
        else:
            known = {"initval": start[name]} if start and name in start else {}
            how = {"dims": dims, "transform": unit, **known}
            location = pm.Normal(name + centre, parent, sd, **how)
        location = report(name, location)
    return location
