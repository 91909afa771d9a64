"""Lines of groups whose slopes vary, and how they are pulled together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.data.labels import places_of
from hiermodels.errors import SpecError
from hiermodels.plots.raw_lines import GroupLines
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import CI_PROB, tails

LAYERS = ("interval", "rows", "raw", "lines", "population")
MAX_PANELS = 24  # groups that have a panel each, unless all are asked for together
COLUMNS = 6  # of panels
PANEL = (150.0, 140.0)  # dots
MARGINS = (60.0, 110.0)  # dots beside and above all panels
TOGETHER = (900.0, 480.0)  # dots
POINTS = 21  # of the edge of an interval
TITLE = 18  # characters
RAW, POSTERIOR = "least squares", "posterior"


@checked
def plot_lines(
    posterior: Posterior,
    *,
    x: str | None = None,
    level: str | None = None,
    at: Mapping[str, Any] | None = None,
    units: Sequence[Any] | None = None,
    together: bool | None = None,
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show each group's line over a covariate whose slopes vary, raw and shrunken.

    Each group has a panel with its rows (dots), the line of least squares through these alone
    (orange), the posterior mean of its line (blue) with an equal-tailed interval, and the
    population's line (dashed).  Of more than 24 groups all lines are drawn together: on the left
    those of least squares, on the right those of the posterior.  Where posterior means do not exist
    medians stand in their place.

    A group whose rows do not determine a line, such as one row, has no line of least squares.
    Other covariates are held at the same values for all, and rows are moved there by the posterior
    means of their coefficients.

    Parameters
    ----------
    posterior : Posterior
        Of normal rows.
    x : str, optional
        Column of numbers along x, which is a covariate by itself; by default the first one whose
        slopes vary at this level.
    level : str, optional
        Which groups, as in :func:`hiermodels.plots.plot_caterpillar`; by default the innermost.
    at : mapping of str to value, optional
        Values at which other columns of covariates are held, numbers or levels; by default their
        means.
    units : sequence of labels, optional
        Which groups; all by default.
    together : bool, optional
        Whether all lines are drawn together; by default where there are more than 24.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer, ``rows`` (the dots), ``raw``, ``lines``, ``interval`` and ``population``: a
        dict of properties, or False.  Rows and intervals are shown in panels only.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.wrap``, or ``grid`` where lines are together.

    Returns
    -------
    PlotCollection
        With a panel for each group, or with ``column="least squares"`` and ``column="posterior"``.

    References
    ----------
    Gelman & Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models,
    chapter 13; Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, chapter 1.
    """
    tails(ci_prob)
    given = layout.split(visuals, LAYERS)
    lines = _chosen(GroupLines.of(posterior, level, x, at), units)
    if together is None:
        together = len(lines.members) > MAX_PANELS
    if together:
        return _together(lines, backend, given, pc_kwargs)
    return _in_panels(lines, ci_prob, backend, given, pc_kwargs)


def _chosen(lines: GroupLines, units: Sequence[Any] | None) -> GroupLines:
    """Lines of the groups that were asked for."""
    if units is None:
        return lines
    asked = [units] if isinstance(units, str) else list(units)
    if not asked:
        raise SpecError("units: expected labels; found none")
    places = places_of(lines.posterior.data.coords[lines.dim], asked)
    if (places < 0).any():
        unknown = asked[int(np.argmax(places < 0))]
        raise SpecError(f"units: there is no {lines.dim} {unknown!r} in the data")
    return lines.of_members(places)


