"""Pictures of a posterior, in the way of arviz-plots: each returns a ``PlotCollection``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hiermodels.errors import SpecError
from hiermodels.posterior import Posterior, group_draws
from hiermodels.sufficient import standardize

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

MOST_LABELS = 60  # groups that get a label of their own; beyond, labels would overlap
ROW = 0.22  # inches for a group with a label
CROWDED_HEIGHT = 9.0  # inches for any number of groups without labels


def plot_shrinkage(
    posterior: Posterior,
    *,
    order: str = "raw",
    ci_prob: float = 0.89,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show how each group's raw mean is pulled towards the others.

    For each group: the raw mean (open circle), the posterior mean (dot) with an equal-tailed
    interval, and a line from the one to the other; for all: the posterior mean of the grand
    mean (dashed).

    Parameters
    ----------
    posterior : Posterior
    order : {"raw", "data"}
        Sort the groups by their raw mean, or leave them as they are in the data.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        Passed to ``arviz_plots.plot_forest``; besides, ``shrinkage`` (the lines), ``raw`` (the
        circles) and ``grand_mean``, each a dict of properties or False.
    **pc_kwargs
        Passed to ``arviz_plots.plot_forest``.

    Returns
    -------
    PlotCollection

    References
    ----------
    Efron & Morris (1977), Stein's paradox in statistics, Scientific American 236:119.
    """
    if order not in ("raw", "data"):
        raise SpecError(f"order: expected 'raw' or 'data'; found {order!r}")
    if not posterior.spec.groups:
        raise SpecError("plot_shrinkage needs groups; this model has one population")
    visuals = dict(visuals or {})
    own = {name: visuals.pop(name, {}) for name in ("shrinkage", "raw", "grand_mean")}
    draws, raw = _sorted_draws(posterior, order)
    crowded = raw.size > MOST_LABELS
    plot = _forest(draws, ci_prob, backend, visuals, crowded, pc_kwargs)
    _add_raw(plot, raw, draws.mean(["chain", "draw"]), crowded, own)
    intercept = posterior.spec.intercept
    if own["grand_mean"] is not False:
        import arviz_plots as azp

        look = {"color": "gray", "linestyle": "C1", "alpha": 0.8} | own["grand_mean"]
        target = plot.get_target(None, {"column": "forest"})
        azp.visuals.vline(posterior.datatree["posterior"][intercept].mean(), target, **look)
    _label_x(
        plot,
        f"{posterior.spec.outcome}: raw mean ○, posterior mean ● with {ci_prob:.0%} interval; "
        f"dashed: {intercept}",
    )
    return plot


def _sorted_draws(posterior: Posterior, order: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Draws of theta and raw means, the groups in the order in which they are shown."""
    spec, data = posterior.spec, posterior.data
    group = spec.groups[-1]
    means = standardize(data).group_means
    raw = xr.DataArray(means, coords={group: data.labels[-1]}, dims=group)
    places = np.argsort(-means, kind="stable") if order == "raw" else np.arange(len(means))
    theta = group_draws(posterior)
    return theta.isel({group: places}), raw.isel({group: places})


def _forest(
    draws: xr.DataArray,
    ci_prob: float,
    backend: str | None,
    visuals: dict[str, Any],
    crowded: bool,
    pc_kwargs: dict[str, Any],
) -> PlotCollection:
    """Draw posterior means and intervals, with labels unless there are too many."""
    import arviz_plots as azp
    from arviz_base import rcParams

    height = CROWDED_HEIGHT if crowded else 1.6 + ROW * draws.shape[-1]
    figure: dict[str, Any] = {"figsize": (800, 100 * height), "figsize_units": "dots"}
    if crowded:
        figure["width_ratios"] = [0.01, 1]
    if (backend or rcParams["plot.backend"]) == "matplotlib":
        figure["layout"] = "constrained"
    size, width = (6, 0.5) if crowded else (30, 1.0)
    looks: dict[str, Any] = {
        "trunk": False,
        "twig": {"color": "C0", "width": width, "alpha": 0.6},
        "point_estimate": {"color": "C0", "facecolor": "C0", "size": size},
    }
    pc_kwargs["figure_kwargs"] = figure | pc_kwargs.get("figure_kwargs", {})
    plot = azp.plot_forest(
        xr.DataTree.from_dict({"posterior": xr.Dataset({"theta": draws})}),
        combined=True,
        point_estimate="mean",
        ci_kind="eti",
        ci_probs=(ci_prob / 2, ci_prob),
        labels=[] if crowded else [draws.dims[-1]],
        backend=backend,
        visuals=looks | visuals,
        **pc_kwargs,
    )
    if crowded:
        azp.visuals.remove_axis(draws, plot.get_target(None, {"column": "labels"}), axis="both")
    return plot


def _add_raw(
    plot: PlotCollection,
    raw: xr.DataArray,
    pooled: xr.DataArray,
    crowded: bool,
    own: dict[str, Any],
) -> None:
    """Add the raw means, and lines from them to the posterior means."""
    import arviz_plots as azp

    place = {"column": "forest"}
    if own["shrinkage"] is not False:
        ends = xr.Dataset({"theta": xr.concat([raw, pooled], dim="end")})
        look = {"color": "C1", "width": 0.5 if crowded else 1.5} | own["shrinkage"]
        plot.map(azp.visuals.line_x, "shrinkage", data=ends, coords=place, **look)
    if own["raw"] is not False:
        look = {"facecolor": "white", "edgecolor": "C1", "size": 6 if crowded else 30} | own["raw"]
        points = xr.Dataset({"theta": raw})
        plot.map(azp.visuals.scatter_x, "raw", data=points, coords=place, **look)


def _label_x(plot: PlotCollection, text: str) -> None:
    """Write what is shown below the axis."""
    import arviz_plots as azp

    azp.visuals.labelled_x(xr.DataArray(0), plot.get_target(None, {"column": "forest"}), text=text)
