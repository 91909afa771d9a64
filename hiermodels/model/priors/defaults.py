"""Which prior each parameter has: the one that is given, if it suits, or the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiermodels.errors import SpecError
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import CoefficientPrior, Flat, NormalInverseGamma
from hiermodels.model.priors.variance import Fixed, InverseGamma, Jeffreys


def describe_prior(name: str, prior: Prior) -> str:
    """Return a prior with the scale that it is stated on, as every summary shows it."""
    if isinstance(prior, VariancePrior):
        on = f"on the sd {name}" if prior.scale == "sd" else f"on the variance {name}²"
        return f"{prior}, {on}"
    return f"{prior}, with sigma²" if isinstance(prior, NormalInverseGamma) else str(prior)


def complete_one_population(given: Mapping[str, Prior]) -> dict[str, Prior]:
    """Priors of a model without groups: the conjugate one, or its flat limit."""
    priors = {"theta": Flat(), "sigma": Jeffreys()} | dict(given)
    if set(given) == {"theta"} and isinstance(given["theta"], NormalInverseGamma):
        return dict(given)
    if priors != {"theta": Flat(), "sigma": Jeffreys()}:
        raise SpecError(
            f"priors: a model without groups takes {{'theta': NormalInverseGamma(m=…, s=…, "
            f"alpha=…, beta=…)}}, which is a prior of theta and sigma² together, or its flat limit "
            f"Flat() and Jeffreys(); found {given!r}"
        )
    return priors


def complete_regression(
    parameters: Sequence[str], given: Mapping[str, Prior], *, known_errors: bool
) -> dict[str, Prior]:
    """Priors of a regression: those with which the posterior has a closed form."""
    conjugate = [prior for prior in given.values() if isinstance(prior, NormalInverseGamma)]
    names = [name for name in parameters if name != "sigma" or not conjugate]
    defaults = {name: Jeffreys() if name == "sigma" else Flat() for name in names}
    priors = {name: given.get(name, defaults[name]) for name in names}
    if known_errors:
        for name, prior in priors.items():
            check_kind(name, prior, is_sd=name == "sigma")
        return priors
    laws = {(prior.alpha, prior.beta) for prior in conjugate}
    sigma = priors.get("sigma", Jeffreys())
    others = [prior for name, prior in priors.items() if name != "sigma"]
    if (
        len(laws) > 1
        or (conjugate and "sigma" in given)
        or not isinstance(sigma, (Jeffreys, InverseGamma))
        or not all(isinstance(prior, (Flat, NormalInverseGamma)) for prior in others)
    ):
        raise SpecError(
            f"priors: a regression without groups and with unknown sigma takes Flat() or "
            f"NormalInverseGamma(m=…, s=…, alpha=…, beta=…) for mu and for each coefficient, with "
            f"s in units of sigma, and with one alpha and beta, which are sigma²'s; where all are "
            f"flat, Jeffreys() or InverseGamma(alpha=…, beta=…) for sigma; found {given!r}"
        )
    return priors


def check_kind(name: str, prior: Prior, *, is_sd: bool) -> None:
    """Raise SpecError if a prior is not of the parameter's kind."""
    kind = VariancePrior if is_sd else CoefficientPrior
    if name == "sigma" and isinstance(prior, Fixed) and not prior.value:
        raise SpecError("priors: sigma = Fixed(0) leaves no density of the rows; fix it above 0")
    if isinstance(prior, kind):
        return
    expected = (
        "a prior of an sd or a variance, such as FlatSD() or HalfNormal(sd=…)"
        if is_sd
        else "Flat() or Normal(mean=…, sd=…)"
    )
    raise SpecError(f"priors: {name!r} needs {expected}; found {prior!r}")
