"""Leave-one-out cross-validation of rows, groups or outer groups, without Monte Carlo error.

The log density of each unit given all others, with the intercept, all effects, coefficients and
variances integrated out: no draws, and no division by the density of a row given its own group's
effect, which each row pulls towards itself.

References
----------
Vehtari, Gelman & Gabry (2017), Statistics and Computing 27:1413.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.utils import ELPDDataLOO

from hiermodels.core.messages import listed
from hiermodels.core.suggestions import did_you_mean
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import ImproperPosteriorError, SpecError, warn
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.reference_posterior import ReferencePosterior


@dataclass(kw_only=True, repr=False)
class ExactLOO(ELPDDataLOO):  # type: ignore[misc]
    """Leave-one-out cross-validation without Monte Carlo error, as ArviZ keeps it.

    What ArviZ's own class has: ``elpd``, ``se``, ``p``, ``elpd_i`` (a number for each unit, with
    its labels), ``p_loo_i``, ``n_data_points``, the number of units, and ``n_samples``, that of
    points of the quadrature.  There are no Pareto k: nothing is sampled.

    Attributes
    ----------
    unit : str
        What is left out: rows, or the column of the groups.
    certificate : float
        Estimated error of the least certain ``elpd_i``.
    n_refits : int
        Units without which the posterior was integrated anew.
    reasons : dict of str to str
        Why a unit cannot be left out, by its label; its ``elpd_i`` is nan, and so is ``elpd``.
    """

    unit: str
    certificate: float
    n_refits: int
    reasons: dict[str, str]

    def _header(self) -> str:
        return (
            f"Exact leave-one-out cross-validation of {self.n_data_points} units ({self.unit}), no "
            f"Monte Carlo error.\nEstimated error of the least certain: {self.certificate:.1e}."
        )

    def _footer(self) -> str:
        if not self.reasons:
            return ""
        return f"\n\nelpd_i is nan for {len(self.reasons)} units that cannot be left out: .reasons"


def leave_one_out(reference: ReferencePosterior, unit: str = "row") -> ExactLOO:
    """Cross-validate a posterior without Monte Carlo error: see :meth:`hiermodels.Fit.loo`."""
    units = _units(reference.spec, reference.data, unit)
    return _result(reference.data, units, reference.leave_out(units))


def _units(spec: Spec, data: GroupedData, unit: str) -> Units:
    """Read what is to be left out."""
    if unit == "row":
        rows = require_rows(data, "loo(unit='row')")
        every = np.arange(rows.n_rows)
        return Units("row", len(spec.levels), every, every)
    upwards = () if spec.is_crossed else reversed(range(len(spec.levels)))
    short = dict(zip(("group", "outer"), upwards, strict=False))
    known = {
        name: i for i, level in enumerate(spec.levels) for name in (level.column, level.effect)
    }
    known |= short
    if unit not in known:
        names = [f"{name!r} ({spec.groups[level]})" for name, level in short.items()]
        names += [repr(name) for name in (spec.groups if spec.is_crossed else spec.groups[:-2])]
        none = "" if spec.groups else " (this model has no groups)"
        expected = ", ".join([repr("row"), *names])
        guess = did_you_mean(unit, ("row", *known))
        raise SpecError(f"unit: expected {expected}{none}; found {unit!r}{guess}")
    level = known[unit]
    index = data.group if data.has_rows else np.arange(data.n_groups)
    if not data.has_rows and data.n_rows > data.n_groups:
        raise SpecError(
            f"loo(unit={unit!r}) needs the scatter of the rows within each group, and statistics "
            f"keep that of all groups together. Fit the rows themselves, in a data frame in memory"
        )
    groups = data.levels[level]
    if spec.is_crossed:
        index = require_rows(data, f"loo(unit={unit!r})").memberships[level]
        return Units(groups.column, level, groups.labels, index)
    for below in reversed(data.levels[level + 1 :]):
        index = below.parent[index]
    return Units(groups.column, level, groups.labels, index)


def _result(data: GroupedData, units: Units, densities: LogDensities) -> ExactLOO:
    """Put it together as ArviZ does."""
    reasons = {str(units.labels[u]): densities.reasons[u] for u in sorted(densities.reasons)}
    if len(densities.reasons) == len(units):
        raise ImproperPosteriorError(
            f"loo: none of the {len(units)} units ({units.name}) can be left out: "
            f"{next(iter(reasons.values()))}"
        )
    if reasons:
        _warn(units, reasons)
    coords = _coords(data, units)
    elpd_i = xr.DataArray(densities.left_out, coords, [units.name], name="elpd_i")
    p_i = xr.DataArray(densities.again - densities.left_out, coords, [units.name], name="p_loo_i")
    return ExactLOO(
        elpd=float(densities.left_out.sum()),
        se=float(np.sqrt(len(units) * np.var(densities.left_out))),
        p=float(p_i.sum(skipna=False)),
        n_samples=densities.n_points,
        n_data_points=len(units),
        scale="log",
        warning=bool(reasons),
        good_k=None,
        elpd_i=elpd_i,
        p_loo_i=p_i,
        unit=units.name,
        certificate=float(np.nanmax(densities.error)),
        n_refits=densities.n_refits,
        reasons=reasons,
    )


def _coords(data: GroupedData, units: Units) -> dict[str, Any]:
    """Labels of the units, and of what they are in."""
    coords: dict[str, Any] = {units.name: units.labels}
    if data.roles.nesting:
        return coords | _crossed_coords(data, units)
    index = np.arange(len(units)) if units.level < len(data.levels) else data.group
    for number, level in reversed(list(enumerate(data.levels[: units.level + 1]))):
        if number < units.level:
            coords[level.column] = (units.name, level.labels[index])
        index = level.parent[index]
    return coords


def _crossed_coords(data: GroupedData, units: Units) -> dict[str, Any]:
    """Labels of rows' groups in every column; of groups, of those that they lie in."""
    if units.level < len(data.levels):
        member, coords = data.levels[units.level].parent, {}
        for own in data.lineages[units.level][1:]:
            level = data.levels[own]
            coords[level.column] = (units.name, level.labels[member])
            member = level.parent[member]
        return coords
    members = require_rows(data, "loo").memberships
    both = zip(data.levels, members, strict=True)
    return {level.column: (units.name, level.labels[own]) for level, own in both}


def _warn(units: Units, reasons: dict[str, str]) -> None:
    """Say which units cannot be left out, and why the first cannot."""
    first, reason = next(iter(reasons.items()))
    warn(
        f"loo: {units.name} {listed(list(reasons))} cannot be left out: the elpd is nan. Of "
        f"{first!r}: {reason}",
        UserWarning,
    )
