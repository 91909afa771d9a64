"""How estimates depend on the sd of their groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import AUTO, At, locate
from hiermodels.errors import SpecError
from hiermodels.exact.given_sd import moments_given_sd
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.level import Level
from hiermodels.plots.effects import term_of
from hiermodels.posterior.record import Posterior

LAYERS = ("lines", "labels", "density")
MAX_LINE_LABELS = 20  # lines that get a label of their own
MAX_COLORS = 10  # lines that get a colour of their own
MIN_GAP = 0.045  # between labels, as a part of the panel's height
SIZE = (800.0, 650.0)  # dots
CHARACTER = 0.0145  # about the width of one, as a part of the panel's
MAX_LABEL = 52  # characters in a line beside the panel above
MAX_DENSITY_LABEL = 18  # and beside that below
HEIGHT_RATIOS = [3.0, 1.0]


@checked
def plot_trace_tau(
    posterior: Posterior,
    *,
    level: str | None = None,
    effect: str | None = None,
    at: At = AUTO,
    moment: str = "mean",
    units: Sequence[Any] | None = None,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show how each group's estimate depends on the sd of the groups.

    Above: the conditional posterior mean of each group's effect given the sd of its level, tau for
    theta and kappa for mu, as a line over that sd.  At 0 all groups of one parent agree, and
    deviations of crossed groups are 0; the larger the sd, the closer each is to what its own rows
    say.  Below: the posterior density of the sd, which says which part of the picture matters.
    There is no Monte Carlo error: other unknown sds are integrated out given this one, and both are
    computed anew from the data, whatever the engine of the posterior.

    Parameters
    ----------
    posterior, level, at
        As in :func:`hiermodels.plots.plot_caterpillar`.
    effect : str, optional
        Which of several effects of each group, over its own sd; by default the first.
    moment : {"mean", "sd"}
        Conditional posterior means, or conditional posterior sds.
    units : sequence of labels, optional
        Which groups; all by default.  Up to 20 lines have labels.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer, ``lines``, ``labels`` and ``density``: a dict of properties, or False.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.grid``.

    Returns
    -------
    PlotCollection
        Its panels are ``panel="value"``, above, and ``panel="density"``.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., figures 5.5 to 5.7; Rubin (1981),
    Journal of Educational Statistics 6:377.
    """
    if moment not in ("mean", "sd"):
        raise SpecError(f"moment: expected 'mean' or 'sd'; found {moment!r}")
    visuals = layout.split(visuals, LAYERS)
    spec = posterior.spec
    name = spec.effect_of(level or (spec.shown_effect if spec.levels else None))
    own, term = spec.levels[spec.level_of(name)], term_of(spec, name, effect)
    sd = f"{own.sd}[{term}]" if term else own.sd
    where = locate(posterior.data, at)
    moments = moments_given_sd(spec, posterior.data, sd, name, where, term)
    chosen = _chosen(moments[moment], units)
    plot = _panels(chosen.rename(name), backend, pc_kwargs)
    few, crowded = chosen.shape[1] <= MAX_COLORS, layout.is_crowded(chosen.shape[1])
    looks = {
        "color": "C0",
        "alpha": 0.9 if few else 0.5,
        "width": 0.4 if crowded else 1.0,
    }
    lines = layout.curves(chosen["at"], chosen)
    layout.add(plot, "lines", layout.segments, lines, {"panel": "value"}, looks, visuals)
    if chosen.shape[1] <= MAX_LINE_LABELS and visuals.get("labels") is not False:
        _label_lines(plot, chosen, dict(visuals.get("labels", {})))
    density = _density(posterior, own, term, chosen["at"].to_numpy())
    _draw_density(plot, chosen["at"], density, visuals)
    layout.label_x(plot, {"panel": "density"}, sd)
    words = where.words if name in spec.locations else ""
    name = f"{name}[{term}]" if term else name
    label = layout.placed(f"{moment} of {name} given {sd}", words, MAX_LABEL)
    layout.label_y(plot, {"panel": "value"}, label)
    formal = f"p({sd} | {spec.outcome})"
    short = formal if len(formal) <= MAX_DENSITY_LABEL else "density"
    layout.label_y(plot, {"panel": "density"}, short)
    return plot


