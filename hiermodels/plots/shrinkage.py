"""How estimates of groups are pulled together."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.data.covariates import MEANS, At, Place, locate
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.tree.marginal import upward
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.posterior.record import Posterior, at_covariates, level_draws
from hiermodels.posterior.tables import CI_PROB, tails

LAYERS = ("shrinkage", "interval", "raw", "point_estimate", "grand_mean")


@checked
def plot_shrinkage(
    posterior: Posterior,
    *,
    level: str = "theta",
    at: At = MEANS,
    order: str = "raw",
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show how each group's raw mean is pulled towards the others.

    For each group: the raw mean (open circle), the posterior mean (dot) with an equal-tailed
    interval, and a line from the one to the other; for all: the posterior mean of the grand
    mean (dashed).  Where a posterior mean does not exist the median stands in its place, as the
    label says.

    The raw mean of a group is the mean of its rows, weighted by ``1/se²`` where standard errors
    are known.  The raw mean of an outer group is the mean of its groups' raw means, weighted by
    ``1/(tau² + σ²/n)`` at the posterior medians of the sds: what its own groups say of it.
    With covariates both are adjusted to the same x by the posterior mean of beta, as theta is.

    Parameters
    ----------
    posterior, level, at
        As in :func:`hiermodels.plots.plot_caterpillar`.
    order : {"raw", "data"}
        Sort the groups by their raw mean, or leave them as they are in the data.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer, ``shrinkage`` (the lines), ``interval``, ``raw`` (the circles),
        ``point_estimate`` and ``grand_mean``: a dict of properties, or False.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.grid``.

    Returns
    -------
    PlotCollection
        With one panel, ``column="forest"``.

    References
    ----------
    Efron & Morris (1977), Stein's paradox in statistics, Scientific American 236:119.
    """
    if order not in ("raw", "data"):
        raise SpecError(f"order: expected 'raw' or 'data'; found {order!r}")
    tails(ci_prob)
    visuals = layout.split(visuals, LAYERS)
    name = posterior.spec.effect_of(level)
    where = locate(posterior.data, at)
    raw = raw_means(posterior, name, where)
    posterior = at_covariates(posterior, where, [name, *posterior.spec.top])
    draws = level_draws(posterior, name)
    if order == "raw":
        places = np.argsort(-raw.values, kind="stable")
        draws, raw = draws.isel({raw.dims[0]: places}), raw.isel({raw.dims[0]: places})
    plot = layout.rows(draws, ["forest"], backend, pc_kwargs)
    pooled, word = layout.centre(posterior, draws)
    _draw(plot, draws, pooled, raw, ci_prob, visuals)
    grand, dashed = layout.centre_line(posterior, where)
    layout.vertical(plot, "grand_mean", grand, {"column": "forest"}, visuals)
    text = f"{posterior.spec.outcome}: raw mean ○, posterior {word} of {name} ● with "
    text += f"{ci_prob:.0%} interval; dashed: {dashed}"
    layout.label_x(plot, {"column": "forest"}, layout.placed(text, where.words))
    return plot


def _draw(
    plot: PlotCollection,
    draws: xr.DataArray,
    pooled: xr.DataArray,
    raw: xr.DataArray,
    ci_prob: float,
    visuals: dict[str, Any],
) -> None:
    """Draw the layers, those that matter most last."""
    crowded, y = layout.is_crowded(raw.size), layout.heights(raw)
    low, high = layout.interval(draws, ci_prob)
    size = layout.dot_size(plot, 2.5 if crowded else 5.5)
    layers: dict[str, Any] = {
        "interval": (
            layout.segments,
            layout.spans(low, high, y),
            {"color": "C0", "width": 0.5 if crowded else 1.0, "alpha": 0.6},
        ),
        "shrinkage": (
            layout.segments,
            layout.spans(raw, pooled, y),
            {"color": "C1", "width": 0.5 if crowded else 1.5},
        ),
        "raw": (
            layout.dots,
            layout.points(raw, y),
            {"facecolor": "white", "edgecolor": "C1", "size": size, "width": 1},
        ),
        "point_estimate": (layout.dots, layout.points(pooled, y), {"color": "C0", "size": size}),
    }
    for layer, (visual, data, looks) in layers.items():
        layout.add(plot, layer, visual, data, {"column": "forest"}, looks, visuals)


def raw_means(posterior: Posterior, name: str, where: Place) -> xr.DataArray:
    """What the data below each group say of it, nothing borrowed from other groups.

    The ``m`` of :func:`hiermodels.exact.kernels.tree.marginal.upward`, at the posterior medians of
    the sds and the posterior mean of beta.

    Parameters
    ----------
    posterior : Posterior
    name : {"theta", "mu"}
    where : Place
        Values of the covariates that the means are adjusted to.
    """
    spec, standard = posterior.spec, standardize(posterior.data)
    level = spec.level_of(name)
    mean = standard.tree.mean
    draws = posterior.datatree["posterior"].to_dataset()
    if level < standard.tree.innermost:
        sds = np.array([[float(draws[sd].median()) for sd in spec.sds]])
        marginal = Marginal.of(spec, standard)
        up = upward(standard.tree, marginal.variances_of(sds), marginal.coefficients)
        mean = up.below(level).mean[0]
    x, y = mean[:, :-1] + standard.origin_at(where.of(level)), mean[:, -1]
    if spec.covariates:
        beta = layout.centre(posterior, draws["beta"])[0].to_numpy()
        y = y - x @ np.linalg.solve(standard.basis, beta) / standard.scale
    (dim,) = spec.dims(name)
    values = standard.location + standard.scale * y
    return xr.DataArray(values, coords={dim: posterior.data.coords[dim]}, dims=dim, name=name)
