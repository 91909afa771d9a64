"""All families by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from hiermodels.core.messages import short
from hiermodels.core.suggestions import did_you_mean
from hiermodels.errors import SpecError
from hiermodels.families.binomial import Binomial
from hiermodels.families.family import Family
from hiermodels.families.negative_binomial import NegativeBinomial
from hiermodels.families.normal import NormalRows
from hiermodels.families.odds_ratio import OddsRatio
from hiermodels.families.poisson import Poisson
from hiermodels.families.student_t import StudentT

KINDS: tuple[type[Family], ...] = (
    NormalRows,
    StudentT,
    Binomial,
    Poisson,
    NegativeBinomial,
    OddsRatio,
)
FAMILIES: Mapping[str, type[Family]] = {kind.name: kind for kind in KINDS}
NORMAL = NormalRows()
ELSEWHERE = {
    **dict.fromkeys(("gaussian", "linear", "identity"), "normal"),
    **dict.fromkeys(("bernoulli", "logistic", "logit"), "binomial"),
    **dict.fromkeys(("count", "log"), "poisson"),
    **dict.fromkeys(("negbinomial", "nbinom2"), "negative_binomial"),
    **dict.fromkeys(("t", "student", "studentt"), "student_t"),
}


def is_family(value: Any) -> bool:
    """Whether this is an object of a registered family."""
    return FAMILIES.get(getattr(value, "name", "")) is type(value)


def family_of(given: Any) -> Family:
    """The family of this name, or a family as it is.

    Raises
    ------
    SpecError
        If there is no such family, or if one has parameters, which a name does not tell.
    """
    if is_family(given):
        family: Family = given
        return family
    kind = FAMILIES.get(given) if isinstance(given, str) else None
    if kind is None:
        raise SpecError(
            f"family: expected {family_names()}, or a family such as hm.StudentT(nu=4); found "
            f"{short(given)}{did_you_mean(given, FAMILIES, ELSEWHERE)}"
        )
    needed = [f"{name}=…" for name in _parameters(kind)]
    if needed:
        raise SpecError(
            f"family: {given!r} has parameters: give hm.{kind.__name__}({', '.join(needed)})"
        )
    return kind()


def family_names() -> str:
    """Names of the families that a name alone tells."""
    return " or ".join(repr(name) for name, kind in FAMILIES.items() if not _parameters(kind))


def _parameters(kind: Any) -> list[str]:
    """Names of the fields of a family that have no default."""
    every = fields(kind)
    return [f.name for f in every if f.default is MISSING and f.default_factory is MISSING]
