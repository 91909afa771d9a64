"""From what a user gives to a specification and data: the one way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hiermodels.data import GroupedData, Missing, read
from hiermodels.errors import SpecError
from hiermodels.formula import parse, quote
from hiermodels.priors import Prior
from hiermodels.spec import Spec


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
        pandas, polars, pyarrow: any that narwhals knows.
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
    terms = quoted([covariates] if isinstance(covariates, str) else covariates or [])
    if formula is not None:
        given = {"outcome": outcome, "groups": groups, "covariates": covariates}
        twice = [name for name, value in given.items() if value is not None]
        if twice:
            raise SpecError(f"the formula says what {twice[0]} is; leave out {twice[0]}=…")
        parsed = parse(formula)
        outcome, groups, terms = parsed.outcome, parsed.groups, parsed.terms
    grouped = read(data, outcome=outcome, groups=groups, se=se, covariates=terms, missing=missing)
    roles = grouped.roles
    names = grouped.design.names
    return Spec(roles.outcome, roles.groups, roles.se, names, dict(priors or {})), grouped


def quoted(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns as terms of a formula."""
    return tuple(quote(column) for column in columns)


def announce(data: GroupedData) -> None:
    """Print the roles, if any was inferred."""
    if data.roles.inferred:
        print(f"{data.roles} ({', '.join(data.roles.inferred)} inferred)")
