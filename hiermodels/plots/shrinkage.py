"""How estimates of groups are pulled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import AUTO, At, Place
from hiermodels.errors import SpecError
from hiermodels.exact.crossed_raw import raw_deviations
from hiermodels.exact.kernels.tree.marginal import upward
from hiermodels.exact.leaf_data import rows_or_totals
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.raw_values import members_of, raw_effects, raw_values
from hiermodels.exact.standardize import standardize
from hiermodels.model.level import INTERCEPT
from hiermodels.plots.effects import ShownEffects
from hiermodels.plots.pairs import draw_pair, pair_of
from hiermodels.plots.raw_lines import raw_terms
from hiermodels.posterior.record import Posterior, level_draws
from hiermodels.posterior.tables import CI_PROB, tails

LAYERS = ("shrinkage", "interval", "raw", "point_estimate", "grand_mean")
LARGEST = 13.0  # diameter of a circle, in dots, where the areas show sizes
SMALLEST = 0.3  # of a diameter, as a part of the largest


@checked
def plot_shrinkage(
    posterior: Posterior,
    *,
    level: str | None = None,
    at: At = AUTO,
    effect: str | Sequence[str] | None = None,
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
    Of crossed groups, whose effects are deviations, it is the mean of what the posterior means of
    all else, other columns' effects among it, leave of the group's rows.

    Of counts what is shown are probabilities or rates: raw proportions or rates as circles whose
    areas are in proportion to the numbers of trials or exposures, and a line for a group at the
    intercept.  On the scale of the link, ``level="theta"``, ½ is added to the counts, so that the
    circle of a group without any event is somewhere.

    Where groups have several effects, such as an intercept and a slope, two of them are shown
    against each other: least squares from the group's own rows (open circle), posterior means
    (dot), and a line from the one to the other; the population's means (dashed lines), and an
    ellipse that holds ``ci_prob`` of all groups where the sds are at their posterior medians.  A
    group whose rows do not determine both effects has a dot only.  With the name of one effect the
    picture is that of intercepts alone.

    Parameters
    ----------
    posterior, level, at
        As in :func:`hiermodels.plots.plot_caterpillar`.
    effect : str or pair of str, optional
        Which of several effects of each group, such as ``"Days"``, or which two, the first along
        x; by default the first two.
    order : {"raw", "data"}
        Sort the groups by their raw mean, or leave them as they are in the data.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer, ``shrinkage`` (the lines), ``interval``, ``raw`` (the circles),
        ``point_estimate`` and ``grand_mean``, and of two effects ``population`` (the ellipse) and
        ``labels``, without ``interval``: a dict of properties, or False.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection.grid``.

    Returns
    -------
    PlotCollection
        With one panel, ``column="forest"``; of two effects, ``column="pair"``.

    References
    ----------
    Efron & Morris (1977), Stein's paradox in statistics, Scientific American 236:119.
    """
    pair = pair_of(posterior, level, effect)
    if pair:
        return draw_pair(posterior, level, at, pair, ci_prob, backend, visuals, pc_kwargs)
    if order not in ("raw", "data"):
        raise SpecError(f"order: expected 'raw' or 'data'; found {order!r}")
    tails(ci_prob)
    visuals = layout.split(visuals, LAYERS)
    effects = ShownEffects.of(posterior, level, at, effect if isinstance(effect, str) else None)
    raw = raw_points(posterior, effects)
    if order == "raw":
        places = np.argsort(-raw.value.values, kind="stable")
        effects, raw = effects.ordered(places), raw.ordered(places)
    draws = effects.draws
    plot = layout.rows(draws, ["forest"], backend, pc_kwargs)
    pooled, word = layout.centre(posterior, draws)
    _draw(plot, draws, pooled, raw, ci_prob, visuals)
    layout.vertical(plot, "grand_mean", effects.grand, {"column": "forest"}, visuals)
    text = f"{posterior.spec.outcome}: {raw.words} ○, posterior {word} of {effects.label} ● with "
    text += f"{ci_prob:.0%} interval; dashed: {effects.dashed}"
    layout.label_x(plot, {"column": "forest"}, layout.placed(text, effects.words))
    return plot


