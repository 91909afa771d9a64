"""From what a user gives to a specification and data: the one way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import compress
from typing import Any, Unpack

import numpy as np

from hiermodels.core.messages import printable
from hiermodels.data.cells import as_nested
from hiermodels.data.collinearity import check_rank
from hiermodels.data.frame import Frame
from hiermodels.data.given_arrays import with_arrays
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.lazy import as_lazy
from hiermodels.data.read_rows import Missing, read
from hiermodels.data.readings import as_code, readings_beside
from hiermodels.data.roles import Roles
from hiermodels.data.statistics import SufficientStatistics, statistics_of_lazy
from hiermodels.data.varying import varying_columns
from hiermodels.errors import SpecError
from hiermodels.model.formula.columns import ColumnNames, stated
from hiermodels.model.priors.base import Prior, Priors
from hiermodels.model.priors.registry import read_priors
from hiermodels.model.priors.sets import LECTURE, WEAK, weak_priors, weak_scale
from hiermodels.model.spec import Spec


def prepare(
    data: Any,
    formula: str | None = None,
    *,
    priors: Priors = None,
    missing: Missing = "error",
    **columns: Unpack[ColumnNames],
) -> tuple[Spec, GroupedData]:
    """Read the data, infer the roles that are not given, and state the model.

    Parameters
    ----------
    data : data frame
        pandas, polars, pyarrow: any that narwhals knows; or
        :class:`hiermodels.SufficientStatistics`.
    formula, outcome, groups, se, variance, covariates, missing
        As in :func:`hiermodels.fit`.
    family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
        Likewise: what the rows are.
    priors : mapping of str to Prior, or {"weak", "lecture"}, optional
        By parameter name, or as a set that has a name: see :func:`stated_priors`.

    Raises
    ------
    DataError
        If the data cannot be used as they are.
    SpecError
        If a prior does not fit the model.
    """
    grouped: GroupedData
    if isinstance(data, SufficientStatistics):
        grouped = _checked(data, {"formula": formula, **columns})
    else:
        data, named = with_arrays(data, columns)
        said = stated(formula, **named)
        lazy = as_lazy(data)
        if lazy is None:
            grouped = read(data, missing=missing, **said._asdict())
        else:
            grouped = as_nested(statistics_of_lazy(lazy, said, missing=missing))
            grouped = grouped.without_empty_cells()
    roles, names = grouped.roles, grouped.design.names
    intercept = grouped.design.intercept
    varying = varying_columns(roles.varying, grouped.design)
    strata = tuple(map(str, grouped.strata))
    more = roles.family, roles.columns, varying, roles.sampling, strata, roles.nesting
    spec = Spec(roles.outcome, roles.groups, roles.se, names, {}, roles.se_scale, intercept, *more)
    spec = replace(spec, priors=stated_priors(in_names_of(spec, priors, roles), spec, grouped))
    _check_coefficients(spec, grouped)
    return spec, grouped


def in_names_of(spec: Spec, priors: Priors, roles: Roles) -> Priors:
    """Priors of a formula's crossed groups by the names that these have where they are nested."""
    if not roles.as_crossed or not isinstance(priors, Mapping):
        return priors
    sds = {f"tau_{level.column}": level.sd for level in spec.levels}
    given = dict(priors)
    names = {"mu": spec.intercept or "mu", **sds}
    for crossed, nested in names.items():
        if nested not in (crossed, "tau") and crossed in given and nested in given:
            raise SpecError(
                f"priors: {crossed!r} and {nested!r} are one parameter, as these groups are nested "
                f"in the data; found both. Leave out one of them"
            )
    if "tau" in given:
        given = dict.fromkeys(sds, given.pop("tau")) | given
    return {names.get(name, name): prior for name, prior in given.items()}


def stated_priors(priors: object, spec: Spec, data: GroupedData) -> dict[str, Prior]:
    """Write out priors that are given by a name.

    Parameters
    ----------
    priors : mapping of str to Prior, {"weak", "lecture"} or None
        A mapping is returned as it is.  ``"weak"``: half-t with 3 degrees of freedom on every
        group-level sd and on an unknown residual sd, with the scale of
        :func:`hiermodels.model.priors.sets.weak_scale`; flat on means and coefficients.
        ``"lecture"``: flat on means, coefficients and group-level variances, ``1/sigma²`` on an
        unknown residual variance: the defaults.
    spec : Spec
        The model, under whatever priors.
    data : GroupedData

    Raises
    ------
    SpecError
        If they are neither, or if their scale takes rows that are not at hand.
    """
    if priors is None:
        return {}
    if isinstance(priors, Mapping):
        return read_priors(priors)
    name = priors if isinstance(priors, str) else ""
    if name == LECTURE:
        return dict(replace(spec, priors={}).priors)
    if name == WEAK:
        return weak_priors(spec.sds, _weak_scale_of(spec, data))
    raise SpecError(
        f"priors: expected a mapping, such as {{'tau': HalfNormal(sd=5)}}, or {WEAK!r} or "
        f"{LECTURE!r}; found {priors!r}"
    )


def _weak_scale_of(spec: Spec, data: GroupedData) -> float:
    """The scale of weakly informative priors, from outcomes on the scale of the effects."""
    if spec.family.link != "identity":
        return weak_scale()
    if data.has_rows:
        return weak_scale(require_rows(data, WEAK).y)
    scale, whose = "…", "a scale of your own"
    if not spec.has_known_errors:
        scale, whose = f"{max(weak_scale(), round(data.outcome_sd, 1)):g}", "the outcome's sd"
    some = ", ".join(f"{name!r}: hm.HalfStudentT(3, {scale})" for name in spec.sds)
    raise SpecError(
        f"priors: {WEAK!r} takes its scale from the median absolute deviation of the rows, and the "
        f"statistics of groups know no median. State the priors instead, with {whose} for the "
        f"scale: priors={{{some}}}"
    )


def _checked(data: SufficientStatistics, columns: Mapping[str, Any]) -> SufficientStatistics:
    """Statistics of all the data, which say themselves what their columns are."""
    given = [name for name, value in columns.items() if value is not None]
    if given:
        raise SpecError(
            f"{given[0]}: these statistics were made for {data.roles}; leave out {given[0]}=…, or "
            f"make others with SufficientStatistics.of"
        )
    return as_nested(data).without_empty_cells()


def _check_coefficients(spec: Spec, data: GroupedData) -> None:
    """Raise an error if nothing tells coefficients apart: neither the data nor a prior."""
    flat = np.array([not spec.priors[name].is_proper for name in spec.coefficients], dtype=bool)
    if isinstance(data, SufficientStatistics):
        data.check(flat)
    elif flat.any():
        design = require_rows(data, "a check of the covariates").design
        check_rank(list(compress(design.names, flat)), design.matrix[:, flat], design.intercept)


def other_readings(data: Any, roles: Roles) -> str:
    """Calls to copy for other roles than those that were inferred, of rows in memory."""
    if not roles.inferred or isinstance(data, SufficientStatistics) or as_lazy(data) is not None:
        return ""
    return as_code(readings_beside(Frame(data), roles.outcome, roles.groups, roles.inferred))


def announce(data: GroupedData) -> None:
    """Print the roles, if any was inferred, which columns were left out, or happen to be nested."""
    data.roles.announce()
    if data.nested_by_chance:
        print(printable("; ".join(data.nested_by_chance)))
    if data.design.empty:
        print(printable(f"left out, as no row lies in these cells: {', '.join(data.design.empty)}"))
