"""Which other priors a model is tried with, and its priors with some of them changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hiermodels.data.grouped import GroupedData
from hiermodels.model.level import INTERCEPT, Level
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.covariance import LKJ, FlatCovariance
from hiermodels.model.priors.variance import (
    FlatSD,
    FlatVariance,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
)
from hiermodels.model.spec import Spec

DIGITS = 2  # of a scale that is taken from the data


def default_alternatives(spec: Spec, data: GroupedData) -> dict[str, dict[str, Prior]]:
    """Other priors of each group-level sd and correlation: see :func:`hiermodels.sensitivity`.

    From the top downwards.  The scale of sds is the sd of the outcomes, or 1 where effects are
    logarithms or log odds; of slopes, that sd in units of the covariate's.
    """
    return {
        _described(changed): changed
        for level in spec.levels
        for changed in _of_level(spec, data, level)
    }


def _described(changed: Mapping[str, Prior]) -> str:
    return " and ".join(f"{name} ~ {prior}" for name, prior in changed.items())


def _of_level(spec: Spec, data: GroupedData, level: Level) -> Iterator[dict[str, Prior]]:
    """Yield other priors of a level, one or a few parameters at a time."""
    correlation = level.correlation
    if isinstance(spec.priors.get(level.sd), FlatCovariance):
        assert correlation is not None
        for sd in (FlatVariance(), FlatSD()):
            yield {level.sd: sd, correlation: LKJ(1.0)}
        return
    for name, term, own in zip(level.sds, level.terms, level.priors, strict=True):
        if name not in spec.fixed:
            for other in _of_sd(_scale(spec, data, term)):
                if other != own:
                    yield {name: other}
    if correlation:
        for eta in (1.0, 2.0):
            if eta != level.eta:
                yield {correlation: LKJ(eta)}
        yield {level.sd: FlatCovariance()}


def _of_sd(scale: float) -> list[VariancePrior]:
    """Priors that an sd is given in turn."""
    scaled: list[VariancePrior] = [HalfNormal(scale), HalfCauchy(scale)] if scale else []
    return [FlatVariance(), FlatSD(), *scaled, InverseGamma(0.001, 0.001)]


def _scale(spec: Spec, data: GroupedData, term: str) -> float:
    """About the size of a term's effects, to two digits; 0 if it is not known."""
    scale = data.outcome_sd if spec.family.link == "identity" else 1.0
    if term != INTERCEPT:
        spread = float(data.covariate_sizes[spec.covariates.index(term)])
        scale = scale / spread if spread else 0.0
    return float(f"{scale:.{DIGITS}g}")


def priors_with(spec: Spec, changed: Mapping[str, Prior]) -> dict[str, Prior]:
    """The priors of a model, some of them changed.

    ``beta`` stands for all coefficients, a level's ``tau`` for the sds of all its effects, and that
    of crossed groups for those of all columns; a flat covariance takes the place of these and of
    the correlations.
    """
    given, kept = dict(changed), dict(spec.priors)
    if "beta" in given and spec.covariates:
        given = dict.fromkeys(spec.coefficients, given.pop("beta")) | given
    if "tau" in given and spec.is_crossed:
        given = dict.fromkeys(spec.spreads, given.pop("tau")) | given
    for level in (own for own in spec.levels if own.has_slopes):
        if isinstance(given.get(level.sd), FlatCovariance):
            for name in level.parameters:
                kept.pop(name, None)
            continue
        if level.sd in given:
            given = dict.fromkeys(level.sds, given.pop(level.sd)) | given
        if set(given) & set(level.parameters):
            kept.pop(level.sd, None)  # a flat covariance
    return kept | given


def changed_keys(first: Mapping[str, Prior], other: Mapping[str, Prior]) -> list[str]:
    """Parameters that have another prior than at first."""
    return [name for name, prior in other.items() if first.get(name) != prior]
