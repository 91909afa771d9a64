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
from numpy.typing import NDArray

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.core.messages import listed
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import HierModelsError, ImproperPosteriorError, SpecError, warn
from hiermodels.exact.conjugate import ConjugatePosterior, NormalGammaLaw
from hiermodels.exact.leaf_left_out import leave_out_groups
from hiermodels.exact.leaf_reference import LeafReference
from hiermodels.exact.left_out import (
    LogDensities,
    Units,
    leave_out_by_quadrature,
    unidentified,
    without,
)
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.model.spec import Spec
from hiermodels.posterior.reference_posterior import ReferencePosterior

MIN_KEPT = 1e-3  # of what is known without a row; below, it is formed anew from the other rows


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
    if isinstance(reference, ConjugatePosterior):
        return _result(reference.data, units, _conjugate(reference))
    if isinstance(reference, RegressionPosterior):
        return _result(reference.data, units, _regression(reference, units))
    if isinstance(reference, LeafReference):
        _require_groups(reference, units)
        return _result(reference.data, units, leave_out_groups(reference))
    assert isinstance(reference, IntegratedPosterior)
    return _result(reference.data, units, leave_out_by_quadrature(reference, units))


def _require_groups(reference: LeafReference, units: Units) -> None:
    """Raise SpecError if rows of counts would be left out, and the rest of their group kept."""
    innermost = len(reference.spec.levels) - 1
    if units.level != innermost and len(units) > reference.data.n_groups:
        raise SpecError(
            "loo(unit='row'): of rows that are not normal whole groups are left out, and some have "
            "several rows here. Say unit='group'"
        )


def _units(spec: Spec, data: GroupedData, unit: str) -> Units:
    """Read what is to be left out."""
    if unit == "row":
        rows = require_rows(data, "loo(unit='row')")
        every = np.arange(rows.n_rows)
        return Units("row", len(spec.levels), every, every)
    known = dict(zip(("group", "outer"), reversed(range(len(spec.levels))), strict=False))
    if unit not in known:
        names = [f"'group' ({spec.groups[-1]})"] if spec.groups else []
        names += [f"'outer' ({spec.groups[-2]})"] if len(spec.groups) > 1 else []
        none = "" if spec.groups else " (this model has no groups)"
        raise SpecError(f"unit: expected {', '.join([repr('row'), *names])}{none}; found {unit!r}")
    level = known[unit]
    index = data.group if data.has_rows else np.arange(data.n_groups)
    if not data.has_rows and data.n_rows > data.n_groups:
        raise SpecError(
            f"loo(unit={unit!r}) needs the scatter of the rows within each group, and statistics "
            f"keep that of all groups together. Fit the rows themselves, in a data frame in memory"
        )
    for below in reversed(data.levels[level + 1 :]):
        index = below.parent[index]
    groups = data.levels[level]
    return Units(groups.column, level, groups.labels, index)


def _conjugate(reference: ConjugatePosterior) -> LogDensities:
    """Student-t densities of each row given the others, in closed form.

    Without row i, ``κ' = κ − 1``, ``m' = m − (y_i − m)/κ'``, ``α' = α − ½`` and
    ``β' = β − ½ (κ/κ') (y_i − m)²``; a row that has nearly all of β takes it from the others anew.
    """
    y, law = reference.data.y, reference.law
    kappa, deviation = law.kappa - 1, y - law.mean
    with np.errstate(all="ignore"):
        beta = law.beta - 0.5 * law.kappa / kappa * deviation**2
        rest = NormalGammaLaw(law.mean - deviation / kappa, kappa, law.alpha - 0.5, beta)
    left_out = _log_predictive(rest, y)
    for i in np.flatnonzero(~(beta > MIN_KEPT * law.beta)):
        others = np.delete(y, i)
        new = reference.prior.given(others) if len(others) else reference.prior
        left_out[i] = _log_predictive(new, y[[i]])[0]
    if kappa <= 0 or law.alpha <= 0.5:
        left_out[:] = np.nan
    lost = np.isnan(left_out)
    text = "without it there are no two rows that differ, which Jeffreys() on sigma needs"
    reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
    again = np.where(lost, np.nan, _log_predictive(law, y))
    return LogDensities(left_out, again, np.where(lost, np.nan, 0.0), reasons=reasons)


