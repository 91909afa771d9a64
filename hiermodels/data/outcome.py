"""The outcome of the rows and what belongs to it, such as trials, checked by the rows' family."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.frame import Frame
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError


def read_outcome(frame: Frame, roles: Roles) -> tuple[Floats, dict[str, Floats]]:
    """The outcome (N,), and the family's columns and the offset by their roles, (N,) each.

    Raises
    ------
    DataError
        If values are not what the family takes, naming column and rows.
    """
    family, named = roles.family, roles.columns
    is_truth = frame.is_truth(roles.outcome) and family.is_discrete
    y = frame.truth(roles.outcome) if is_truth else frame.numbers(roles.outcome)
    if is_truth and "trials" in named:
        raise DataError(
            f"column {roles.outcome!r}: found truth values, one for each trial, beside a number of "
            f"trials in {named['trials']!r}. Leave trials out, or give counts"
        )
    columns = {role: np.full(len(y), value) for role, value in family.defaults.items()}
    columns |= {role: frame.numbers(name) for role, name in named.items()}
    _require_domain(frame, roles, y, columns)
    return y, columns


def _require_domain(frame: Frame, roles: Roles, y: Floats, columns: dict[str, Floats]) -> None:
    """Raise DataError at the first column with values that the family does not take."""
    known = {"outcome": roles.outcome, **roles.columns}
    for role, bad, expected in roles.family.invalid(y, columns):
        rows = np.flatnonzero(bad)
        if len(rows):
            value = frame.value(known[role], rows[0])
            raise DataError(
                f"column {known[role]!r}: expected {expected}; found {value} in "
                f"{frame.show_rows(rows)}{_remedy(roles, role)}"
            )


def _remedy(roles: Roles, role: str) -> str:
    """What may have been forgotten."""
    if role == "outcome" and "trials" in roles.family.columns and "trials" not in roles.columns:
        return ". If these are counts, name the column of the number of trials, trials=…"
    return ""
