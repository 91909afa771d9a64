"""Two effects of each group against each other, and how they are pulled together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arrays import Flags, Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.options import one_of
from hiermodels.data.covariates import At
from hiermodels.errors import SpecError
from hiermodels.model.priors.covariance import correlation_matrix
from hiermodels.plots.effects import ShownEffects
from hiermodels.plots.raw_lines import raw_terms
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import tails

LAYERS = ("population", "shrinkage", "raw", "point_estimate", "labels", "grand_mean")
SIZE = (800.0, 650.0)  # dots
MAX_POINT_LABELS = 30  # groups whose labels find room among the points
LONGEST_LABEL = 14  # characters
CHARACTER, HEIGHT = 0.012, 0.03  # about the size of one, as a part of the panel's
MAX_OPEN = 60  # groups whose circles and lines are as bold as those of one
ANGLES = np.linspace(0, 2 * np.pi, 181)  # of points of an ellipse
PANEL = {"column": "pair"}

type Both = tuple[xr.DataArray, xr.DataArray]
"""Of each group, what is shown along either axis."""


def pair_of(
    posterior: Posterior, level: str | None, effect: str | Sequence[str] | None
) -> tuple[str, str] | None:
    """Which two effects of each group are shown; None for one of them alone.

    Raises
    ------
    SpecError
        If there are no such effects.
    """
    spec = posterior.spec
    if not spec.groups or isinstance(effect, str):
        return None
    name = spec.effect_of(level or spec.shown_effect)
    known = spec.levels[spec.level_of(name)].terms
    if effect is None:
        return (known[0], known[1]) if len(known) > 1 else None
    asked = list(effect)
    if len(asked) != 2 or asked[0] == asked[1]:
        raise SpecError(
            f"effect: expected one of {', '.join(known)}, or two of them; found {asked}"
        )
    first, second = (one_of("effect", one, known) for one in asked)
    return first, second


def draw_pair(
    posterior: Posterior,
    level: str | None,
    at: At,
    pair: tuple[str, str],
    ci_prob: float,
    backend: str | None,
    visuals: Mapping[str, Any] | None,
    pc_kwargs: Mapping[str, Any],
) -> PlotCollection:
    """Draw the picture of :func:`hiermodels.plots.plot_shrinkage` for two effects."""
    tails(ci_prob)
    given = layout.split(visuals, LAYERS)
    x, y = (ShownEffects.of(posterior, level, at, term) for term in pair)
    raw = raw_terms(posterior, x.name, x.place, pair).transpose("term", ...)
    (pooled_x, word), (pooled_y, _) = (layout.centre(posterior, own.draws) for own in (x, y))
    plot = _panel(x.draws, backend, pc_kwargs)
    _draw(plot, (raw[0], raw[1]), (pooled_x, pooled_y), given)
    ellipse = _population(posterior, x, y, ci_prob)
    if ellipse is not None:
        looks = {"color": "gray", "alpha": 0.6}
        layout.add(plot, "population", layout.segments, ellipse, PANEL, looks, given)
    layout.vertical(plot, "grand_mean", x.grand, PANEL, given)
    layout.horizontal(plot, "grand_mean", y.grand, PANEL, given)
    _label_points(plot, (raw[0], raw[1]), (pooled_x, pooled_y), given)
    said = f"least squares ○, posterior {word} ●; dashed: {x.dashed} and {y.dashed}"
    if ellipse is not None:
        said += f"; ellipse: {ci_prob:.0%} of groups at the sds' medians"
    words = next((own.words for own in (x, y) if own.words), "")
    layout.label_x(plot, PANEL, f"{x.label}\n{layout.placed(said, words)}")
    layout.label_y(plot, PANEL, y.label)
    return plot


def _panel(
    draws: xr.DataArray, backend: str | None, pc_kwargs: Mapping[str, Any]
) -> PlotCollection:
    options = layout.with_figure(backend, pc_kwargs, figsize=SIZE)
    data = draws.to_dataset().expand_dims(column=["pair"])
    plot = PlotCollection.grid(data, cols=["column"], backend=backend, **options)
    layout.tidy(plot)
    return plot


def _draw(
    plot: PlotCollection,
    raw: Both,
    pooled: Both,
    visuals: Mapping[str, Any],
) -> None:
    """Draw the layers of the groups, those that matter most last."""
    crowded = pooled[0].size > MAX_OPEN
    raw = tuple(own.drop_vars("term") for own in raw)  # type: ignore[assignment]
    width, diameter = (0.5, 2.5) if crowded else (1.2, 5.5)
    size = layout.dot_size(plot, diameter)
    lines = {"color": "C1", "width": width, "alpha": 0.5 if crowded else 0.8}
    circles = {"facecolor": "white", "edgecolor": "C1", "width": width, "size": size}
    ends = layout.joined(*(xr.concat(both, "vertex") for both in zip(raw, pooled, strict=True)))
    layers: dict[str, Any] = {
        "shrinkage": (layout.segments, ends, lines),
        "raw": (layout.dots, layout.points(*raw), circles),
        "point_estimate": (
            layout.dots,
            layout.points(*pooled),
            {"color": "C0", "size": size},
        ),
    }
    for layer, (visual, data, looks) in layers.items():
        layout.add(plot, layer, visual, data, PANEL, looks, visuals)


def _population(
    posterior: Posterior, x: ShownEffects, y: ShownEffects, ci_prob: float
) -> xr.DataArray | None:
    """Ellipse of so many of all groups around the population's means; None away from x = 0.

    Sds are at their posterior medians, correlations at their means.  The sd of intercepts that are
    shown elsewhere is another, and so is their mean below other groups.
    """
    spec = posterior.spec
    number = spec.level_of(x.name)
    if number > 0 or not x.place.is_zero:
        return None
    level, draws = spec.levels[number], posterior.datatree["posterior"].to_dataset()
    some = [level.terms.index(str(own.term)) for own in (x, y)]
    sds = draws[level.sd].median(SAMPLE_DIMS).to_numpy()[some]
    matrix = np.eye(2)
    if level.correlation:
        rho = np.atleast_1d(draws[level.correlation].mean(SAMPLE_DIMS).to_numpy())
        matrix = correlation_matrix(rho)[np.ix_(some, some)]
    return _ellipse((x.grand, y.grand), sds, matrix, ci_prob, x.draws)


def _ellipse(
    centre: tuple[float, float], sds: Floats, matrix: Floats, prob: float, draws: xr.DataArray
) -> xr.DataArray:
    """Points around ``prob`` of a normal distribution in two dimensions.

    Its squared distance from the centre is exponential with mean 2: ``−2 log(1 − prob)``.
    """
    circle = np.sqrt(-2 * np.log1p(-prob)) * np.array([np.cos(ANGLES), np.sin(ANGLES)])
    points = np.asarray(centre)[:, None] + sds[:, None] * (np.linalg.cholesky(matrix) @ circle)
    coords = {"plot_axis": ["x", "y"]}
    return xr.DataArray(points, coords, ("plot_axis", "vertex"), str(draws.name))


def _label_points(
    plot: PlotCollection,
    raw: Both,
    pooled: Both,
    visuals: Mapping[str, Any],
) -> None:
    """Write labels beside the dots, away from the lines, those that do not overlap others."""
    given, (x, y) = visuals.get("labels", {}), pooled
    if given is False or x.size > MAX_POINT_LABELS:
        return
    target = plot.get_target(None, PANEL)
    labels = layout.shortened(x[x.dims[0]].values, LONGEST_LABEL)
    before = raw[0].values > x.values
    spans = [
        float(np.nanmax(both) - np.nanmin(both)) or 1.0 for both in zip(raw, pooled, strict=True)
    ]
    room = _with_room(labels, x.values / spans[0], y.values / spans[1], before)
    for i in np.flatnonzero(room):
        text = layout.literal(f"{labels[i]}  " if before[i] else f"  {labels[i]}", plot.backend)
        looks = {"horizontal_align": "right" if before[i] else "left", "size": 9} | given
        layout.backend_of(plot).text(float(x[i]), float(y[i]), text, target, **looks)


def _with_room(labels: Sequence[str], x: Floats, y: Floats, before: Flags) -> Flags:
    """Which labels, left (before) or right of points, overlap none that was taken before them."""
    width = CHARACTER * (2 + np.array([len(label) for label in labels]))
    left, room = np.where(before, x - width, x), np.zeros(len(x), dtype=bool)
    for i in range(len(x)):
        apart = (left + width <= left[i]) | (left >= left[i] + width[i]) | (abs(y - y[i]) > HEIGHT)
        room[i] = apart[room].all()
    return room
