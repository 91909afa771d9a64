"""How a data frame becomes rows in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hiermodels.data.coding import term_columns
from hiermodels.data.design import build
from hiermodels.data.frame import Frame
from hiermodels.data.grouped import GroupedRows
from hiermodels.data.nesting import attributes_of, chain_of, check_groups, number_groups
from hiermodels.data.outcome import read_outcome
from hiermodels.data.read_covariance import read_covariance
from hiermodels.data.roles import infer_roles
from hiermodels.data.shared_groups import check_shared
from hiermodels.data.strata import check_strata, read_strata
from hiermodels.errors import DataError
from hiermodels.families.normal import STRATA
from hiermodels.model.formula.columns import Stated

type Missing = Literal["error", "drop"]


def read(data: Any, *, missing: Missing = "error", **said: Any) -> GroupedRows:
    """Read and check a data frame.

    Crossed columns that all lie in one another are nested: they are read as such.

    Columns of interactions that are 0 in every row are left out: their cells are empty.  Whether
    the coefficients of the others can be told apart depends on their priors, and is not checked.

    Parameters
    ----------
    data : pandas.DataFrame or any eager frame that narwhals knows
    missing : {"error", "drop"}
        What to do with rows in which a value that is needed is missing.
    **said
        Columns by their roles, see :class:`hiermodels.model.formula.columns.Stated`.

    Returns
    -------
    GroupedRows

    Raises
    ------
    DataError
        Naming the column, the rows, what was expected and what to do.
    """
    stated = Stated(**said)
    result = read_part(data, stated, missing=missing, whole=True)
    order = chain_of(result.crossed, result.sizes[::-1]) if result.crossed else ()
    if order:
        crossed = result.roles.groups
        nested = stated._replace(groups=[crossed[own] for own in order], nesting=())
        result = read_part(data, nested, missing=missing, whole=True)
        result = replace(result, roles=replace(result.roles, as_crossed=crossed))
    check_groups(result.levels, result.roles.nesting)
    return result.without_empty_cells()


def read_part(
    data: Any,
    said: Stated,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
    whole: bool = False,
) -> GroupedRows:
    """Read rows that may be a part of the data: one group is enough, a covariate may be constant.

    Parameters
    ----------
    data, missing
        As in :func:`read`.
    said : Stated
        Columns by their roles.
    levels : mapping of str to sequence of str, optional
        Levels of categorical covariates, which need not all occur; the first is the reference.
    whole : bool
        Whether they are all rows, so that each stratum has some to spare.
    """
    frame = Frame(data)
    given = said.se, said.variance, said.covariance
    errors_given = any(value is not None for value in given)
    if said.outcome is None or said.groups is None or not errors_given:
        frame.require_unique()
    columns = term_columns(said.covariates)
    roles = infer_roles(frame, said, columns)
    used = [roles.outcome, *roles.groups, *([roles.se] if roles.se else []), *columns]
    used += roles.columns.values()
    keep = _kept(frame, used, missing)
    frame = frame if keep.all() else frame.filter(keep)
    y, more = read_outcome(frame, roles)
    strata, of_rows = read_strata(frame, roles)
    if of_rows and whole:
        check_strata(frame, roles, strata, of_rows[STRATA])
    se = frame.errors(roles.se, roles.se_scale) if roles.se else None
    design = build(frame.select(columns), said.covariates, levels, said.intercept)
    labels = {name: frame.labels(name) for name in roles.groups}
    members, nested = number_groups(labels, len(y), roles.nesting)
    group = members[-1] if members else np.zeros(len(y), dtype=np.intp)
    covariance = read_covariance(said, roles, frame, keep, se, nested, group)
    if covariance is not None:
        se = np.sqrt(covariance.variances)
    result = GroupedRows(
        roles,
        y,
        se,
        design,
        group,
        dropped=int((~keep).sum()),
        columns=more | of_rows,
        covariance=covariance,
        strata=strata,
        crossed=members if roles.nesting else (),
        **attributes_of(nested),
    )

    def show_rows(shared: int) -> str:
        return frame.show_rows(np.flatnonzero(group == shared))

    check_shared(roles, nested, np.bincount(group), show_rows)
    return result


def _kept(frame: Frame, used: Sequence[str], missing: Missing) -> NDArray[np.bool_]:
    """Which rows are kept: those with values in all of these columns, or all of them; (N,)."""
    require_missing(missing)
    if missing == "error":
        return np.ones(len(frame), dtype=bool)
    keep = ~np.any([frame.gaps(name) for name in used], axis=0)
    if not keep.any():
        raise DataError(f"no rows are left after dropping {len(keep)} with missing values")
    return keep


def require_missing(missing: str) -> None:
    """Raise DataError if this is another word than "error" and "drop"."""
    if missing not in ("error", "drop"):
        raise DataError(f"missing: expected 'error' or 'drop'; found {missing!r}")
