"""ArviZ's summary of draws, kept usable where there are very many groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hiermodels.core.options import names
from hiermodels.core.suggestions import ARGUMENTS, did_you_mean
from hiermodels.data.covariates import AUTO, At, locate
from hiermodels.errors import SpecError
from hiermodels.exact.moments import moments_of
from hiermodels.posterior.moments import FOURTH, KINDS, MEAN, SD, Moment
from hiermodels.posterior.record import Posterior, at_covariates, how_to_draw
from hiermodels.posterior.tables import Summary, interval_note, unsigned, with_header

if TYPE_CHECKING:
    import xarray as xr

EXTREME = 70  # powers of ten beyond which fourth powers are no floating-point numbers
UNITLESS = ("ess", "r_hat")  # columns that do not depend on the unit
OF_POSTERIOR = (None, "posterior")
STATISTICS = {  # of a variable that take its moments: what they are, and up to which order
    "mean": (KINDS[MEAN], MEAN),
    "sd": (KINDS[SD], SD),
    "mcse_mean": ("mcse_mean of", SD),
    "ess_mean": ("ess_mean of", SD),
    "min_ss": ("min_ss of", SD),
    "mcse_sd": ("mcse_sd of", FOURTH),
}
MAX_SCALARS = 500  # that are summarised unasked: ArviZ takes some milliseconds for each


def summarize(
    posterior: Posterior,
    var_names: Sequence[str] | str | None = None,
    at: At = AUTO,
    **options: Any,
) -> Summary:
    """Return ArviZ's summary of the draws, the variables from the top downwards.

    Where the posterior has no mean or no sd, those of the draws say nothing: they are nan, with a
    note that says why, and there is a column ``median``.

    Parameters
    ----------
    posterior : Posterior
    var_names : str or sequence of str, optional
        Which variables.  By default all, except effects of groups that are more than 500: those
        are left out, and the header says so.
    at : {"auto", "means", "own", "zero"} or mapping of str to value
        Values of the covariates that effects and the intercept are shown at.
    **options
        Passed to ``arviz_stats.summary``: ``ci_prob``, ``ci_kind``, ``kind``, ``round_to``, ….

    Raises
    ------
    SpecError
        If the result would not be a table, or there are no draws of a variable.
    """
    from arviz_base import rcParams
    from arviz_stats import summary

    if options.get("fmt") == "xarray":
        raise SpecError("fmt: a summary is a table; see arviz_stats.summary(fit.datatree, …)")
    left_out = [] if var_names is not None else _too_many(posterior)
    if left_out:
        var_names = [name for name in posterior.spec.variables if name not in left_out]
    where = locate(posterior.data, at)
    asked = names("var_names", "variable", var_names) or None
    needed = None if "filter_vars" in options else asked
    draws = at_covariates(posterior, where, needed).datatree.copy()
    dataset = draws["posterior"].to_dataset().reset_coords(drop=True)  # ArviZ stacks
    units = {str(name): _unit(variable) for name, variable in dataset.items()}
    scaled = {name: dataset[name] / unit for name, unit in units.items() if unit != 1.0}
    draws["posterior"] = dataset.assign(scaled)
    try:
        with _constant(posterior):
            table = _in_units(summary(draws, var_names=asked, **options), units)
            lacking = _lacking(posterior, table) if options.get("group") in OF_POSTERIOR else {}
            if "mean" in table and {"mean", "sd"} & {*lacking.values()}:
                middle = options | {"kind": "stats_median", "round_to": "none"}
                median = _in_units(summary(draws, var_names=asked, **middle), units)["median"]
                table.insert(list(table.columns).index("sd") + 1, "median", median)
    except KeyError as error:
        raise SpecError(_missing(posterior, asked)) from error
    except (TypeError, ValueError) as error:  # ArviZ's word on its own options
        raise SpecError(f"summary: {error}{_suggested(options, summary)}") from error
    sizes = posterior.datatree["posterior"].sizes
    notes = [f"{posterior.engine}: {sizes['chain']} chains × {sizes['draw']} draws"]
    notes += posterior.caveats
    if any(str(column).endswith("_lb") for column in table.columns):
        kind = "eti" if "median" in options.get("kind", "") else options.get("ci_kind")
        prob = options.get("ci_prob") or rcParams["stats.ci_prob"]
        notes.append(interval_note(prob, kind or rcParams["stats.ci_kind"]))
    rows = {str(row).split("[")[0] for row in table.index}
    if options.get("group") in OF_POSTERIOR:
        notes += where.note([name for name in posterior.spec.locations[::-1] if name in rows])
    notes += [_explain(posterior, name) for name in left_out]
    if lacking:
        notes.append(str(moments_of(posterior.spec, posterior.data).why(lacking)))
    return with_header(unsigned(_without(table, lacking)), posterior.spec, *notes)


def _constant(posterior: Posterior) -> AbstractContextManager[Any]:
    """Where an sd is fixed, its R-hat is 0/0: NaN, of which there is no warning."""
    return np.errstate(invalid="ignore", divide="ignore") if posterior.spec.fixed else nullcontext()


def _unit(draws: xr.DataArray) -> float:
    """A power of two in which draws are of the size of 1, if their fourth powers need one."""
    size = float(np.abs(draws).max())
    return float(2.0 ** np.round(np.log2(size))) if size and abs(np.log10(size)) > EXTREME else 1.0


def _in_units(table: pd.DataFrame, units: Mapping[str, float]) -> pd.DataFrame:
    """Put a summary of draws that were divided by their units back into them."""
    if set(units.values()) == {1.0}:
        return table
    unit = [units[name] for name in _variables(table)]
    own = [column for column in table.columns if not str(column).startswith(UNITLESS)]
    return table.assign(**{column: pd.to_numeric(table[column]) * unit for column in own})


def _lacking(posterior: Posterior, table: pd.DataFrame) -> dict[Moment, str]:
    """Moments that a table shows and that do not exist, with the names of their statistics."""
    known = moments_of(posterior.spec, posterior.data)
    statistics, variables = {*table.columns, *table.index}, {*table.columns, *_variables(table)}
    return {
        Moment(kind, name, order, (name,)): statistic
        for statistic, (kind, order) in STATISTICS.items()
        for name in posterior.spec.variables
        if statistic in statistics and name in variables and not known.exist([name], order)
    }


def _without(table: pd.DataFrame, lacking: Mapping[Moment, str]) -> pd.DataFrame:
    """Put nan in the place of moments that do not exist; statistics may be columns or rows."""
    table, variables = table.copy(), np.array(_variables(table))
    for moment, statistic in lacking.items():
        if statistic in table:
            table.loc[variables == moment.label, statistic] = np.nan
        else:
            table.loc[statistic, moment.label] = np.nan
    return table


def _variables(table: pd.DataFrame) -> list[str]:
    """The variable of each row, where rows are scalars."""
    return [str(row).split("[")[0] for row in table.index]


def _missing(posterior: Posterior, asked: Sequence[str] | None) -> str:
    """Why draws of variables that were asked for are not there."""
    known, spec = posterior.datatree["posterior"].data_vars, posterior.spec
    for name in (name for name in spec.effects if name in (asked or ()) and name not in known):
        return (
            f"var_names: draws of {name} were not kept; {how_to_draw(spec, name)} makes those of "
            f"some groups, and .reference().summary([{name!r}]) has all without Monte Carlo error"
        )
    strange = next((name for name in asked or () if name not in known), None)
    guess = did_you_mean(strange, map(str, known))
    return f"var_names: found {asked!r}; the draws have {', '.join(map(str, known))}{guess}"


def _too_many(posterior: Posterior) -> list[str]:
    """Variables that have too many groups, or whose draws were not kept."""
    draws = posterior.datatree["posterior"].to_dataset()
    return [
        name
        for name in posterior.spec.variables
        if name not in draws or draws[name][0, 0].size > MAX_SCALARS
    ]


def _explain(posterior: Posterior, name: str) -> str:
    """How to see what is left out."""
    dim, *_ = posterior.spec.dims(name)
    kept = posterior.datatree["posterior"].data_vars
    ask = f".summary(var_names=[{name!r}])"
    if name in posterior.spec.effects and name not in kept:
        ask = how_to_draw(posterior.spec, name)
    return (
        f"left out: {name} of {len(posterior.data.coords[dim]):,} {dim}, for which {ask} asks; "
        f".reference().summary() has them without Monte Carlo error"
    )


def _suggested(options: Mapping[str, Any], summary: Callable[..., Any]) -> str:
    """The option that may have been meant by one that ArviZ does not know."""
    known = inspect.signature(summary).parameters
    strange = next((name for name in options if name not in known), None)
    return did_you_mean(strange, known, ARGUMENTS)
