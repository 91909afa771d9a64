"""What the pictures share: panels with a row for each group, and what is drawn into them.

A layer of a picture (all points, all intervals) is one artist, so that three hundred groups take
no longer than eight.  Where an aesthetic is mapped to the groups, as with
``aes={"color": ["school"]}``, arviz-plots calls the same functions for one group at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection

from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.options import mapping, one_of
from hiermodels.data.covariates import Place
from hiermodels.errors import SpecError
from hiermodels.exact.moments import moments_of
from hiermodels.posterior.moments import MEAN
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import tails

MAX_LABELS = 60  # groups that get a label of their own; beyond, labels would overlap
ROW = 22.0  # dots for a group with a label
MARGIN = 130.0  # dots above and below the rows together
CROWDED_HEIGHT = 900.0  # dots for any number of groups without labels
WIDTH = 800.0  # dots
PANEL = (330.0, 260.0)  # dots, for panels in rows of
PANELS_PER_ROW = 3
LONGEST_LABEL = 32  # characters of a group's label, which leave room for the panels
LINE = 70  # characters in a line of a label below a panel
DOTS_PER_INCH = 100  # of bokeh
DASHED = {"color": "gray", "linestyle": "C1", "alpha": 0.8}  # looks of lines of all groups
BACKENDS = ("matplotlib", "plotly", "bokeh", "none")
OPTIONS = ("aes", "figure_kwargs", "col_wrap")  # of ArviZ's PlotCollection, beside its aesthetics

type Visuals = Mapping[str, Any] | None
type Panel = Mapping[str, str]


def is_crowded(size: int) -> bool:
    """Whether there are too many groups to label each."""
    return size > MAX_LABELS


def shortened(labels: Iterable[Any], longest: int = LONGEST_LABEL) -> list[str]:
    """Labels as text, long ones cut in their middle, unless two would then read the same."""
    whole = [str(label) for label in labels]
    end = longest // 2
    cut = [
        label if len(label) <= longest else f"{label[: end - 1].rstrip()}…{label[-end:].lstrip()}"
        for label in whole
    ]
    return cut if len(set(cut)) == len(set(whole)) else whole


def split(visuals: Visuals, own: Sequence[str]) -> dict[str, Any]:
    """The properties of each layer that were given.

    Raises
    ------
    SpecError
        If there is no such layer.
    """
    given = dict(visuals or {})
    unknown = [name for name in given if name not in own]
    if unknown:
        raise SpecError(f"visuals: expected {', '.join(own)}; found {unknown[0]!r}")
    return given


@contextmanager
def layers_named() -> Iterator[None]:
    """Raise SpecError if ArviZ's plot does not have a layer; a context or a decorator.

    Raises
    ------
    SpecError
        If there is no such layer.
    """
    try:
        yield
    except ValueError as error:
        if "argument visuals" not in str(error):
            raise
        raise SpecError(f"visuals: {error}") from error


def rows(
    values: xr.DataArray,
    columns: Sequence[str],
    backend: str | None,
    pc_kwargs: Mapping[str, Any],
    **figure: Any,
) -> PlotCollection:
    """Panels side by side that share their heights, with a row for each group, labelled.

    Parameters
    ----------
    values : DataArray
        Its last dimension runs over the groups, from the top row downwards.
    columns : sequence of str
        Names of the panels.
    **figure
        Passed to the back end as ``figure_kwargs``, besides what is set here.
    """
    dim, size = str(values.dims[-1]), values.shape[-1]
    height = CROWDED_HEIGHT if is_crowded(size) else MARGIN + ROW * size
    data = values.to_dataset(name=str(values.name)).expand_dims(column=list(columns))
    options = with_figure(backend, pc_kwargs, figsize=(WIDTH, height), sharey=True, **figure)
    plot = PlotCollection.grid(data, cols=["column"], backend=backend, **options)
    targets = [plot.get_target(None, {"column": column}) for column in columns]
    tidy(plot, targets, options["figure_kwargs"])
    labels = [] if is_crowded(size) else shortened(values[dim].values)
    for target in targets:
        places = heights(values).values[: len(labels)].tolist()
        backend_of(plot).yticks(places, [literal(label, plot.backend) for label in labels], target)
        backend_of(plot).ylim([-0.7, size - 0.3], target)
    if not labels:
        label_y(plot, {"column": columns[0]}, f"{dim} ({size})")
    return plot


def tidy(
    plot: PlotCollection, targets: Sequence[Any] = (), figure: Mapping[str, Any] | None = None
) -> None:
    """Give panels the room that matplotlib gives them, with the other back ends too.

    plotly leaves wide margins, and bokeh gives each panel its neighbour's ratio.

    Parameters
    ----------
    plot : PlotCollection
    targets : sequence
        Panels in a row or in a column whose sizes have ratios.
    figure : mapping, optional
        The ``figure_kwargs`` with these ratios and the size of the figure.
    """
    if plot.backend == "plotly":
        margin = {"t": 60, "b": 60, "l": 60, "r": 20}
        plot.get_viz("figure").update_layout(margin=margin)
    if plot.backend == "bokeh" and figure is not None:
        unit = 1 if figure.get("figsize_units") == "dots" else DOTS_PER_INCH
        for side, total in zip(("width", "height"), figure["figsize"], strict=True):
            ratios = figure.get(f"{side}_ratios")
            if ratios is not None:
                for target, ratio in zip(targets, ratios, strict=True):
                    setattr(target, side, int(unit * total * ratio / sum(ratios)))


def with_figure(backend: str | None, pc_kwargs: Mapping[str, Any], **figure: Any) -> dict[str, Any]:
    """Arguments of a PlotCollection: what is set here for the figure, and what the user sets.

    Sizes are set in dots; a size of the user's is in inches, unless it says otherwise.

    Raises
    ------
    SpecError
        If there is no such back end or option.
    """
    backend = one_of("backend", rcParams["plot.backend"] if backend is None else backend, BACKENDS)
    aesthetics = mapping("aes", pc_kwargs.get("aes"), "{'color': ['school']}")
    for name in pc_kwargs:
        one_of("an option of the picture", name, [*OPTIONS, *aesthetics])
    given = mapping("figure_kwargs", pc_kwargs.get("figure_kwargs"), "{'figsize': (8, 6)}")
    if backend == "matplotlib":
        figure["layout"] = "constrained"
    if backend == "plotly" and "height_ratios" in figure:
        figure["vertical_spacing"] = 0.05
    if "figsize" not in given:
        figure["figsize_units"] = "dots"
    return {**pc_kwargs, "figure_kwargs": figure | given}


def backend_of(plot: PlotCollection) -> Any:
    """Functions of the back end that a picture is drawn with."""
    return import_module(f"arviz_plots.backend.{plot.backend}")


def literal(text: str, backend: str | None) -> str:
    """Text that the back end shows as it is.

    Labels are not commands: plotly takes them for HTML, links and all, and matplotlib what stands
    between two dollars for mathematics.
    """
    backend = backend or rcParams["plot.backend"]
    if backend == "plotly":
        return escape(text, quote=False).replace("\n", "<br>")
    if backend == "matplotlib":
        from matplotlib import rcParams as style

        return text.replace("$", r"\$") if style["text.parse_math"] else text
    return text


def wrapped(
    backend: str | None, pc_kwargs: Mapping[str, Any], number: int, **figure: Any
) -> dict[str, Any]:
    """Arguments for a number of panels of equal size, in rows of three."""
    rows_needed = -(-number // PANELS_PER_ROW)
    size = (PANEL[0] * min(number, PANELS_PER_ROW), PANEL[1] * rows_needed)
    pc_kwargs = {"col_wrap": PANELS_PER_ROW, **pc_kwargs}
    return with_figure(backend, pc_kwargs, figsize=size, **figure)


def heights(values: xr.DataArray) -> xr.DataArray:
    """Heights of the rows of groups, the first at the top."""
    dim = str(values.dims[-1])
    places = np.arange(values.sizes[dim])[::-1].astype(float)
    return xr.DataArray(places, coords={dim: values[dim]}, dims=dim)


def add(
    plot: PlotCollection,
    layer: str,
    visual: Callable[..., Any],
    data: xr.DataArray | xr.Dataset,
    panel: Panel,
    looks: Mapping[str, Any],
    visuals: Mapping[str, Any],
) -> None:
    """Draw a layer into a panel, or into one for each variable, unless it was switched off."""
    given = visuals.get(layer, {})
    if given is False:
        return
    own = {key: value for key, value in looks.items() if key not in plot.aes_set}
    if isinstance(data, xr.DataArray):
        (name,) = plot.data.data_vars
        data = data.to_dataset(name=name)
    plot.map(visual, layer, data=data, coords=dict(panel), **(own | dict(given)))


def points(x: xr.DataArray, y: xr.DataArray, size: xr.DataArray | None = None) -> xr.DataArray:
    """Positions of points, for ``scatter_xy``, and if given their sizes, for :func:`dots`."""
    parts = {"x": x, "y": y} | ({} if size is None else {"size": size})
    return xr.concat(xr.broadcast(*parts.values()), "plot_axis").assign_coords(
        plot_axis=list(parts)
    )


def spans(low: xr.DataArray, high: xr.DataArray, y: xr.DataArray) -> xr.DataArray:
    """Ends of horizontal lines with a gap after each, for :func:`segments`."""
    low, high, y = xr.broadcast(low, high, y)
    ends = points(
        xr.concat([low, high, xr.full_like(low, np.nan)], "vertex"),
        xr.concat([y, y, xr.full_like(y, np.nan)], "vertex"),
    )
    return ends.transpose("plot_axis", ..., "vertex")


def segments(da: xr.DataArray, target: Any, **looks: Any) -> Any:
    """Draw lines with gaps between them, as one artist."""
    dims = [dim for dim in da.dims if dim != "plot_axis"]
    return azp.visuals.line_xy(da.stack(point=dims), target, **looks)


def dots(da: xr.DataArray, target: Any, **looks: Any) -> Any:
    """Draw points, as one artist; each with its own size, if they have any."""
    dims = [dim for dim in da.dims if dim != "plot_axis"]
    flat = da.stack(point=dims) if dims else da.expand_dims("point")
    if "size" not in flat["plot_axis"].values:
        return azp.visuals.scatter_xy(flat, target, **looks)
    sizes = flat.sel(plot_axis="size").to_numpy()
    if not type(target).__module__.startswith("bokeh"):
        return azp.visuals.scatter_xy(flat, target, **{"size": sizes, **looks})
    drawn = azp.visuals.scatter_xy(flat, target, **{"size": float(sizes.max()), **looks})
    if "size" not in looks:  # where there are many, bokeh takes the name of a column of theirs
        drawn.data_source.data["size"] = sizes
        drawn.glyph.size = "size"
    return drawn


def dot_size[Size: (float, xr.DataArray)](plot: PlotCollection, diameter: Size) -> Size:
    """Size of a dot in the unit of the back end: bokeh takes the diameter, others the area."""
    return diameter if plot.backend == "bokeh" else diameter**2


def centre(posterior: Posterior, draws: xr.DataArray) -> tuple[xr.DataArray, str]:
    """Posterior mean of a variable and the word for it, or the median where it has no mean.

    Parameters
    ----------
    posterior : Posterior
    draws : DataArray
        Of a variable of the posterior, with its name.
    """
    if moments_of(posterior.spec, posterior.data).exist([str(draws.name)], MEAN):
        return draws.mean(SAMPLE_DIMS), "mean"
    return draws.median(SAMPLE_DIMS), "median"


def centre_line(posterior: Posterior, where: Place) -> tuple[float, str]:
    """Where the line of the intercept stands, and what it shows: the mean, or the median.

    Without an intercept it stands at ``x'beta``.

    Parameters
    ----------
    posterior : Posterior
        With values at these covariates.
    where : Place
    """
    name, draws = posterior.spec.intercept, posterior.datatree["posterior"].to_dataset()
    if name is None and where.is_zero:
        return 0.0, "0"
    if name is None:
        beta = centre(posterior, draws["beta"])[0].to_numpy()
        return float(where.shift(-1, beta)[0]), "x'beta"
    place, word = centre(posterior, draws[name])
    return float(place), name if word == "mean" else f"median of {name}"


def interval(draws: xr.DataArray, ci_prob: float) -> tuple[xr.DataArray, xr.DataArray]:
    """Ends of the equal-tailed interval."""
    ends = draws.quantile(tails(ci_prob), SAMPLE_DIMS)
    return ends.isel(quantile=0, drop=True), ends.isel(quantile=1, drop=True)


def label_x(plot: PlotCollection, panel: Panel, text: str) -> None:
    """Write what is shown below the axis of a panel."""
    target = plot.get_target(None, panel)
    azp.visuals.labelled_x(xr.DataArray(0), target, text=literal(text, plot.backend))


def placed(text: str, words: str, longest: int = LINE) -> str:
    """A label in lines that fit, and on lines of their own the covariates effects belong to."""
    return "\n".join(broken(part, longest) for part in (text, words) if part)


def broken(text: str, longest: int) -> str:
    """A text in lines of so many characters, broken after spaces and underscores if there are."""
    lines = [""]
    for word in re.findall(rf"[^ _]{{1,{longest - 1}}}[ _]?|[ _]", text):
        if len((lines[-1] + word).rstrip()) > longest:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def label_y(plot: PlotCollection, panel: Panel, text: str) -> None:
    """Write what is shown beside the axis of a panel."""
    target = plot.get_target(None, panel)
    azp.visuals.labelled_y(xr.DataArray(0), target, text=literal(text, plot.backend))


def vertical(
    plot: PlotCollection, layer: str, x: float, panel: Panel, visuals: Mapping[str, Any]
) -> None:
    """Draw a dashed vertical line through a panel, unless it was switched off.

    The panel must hold something already: plotly leaves empty ones empty.
    """
    given = visuals.get(layer, {})
    if given is not False:
        azp.visuals.vline(xr.DataArray(x), plot.get_target(None, panel), **(DASHED | dict(given)))


def horizontal(
    plot: PlotCollection, layer: str, y: float, panel: Panel, visuals: Mapping[str, Any]
) -> None:
    """Draw a dashed horizontal line through a panel, as :func:`vertical` does."""
    given = visuals.get(layer, {})
    if given is not False:
        azp.visuals.hline(xr.DataArray(y), plot.get_target(None, panel), **(DASHED | dict(given)))


def joined(x: xr.DataArray, y: xr.DataArray) -> xr.DataArray:
    """Lines through points along ``vertex``, with a gap after each, for :func:`segments`."""
    return points(x, y).transpose("plot_axis", ..., "vertex").pad(vertex=(0, 1))


def curves(x: xr.DataArray, y: xr.DataArray) -> xr.DataArray:
    """Points of lines, one for each group, with a gap after each, for :func:`segments`."""
    along = str(x.dims[0])
    return joined(*(values.drop_vars(along).rename({along: "vertex"}) for values in (x, y)))
