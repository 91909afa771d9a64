"""Names of estimators, what an estimate of sds is, and what is estimated given it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.errors import SpecError
from hiermodels.posterior.tables import shown

LIKELIHOOD = {"reml": "restricted maximum likelihood", "ml": "maximum likelihood"}
MOMENTS = {
    "dl": "DerSimonian–Laird",
    "pm": "Paule–Mandel",
    "he": "Hedges",
    "eb": "empirical Bayes",
    "sj": "Sidik–Jonkman",
}
METHODS = LIKELIHOOD | MOMENTS

ALIASED = (
    "estimates take the coefficients without their priors, and without these the data cannot tell "
    "them apart: there are linear combinations among the covariates, or more coefficients than "
    "rows. See .summary() for the posterior"
)


@dataclass(frozen=True)
class PointEstimate:
    """Estimates of the sds, and what to say of them.

    Attributes
    ----------
    sds : dict of str to float
        In the outcome's unit; NaN where the data do not determine an sd.
    sums : dict of str to float
        What they determine in its place, such as ``{"tau² + sigma²": 2.5}``.
    notes : tuple of str
        How they were estimated, and what could not be.
    points : (m, d)
        Sds at which estimates of all else may be taken.  Where the sds are not determined there
        are two that the data cannot tell apart: what differs between them is not determined.
    """

    sds: dict[str, float]
    points: Floats
    sums: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def nowhere(cls, names: Sequence[str], fixed: Mapping[str, float]) -> Self:
        """What is said where the likelihood has no maximum: nothing but sds that are fixed."""
        note = "the likelihood has no maximum: no estimate of sds. NaN where they are needed"
        return cls(dict.fromkeys(names, np.nan) | dict(fixed), np.array([[np.nan]]), notes=(note,))

    def as_if_known(self, method: str) -> tuple[str, ...]:
        """What a table says of estimates that are given these, if there are any."""
        known = [f"{name} = {shown(value)}" for name, value in self.sds.items() if value == value]
        return (f"eb: given {', '.join(known)} ({METHODS[method]}) as if known",) if known else ()


@dataclass(frozen=True)
class PlugIn:
    """What is estimated of groups without a posterior of the sds: each level's columns.

    Attributes
    ----------
    sds : PointEstimate
        Estimates that all else takes for known.
    method : str
        By which the sds were estimated.
    effects : mapping of str to mapping of str to (u,)
        Of each variable of groups' effects, the outermost level's first, those on the outcome's
        scale last: columns of a table, ``raw``, ``raw_se``, ``pooled``, ``eb`` and ``eb_sd``.
    weights : mapping of str to mapping of str to (u,)
        More columns of the same tables, of weights.
    coefficients, coefficient_ses : (p,)
        Of the intercept, if there is one, and of those of the covariates.
    given, of_coefficients : tuple of str
        What a table says of what the effects took for known, and the coefficients.
    notes : tuple of str
        What it says of its columns.
    """

    sds: PointEstimate
    method: str
    effects: Mapping[str, Mapping[str, Floats]]
    weights: Mapping[str, Mapping[str, Floats]]
    coefficients: Floats
    coefficient_ses: Floats
    given: tuple[str, ...] = ()
    of_coefficients: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def likelihood_method(method: object) -> str:
    """Return the name of a method of likelihood; by default the restricted one.

    Raises
    ------
    SpecError
        If there is none of this name, or it is for other models.
    """
    name = known_method("reml" if method is None else method)
    if name not in LIKELIHOOD:
        raise for_studies_alone(name)
    return name


def for_studies_alone(method: str) -> SpecError:
    """What is wrong with a method of moments of other models."""
    return SpecError(
        f"method {method!r} ({METHODS[method]}) is for two levels with known standard errors; use "
        f"{' or '.join(map(repr, LIKELIHOOD))}"
    )


def known_method(method: object) -> str:
    """Return the name of a method.

    Raises
    ------
    SpecError
        If there is none of this name.
    """
    if not isinstance(method, str) or method not in METHODS:
        known = ", ".join(f"{name!r} ({text})" for name, text in METHODS.items())
        raise SpecError(f"method: expected one of {known}; found {short(method)}")
    return method
