"""Names of columns that stand beside a model's variables, in one DataTree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.errors import SpecError

# Dimensions that are there already.
RESERVED = ("chain", "draw", "row", "quantile", COEFFICIENT_DIM)


def require_names(
    groups: Sequence[str],
    roles: Mapping[str, str],
    variables: Sequence[str],
    dims: Sequence[str],
) -> None:
    """Raise SpecError if a column cannot stand beside the variables.

    Parameters
    ----------
    groups : sequence of str
        Columns that name dimensions.
    roles : mapping of str to str
        Columns that name variables, by what they are.
    variables, dims : sequence of str
        Those of the model.
    """
    taken = (*variables, *RESERVED)
    _require_dimensions(groups, (*taken, *dims), variables)
    _require_variables(roles, (*taken, "group"))


def _require_dimensions(
    columns: Sequence[str], taken: Sequence[str], variables: Sequence[str]
) -> None:
    """Raise SpecError if a column of groups cannot name a dimension."""
    for name in columns:
        if name in taken or "/" in name:
            raise SpecError(
                f"groups: {name!r} cannot be the name of a dimension beside this model's "
                f"variables {', '.join(variables)}; rename this column, for example to "
                f"{name.replace('/', '_') + '_label'!r}"
            )


def _require_variables(roles: Mapping[str, str], taken: Sequence[str]) -> None:
    """Raise SpecError if a column, by its role, cannot name a variable."""
    for role, column in roles.items():
        if "/" in column or column in taken:
            raise SpecError(
                f"{role}: {column!r} cannot be the name of a variable in a DataTree beside "
                f"this model's; rename this column, for example to "
                f"{column.replace('/', '_') + '_column'!r}"
            )
