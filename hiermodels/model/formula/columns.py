"""Columns by their roles, said by a formula or one by one, and names that they can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

from hiermodels.core.messages import is_storable, short
from hiermodels.core.options import names
from hiermodels.errors import SpecError
from hiermodels.model.formula.parse import parse
from hiermodels.model.formula.terms import quoted


class ColumnNames(TypedDict, total=False):
    """Which column is what, as a user says it: see :func:`hiermodels.fit`."""

    outcome: str | None
    groups: Sequence[str] | str | None
    se: str | Literal[False] | None
    variance: str | None
    covariates: Sequence[str] | str | None


class Stated(NamedTuple):
    """Columns by their roles, None where these are to be inferred, and whether there is a mean."""

    outcome: str | None = None
    groups: Sequence[str] | str | None = None
    covariates: Sequence[str] = ()
    se: str | Literal[False] | None = None
    variance: str | None = None
    intercept: bool = True


def stated(formula: str | None, **columns: Unpack[ColumnNames]) -> Stated:
    """Columns, the covariates as terms, from a formula or said one by one.

    Raises
    ------
    SpecError
        If the formula says what is also said beside it.
    """
    errors = columns.get("se"), columns.get("variance")
    if formula is None:
        terms = quoted(column_names("covariates", columns.get("covariates")))
        return Stated(columns.get("outcome"), columns.get("groups"), terms, *errors)
    said = {name: columns.get(name) for name in ("outcome", "groups", "covariates")}
    twice = [name for name, column in said.items() if column is not None]
    if twice:
        raise SpecError(f"the formula says what {twice[0]} is; leave out {twice[0]}=…")
    parsed = parse(formula)
    return Stated(parsed.outcome, parsed.groups, parsed.terms, *errors, parsed.intercept)


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


def require_name(role: str, name: Any) -> None:
    """Raise SpecError if this cannot be the name of a column that is used.

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
