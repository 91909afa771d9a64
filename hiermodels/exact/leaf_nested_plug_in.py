"""Estimates of effects of rows that are not normal, with three levels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_data import nested_model
from hiermodels.exact.leaf_plug_in import (
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
from hiermodels.exact.raw_values import leaves_of_level, raw_values
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import LIKELIHOOD, PlugIn, PointEstimate
from hiermodels.posterior.tables import shown


@one_blas_thread()
def nested_plug_in(spec: Spec, data: GroupedData, method: str) -> PlugIn:
    """Maximise the likelihood of the sds and the intercept, and estimate all effects given these.

    Raises
    ------
    SpecError
        If there are covariates, the intercept is not bounded by the data, or the method is not for
        counts.
    """
    require_likelihood(method)
    if spec.covariates:
        raise SpecError(
            f"covariates: maximum likelihood of counts with three levels takes none; found "
            f"{', '.join(spec.covariates)}. See .summary() for the posterior, or use two levels"
        )
    marginal = NestedMarginal(nested_model(spec, data))
    require_bounded(spec, data, marginal.model)
    leaves = [leaves_of_level(spec, data, level) for level in (0, 1)]
    found = maximum_likelihood(marginal, leaves[0])
    effects = {}
    for number, level in enumerate(spec.levels):
        raw = raw_values(spec, data, number)
        value, error = own_estimates(spec, leaves[number], raw)
        columns = {"raw": value, "raw_se": error, "pooled": np.full(len(value), found.pooled)}
        effects[level.effect] = columns | _empirical_bayes(marginal, found, number)
    for name in spec.on_outcome_scale:
        family, inner = spec.family, len(spec.levels) - 1
        effects[name] = {
            **raw_on_outcome_scale(spec, leaves[inner], raw_values(spec, data, inner)),
            "pooled": family.inverse_link(np.full(len(leaves[inner]), found.pooled)),
            **_empirical_bayes(marginal, found, inner, family.inverse_link),
        }
    lam, se = (np.nan, np.nan) if found.place is None else (found.place.lam, found.place.se)
    top = slice(len(spec.top))
    return PlugIn(
        _sds(spec, found),
        method,
        effects,
        {},
        np.array([lam])[top],
        np.array([se])[top],
        given=_given(spec, found, "eb: given {} as if known"),
        of_coefficients=_given(spec, found, "{}, all that is unknown together"),
    )


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


def _given(spec: Spec, found: NestedMaximum, wording: str) -> tuple[str, ...]:
    """Say where the likelihood is highest."""
    if found.place is None:
        return ()
    values = zip(spec.levels, (found.place.kappa, found.place.tau), strict=True)
    known = ", ".join(f"{level.sd} = {shown(value)}" for level, value in values)
    if found.is_sum:
        known = (
            f"{' + '.join(f'{level.sd}²' for level in spec.levels)} = {shown(found.place.tau**2)}"
        )
    known += f" and {spec.intercept}" if spec.intercept else ""
    return (wording.format(f"{known} ({LIKELIHOOD['ml']})"),)
