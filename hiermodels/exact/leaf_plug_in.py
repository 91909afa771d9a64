"""Estimates of effects of rows that are not normal: no, complete and partial pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_data import leaf_design, two_level_model, with_intercept
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.exact.leaves.maximum import (
    Determined,
    effects_given,
    maximum_likelihood,
    own_maxima,
)
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.raw_values import raw_values
from hiermodels.families.leaves import Leaves
from hiermodels.families.links import log_slope
from hiermodels.families.raw import RawValues
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import LIKELIHOOD, PlugIn, PointEstimate, known_method
from hiermodels.posterior.tables import shown

CORRECTED = "raw: corrected for the group's covariates, as in eb"


def leaf_plug_in(spec: Spec, data: GroupedData, method: str, place: Place) -> PlugIn:
    """Maximise the likelihood of tau and the coefficients, and estimate all effects given these.

    Raises
    ------
    SpecError
        If the coefficients are not bounded by the data, or the method is not for counts.
    """
    require_likelihood(method)
    model = two_level_model(spec, data)
    require_bounded(spec, data, model)
    found = maximum_likelihood(model)
    highest = None if found.place is None else (found.place.gamma, found.place.score.covariance)
    return estimates_at(spec, place, model, found, raw_values(spec, data, 0), highest)


def estimates_at(
    spec: Spec,
    place: Place,
    model: LeafModel,
    found: Determined,
    raw: RawValues,
    highest: tuple[Floats, Floats] | None,
) -> PlugIn:
    """Estimates of the effects of one column of groups at the highest place of the likelihood.

    Parameters
    ----------
    highest : ((p,), (p, p)), optional
        The coefficients there and their covariance.
    """
    at = with_intercept(spec, np.atleast_2d(place.of(0)))
    (level,) = spec.levels
    effects = {level.effect: _on_link(spec, model, found, raw, at)}
    for name in spec.on_outcome_scale:
        effects[name] = _on_outcome_scale(spec, model, found, raw)
    sds, known = _sds(spec, found), _known(spec, found)
    return given_maximum(spec, place, sds, effects, highest, known, notes=(CORRECTED,))


def given_maximum(
    spec: Spec,
    place: Place,
    sds: PointEstimate,
    effects: Mapping[str, Mapping[str, Floats]],
    highest: tuple[Floats, Floats] | None,
    known: str,
    notes: tuple[str, ...],
) -> PlugIn:
    """What is estimated by maximum likelihood.

    Parameters
    ----------
    highest : ((p,), (p, p)), optional
        The coefficients where the likelihood is highest, and their covariance.
    known : str
        Where that is, in words; nothing where it is nowhere.
    """
    coefficients, ses = _coefficients_at(highest, with_intercept(spec, place.of(ROOT)), spec)
    told = f"{known} ({LIKELIHOOD['ml']})"
    return PlugIn(
        sds,
        "ml",
        effects,
        {},
        coefficients,
        ses,
        given=(f"eb: given {told} as if known",) if known else (),
        of_coefficients=(f"{told}, all that is unknown together",) if known else (),
        notes=notes,
    )


def require_likelihood(method: str) -> None:
    """Raise SpecError if the method is not maximum likelihood."""
    if known_method(method) == "ml":
        return
    reason = (
        "the restricted likelihood is that of contrasts of normal rows"
        if method in LIKELIHOOD
        else "it is of estimates with known standard errors"
    )
    raise SpecError(
        f"method={method!r}: {reason}, and these rows are not normal. Use method='ml', maximum "
        f"likelihood, which is their default"
    )


def require_bounded(spec: Spec, data: GroupedData, model: LeafModel | NestedModel) -> None:
    """Raise SpecError if the likelihood rises for ever along some coefficients."""
    require_no_separation(leaf_design(spec, data, model.leaves, model.x))


def require_no_separation(design: LeafDesign) -> None:
    """Raise SpecError if without their priors nothing bounds some coefficients."""
    design = replace(design, is_flat=np.ones_like(design.is_flat))
    basis, _ = design.separation(np.ones(len(design.flat_names), dtype=bool))
    names = [n for n, row in zip(design.flat_names, basis, strict=True) if row.any()]
    if names:
        raise SpecError(
            f"estimates take the coefficients without their priors, and without these nothing "
            f"bounds {' and '.join(names)}: the likelihood has no maximum. See .summary() for the "
            f"posterior"
        )


def _sds(spec: Spec, found: Determined) -> PointEstimate:
    """The estimate of tau, nan where there is none."""
    (name,) = (level.sd for level in spec.levels)
    if name in spec.fixed:
        note = f"{name} = {shown(spec.fixed[name])}: fixed, not estimated"
        value = float(spec.fixed[name])
        return PointEstimate({name: value}, np.array([[value]]), notes=(note,))
    if found.place is not None:
        return PointEstimate({name: found.place.tau}, np.array([[found.place.tau]]))
    what = f"does not depend on {name}" if found.is_flat else f"rises as {name} goes to infinity"
    note = f"the likelihood {what}: no estimate. NaN where it is needed"
    return PointEstimate({name: np.nan}, np.array([[np.nan]]), notes=(note,))


def _known(spec: Spec, found: Determined) -> str:
    """Say where the likelihood is highest."""
    if found.place is None:
        return ""
    return f"{spec.levels[0].sd} = {shown(found.place.tau)}{and_means(spec)}"


def and_means(spec: Spec) -> str:
    """What has a coefficient: the intercept alone, by its name, or all."""
    if not spec.means:
        return ""
    several = spec.covariates or not spec.intercept
    return f" and {'the coefficients' if several else spec.intercept}"


def _coefficients_at(
    highest: tuple[Floats, Floats] | None, root: Floats, spec: Spec
) -> tuple[Floats, Floats]:
    """The intercept at covariates (p,), the slopes, and standard errors; (p,) each.

    Parameters
    ----------
    highest : ((p,), (p, p)), optional
        The coefficients where the likelihood is highest, and their covariance; nan without.
    """
    p = len(root)
    if highest is None:
        return np.full(p, np.nan), np.full(p, np.nan)
    to_shown = np.eye(p)
    if spec.has_intercept:
        to_shown[0] = root
    covariance = to_shown @ highest[1] @ to_shown.T
    return to_shown @ highest[0], np.sqrt(np.diag(covariance))


@one_blas_thread()
def _on_link(
    spec: Spec, model: LeafModel, found: Determined, raw: RawValues, at: Floats
) -> dict[str, Floats]:
    """Columns of the effects at covariates (1, p) or (k, p)."""
    value, error = own_estimates(spec, model.leaves, raw)
    columns = {"raw": value, "raw_se": error, "pooled": model.x @ found.pooled.gamma}
    columns |= _empirical_bayes(model, found)
    away = np.broadcast_to(at, model.x.shape) - model.x
    shift = away @ found.place.gamma if found.place else np.where(away.any(axis=1), np.nan, 0.0)
    moved = {name: columns[name] + shift for name in ("raw", "eb")}
    return columns | moved | {"pooled": columns["pooled"] + away @ found.pooled.gamma}


@one_blas_thread()
def _on_outcome_scale(
    spec: Spec, model: LeafModel, found: Determined, raw: RawValues
) -> dict[str, Floats]:
    """Columns of the effects on the outcome's scale, at the groups' own covariates.

    The standard error of ``link⁻¹(θ)`` is that of θ times the slope.
    """
    return {
        **raw_on_outcome_scale(spec, model.leaves, raw),
        "pooled": spec.family.inverse_link(model.x @ found.pooled.gamma),
        **_empirical_bayes(model, found, on_outcome_scale=spec),
    }


def raw_on_outcome_scale(spec: Spec, leaves: Leaves, raw: RawValues) -> dict[str, Floats]:
    """Each group's own estimate on the outcome's scale, and its standard error."""
    value, error = own_estimates(spec, leaves, raw)
    inside = np.isfinite(value)
    finite = np.where(inside, value, 0.0)
    return {
        "raw": np.where(inside, spec.family.inverse_link(finite), raw.value),
        "raw_se": error * np.exp(log_slope(spec.family.link, finite)),
    }


def own_estimates(spec: Spec, leaves: Leaves, raw: RawValues) -> tuple[Floats, Floats]:
    """Each group's own estimate on the scale of the link and its standard error; (k,) each.

    Of counts that of maximum likelihood, nan where it is infinite; of others the raw value.
    """
    if spec.family.effect:
        return own_maxima(leaves)
    return raw.value, np.where(raw.size > 0, raw.size, np.nan) ** -0.5


def _empirical_bayes(
    model: LeafModel, found: Determined, on_outcome_scale: Spec | None = None
) -> dict[str, Floats]:
    """Means and sds of effects at the highest place of the likelihood."""
    if found.place is None:
        return dict.fromkeys(("eb", "eb_sd"), np.full(len(model.leaves), np.nan))
    function = on_outcome_scale.family.inverse_link if on_outcome_scale else None
    mean, sd = effects_given(model, found.place, function)
    return {"eb": mean, "eb_sd": sd}
