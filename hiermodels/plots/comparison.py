"""Picture of a comparison: where draws depart from the exact posterior."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from arviz_plots import PlotCollection
from arviz_plots.visuals import (
    fill_between_y,
    hline,
    labelled_title,
    labelled_x,
    labelled_y,
    line_xy,
    scatter_xy,
    set_xticks,
)

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.names import QUANTILES, SAMPLE_DIMS, TESTED

PLACES = np.linspace(0.005, 0.995, 100)  # at which the distribution functions are compared
PANELS = ("difference", "z")
LAYERS = ("band", "ecdf", "scores", "zero", "limits")
SHORT = {"mean": "mean", **{label: label for label in QUANTILES}, "uniformity": "all"}
TITLE = 26  # characters in a line above a column
JITTER = 0.3  # half the width over which the members of a variable are spread out
WIDTH, HEIGHT = 270.0, 520.0  # dots of a column, and of the figure


class Comparison(Protocol):
    """What the picture needs of a :class:`hiermodels.Comparison`."""

    @property
    def table(self) -> pd.DataFrame:
        """A row for each scalar and statistic."""

    @property
    def judged(self) -> pd.DataFrame:
        """The rows that make the verdict."""

    @property
    def alpha(self) -> float:
        """Probability with which right draws fail."""

    @property
    def pit(self) -> xr.Dataset:
        """The exact distribution function at the draws."""


@checked
def plot_compare(
    comparison: Comparison,
    *,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show where draws depart from the exact posterior.

    A column for each variable, with all its members.  Above, the share of draws below each
    exact quantile, less what it should be: a line above 0 on the left says that there are too many
    small values; a line that goes up, through 0 and down says that the draws are too wide.  The
    shaded band holds what right draws of this variable's smallest effective sample size may
    do at one place.  Below, the z-scores of all tested statistics (normal scores of their
    p-values), ``all`` being uniformity; dashed, where one of them alone fails the comparison.

    Parameters
    ----------
    comparison : Comparison
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        ``ecdf``, ``band``, ``scores``, ``limits`` and ``zero``, each a dict of properties or
        False.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.grid``.

    Returns
    -------
    PlotCollection

    References
    ----------
    Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32:32 (ECDF differences).
    """
    visuals, pit = layout.split(visuals, LAYERS), comparison.pit
    frame = xr.Dataset({name: ("panel", np.zeros(2)) for name in pit}, {"panel": list(PANELS)})
    one_panel = frame.isel(panel=0, drop=True)
    options = layout.with_figure(backend, pc_kwargs, figsize=(WIDTH * max(len(pit), 2), HEIGHT))
    plot = PlotCollection.grid(
        frame, cols=["__variable__"], rows=["panel"], backend=backend, **options
    )
    for name in pit:
        _draw(plot, comparison, name, visuals)
    looks: dict[str, Any] = {"color": "black", "width": 0.7}
    layout.add(plot, "zero", hline, frame, {}, looks, visuals)
    looks = {"color": "gray", "linestyle": "C1"}
    lines = xr.Dataset(dict.fromkeys(pit, _limits(comparison)))
    layout.add(plot, "limits", line_xy, lines, {"panel": "z"}, looks, visuals)
    _label(plot, comparison, one_panel)
    return plot


def _draw(plot: PlotCollection, comparison: Comparison, name: Any, visuals: dict[str, Any]) -> None:
    """Draw the column of a variable."""
    pit = comparison.pit[name]
    upper, lower = ({"panel": panel} for panel in PANELS)
    strength = 0.35 if layout.is_crowded(_members(pit)) else 1.0
    looks: dict[str, Any] = {"color": "gray", "alpha": 0.25}
    band = xr.Dataset({name: _band(comparison, name)})
    layout.add(plot, "band", fill_between_y, band, upper, looks, visuals)
    looks = {"color": "C0", "alpha": strength}
    layout.add(plot, "ecdf", line_xy, xr.Dataset({name: _differences(pit)}), upper, looks, visuals)
    scores = xr.Dataset({name: _scores(comparison, name)})
    layout.add(plot, "scores", scatter_xy, scores, lower, looks | {"size": 12}, visuals)


