"""Groups in the order of their posterior means, with their ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.data.covariates import AUTO, At
from hiermodels.plots.effects import ShownEffects
from hiermodels.posterior.ranks import rank_draws
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import CI_PROB, tails

LINE, LINES = 62, 40  # characters below the forest in one line, and in each of several
LAYERS = ("interval", "point_estimate", "grand_mean", "rank_interval", "rank")


@checked
def plot_caterpillar(
    posterior: Posterior,
    *,
    level: str | None = None,
    at: At = AUTO,
    effect: str | None = None,
    ranks: bool = True,
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show groups from the highest posterior mean to the lowest, and how sure their ranks are.

    Left: posterior means with equal-tailed intervals, and the posterior mean of the grand mean
    (dashed).  Right: the posterior mean of each group's rank, 1 for the highest, with the
    equal-tailed interval of the rank.  The order of posterior means is not the order of the
    groups: intervals of ranks say what is known of that.  Where a posterior mean does not exist the
    median stands in its place, as the label says.

    Parameters
    ----------
    posterior : Posterior
    level : str, optional
        Which groups: ``"theta"`` for the groups, ``"mu"`` for the outer groups of three levels, or
        the name of their column.  By default the groups, whose effects are on the outcome's scale
        where they have one: probabilities, ``"p"``, or rates, ``"rate"``, at each group's own
        covariates.
    at : {"auto", "means", "own", "zero"} or mapping of str to value
        Values of the covariates that effects are shown at, as in :meth:`hiermodels.Fit.summary`.
    effect : str, optional
        Which of several effects of each group, such as ``"Days"`` where the slopes of that column
        vary; by default the intercept, or the first slope where no intercept varies.
    ranks : bool
        Whether to show the ranks.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer, ``interval``, ``point_estimate``, ``grand_mean``, ``rank_interval`` and
        ``rank``: a dict of properties, or False.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.grid``.

    Returns
    -------
    PlotCollection
        With panels ``column="forest"`` and ``column="rank"``.

    References
    ----------
    Goldstein & Spiegelhalter (1996), League tables and their limitations, JRSS A 159:385.
    """
    tails(ci_prob)
    visuals = layout.split(visuals, LAYERS)
    effects = ShownEffects.of(posterior, level, at, effect)
    middle, word = layout.centre(posterior, effects.draws)
    order = np.argsort(-middle.values, kind="stable")
    effects, middle = effects.ordered(order), middle.isel({middle.dims[0]: order})
    draws = effects.draws
    columns = ["forest", "rank"] if ranks else ["forest"]
    ratios = {"width_ratios": [1.6, 1.0]} if ranks else {}
    plot = layout.rows(draws, columns, backend, pc_kwargs, **ratios)
    layers, panel = ("interval", "point_estimate"), {"column": "forest"}
    _draw(plot, draws, middle, panel, layers, ci_prob, visuals)
    layout.vertical(plot, "grand_mean", effects.grand, {"column": "forest"}, visuals)
    text = f"{effects.label}: posterior {word}, {ci_prob:.0%} interval;"
    dashed = f"dashed: {effects.dashed}"
    line = LINE if len(f"{text} {dashed}") <= LINE else LINES
    words = layout.placed(f"{text} {dashed}", effects.words, line)
    if effects.term is not None:
        words = f"{text}\n{layout.placed(dashed, effects.words)}"
    layout.label_x(plot, {"column": "forest"}, words)
    if ranks:
        layers, panel = ("rank_interval", "rank"), {"column": "rank"}
        counted = rank_draws(draws)
        _draw(plot, counted, counted.mean(SAMPLE_DIMS), panel, layers, ci_prob, visuals)
        layout.label_x(plot, {"column": "rank"}, f"rank: mean, {ci_prob:.0%} interval")
    return plot


def _draw(
    plot: PlotCollection,
    draws: xr.DataArray,
    middle: xr.DataArray,
    panel: layout.Panel,
    layers: tuple[str, str],
    ci_prob: float,
    visuals: dict[str, Any],
) -> None:
    """Draw intervals, and points in their midst, into one of the panels."""
    crowded, y = layout.is_crowded(draws.shape[-1]), layout.heights(draws)
    low, high = layout.interval(draws, ci_prob)
    ends = layout.spans(low, high, y)
    looks = {"color": "C0", "width": 0.5 if crowded else 1.0, "alpha": 0.6}
    layout.add(plot, layers[0], layout.segments, ends, panel, looks, visuals)
    looks = {"color": "C0", "size": layout.dot_size(plot, 2.5 if crowded else 5.5)}
    layout.add(plot, layers[1], layout.dots, layout.points(middle, y), panel, looks, visuals)
