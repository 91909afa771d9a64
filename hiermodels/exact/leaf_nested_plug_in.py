"""Estimates of effects of rows that are not normal, with three levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.leaf_data import nested_model, with_intercept
from hiermodels.exact.leaf_plug_in import (
    CORRECTED,
    and_means,
    given_maximum,
    own_estimates,
    raw_on_outcome_scale,
    require_bounded,
    require_likelihood,
)
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.maximum import (
    NestedMaximum,
    effects_given,
    maximum_likelihood,
)
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.raw_values import leaves_of_level, raw_values
from hiermodels.families.leaves import Leaves
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import PlugIn, PointEstimate
from hiermodels.posterior.tables import shown


@one_blas_thread()
def nested_plug_in(spec: Spec, data: GroupedData, method: str, place: Place) -> PlugIn:
    """Do what :func:`hiermodels.exact.leaf_plug_in.leaf_plug_in` does, of three levels."""
    require_likelihood(method)
    marginal = NestedMarginal(nested_model(spec, data))
    require_bounded(spec, data, marginal.model)
    leaves = [leaves_of_level(spec, data, level) for level in (0, 1)]
    found = maximum_likelihood(marginal, leaves[0])
    effects = {
        level.effect: _on_link(spec, data, marginal, found, leaves[number], number, place)
        for number, level in enumerate(spec.levels)
    }
    for name in spec.on_outcome_scale:
        effects[name] = _on_outcome_scale(spec, data, marginal, found, leaves[1])
    highest = None if found.place is None else (found.place.gamma, found.place.covariance)
    sds, known = _sds(spec, found), _known(spec, found)
    notes = (CORRECTED,) if spec.covariates else ()
    return given_maximum(spec, place, sds, effects, highest, known, notes)


def _on_link(
    spec: Spec,
    data: GroupedData,
    marginal: NestedMarginal,
    found: NestedMaximum,
    leaves: Leaves,
    level: int,
    place: Place,
) -> dict[str, Floats]:
    """Columns of a level's effects at the covariates of a place.

    Rows of an outer group are as if they all had its groups' mean covariates, by what the groups
    say.
    """
    model = marginal.model
    value, error = own_estimates(spec, leaves, raw_values(spec, data, level))
    own = model.x if level else _outer_x(model)
    at = with_intercept(spec, np.broadcast_to(place.of(level), (len(own), model.n_slopes)))
    columns = {"raw": value, "raw_se": error, "pooled": at @ found.pooled}
    columns |= _empirical_bayes(marginal, found, level)
    if found.place is not None:
        known = own if level else np.broadcast_to(_middle(model), own.shape)
        columns["raw"] = columns["raw"] + (at - own) @ found.place.gamma
        columns["eb"] = columns["eb"] + (at - known) @ found.place.gamma
    elif (at != own).any():
        columns["raw"] = np.full(len(own), np.nan)
    return columns


def _outer_x(model: NestedModel) -> Floats:
    """Mean covariates of each outer group's groups, by their information; (S, p)."""
    weight, means = model.leaves.information, np.empty((model.n_outer, model.x.shape[1]))
    for mean, x in zip(means.T, model.x.T, strict=True):
        mean[:] = model.outer_sums(weight * x) / model.outer_sums(weight)
    return means


def _middle(model: NestedModel) -> Floats:
    """Covariates at which effects of outer groups are; (p,)."""
    return np.append(np.ones(int(model.has_intercept)), model.middle)


def _on_outcome_scale(
    spec: Spec,
    data: GroupedData,
    marginal: NestedMarginal,
    found: NestedMaximum,
    leaves: Leaves,
) -> dict[str, Floats]:
    """Columns of the groups' effects on the outcome's scale, at their own covariates."""
    inverse = spec.family.inverse_link
    return {
        **raw_on_outcome_scale(spec, leaves, raw_values(spec, data, 1)),
        "pooled": inverse(marginal.model.x @ found.pooled),
        **_empirical_bayes(marginal, found, 1, inverse),
    }


def _empirical_bayes(
    marginal: NestedMarginal,
    found: NestedMaximum,
    level: int,
    function: Callable[[Floats], Floats] | None = None,
) -> dict[str, Floats]:
    """Means and sds of a level's effects at the highest place of the likelihood."""
    if found.place is None or (found.is_sum and level == 0):
        size = len(marginal.model.leaves) if level else marginal.model.n_outer
        return dict.fromkeys(("eb", "eb_sd"), np.full(size, np.nan))
    mean, sd = effects_given(marginal, found.place, level, function)
    return {"eb": mean, "eb_sd": sd}


def _sds(spec: Spec, found: NestedMaximum) -> PointEstimate:
    """The estimates of kappa and tau, nan where there are none."""
    names, place = [level.sd for level in spec.levels], found.place
    values = [np.nan, np.nan]
    if place is not None and not found.is_sum:
        values = [place.kappa, place.tau]
    values = [float(spec.fixed.get(n, v)) for n, v in zip(names, values, strict=True)]
    fixed = ", ".join(f"{name} = {shown(value)}" for name, value in spec.fixed.items())
    notes = [f"{fixed}: fixed, not estimated"] if fixed else []
    sums = {}
    if place is not None and found.is_sum:
        sums = {f"{names[0]}² + {names[1]}²": place.tau**2}
        notes.append(f"each {spec.groups[0]} has one {spec.groups[1]}: only the sum is estimated")
    if place is None:
        notes.append("the likelihood rises as an sd goes to infinity: no estimate. NaN for all")
    return PointEstimate(
        dict(zip(names, values, strict=True)), np.array([values]), sums, tuple(notes)
    )


def _known(spec: Spec, found: NestedMaximum) -> str:
    """Say where the likelihood is highest."""
    if found.place is None:
        return ""
    values = zip(spec.levels, (found.place.kappa, found.place.tau), strict=True)
    known = ", ".join(f"{level.sd} = {shown(value)}" for level, value in values)
    if found.is_sum:
        known = (
            f"{' + '.join(f'{level.sd}²' for level in spec.levels)} = {shown(found.place.tau**2)}"
        )
    return known + and_means(spec)