def _label(plot: PlotCollection, comparison: Comparison, frame: xr.Dataset) -> None:
    """Write titles above the columns, and what the axes show."""
    upper, lower = ({"panel": panel} for panel in PANELS)
    for name, values in comparison.pit.items():
        members = _members(values)
        one = frame[[name]]
        title = f"{name}: {members} {values.dims[-1]}" if values.ndim > 2 else str(name)
        title = layout.literal(layout.broken(title, TITLE), plot.backend)
        plot.map(labelled_title, data=one, coords=upper, text=title)
    plot.map(labelled_x, data=frame, coords=upper, text="exact distribution function")
    ticks = {"values": np.arange(len(TESTED)), "labels": [SHORT[key] for key in TESTED]}
    plot.map(set_xticks, data=frame, coords=lower, store_artist=False, **ticks)
    first = frame[[next(iter(comparison.pit))]]
    plot.map(labelled_y, data=first, coords=upper, text="share of draws, less exact")
    plot.map(labelled_y, data=first, coords=lower, text="z-score")


def _members(values: xr.DataArray) -> int:
    return int(np.prod([values.sizes[dim] for dim in values.dims if dim not in SAMPLE_DIMS]))


def _differences(pit: xr.DataArray) -> xr.DataArray:
    """One line through all members' differences, with gaps between them."""
    values = pit.to_numpy().reshape(-1, _members(pit))
    shares = np.stack([np.searchsorted(np.sort(u), PLACES, side="right") for u in values.T])
    lines = np.column_stack([shares / len(values) - PLACES, np.full(len(shares), np.nan)])
    x = np.tile(np.append(PLACES, np.nan), len(shares))
    return _pairs(x, lines.ravel())


def _band(comparison: Comparison, name: Any) -> xr.DataArray:
    """What the share of the member with the fewest effective draws may differ from 0 by."""
    rows = _rows_of(comparison, name)
    size = rows[rows.index.get_level_values("statistic") == "uniformity"]["ess"].min()
    error = _limit(comparison) * np.sqrt(PLACES * (1 - PLACES) / size)
    values = np.stack([PLACES, -error, error])
    return xr.DataArray(
        values, dims=["kwarg", "place"], coords={"kwarg": ["x", "y_bottom", "y_top"]}
    )


def _scores(comparison: Comparison, name: Any) -> xr.DataArray:
    """The z-scores of a variable, the members side by side within each statistic."""
    from scipy.special import ndtri

    rows = _rows_of(comparison, name)
    x, y = [], []
    for place, statistic in enumerate(TESTED):
        some = rows[rows.index.get_level_values("statistic") == statistic]
        half = np.maximum(some["p"].to_numpy() / 2, np.finfo(float).tiny)
        y.append(-np.sign(some["z"].to_numpy()) * ndtri(half))
        spread = np.linspace(-JITTER, JITTER, len(some)) if len(some) > 1 else np.zeros(1)
        x.append(place + spread)
    return _pairs(np.concatenate(x), np.concatenate(y))


def _rows_of(comparison: Comparison, name: Any) -> Any:
    names = comparison.table.index.get_level_values("quantity")
    return comparison.table[(names == name) | names.str.startswith(f"{name}[")]


def _limit(comparison: Comparison) -> float:
    """The z-score with which one statistic alone fails the comparison."""
    from scipy.special import ndtri

    return float(-ndtri(comparison.alpha / (2 * len(comparison.judged))))


def _limits(comparison: Comparison) -> xr.DataArray:
    """Two lines with a gap between them.  Unlike lines without ends they widen the axis."""
    ends, limit = [-0.5, len(TESTED) - 0.5], _limit(comparison)
    x, y = [*ends, np.nan, *ends], [-limit, -limit, np.nan, limit, limit]
    return _pairs(np.array(x), np.array(y))


def _pairs(x: Floats, y: Floats) -> xr.DataArray:
    return xr.DataArray(
        np.stack([x, y]), dims=["plot_axis", "place"], coords={"plot_axis": ["x", "y"]}
    )
