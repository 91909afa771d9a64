"""How large the variance is at each level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import arviz_plots as azp
import numpy as np
import pandas as pd
import xarray as xr
from arviz_base.labels import MapLabeller
from arviz_plots import PlotCollection
from arviz_stats.base import array_stats
from arviz_stats.base.stats_utils import round_num

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_shares import LATENT_VARIANCE
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.families.normal import STRATA
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB, tails

LOWEST, HIGHEST = 1e-4, 0.995  # quantiles between which densities are shown
POINTS = 512  # of a density
EDGE = 0.05  # a share nearer than this to 0 or 1 is shown from there
REACH = 4.0  # upper ends of its interval, up to which a share near 0 is shown
LONGEST_FORMULA = 36  # characters above a panel
TITLE = 34  # characters in a line above a panel
MEDIAN = 0.36  # of a panel's width: what the words below a density take
NEAR_ZERO = 0.2  # a lower end, as a part of the upper one, that is moved to 0


@checked
@layout.layers_named()
def plot_variance(
    posterior: Posterior,
    *,
    shares: bool = True,
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show the posteriors of the sds, and of each level's share of the variance.

    Sds (tau, kappa, sigma): densities, medians and equal-tailed intervals without Monte Carlo
    error, computed anew from the data whatever the engine of the posterior.

    Shares (intraclass correlations): what part of the variance of a row lies between groups,
    between outer groups and within groups: ``tau²/(tau² + kappa² + sigma²)`` and so on.  With a
    logit link the rows' part is π²/3, as in :meth:`hiermodels.Fit.variance_components`: on the
    scale of the link a trial succeeds if ``theta + e`` is above 0, with a standard logistic e.
    Where the rows' standard errors are known, or the link is the logarithm, what is shared out is
    the variance of the groups' effects, ``tau²/(tau² + kappa²)``; in models of two levels there is
    then nothing to share out.  Shares are estimated from the draws.  Where slopes vary they are
    others at each x, and not shown; correlations of a group's effects are.

    Parameters
    ----------
    posterior : Posterior
    shares : bool
        Whether to show the shares.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        As in ``arviz_plots.plot_dist``: ``dist``, ``credible_interval``, ``point_estimate``, ….
    **pc_kwargs
        Passed to ``arviz_plots.plot_dist``.

    Returns
    -------
    PlotCollection
        With a panel for each variable: the sds, such as ``tau`` or ``tau[Days]``, correlations, and
        shares as ``share_tau``.
    """
    tails(ci_prob)
    if not posterior.spec.groups:
        raise SpecError("this picture needs groups, and this model has none")
    free = _free(posterior.spec)
    if not free:
        raise SpecError("every sd is fixed: there is no density to show")
    draws = posterior.datatree["posterior"].to_dataset()
    stats = _of_sds(posterior, free, ci_prob)
    parts = variance_shares(posterior.spec, draws)
    draws = xr.Dataset({name: one.of(draws) for name, one in free.items()})
    if shares and parts:
        more = _of_shares(parts, ci_prob)
        stats = {kind: dataset.merge(more[kind]) for kind, dataset in stats.items()}
        draws = draws.assign(parts)
    titles = {str(name): str(name) for name in draws}
    titles |= {f"share_{name}": text for name, text in _formulas(posterior.spec).items()}
    labels: dict[Any, Any] = {
        name: layout.literal(layout.broken(text, TITLE), backend) for name, text in titles.items()
    }
    looks = dict(visuals or {})
    plot = azp.plot_dist(
        xr.DataTree.from_dict({"posterior": draws}),
        kind="kde",
        point_estimate="median",
        ci_kind="eti",
        ci_prob=ci_prob,
        backend=backend,
        labeller=MapLabeller(var_name_map=labels),
        stats=stats,
        visuals=looks | {"point_estimate_text": False},
        **layout.wrapped(backend, pc_kwargs, len(draws)),
    )
    _write_medians(plot, stats, looks)
    layout.tidy(plot)
    return plot


def _write_medians(
    plot: PlotCollection, stats: Mapping[str, xr.Dataset], visuals: Mapping[str, Any]
) -> None:
    """Write the median above each interval, moved inside where it would leave the panel."""
    x = stats["dist"].sel(plot_axis="x", drop=True)
    low, high = x.isel(place=0), x.isel(place=-1)
    room = MEDIAN / 2 * (high - low)
    median = stats["point_estimate"].drop_vars("quantile", errors="ignore")
    y = 0.1 * stats["dist"].sel(plot_axis="y", drop=True).max("place")
    parts = {"x": median.clip(low + room, high - room), "y": y, "median": median}
    data = xr.concat(parts.values(), pd.Index(parts, name="part"))
    looks = {"color": "B2", "horizontal_align": "center", "round_to": "3g"}
    write = partial(_write_median, layout.backend_of(plot).text)
    layout.add(plot, "point_estimate_text", write, data, {}, looks, visuals)


def _write_median(
    write: Callable[..., Any], da: xr.DataArray, target: Any, *, round_to: Any, **looks: Any
) -> Any:
    """Write one of them."""
    x, y, median = (float(da.sel(part=name)) for name in ("x", "y", "median"))
    return write(x, y, f"{round_num(median, round_to)} median", target, **looks)


