"""How far the posterior moves when a prior is exchanged for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import AUTO, locate
from hiermodels.data.prepare import in_names_of, stated_priors
from hiermodels.errors import ImproperPosteriorError, PrecisionError, SpecError
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.base import Prior, Priors
from hiermodels.model.priors.sets import LECTURE, WEAK
from hiermodels.posterior.precision import TOLERANCE
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import Summary, flatten, with_header
from hiermodels.results.other_priors import changed_keys, default_alternatives, priors_with

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """Posteriors under other priors, and their distance from the first.

    Attributes
    ----------
    table : DataFrame
        A row for each alternative and each variable of the model:

        - ``shift_max``, ``shift_rms``: of the shifts of its groups' means, in their sds under the
          first priors, the largest and the root mean square; ``where``: the group that moves most;
        - ``sd_ratio``: new sd over old, the geometric mean over the groups;
        - ``kolmogorov``: largest difference of the distribution functions, for sds;
        - ``by``: ``mean`` and sd, or ``median`` and half the central 68 % interval, where under
          one of the priors the moments do not exist.

        An alternative that cannot be computed has one row, ``by`` says why not in a few words,
        and ``refused`` in many.  Effects of all levels are those at the covariates' means.
    shifts : Dataset
        Each scalar's shift, with its sign, along a dimension ``alternative``.
    baseline : ReferencePosterior
        The posterior that the others are compared with.
    references : mapping of str to ReferencePosterior
        The posterior under each alternative.
    refused : mapping of str to str
        Alternatives that are not computed, and why: the posterior does not exist, or no
        quadrature gives it to three digits.
    """

    table: Summary
    shifts: xr.Dataset
    baseline: ReferencePosterior
    references: Mapping[str, ReferencePosterior]
    refused: Mapping[str, str]

    @property
    def verdict(self) -> str:
        """How far each variable moves at the most, by the priors that are changed."""
        if not self.references:
            return "No other prior could be compared."
        first = self.baseline.spec
        shifts = self.table["shift_max"].unstack("variable")
        changed = {
            name: " and ".join(changed_keys(first.priors, one.spec.priors))
            for name, one in self.references.items()
        }
        worst = shifts.loc[list(changed)].groupby(pd.Series(changed), sort=False).max()
        sentences = []
        for key, row in worst.iterrows():
            known = [name for name in first.variables if np.isfinite(row.get(name, np.nan))]
            moved = ", ".join(f"{name} {row[name]:.2f}" for name in known)
            sentences.append(f"Another prior of {key} moves, by so many posterior sds: {moved}.")
        return "\n".join(sentences)

    def plot(self, **options: Any) -> PlotCollection:
        """Show the posteriors side by side, or with ``level`` how far each group moves.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_sensitivity`.
        """
        from hiermodels.plots.alternatives import plot_sensitivity

        everything = {"baseline": self.baseline, **self.references}
        shown = {name: posterior.at(AUTO) for name, posterior in everything.items()}
        return plot_sensitivity(shown, **options)

    def __repr__(self) -> str:
        return f"{self.table!r}\n{self.verdict}"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<pre>{escape(self.verdict)}</pre>"


def compare_priors(
    baseline: ReferencePosterior,
    priors: Mapping[str, Alternative] | None = None,
    tol: float = TOLERANCE,
) -> Sensitivity:
    """Compare a posterior with those under other priors.

    Parameters
    ----------
    baseline : ReferencePosterior
    priors : mapping of str to mapping, optional
        As in :func:`sensitivity`.
    tol : float
        Posterior sds that two spacings of the others' quadratures may differ by.
    """
    spec, data = baseline.spec, baseline.data
    if not spec.groups:
        raise SpecError("a model without groups has no group-level variance to vary the prior of")
    if priors is None and all(sd in spec.fixed for level in spec.levels for sd in level.sds):
        raise SpecError(
            "every group-level sd is fixed, so there is no prior to vary; name alternatives, "
            f"such as priors={{'another': {{{spec.levels[0].sd!r}: FlatSD()}}}}"
        )
    given = default_alternatives(spec, data) if priors is None else priors
    if not isinstance(given, Mapping):
        raise SpecError(f"priors: expected alternatives by name, in a mapping; found {given!r}")
    if not given:
        raise SpecError("priors: expected at least one other prior; there is none")
    references: dict[str, ReferencePosterior] = {}
    refused: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name, changed in given.items():
        renamed = changed if priors is None else _in_names_of(baseline, name, changed)
        try:
            other = replace(spec, priors=priors_with(spec, stated_priors(renamed, spec, data)))
            if other == spec:
                raise SpecError(f"priors: {name!r} changes no prior")
            references[name] = reference_posterior(other, data, tol)
        except ImproperPosteriorError as error:
            if priors is not None:
                raise
            refused[name], reasons[name] = str(error), DOES_NOT_EXIST
        except PrecisionError as error:
            refused[name], reasons[name] = str(error), NOT_INTEGRATED
    first, others = baseline.at(AUTO), {name: one.at(AUTO) for name, one in references.items()}
    table, shifts = _distances(first, others) if others else (None, xr.Dataset())
    everything = _with_refused(table, list(given), reasons)
    notes = [first.error_in_words, "shifts: in sds of the posterior under the priors above"]
    notes += locate(data, AUTO).note(list(spec.locations[::-1]))
    if (everything["by"] == "median").any():
        notes.append("by median: under one of the priors a mean or an sd does not exist")
    digits, more = _precision({"": first, **others})
    shown = with_header(everything, spec, *notes, *more, digits=digits)
    return Sensitivity(shown, shifts, baseline, references, refused)


def _in_names_of(baseline: ReferencePosterior, name: str, changed: Any) -> Priors:
    """Priors of a user's alternative, by the names that the parameters have in the model."""
    spec = baseline.spec
    if not isinstance(changed, Mapping | str):
        raise SpecError(
            f"priors: expected alternatives by name, each a mapping, such as "
            f"{{'another': {{{spec.levels[0].sd!r}: FlatSD()}}}}, or {WEAK!r} or {LECTURE!r}; "
            f"found {name!r}: {changed!r}"
        )
    return in_names_of(spec, changed, baseline.data.roles)


def _precision(references: Mapping[str, ReferencePosterior]) -> tuple[int | None, list[str]]:
    """Digits that the worst quadrature reached, and a note of each that reached few."""
    digits = {name: one.digits for name, one in references.items() if one.digits is not None}
    notes = [
        f"{f'{name}: ' if name else ''}{text}"
        for name in digits
        for text in references[name].precision
    ]
    return min(digits.values(), default=None), notes


def _with_refused(
    table: pd.DataFrame | None, order: list[str], reasons: Mapping[str, str]
) -> pd.DataFrame:
    """Put a row for each alternative that was not computed in its place; why, in ``by``."""
    index = pd.MultiIndex.from_product([reasons, [ALL]], names=["alternative", "variable"])
    nothing = dict.fromkeys(("shift_max", "where", "shift_rms", "sd_ratio", "kolmogorov"), np.nan)
    refused = pd.DataFrame({**nothing, "where": "", "by": list(reasons.values())}, index)
    if table is None:
        return refused
    if not reasons:
        return table
    rows = {name: table.loc[[name]] for name in table.index.unique("alternative")}
    rows |= {name: refused.loc[[name]] for name in reasons}
    return pd.concat([rows[name] for name in order])


def _distances(
    baseline: ReferencePosterior, references: Mapping[str, ReferencePosterior]
) -> tuple[pd.DataFrame, xr.Dataset]:
    """Shifts of all scalars under each alternative, and their table."""
    rows, shifts = {}, {}
    everything = [baseline, *references.values()]
    variables = [name for name in baseline.spec.variables if name not in baseline.spec.fixed]
    for variable in variables:
        by_moments = all(_has_moments(one, variable) for one in everything)
        centre, width = _place(baseline, variable, by_moments)
        ends = _ends(baseline, variable)
        for name, other in references.items():
            new_centre, new_width = _place(other, variable, by_moments)
            shift = (new_centre - centre) / width
            shifts[name, variable] = shift
            rows[name, variable] = _row(baseline, shift, new_width / width, variable) | {
                "kolmogorov": _kolmogorov(baseline, other, variable, ends),
                "by": "mean" if by_moments else "median",
            }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["alternative", "variable"])
    along = xr.DataArray(list(references), dims="alternative", name="alternative")
    combined = {
        variable: xr.concat([shifts[name, variable] for name in references], along)
        for variable in variables
    }
    order = [(name, variable) for name in references for variable in variables]
    return table.loc[order], xr.Dataset(combined)


def _has_moments(posterior: ReferencePosterior, variable: str) -> bool:
    return bool(np.isfinite(posterior.sd[variable]).all())


def _place(
    posterior: ReferencePosterior, variable: str, by_moments: bool
) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and sd, or median and half the central 68 % interval, which is one sd of a normal."""
    if by_moments:
        return posterior.mean[variable], posterior.sd[variable]
    low, middle, high = posterior.quantile(ONE_SD, [variable])[variable].drop_vars("quantile")
    return middle, (high - low) / 2


def _row(
    baseline: ReferencePosterior, shift: xr.DataArray, ratio: xr.DataArray, variable: str
) -> dict[str, Any]:
    size, ratios = np.abs(shift.to_numpy()).ravel(), ratio.to_numpy().ravel()
    known = np.isfinite(size)  # an sd that is fixed beside others does not move
    if not known.any():
        return {"shift_max": np.nan, "where": "", "shift_rms": np.nan, "sd_ratio": np.nan}
    labels = flatten(xr.Dataset({variable: shift})).index
    where = str(labels[int(np.nanargmax(size))]).removeprefix(variable)[1:-1]
    return {
        "shift_max": float(size[known].max()),
        "where": where,
        "shift_rms": float(np.sqrt((size[known] ** 2).mean())),
        "sd_ratio": 0.0 if not ratios.all() else float(np.exp(np.log(ratios[known]).mean())),
    }


def _ends(posterior: ReferencePosterior, variable: str) -> Floats:
    """Far quantiles of an sd, (2,), or of several, (2, e); of another variable none."""
    if variable not in {"sigma", *(level.sd for level in posterior.spec.levels)}:
        return np.empty(0)
    return posterior.quantile(ENDS, [variable])[variable].to_numpy()


def _kolmogorov(
    baseline: ReferencePosterior, other: ReferencePosterior, variable: str, ends: Floats
) -> float:
    """Largest difference of the distribution functions of an sd, over a grid; else nan.

    Between the lowest and the highest of their far quantiles; those of the baseline are given.
    """
    if not len(ends):
        return float("nan")
    if variable in other.spec.fixed:
        below = float(baseline.cdf(variable, other.spec.fixed[variable]))
        return max(below, 1 - below)
    ends = np.concatenate([ends, _ends(other, variable)])
    low, high = ends.min(axis=0), ends.max(axis=0)
    if (low <= 0).any():
        return float("nan")  # one of several is fixed at 0
    values = np.geomspace(low, high, COMPARED)
    return float(np.abs(baseline.cdf(variable, values) - other.cdf(variable, values)).max())


type Alternative = Mapping[str, Prior] | str


ONE_SD = (0.158655253931457, 0.5, 0.841344746068543)  # Φ(−1), Φ(0), Φ(1)
ENDS = (0.005, 0.995)  # quantiles between which distribution functions are compared,
COMPARED = 200  # at so many values
ALL = "(all)"  # variables: the row of an alternative that is not computed, and why it is not
DOES_NOT_EXIST = "not computed: the posterior does not exist"
NOT_INTEGRATED = "not computed: no quadrature gives three digits"