def _density(posterior: Posterior, level: Level, term: str | None, values: Floats) -> Floats:
    """Posterior density of the sd of a level, of several effects that of one, at values (n,)."""
    reference = reference_posterior(posterior.spec, posterior.data)
    if not term:
        return reference.density(level.sd, values)
    every = reference.density(level.sd, np.repeat(values[:, None], len(level.terms), axis=1))
    return every[:, level.terms.index(term)]


def _chosen(values: xr.DataArray, units: Sequence[Any] | None) -> xr.DataArray:
    """Conditional moments of the groups that were asked for."""
    if units is None:
        return values
    dim, asked = values.dims[1], list(units)
    if not asked:
        raise SpecError("units: expected labels; found none")
    unknown = [member for member in asked if member not in values[dim].values]
    if unknown:
        raise SpecError(f"units: there is no {dim} {unknown[0]!r} in the data")
    return values.sel({dim: asked})


def _panels(values: xr.DataArray, backend: str | None, pc_kwargs: dict[str, Any]) -> PlotCollection:
    """Two panels above each other, over the same values of the sd."""
    dim = str(values.dims[1])
    if values.sizes[dim] <= MAX_COLORS:
        pc_kwargs = pc_kwargs | {"aes": {"color": [dim]} | pc_kwargs.get("aes", {})}
    figure = layout.with_figure(
        backend, pc_kwargs, figsize=SIZE, sharex=True, height_ratios=HEIGHT_RATIOS
    )
    data = values.to_dataset().expand_dims(panel=["value", "density"])
    plot = PlotCollection.grid(data, rows=["panel"], backend=backend, **figure)
    panels = {panel: plot.get_target(None, {"panel": panel}) for panel in ("value", "density")}
    layout.tidy(plot, list(panels.values()), figure["figure_kwargs"])
    low, high = values["at"].values[[0, -1]]
    low = 0.0 if low < 0.1 * high else low
    room = _room(layout.shortened(values[dim].values))
    for target in panels.values():
        layout.backend_of(plot).xlim([low, high + room * (high - low)], target)
    return plot


def _room(labels: Sequence[str]) -> float:
    """What is left free beside the lines for their labels, as a part of their own width."""
    if len(labels) > MAX_LINE_LABELS:
        return 0.02
    share = CHARACTER * (1 + max(map(len, labels)))
    return max(0.12, share / (1 - share))


def _label_lines(plot: PlotCollection, values: xr.DataArray, looks: dict[str, Any]) -> None:
    """Write each group's label at the end of its line, moved where two would overlap."""
    ends = values.isel(at=-1)
    gap = MIN_GAP * float(values.max() - values.min())
    target = plot.get_target(None, {"panel": "value"})
    looks = {"horizontal_align": "left", "size": 11} | looks
    labels, places = layout.shortened(ends[ends.dims[0]].values), spread_out(ends.values, gap)
    low, high = min(float(values.min()), places.min()), max(float(values.max()), places.max())
    layout.backend_of(plot).ylim([low - gap, high + gap], target)
    for label, y in zip(labels, places, strict=True):
        text = layout.literal(f" {label}", plot.backend)
        layout.backend_of(plot).text(float(ends["at"]), float(y), text, target, **looks)


def spread_out(places: Floats, gap: float) -> Floats:
    """Move places as little as keeps them a gap apart, in their order.

    The nearest such places, in least squares: ``x_i = z_i + i·gap`` with z the isotonic
    regression of ``places_i − i·gap``.
    """
    from scipy.optimize import isotonic_regression

    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    moved = np.empty(len(places))
    moved[order] = isotonic_regression(places[order] - steps).x + steps
    return moved


def _draw_density(
    plot: PlotCollection, at: xr.DataArray, density: Floats, visuals: dict[str, Any]
) -> None:
    """Fill the area below the density of the sd."""
    given = visuals.get("density", {})
    if given is False:
        return
    target = plot.get_target(None, {"panel": "density"})
    looks = {"color": "gray", "alpha": 0.4} | given
    top = xr.DataArray(density, dims="at")
    azp.visuals.fill_between_y(
        top, target, x=at.to_numpy(), y_bottom=np.zeros(len(density)), y_top=density, **looks
    )
