"""Columns by their roles, said by a formula or one by one, and names that they can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import is_storable, short
from hiermodels.core.options import names
from hiermodels.errors import SpecError
from hiermodels.families.family import Family
from hiermodels.families.registry import family_of
from hiermodels.model.family_columns import refuse_column
from hiermodels.model.formula.parse import parse
from hiermodels.model.formula.terms import quoted
from hiermodels.model.level import Varying
from hiermodels.model.nests import Nesting

# Columns of counts that tell a family, where it is not said.
COUNT_ROLES = {"trials": "binomial", "exposure": "poisson"}

type Column = str | Sequence[float] | Floats
"""The name of a column, or its numbers, one for each row."""


class ColumnNames(TypedDict, total=False):
    """Which column is what, as a user says it: see :func:`hiermodels.fit`."""

    outcome: str | None
    groups: Sequence[str] | str | None
    se: Column | Literal[False] | None
    variance: Column | None
    covariance: Any
    sampling_correlation: float | None
    covariates: Sequence[str] | str | None
    family: Family | str | None
    trials: Column | None
    exposure: Column | None
    offset: Column | None
    weights: Column | None
    residual_by: str | None


class Stated(NamedTuple):
    """Columns by their roles, None where these are to be inferred, and whether there is a mean.

    ``family`` is None where the other columns tell it, and ``columns`` are those that it needs, by
    what they are to it.  ``varying`` are the terms that vary between groups, by level.
    ``covariance`` and ``sampling_correlation`` are as they were given.  ``nesting`` says which
    column of crossed groups lies in which.
    """

    outcome: str | None = None
    groups: Sequence[str] | str | None = None
    covariates: Sequence[str] = ()
    se: str | Literal[False] | None = None
    variance: str | None = None
    intercept: bool = True
    family: Family | None = None
    columns: Mapping[str, str] = MappingProxyType({})
    varying: tuple[Varying, ...] = ()
    covariance: Any = None
    sampling_correlation: float | None = None
    nesting: Nesting = ()


def stated(formula: str | None, **columns: Unpack[ColumnNames]) -> Stated:
    """Columns, the covariates as terms, from a formula or said one by one.

    Raises
    ------
    SpecError
        If the formula says what is also said beside it.
    """
    se, variance = columns.get("se"), columns.get("variance")
    errors: tuple[str | Literal[False] | None, str | None]
    errors = (False if se is False else _name("se", se)), _name("variance", variance)
    correlated = columns.get("covariance"), columns.get("sampling_correlation")
    family = None if columns.get("family") is None else family_of(columns["family"])
    given = {role: columns.get(role) for role in (*COUNT_ROLES, "offset", "weights", "residual_by")}
    more = {role: require_name(role, name) for role, name in given.items() if name is not None}
    if formula is None:
        terms = quoted(column_names("covariates", columns.get("covariates")))
        roles = columns.get("outcome"), columns.get("groups"), terms, *errors
        return Stated(*roles, True, *_with_family(family, more), (), *correlated)
    parsed = parse(formula)
    said = {name: columns.get(name) for name in ("outcome", "groups", "covariates")}
    known = {"se": errors[0] or None}
    said |= {name: {**more, **known}.get(name) for name in parsed.row_columns}
    twice = [name for name, column in said.items() if column is not None]
    if twice:
        raise SpecError(f"the formula says what {twice[0]} is; leave out {twice[0]}=…")
    columns_of_rows = dict(parsed.row_columns)
    errors = columns_of_rows.pop("se", errors[0]), errors[1]
    roles = parsed.outcome, parsed.groups, parsed.terms, *errors
    more = {**more, **columns_of_rows}
    of_rows = _with_family(family, more)
    found = Stated(*roles, parsed.intercept, *of_rows, parsed.varying, *correlated)
    return found._replace(nesting=parsed.nesting)


def _name(role: str, given: Any) -> str | None:
    return None if given is None else require_name(role, given)


def _with_family(
    family: Family | None, columns: Mapping[str, str]
) -> tuple[Family | None, Mapping[str, str]]:
    """The family, which trials or an exposure tell where it is not said, and its columns.

    Raises
    ------
    SpecError
        If a family is said that has no such column, or if it takes more than one to have both.
    """
    told = {role: family_of(name) for role, name in COUNT_ROLES.items() if role in columns}
    if family is None and len(told) > 1:
        raise SpecError(
            "trials and exposure: expected one of them, trials for counts out of a number of "
            "trials, exposure for counts of events; found both"
        )
    family = family or next(iter(told.values()), None)
    for role in told:
        if family is not None and role not in family.columns:
            refuse_column(family, role)
    return family, columns


def column_names(role: str, given: Any) -> list[str]:
    """One name, several in a list or tuple, or none, as a list.

    Raises
    ------
    SpecError
        If what was given is not text; a set has no order.
    """
    columns = names(role, "column", given)
    for name in columns:
        require_name(role, name)
    return columns


def require_name(role: str, name: Any) -> str:
    """Return the name of a column that is used.

    Raises
    ------
    SpecError
        If it is not text, is empty, or holds what arrays of text and files cannot.
    """
    if not isinstance(name, str):
        raise SpecError(
            f"{role}: expected the name of a column as text; found {short(name)} "
            f"({type(name).__name__}). Where columns are numbered, rename them first, as with "
            f"data.rename(columns=str)"
        )
    if not is_storable(name):
        raise SpecError(
            f"{role}: column {name!r} has a name that is empty or has a NUL in it; rename it"
        )
    return name
