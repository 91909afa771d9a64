"""From what a user gives to a specification and data: the one way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hiermodels.data import GroupedData, Missing, read
from hiermodels.priors import Prior
from hiermodels.spec import Spec


def prepare(
    data: Any,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | None = None,
    priors: Mapping[str, Prior] | None = None,
    missing: Missing = "error",
) -> tuple[Spec, GroupedData]:
    """Read the data, infer the roles that are not given, and state the model.

    Parameters
    ----------
    data : data frame
        pandas, polars, pyarrow: any that narwhals knows.
    outcome, groups, se, missing
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
    grouped = read(data, outcome=outcome, groups=groups, se=se, missing=missing)
    roles = grouped.roles
    return Spec(roles.outcome, roles.groups, roles.se, (), dict(priors or {})), grouped


def announce(data: GroupedData) -> None:
    """Print the roles, if any was inferred."""
    if data.roles.inferred:
        print(f"{data.roles} ({', '.join(data.roles.inferred)} inferred)")
