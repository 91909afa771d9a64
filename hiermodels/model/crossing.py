"""Crossed groups: which columns of groups lie in which others, and what goes with them.

Rows have an effect of each column, ``y ~ N(mu + theta_a[a] + theta_b[b] + x'beta, sigma²)``, and
these are deviations from the mean, of nested columns too: ``theta_a ~ N(0, tau_a²)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hiermodels.core.messages import short
from hiermodels.core.names import ROOT
from hiermodels.errors import SpecError
from hiermodels.families.family import Family
from hiermodels.families.normal import STRATA
from hiermodels.families.registry import NORMAL
from hiermodels.model.level import Level, Varying
from hiermodels.model.nests import ELSEWHERE, describe_groups, parents_of
from hiermodels.model.sampling import MATRIX, Sampling


def describe_crossed(levels: Sequence[Level], top: str) -> tuple[list[str], list[str]]:
    """What of the groups stands in a row's mean, and a line for each column, the last one first."""
    effects = [f"{level.effect}[{level.column}]" for level in levels]
    lines = [f"{own} ~ Normal(0, {level.sd})" for own, level in zip(effects, levels, strict=True)]
    return [*([] if top == "0" else [top]), *effects], lines[::-1]


def require_nesting(
    nesting: Any,
    columns: Sequence[str],
    varying: Sequence[Varying],
    family: Family,
    others: Mapping[str, str],
    sampling: Sampling | None,
) -> None:
    """Raise SpecError if columns cannot be crossed like this, or with the rest of the model.

    Parameters
    ----------
    nesting : tuple of int
    columns : sequence of str
        Of the groups.
    varying, family, sampling
        As :class:`hiermodels.Spec` has them.
    others : mapping of str to str
        Columns of the rows, by what they are to the family.
    """
    if nesting == ():
        return
    _require_forest(nesting, columns)
    crossed = describe_groups(columns, nesting)
    sloping = [c for c, own in zip(columns, varying, strict=False) if not own.is_intercept]
    if sloping:
        raise SpecError(
            f"formula: slopes that vary between crossed groups are not supported; found some of "
            f"{sloping[0]!r} in {crossed}. Write (1 | {sloping[0]}), with the covariate outside "
            f"the parentheses alone, {ELSEWHERE}"
        )
    if family.name != NORMAL.name:
        raise SpecError(
            f"family: crossed groups, {crossed}, need normal rows; found the family "
            f"{family.name!r}. Take one column of groups, or nested ones, {ELSEWHERE}"
        )
    if sampling is not None:
        role = "covariance" if sampling == MATRIX else "sampling_correlation"
        raise SpecError(
            f"{role}: crossed groups, {crossed}, take rows with independent errors. Leave out "
            f"{role}, and give their sds, se=…, take nested groups, {ELSEWHERE}"
        )
    if STRATA in others:
        raise SpecError(
            f"{STRATA}: crossed groups, {crossed}, take one residual sd for all rows. Leave out "
            f"{STRATA}={others[STRATA]!r}, take nested groups, {ELSEWHERE}"
        )


def _require_forest(nesting: Any, columns: Sequence[str]) -> None:
    """Raise SpecError if it does not say for each column in which earlier one it lies, if any."""
    whole = isinstance(nesting, tuple) and all(type(parent) is int for parent in nesting)
    if (
        not whole
        or len(nesting) != len(columns)
        or not all(ROOT <= parent < own for own, parent in enumerate(nesting))
    ):
        raise SpecError(
            f"nesting: expected, for each of the columns {list(columns)}, the index of the column "
            f"before it that it is nested in, or {ROOT}; found {short(nesting)}"
        )
    if nesting == parents_of((), len(columns)):
        raise SpecError(
            f"nesting: {nesting} says that each column lies in the one before it, and none is "
            f"crossed; leave it out"
        )
