"""The outcome of the rows and what belongs to it, such as trials, checked by the rows' family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.frame import Frame
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError
from hiermodels.families.checks import OUTCOME
from hiermodels.families.family import Family, NamesColumns
from hiermodels.families.normal import STRATA


def read_outcome(frame: Frame, roles: Roles) -> tuple[Floats, dict[str, Floats]]:
    """The outcome (N,), and the family's columns and the offset by their roles, (N,) each.

    Raises
    ------
    DataError
        If values are not what the family takes, naming column and rows.
    """
    is_truth = frame.is_truth(roles.outcome)
    if is_truth:
        require_single_trials(roles)
    y = frame.truth(roles.outcome) if is_truth else frame.numbers(roles.outcome)
    numbers = {role: name for role, name in roles.columns.items() if role != STRATA}
    given = {role: frame.numbers(name) for role, name in numbers.items()}
    columns = {**default_columns(roles.family, len(y)), **given}
    if isinstance(roles.family, NamesColumns):
        columns = dict(roles.family.from_data(y, columns))
    require_domain(roles, y, columns, frame.value, frame.show_rows)
    return y, columns


def default_columns(family: Family, size: int) -> dict[str, Floats]:
    """The columns that a family's rows have where they are not given, (size,) each."""
    return {role: np.full(size, value) for role, value in family.defaults.items()}


def require_single_trials(roles: Roles) -> None:
    """Raise DataError if outcomes that are truth values do not count in trials of one each."""
    if "trials" not in roles.family.defaults:
        raise DataError(
            f"column {roles.outcome!r}: expected numbers; found truth values. If each row is a "
            f"trial with two outcomes, say family='binomial'"
        )
    if "trials" in roles.columns:
        raise DataError(
            f"column {roles.outcome!r}: found truth values, one for each trial, beside a number of "
            f"trials in {roles.columns['trials']!r}. Leave trials out, or give counts"
        )


def require_domain(
    roles: Roles,
    y: Floats,
    columns: Mapping[str, Floats],
    value: Callable[[str, int], object],
    show_rows: Callable[[Indices], str],
) -> None:
    """Raise DataError at the first column with values that the family does not take.

    Parameters
    ----------
    roles : Roles
    y : (N,)
    columns : mapping of str to (N,)
        By their roles.
    value : callable
        Returns what stands in a column, by its name, in a row.
    show_rows : callable
        Names rows.
    """
    for role, bad, expected in roles.family.invalid(y, columns):
        _refuse(roles, role, np.flatnonzero(bad), expected, value, show_rows)


def require_columns(
    roles: Roles,
    columns: Mapping[str, Floats],
    value: Callable[[str, int], object],
    show_rows: Callable[[Indices], str],
) -> None:
    """Raise DataError as :func:`require_domain`, of rows whose outcome is not known yet."""
    nothing = np.zeros(len(next(iter(columns.values()), ())))
    for role, bad, expected in roles.family.invalid(nothing, columns):
        if role != OUTCOME:
            _refuse(roles, role, np.flatnonzero(bad), expected, value, show_rows)


def _refuse(
    roles: Roles,
    role: str,
    rows: Indices,
    expected: str,
    value: Callable[[str, int], object],
    show_rows: Callable[[Indices], str],
) -> NoReturn:
    """Raise the error that says what stands in the rows, and what should."""
    known = {OUTCOME: roles.outcome, **roles.columns}
    found = f"{value(known[role], rows[0])}"
    beside = [name for other, name in roles.columns.items() if other in roles.family.columns]
    if role == OUTCOME and beside:
        found += f" ({', '.join(f'{name} = {value(name, rows[0])}' for name in beside)})"
    raise DataError(
        f"column {known[role]!r}: expected {expected}; found {found} in "
        f"{show_rows(rows)}{_remedy(roles, role)}"
    )


def _remedy(roles: Roles, role: str) -> str:
    """What may have been forgotten."""
    if role == OUTCOME and "trials" in roles.family.defaults and "trials" not in roles.columns:
        return ". If these are counts, name the column of the number of trials, trials=…"
    return ""