def _regression(reference: RegressionPosterior, units: Units) -> LogDensities:
    """Student-t or normal densities of each row given the others, in closed form.

    With the row's residual e at the posterior mean and its leverage h, both in its own sd, the
    others predict it with the error ``e/(1 − h)`` and the variance ``1/(1 − h)``, in units of σ²,
    for which they leave ``α' = α − ½`` and ``β' = β − ½ e²/(1 − h)``.  Where little is left of
    ``1 − h`` or of β, the others are fitted anew.
    """
    rows = require_rows(reference.data, "loo")
    se = np.ones(rows.n_rows) if rows.se is None else rows.se
    mean, variance = reference.fit.at(rows.design.matrix)
    error, kept = (rows.y - mean) / se, 1 - variance / se**2
    with np.errstate(all="ignore"):
        beta = reference.beta - 0.5 * error**2 / kept
        rest = reference.alpha - 0.5, beta
        left_out = _log_density(se * error / kept, se**2 / kept, *rest)
    again = _log_density(se * error, se**2 + variance, reference.alpha, reference.beta)
    top = reference.spec.top
    only = rows.n_rows == 1 and any(reference.spec.scaled_prior(name) is None for name in top)
    lost = unidentified(reference.spec, rows, units) | only
    text = "without it a coefficient is not identified"
    reasons = dict.fromkeys(np.flatnonzero(lost).tolist(), text)
    enough = (beta > MIN_KEPT * reference.beta) | np.isinf(reference.beta)
    bad = np.flatnonzero(~lost & ~((kept > MIN_KEPT) & enough & (rest[0] > 0)))
    for i in bad.tolist():
        try:
            left_out[i] = _refitted(reference, units.index != i, i)
        except HierModelsError as problem:
            reasons[i] = str(problem)
    nothing = np.isin(np.arange(rows.n_rows), list(reasons))
    left_out, again = np.where(nothing, np.nan, [left_out, again])
    return LogDensities(left_out, again, np.where(nothing, np.nan, 0.0), len(bad), reasons=reasons)


def _refitted(reference: RegressionPosterior, others: NDArray[np.bool_], i: int) -> float:
    """Log density of row i given a fit of the others."""
    rows = require_rows(reference.data, "loo")
    rest = RegressionPosterior.of(reference.spec, without(rows, others))
    mean, variance = rest.fit.at(rows.design.matrix[[i]])
    variance = variance + (1.0 if rows.se is None else rows.se[i] ** 2)
    return float(_log_density(rows.y[[i]] - mean, variance, rest.alpha, rest.beta)[0])


def _log_predictive(law: NormalGammaLaw, y: Floats) -> Floats:
    """Log density of a new row of one population; nan where β is 0."""
    with np.errstate(all="ignore"):
        return _log_density(y - law.mean, 1 + 1 / law.kappa, law.alpha, law.beta)


def _log_density(error: Floats, variance: Any, alpha: float, beta: Any) -> Floats:
    """Log density, at a distance from the mean, of a normal with this variance times σ².

    With ``σ² ~ InverseGamma(α, β)`` it is ``Student-t(2α, 0, variance β/α)``; with α infinite σ
    is 1.  It is nan where β is 0.
    """
    from scipy.special import gammaln

    if np.isinf(alpha):
        return -0.5 * (LOG_2PI + np.log(variance) + error**2 / variance)
    square = variance * beta
    with np.errstate(all="ignore"):
        log_top = gammaln(alpha + 0.5) - gammaln(alpha) - 0.5 * np.log(2 * np.pi * square)
        log_density = log_top - (alpha + 0.5) * np.log1p(error**2 / (2 * square))
    return np.where(square > 0, log_density, np.nan)


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
    index = np.arange(len(units)) if units.level < len(data.levels) else data.group
    for number, level in reversed(list(enumerate(data.levels[: units.level + 1]))):
        if number < units.level:
            coords[level.column] = (units.name, level.labels[index])
        index = level.parent[index]
    return coords


def _warn(units: Units, reasons: dict[str, str]) -> None:
    """Say which units cannot be left out, and why the first cannot."""
    first, reason = next(iter(reasons.items()))
    warn(
        f"loo: {units.name} {listed(list(reasons))} cannot be left out: the elpd is nan. Of "
        f"{first!r}: {reason}",
        UserWarning,
    )