def variance_shares(spec: Spec, draws: xr.Dataset) -> xr.Dataset:
    """Draws of each level's share of the variance, where it varies.

    There are none where the sum has one part, or slopes vary or rows are of strata, so that the
    shares are others at each x or for each stratum.  With a logit link one part is the rows'.
    """
    rest = LATENT_VARIANCE.get(spec.family.link, 0.0)
    if len(spec.sds) + (rest > 0) < 2 or spec.has_slopes or spec.strata:
        return xr.Dataset()
    variances = draws[list(spec.sds)] ** 2
    total = sum(variances[name] for name in spec.sds) + rest
    shares = {f"share_{name}": variances[name] / total for name in spec.sds}
    return xr.Dataset(
        {name: share for name, share in shares.items() if np.ptp(share.to_numpy()) > 0}
    )


def _formulas(spec: Spec) -> dict[str, str]:
    """How each share is made up, for people to read."""
    rest = ["π²/3"] * (spec.family.link in LATENT_VARIANCE)
    total = " + ".join([*(f"{name}²" for name in spec.sds), *rest])
    whole = {name: f"{name}² / ({total})" for name in spec.sds}
    if max(map(len, whole.values()), default=0) <= LONGEST_FORMULA:
        return whole
    return {name: f"{name}² / total variance" for name in spec.sds}


@dataclass(frozen=True)
class _Hyperparameter:
    """An sd or a correlation.

    Attributes
    ----------
    variable : str
    place : mapping of str to int
        Which of several, by the dimension.
    is_sd : bool
    """

    variable: str
    place: Mapping[str, int]
    is_sd: bool = True

    def of(self, values: xr.Dataset) -> xr.DataArray:
        """Its values, from those of all variables."""
        return values[self.variable].isel(dict(self.place), drop=True)

    def places(self, quantiles: Floats) -> Floats:
        """Where its density is shown: between its ends, an sd's from 0 if that is near."""
        low, high = quantiles[[0, -1]]
        starts_at_zero = self.is_sd and low <= NEAR_ZERO * high
        return np.linspace(0.0 if starts_at_zero else low, high, POINTS)


def _free(spec: Spec) -> dict[str, _Hyperparameter]:
    """Sds that are not fixed, and correlations."""
    known: dict[str, _Hyperparameter] = {}
    for level in reversed(spec.levels):
        for j, name in enumerate(level.sds):
            place = {level.dims[0]: j} if level.has_slopes else {}
            known[name] = _Hyperparameter(level.sd, place)
    for k, name in enumerate(spec.residual_sds):
        known[name] = _Hyperparameter("sigma", {spec.columns[STRATA]: k} if spec.strata else {})
    free = {name: one for name, one in known.items() if name not in spec.fixed}
    for level in reversed(spec.levels):
        several = len(level.pairs) > 1
        for j, pair in enumerate(level.pairs):
            label = f"{level.correlation}[{pair}]" if several else str(level.correlation)
            place = {level.dims[1]: j} if several else {}
            free[label] = _Hyperparameter(str(level.correlation), place, is_sd=False)
    return free


def _of_sds(
    posterior: Posterior, free: Mapping[str, _Hyperparameter], ci_prob: float
) -> dict[str, xr.Dataset]:
    """Density, interval and median of each sd and correlation, without Monte Carlo error."""
    exact = reference_posterior(posterior.spec, posterior.data)
    variables = list(dict.fromkeys(one.variable for one in free.values()))
    every = exact.quantile(_probabilities(ci_prob), variables).drop_vars("quantile")
    quantiles = xr.Dataset({name: one.of(every) for name, one in free.items()})
    density = {
        name: _density(exact, one, one.places(quantiles[name].to_numpy()))
        for name, one in free.items()
    }
    return _stats(quantiles, density)


def _density(exact: ReferencePosterior, one: _Hyperparameter, x: Floats) -> xr.DataArray:
    """Density of a hyperparameter at places x."""
    points = x[:, None] if one.place else x
    values = exact.density(one.variable, points)
    return _curve(x, values[:, next(iter(one.place.values()))] if one.place else values)


def _of_shares(parts: xr.Dataset, ci_prob: float) -> dict[str, xr.Dataset]:
    """Density, interval and median of each share, from draws."""
    quantiles = parts.quantile(_probabilities(ci_prob), SAMPLE_DIMS).drop_vars("quantile")
    density = {}
    for name, draws in parts.items():
        x, y, _ = array_stats.kde(
            draws.to_numpy().ravel(), bw="scott", custom_lims=(0, 1), bound_correction=True
        )
        low, high = float(draws.min()), float(draws.max())
        high = min(high, REACH * float(quantiles[name].isel(quantile=3)))
        at = np.linspace(low if low > EDGE else 0.0, high if high < 1 - EDGE else 1.0, POINTS)
        density[str(name)] = _curve(at, np.interp(at, x, y))
    return _stats(quantiles, density)


def _probabilities(ci_prob: float) -> list[float]:
    """Of the end of a density, of an interval, and the median."""
    low, high = tails(ci_prob)
    return [LOWEST, low, 0.5, high, HIGHEST]


def _stats(quantiles: xr.Dataset, density: dict[str, xr.DataArray]) -> dict[str, xr.Dataset]:
    """Put densities and quantiles as ``plot_dist`` takes them."""
    return {
        "dist": xr.Dataset(density),
        "credible_interval": quantiles.isel(quantile=[1, 3]).rename(quantile="ci_bound"),
        "point_estimate": quantiles.isel(quantile=2),
    }


def _curve(x: Floats, y: Floats) -> xr.DataArray:
    """A density, in the form that ``plot_dist`` takes."""
    coords = {"plot_axis": ["x", "y"]}
    return xr.DataArray(np.stack([x, y]), coords, ("plot_axis", "place"), attrs={"kind": "kde"})
