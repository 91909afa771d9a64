"""Known errors that are correlated: by one number within outermost groups, or by a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hiermodels.core.messages import short
from hiermodels.errors import SpecError
from hiermodels.families.family import Family
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.families.registry import NORMAL
from hiermodels.model.formula.columns import Stated
from hiermodels.model.standard_errors import Scale

type Sampling = float | Literal["matrix"]

MATRIX: Literal["matrix"] = "matrix"


def stated_sampling(said: Stated) -> Sampling | None:
    """How errors are correlated, from what was said of them; None if they are not.

    Raises
    ------
    SpecError
        If this is said twice.
    """
    if said.covariance is None:
        return said.sampling_correlation
    beside = {
        "sampling_correlation": said.sampling_correlation,
        "se": said.se or None,
        "variance": said.variance,
        **{name: said.columns.get(name) for name in (WEIGHTS, STRATA)},
    }
    twice = [f"{name}={value!r}" for name, value in beside.items() if value is not None]
    if twice:
        raise SpecError(
            f"covariance: it says all of the rows' errors, their variances on its diagonal; leave "
            f"out {' and '.join(twice)}"
        )
    return MATRIX


def require_sampling(
    sampling: Any,
    family: Family,
    columns: Mapping[str, str],
    groups: Sequence[str],
    se: str | None,
) -> None:
    """Raise SpecError if correlated errors do not suit the rest of the model."""
    if sampling is None:
        return
    role = "covariance" if sampling == MATRIX else "sampling_correlation"
    if family.name != NORMAL.name:
        raise SpecError(
            f"{role}: known covariances are those of normal rows; found the family "
            f"{family.name!r}. Leave {role} out"
        )
    if sampling != MATRIX:
        is_number = isinstance(sampling, float | int) and not isinstance(sampling, bool)
        if not is_number or not -1 < sampling < 1:
            raise SpecError(
                f"sampling_correlation: expected a number between -1 and 1; found {short(sampling)}"
            )
        if not se:
            raise SpecError(
                "sampling_correlation: correlations take known errors of the rows. Name their "
                "column, se=… or variance=…, or give all at once, covariance=V"
            )
    for other in (WEIGHTS, STRATA):
        if other in columns:
            raise SpecError(
                f"{other}: it says something of an unknown residual sd, and the errors are known "
                f"here. Leave out {other}, or {role}"
            )
    if not groups:
        raise SpecError(
            f"{role}: rows are correlated within the outermost groups, and this model has none. "
            f"Name their column, such as groups='study'"
        )


def sampling_text(sampling: Sampling, groups: Sequence[str], se: str | None = None) -> str:
    """What known errors are, in words."""
    if sampling == MATRIX:
        return f"a known covariance matrix V within {groups[0]}"
    known = f"known {se}, " if se else ""
    return f"{known}correlated by {sampling:g} within {groups[0]}"


def describe_errors(
    se: str | None, scale: Scale, sampling: Sampling | None, groups: Sequence[str]
) -> tuple[str, str]:
    """The rows' sd as it stands in their distribution, and what is known of it.

    Parameters
    ----------
    se, scale
        Column of the known errors, if there is one, and whether it holds variances.
    sampling, groups
        How they are correlated, and within what.
    """
    sd = f"sqrt({se})" if se and scale == "variance" and groups else se or "sigma"
    if sampling is None:
        return sd, f" with known {se}" if se else ""
    return "V" if sampling == MATRIX else sd, f" with {sampling_text(sampling, groups, se)}"
