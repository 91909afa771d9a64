"""From data, wherever they lie, to statistics of their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from hiermodels.data.grouped import Missing, read_part
from hiermodels.data.lazy import aggregate_lazily, as_lazy
from hiermodels.data.statistics import SufficientStatistics, statistics_of
from hiermodels.model.formula import stated


def aggregate(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
) -> SufficientStatistics:
    """Reduce data to statistics: see :meth:`hiermodels.SufficientStatistics.of`."""
    outcome, groups, terms = stated(formula, outcome, groups, covariates)
    given: dict[str, Any] = {
        "outcome": outcome,
        "groups": groups,
        "se": se,
        "variance": variance,
        "covariates": terms,
        "levels": levels,
        "missing": missing,
    }
    lazy = as_lazy(data)
    found = (
        aggregate_lazily(lazy, **given)
        if lazy is not None
        else statistics_of(read_part(data, **given))
    )
    found.roles.announce()
    return replace(found, roles=replace(found.roles, inferred=()))
