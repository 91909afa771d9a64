"""Which prior each parameter of a model with groups has: the one that is given, or the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiermodels.core.suggestions import did_you_mean
from hiermodels.errors import SpecError
from hiermodels.model.level import Level
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import Flat
from hiermodels.model.priors.covariance import LKJ, FlatCovariance
from hiermodels.model.priors.defaults import check_kind
from hiermodels.model.priors.variance import FlatSD, FlatVariance, Jeffreys


def spelled_out(
    given: Mapping[str, Prior],
    parameters: Sequence[str],
    members: Mapping[str, Sequence[str]],
    levels: Sequence[Level],
) -> dict[str, Prior]:
    """Priors by parameter: those of ``beta`` and of a level's ``tau`` for each of their members.

    So with all of ``members``, such as ``sigma`` of strata.

    One of a parameter by itself overrides that of all.

    Raises
    ------
    SpecError
        If there is no such parameter.
    """
    given, known = dict(given), list(parameters)
    several = {name: tuple(some) for name, some in members.items() if some}
    several |= {level.sd: level.sds for level in levels if level.has_slopes}
    for name, own in several.items():
        if isinstance(given.get(name), FlatCovariance):
            known.append(name)
        elif name in given:
            given = dict.fromkeys(own, given.pop(name)) | given
    unknown = [name for name in given if name not in known]
    if unknown:
        raise SpecError(
            f"priors: this model has no parameter {unknown[0]!r}; it has {', '.join(parameters)}"
            f"{did_you_mean(unknown[0], known)}"
        )
    return given


def complete_hierarchy(
    parameters: Sequence[str],
    given: Mapping[str, Prior],
    levels: Sequence[Level],
    is_blocks: bool,
) -> dict[str, Prior]:
    """Priors of all parameters: means, sds and correlations, coefficients, sigma.

    Raises
    ------
    SpecError
        If one is not of its parameter's kind.
    """
    whole = {level.sd: level for level in levels if isinstance(given.get(level.sd), FlatCovariance)}
    sds = {name: level for level in levels for name in level.sds}
    correlations = {level.correlation for level in levels}
    covered = {name: level for level in whole.values() for name in level.parameters}
    priors: dict[str, Prior] = {}
    for name in parameters:
        if name in covered:
            _require_alone(covered[name], name, given)
            priors[covered[name].sd] = given[covered[name].sd]
            continue
        if name in correlations:
            priors[name] = given.get(name, LKJ(1.0))
            _check_correlation(name, priors[name])
            continue
        is_sd = name in sds or name.startswith("sigma")
        default = _default_sd(sds.get(name), levels) if is_sd else Flat()
        priors[name] = given.get(name, default)
        check_kind(name, priors[name], is_sd=is_sd)
    return priors


def _default_sd(level: Level | None, levels: Sequence[Level]) -> VariancePrior:
    """Of an sd: flat on sds in models with slopes, else on variances; 1/σ² of the rows'."""
    if level is None:
        return Jeffreys()
    return FlatSD() if any(own.has_slopes for own in levels) else FlatVariance()


def _require_alone(level: Level, name: str, given: Mapping[str, Prior]) -> None:
    """Raise SpecError if a flat covariance stands beside other priors of the same level."""
    if not level.correlation:
        raise SpecError(
            f"priors: FlatCovariance() of {level.sd!r} needs two correlated effects or more; "
            f"found {', '.join(level.terms)}{'' if level.varying.correlated else ', uncorrelated'}"
        )
    if name in given:
        raise SpecError(
            f"priors: {level.sd!r} has FlatCovariance(), which is a prior of {level.sd} and "
            f"{level.correlation} together; leave out {name!r}"
        )


def _check_correlation(name: str, prior: Prior) -> None:
    if not isinstance(prior, LKJ):
        raise SpecError(f"priors: {name!r} needs LKJ(eta=…); found {prior!r}")
