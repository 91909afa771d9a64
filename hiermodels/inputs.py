"""From what a user gives to a specification and data: the one way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hiermodels.data import GroupedData, Missing, read
from hiermodels.errors import SpecError
from hiermodels.formula import stated
from hiermodels.lazy import aggregate_lazily, as_lazy
from hiermodels.priors import Prior
from hiermodels.spec import Spec
from hiermodels.statistics import SufficientStatistics


def prepare(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Mapping[str, Prior] | None = None,
    missing: Missing = "error",
) -> tuple[Spec, GroupedData]:
    """Read the data, infer the roles that are not given, and state the model.

    Parameters
    ----------
    data : data frame
        pandas, polars, pyarrow: any that narwhals knows; or
        :class:`hiermodels.SufficientStatistics`.
    formula, outcome, groups, se, covariates, missing
        As in :func:`hiermodels.fit`.
    priors : mapping of str to Prior, optional
        By parameter name.

    Raises
    ------
    DataError
        If the data cannot be used as they are.
    SpecError
        If a prior does not fit the model.
    """
    columns = {"outcome": outcome, "groups": groups, "se": se, "covariates": covariates}
    grouped: GroupedData
    if isinstance(data, SufficientStatistics):
        grouped = _checked(data, {"formula": formula, **columns})
    else:
        outcome, groups, terms = stated(formula, outcome, groups, covariates)
        roles: Any = {"outcome": outcome, "groups": groups, "se": se, "covariates": terms}
        lazy = as_lazy(data)
        if lazy is None:
            grouped = read(data, **roles, missing=missing)
        else:
            grouped = aggregate_lazily(lazy, **roles, missing=missing)
            grouped.check()
    if priors is not None and not isinstance(priors, Mapping):
        raise SpecError(
            f"priors: expected a mapping, such as {{'tau': HalfNormal(sd=5)}}; found {priors!r}"
        )
    found, names = grouped.roles, grouped.design.names
    return Spec(found.outcome, found.groups, found.se, names, dict(priors or {})), grouped


def _checked(data: SufficientStatistics, columns: Mapping[str, Any]) -> SufficientStatistics:
    """Statistics of all the data, which say themselves what their columns are."""
    given = [name for name, value in columns.items() if value is not None]
    if given:
        raise SpecError(
            f"{given[0]}: these statistics were made for {data.roles}; leave out {given[0]}=…, or "
            f"make others with SufficientStatistics.of"
        )
    data.check()
    return data


def announce(data: GroupedData) -> None:
    """Print the roles, if any was inferred."""
    data.roles.announce()
