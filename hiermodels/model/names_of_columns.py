"""Names of columns that stand beside a model's variables, in one DataTree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hiermodels.core.messages import short
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.core.options import flag, mapping, one_of
from hiermodels.errors import SpecError
from hiermodels.families.normal import STRATA

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


def require_kinds(fields: Mapping[str, Any]) -> None:
    """Raise SpecError if a field of a specification is not of the kind that it should be.

    Parameters
    ----------
    fields : mapping of str to object
        Those of :class:`hiermodels.Spec`.
    """
    columns = mapping("columns", fields["columns"], "{'trials': 'cases'}")
    se = {} if fields["se"] is None else {"se": fields["se"]}
    for role, name in {"outcome": fields["outcome"], **se, **columns}.items():
        if not isinstance(name, str):
            raise SpecError(f"{role}: expected the name of a column; found {short(name)}")
    for role in ("groups", "covariates", "strata"):
        names = fields[role]
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise SpecError(f"{role}: expected a tuple of names; found {short(names)}")
    mapping("priors", fields["priors"], "{'tau': HalfNormal(sd=5)}")
    one_of("se_scale", fields["se_scale"], ("sd", "variance"))
    flag("has_intercept", fields["has_intercept"])
    if (STRATA in columns) != bool(fields["strata"]):
        raise SpecError(
            f"strata: expected labels beside a column {STRATA!r}, or neither; found "
            f"{fields['strata']} and {dict(columns)}"
        )


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