def _in_panels(
    lines: GroupLines,
    ci_prob: float,
    backend: str | None,
    visuals: Mapping[str, Any],
    pc_kwargs: Mapping[str, Any],
) -> PlotCollection:
    """A panel for each group."""
    middle, (xs, ys) = lines.middle(), lines.rows()
    number = middle.sizes[lines.dim]
    columns = -(-number // -(-number // COLUMNS))  # rows of about the same length
    size = (PANEL[0] * max(columns, 3), PANEL[1] * -(-number // columns))
    figure = layout.with_figure(
        backend,
        {"col_wrap": columns, **pc_kwargs},
        figsize=tuple(np.add(size, MARGINS)),
        sharex=True,
        sharey=True,
    )
    data = middle.isel(vertex=0).to_dataset().expand_dims(chain=1, draw=1)
    plot = PlotCollection.wrap(data, cols=[lines.dim], backend=backend, **figure)
    layout.tidy(plot)
    ends = xr.DataArray(lines.ends, dims="vertex")
    _shade(plot, lines, ci_prob, visuals)
    dot = {"color": "gray", "size": layout.dot_size(plot, 3.0)}
    layout.add(plot, "rows", layout.dots, layout.points(xs, ys), {}, dot, visuals)
    whole = xr.zeros_like(middle) + xr.DataArray(lines.population(), dims="vertex")
    of_lines = {
        "population": (whole, layout.DASHED | {"width": 1.0}),
        "raw": (lines.raw(), {"color": "C1", "width": 1.3}),
        "lines": (middle, {"color": "C0", "width": 1.6}),
    }
    for layer, (values, looks) in of_lines.items():
        layout.add(plot, layer, layout.segments, layout.joined(ends, values), {}, looks, visuals)
    _name_panels(plot, lines, columns)
    caption = f"posterior {lines.word} with {ci_prob:.0%} interval (blue), least squares (orange), "
    caption += "population (dashed)"
    plot.add_title(layout.literal(layout.placed(caption, lines.others), plot.backend), size=11)
    return plot


def _shade(
    plot: PlotCollection, lines: GroupLines, ci_prob: float, visuals: Mapping[str, Any]
) -> None:
    """Fill the intervals of the posterior's lines."""
    given = visuals.get("interval", {})
    if given is False:
        return
    x, low, high = lines.interval(ci_prob, POINTS)
    looks = {"color": "C0", "alpha": 0.25} | dict(given)
    for label in low[lines.dim].values:
        target = plot.get_target(None, {lines.dim: label})
        bottom, top = (own.sel({lines.dim: label}).to_numpy() for own in (low, high))
        azp.visuals.fill_between_y(
            xr.DataArray(top, dims="vertex"), target, x=x, y_bottom=bottom, y_top=top, **looks
        )


def _name_panels(plot: PlotCollection, lines: GroupLines, columns: int) -> None:
    """Write the groups' labels above their panels, and what is shown beside the outer ones."""
    labels = plot.data[lines.dim].values
    texts = layout.shortened(labels, TITLE)
    for i, (label, text) in enumerate(zip(labels, texts, strict=True)):
        panel = {lines.dim: label}
        target = plot.get_target(None, panel)
        layout.backend_of(plot).title(layout.literal(text, plot.backend), target, size=10)
        if i % columns == 0:
            layout.label_y(plot, panel, lines.posterior.spec.outcome)
        if i + columns >= len(labels):
            layout.label_x(plot, panel, lines.column)


def _together(
    lines: GroupLines,
    backend: str | None,
    visuals: Mapping[str, Any],
    pc_kwargs: Mapping[str, Any],
) -> PlotCollection:
    """Two panels: all lines of least squares, and all of the posterior."""
    middle, raw = lines.middle(), lines.raw()
    figure = layout.with_figure(backend, pc_kwargs, figsize=TOGETHER, sharex=True, sharey=True)
    data = middle.isel(vertex=0).to_dataset().expand_dims(chain=1, draw=1)
    data = data.expand_dims(column=[RAW, POSTERIOR])
    plot = PlotCollection.grid(data, cols=["column"], backend=backend, **figure)
    layout.tidy(plot)
    ends, many = xr.DataArray(lines.ends, dims="vertex"), layout.is_crowded(raw.sizes[lines.dim])
    looks = {"width": 0.5 if many else 1.0, "alpha": 0.5 if many else 0.8}
    whole = layout.joined(ends, xr.DataArray(lines.population(), dims="vertex"))
    named = {
        RAW: ("raw", raw, "C1", f"least squares of each {lines.dim}"),
        POSTERIOR: ("lines", middle, "C0", f"posterior {lines.word}s of each {lines.dim}"),
    }
    for column, (layer, values, color, text) in named.items():
        panel = {"column": column}
        drawn = layout.joined(ends, values)
        layout.add(plot, layer, layout.segments, drawn, panel, looks | {"color": color}, visuals)
        layout.add(
            plot,
            "population",
            layout.segments,
            whole,
            panel,
            layout.DASHED | {"color": "black", "width": 2},
            visuals,
        )
        words = f"{lines.others}; dashed: the population" if lines.others else "dashed: population"
        layout.label_x(plot, panel, f"{lines.column}\n{layout.placed(text, words)}")
    layout.label_y(plot, {"column": RAW}, lines.posterior.spec.outcome)
    return plot