def _draw(
    plot: PlotCollection,
    draws: xr.DataArray,
    pooled: xr.DataArray,
    raw: RawPoints,
    ci_prob: float,
    visuals: dict[str, Any],
) -> None:
    """Draw the layers, those that matter most last."""
    crowded, y = layout.is_crowded(raw.value.size), layout.heights(raw.value)
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
            layout.spans(raw.value, pooled, y),
            {"color": "C1", "width": 0.5 if crowded else 1.5},
        ),
        "raw": (
            layout.dots,
            raw.dots(plot, y, crowded),
            {"facecolor": "white", "edgecolor": "C1", "width": 1},
        ),
        "point_estimate": (layout.dots, layout.points(pooled, y), {"color": "C0", "size": size}),
    }
    for layer, (visual, data, looks) in layers.items():
        layout.add(plot, layer, visual, data, {"column": "forest"}, looks, visuals)


@dataclass(frozen=True)
class RawPoints:
    """What each group's own data say of it.

    Attributes
    ----------
    value : DataArray
        nan where they say nothing.
    size : DataArray or None
        Numbers of trials or the like, which the areas of circles show.
    words : str
        What this is.
    """

    value: xr.DataArray
    size: xr.DataArray | None
    words: str

    def ordered(self, order: Any) -> RawPoints:
        """The same with the groups in another order."""
        at = {self.value.dims[0]: order}
        size = None if self.size is None else self.size.isel(at)
        return replace(self, value=self.value.isel(at), size=size)

    def dots(self, plot: PlotCollection, y: xr.DataArray, crowded: bool) -> xr.DataArray:
        """Circles at heights y, whose areas are in proportion to the sizes."""
        diameter = xr.full_like(self.value, 2.5 if crowded else 5.5)
        if self.size is not None:
            share = (self.size / self.size.max()) ** 0.5
            diameter = (5.0 if crowded else LARGEST) * share.clip(min=SMALLEST)
        return layout.points(self.value, y, layout.dot_size(plot, diameter))


def raw_points(posterior: Posterior, effects: ShownEffects) -> RawPoints:
    """What the data below each group say of it, nothing borrowed from other groups.

    Parameters
    ----------
    posterior : Posterior
    effects : ShownEffects
        On whose scale, and at whose covariates it is said.
    """
    spec, data, name = posterior.spec, posterior.data, effects.name
    if spec.is_crossed:
        return RawPoints(_raw_deviations(posterior, name), None, "mean without other effects")
    if spec.is_blocks:
        own = raw_terms(posterior, name, effects.place, [effects.term or INTERCEPT])[..., 0]
        words = "raw mean" if effects.term is None else "least squares"
        return RawPoints(own.drop_vars("term"), None, words)
    if spec.is_normal:
        return RawPoints(raw_means(posterior, name, effects.place), None, "raw mean")
    level, word = spec.level_of(name), spec.family.raw_word
    raw = raw_values(spec, data, level)
    value, words, size = raw.value, f"raw {word}", None
    if name not in spec.on_outcome_scale:
        value = raw_effects(spec, data, level, _shift(posterior, effects.place, level))
        words = f"raw {name}, ½ added" if spec.family.effect else words
    (dim,) = spec.dims(name)
    labels = {dim: data.coords[dim]}
    if spec.family.effect:
        given = [spec.columns[role] for role in spec.family.columns if role in spec.columns]
        words = f"{words} (area: {given[0] if given else 'rows'})"
        size = xr.DataArray(raw.size, labels, [dim])
    return RawPoints(xr.DataArray(value, labels, [dim], name=name), size, words)


def _shift(posterior: Posterior, where: Place, level: int) -> Floats:
    """What x'beta is at the place of each row's group less at the row's own x; (N,) or (1,)."""
    if not posterior.spec.covariates:
        return np.zeros(1)
    rows, _ = rows_or_totals(posterior.data)
    group = members_of(posterior.data, rows.group, level)
    draws = posterior.datatree["posterior"].to_dataset()["beta"]
    beta, at = layout.centre(posterior, draws)[0].to_numpy(), np.atleast_2d(where.of(level))
    return np.asarray(((at if len(at) == 1 else at[group]) - rows.design.matrix) @ beta)


def _raw_deviations(posterior: Posterior, name: str) -> xr.DataArray:
    """What posterior means of all else leave of the rows of each group, where these are crossed."""
    spec, draws = posterior.spec, posterior.datatree["posterior"].to_dataset()
    every = {own: draws[own] for own in spec.variables if own in draws}
    every |= {own: level_draws(posterior, own) for own in spec.effects}
    values = {own: layout.centre(posterior, drawn)[0].to_numpy() for own, drawn in every.items()}
    means, (dim,) = raw_deviations(spec, posterior.data, values, name), spec.dims(name)
    return xr.DataArray(means, {dim: posterior.data.coords[dim]}, [dim], name=name)


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
