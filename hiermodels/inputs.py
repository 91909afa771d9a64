"""From what a user gives to a specification and data: the one way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Literal

import numpy as np

from hiermodels.data import GroupedData, Missing, read, require_rows
from hiermodels.design import check_rank
from hiermodels.errors import SpecError
from hiermodels.formula import stated
from hiermodels.lazy import aggregate_lazily, as_lazy
from hiermodels.priors import Prior
from hiermodels.spec import Spec
from hiermodels.statistics import SufficientStatistics
from hiermodels.wording import printable


def prepare(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Mapping[str, Prior] | None = None,
    missing: Missing = "error",
) -> tuple[Spec, GroupedData]:
    """Read the data, infer the roles that are not given, and state the model.

    Parameters
    ----------
    data : data frame
        pandas, polars, pyarrow: any that narwhals knows; or
        :class:`hiermodels.SufficientStatistics`.
    formula, outcome, groups, se, variance, covariates, missing
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
    errors = {"se": se, "variance": variance}
    grouped: GroupedData
    if isinstance(data, SufficientStatistics):
        columns = {"outcome": outcome, "groups": groups, "covariates": covariates}
        grouped = _checked(data, {"formula": formula, **columns, **errors})
    else:
        outcome, groups, terms = stated(formula, outcome, groups, covariates)
        roles: Any = {"outcome": outcome, "groups": groups, "covariates": terms, **errors}
        lazy = as_lazy(data)
        if lazy is None:
            grouped = read(data, **roles, missing=missing)
        else:
            grouped = aggregate_lazily(lazy, **roles, missing=missing).without_empty_cells()
    if priors is not None and not isinstance(priors, Mapping):
        raise SpecError(
            f"priors: expected a mapping, such as {{'tau': HalfNormal(sd=5)}}; found {priors!r}"
        )
    found, names = grouped.roles, grouped.design.names
    model = (found.outcome, found.groups, found.se, names, dict(priors or {}), found.se_scale)
    spec = Spec(*model)
    _check_coefficients(spec, grouped)
    return spec, grouped


def _checked(data: SufficientStatistics, columns: Mapping[str, Any]) -> SufficientStatistics:
    """Statistics of all the data, which say themselves what their columns are."""
    given = [name for name, value in columns.items() if value is not None]
    if given:
        raise SpecError(
            f"{given[0]}: these statistics were made for {data.roles}; leave out {given[0]}=…, or "
            f"make others with SufficientStatistics.of"
        )
    return data.without_empty_cells()


def _check_coefficients(spec: Spec, data: GroupedData) -> None:
    """Refuse covariates whose coefficients nothing tells apart: neither the data nor a prior."""
    flat = np.array([not spec.priors[name].is_proper for name in spec.coefficients], dtype=bool)
    if isinstance(data, SufficientStatistics):
        data.check(flat)
    elif flat.any():
        design = require_rows(data, "a check of the covariates").design
        check_rank(list(compress(design.names, flat)), design.matrix[:, flat])


def announce(data: GroupedData) -> None:
    """Print the roles, if any was inferred, and which columns were left out."""
    data.roles.announce()
    if data.design.empty:
        print(printable(f"left out, as no row lies in these cells: {', '.join(data.design.empty)}"))
