"""Whether a family of rows has the columns that it needs, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from hiermodels.core.messages import short
from hiermodels.errors import SpecError
from hiermodels.families.family import Family, NamesColumns
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.families.registry import NORMAL, family_names, is_family
from hiermodels.model.nests import Nesting
from hiermodels.model.standard_errors import Scale, error_role


def require_suited(
    family: Family,
    columns: Mapping[str, str],
    groups: Sequence[str],
    nesting: Nesting,
    se_scale: Scale,
    se: str | None,
) -> None:
    """Raise SpecError if a family has no groups, or lacks or has columns of another.

    Parameters
    ----------
    family : Family
    columns : mapping of str to str
        By what they are to the family, see :class:`hiermodels.Spec`.
    groups : sequence of str
        Columns of the groups.
    nesting : tuple of int
        Which of them lie in which others, where some are crossed.
    se_scale, se : str
        Scale of the column of known errors, and that column.
    """
    error = error_role(se_scale)
    if not is_family(family):
        raise SpecError(
            f"family: expected {family_names()}, or a family such as hm.StudentT(nu=4); found "
            f"{short(family)}"
        )
    if se and "sd" not in family.columns:
        raise SpecError(
            f"{error}: rows of the family {family.name!r} have no standard errors; leave {error} "
            f"out"
        )
    own = family.data_columns if isinstance(family, NamesColumns) else {}
    taken = (*family.columns, *own, "offset")
    strange = [role for role in columns if role not in taken or role == "sd"]
    if strange:
        refuse_column(family, strange[0])
    if family.name == NORMAL.name:
        _require_suited_normal(columns, error, se)
        if STRATA in columns:
            _require_suited_strata(columns[STRATA], groups, nesting, error, se)
        return
    if not groups:
        raise SpecError(
            f"groups: the family {family.name!r} needs groups; found a model without any. Name "
            f"their column, groups=…; for a regression without groups, use PyMC or bambi"
        )
    if "sd" in family.columns and not se:
        raise SpecError(
            f"se: the family {family.name!r} needs the known standard errors of the rows. Name "
            f"their column, se=… or variance=…"
        )
    known = (*columns, *family.defaults, "sd", *(["total_events"] if own else []))
    lacking = [name for name in family.columns if name not in known]
    if lacking:
        raise SpecError(f"{lacking[0]}: the family {family.name!r} needs this column; found none")


def _require_suited_normal(columns: Mapping[str, str], error: str, se: str | None) -> None:
    """Raise SpecError if normal rows have an offset, or weights beside known errors."""
    if "offset" in columns:
        raise SpecError(
            f"offset: rows are normal; subtract {columns['offset']!r} from the outcome in the "
            f"data frame, and leave offset out. Of counts, name the family, such as "
            f"family='poisson'"
        )
    if WEIGHTS in columns and se:
        raise SpecError(
            f"{WEIGHTS}: the variance of a row is sigma²/weight with an unknown sigma, and the "
            f"errors are known here, {error}={se!r}. Leave {WEIGHTS} out, or the "
            f"errors: where these were inferred, with se=False"
        )


def _require_suited_strata(
    column: str, groups: Sequence[str], nesting: Nesting, error: str, se: str | None
) -> None:
    """Raise SpecError if rows cannot have a residual sd for each label of a column."""
    if se:
        raise SpecError(
            f"{STRATA}: the residual sd of each {column!r} is learnt, and the errors are known "
            f"here, {error}={se!r}. Leave {STRATA} out, or the errors: where these were inferred, "
            f"with se=False"
        )
    if not groups:
        raise SpecError(
            f"{STRATA}: a residual sd for each {column!r} needs groups; found a model without any. "
            f"Name their column, groups=… or (1 | …) in a formula"
        )
    if column in groups[1:] and not nesting:
        raise SpecError(
            f"{STRATA}: {column!r} is a column of groups within others, whose labels may repeat; "
            f"name a column of its own that says which rows have one residual sd"
        )


def refuse_column(family: Family, role: str) -> NoReturn:
    """Raise SpecError: rows of this family have no such column."""
    written = " (offset(log(…)) in a formula is an exposure)" if role == "exposure" else ""
    raise SpecError(
        f"{role}: rows of the family {family.name!r} have no such column; leave {role} "
        f"out{written}, or name another family"
    )


def require_normal(family: Family, columns: Mapping[str, str]) -> None:
    """Raise SpecError if rows are not normal: of slopes, and of three columns of groups."""
    if family.name != NORMAL.name:
        raise SpecError(
            f"family: slopes that vary between groups, and three columns of groups, need "
            f"normal rows; found {family.describe('…', columns)}"
        )
