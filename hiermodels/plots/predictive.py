"""Replicated data beside the observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_base.labels import MapLabeller
from arviz_plots import PlotCollection

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats
from hiermodels.core.seeds import Seed
from hiermodels.errors import SpecError
from hiermodels.exact.replicates import (
    NEW,
    SAME,
    Statistics,
    replicated_means,
    statistics_of,
    with_replicates,
)
from hiermodels.posterior.arviz_groups import with_log_likelihood
from hiermodels.posterior.record import Posterior, thin
from hiermodels.posterior.tables import CI_PROB, tails

CURVES = 100  # replicated data sets that are drawn over each other
SIZE = (800.0, 450.0)  # dots
SHOWN = (0.04, 0.96)  # quantiles between which counts' statistics are shown
BARS = 40  # of a histogram, at the most
REPEATED = 0.25  # distinct values to draws, below which a statistic lies on a grid
DIGITS = 12  # decimals in which values of such a statistic agree
TITLE = 30  # characters in a line of a title
MAX_NUMBERS = 5e6  # draws times rows, for leave-one-out probabilities
FEWEST_FOR_LOO = 25  # draws: a fifth of them are the tail that is smoothed, and 5 are needed there
GROUP_LAYERS = ("interval", "observed")


@checked
@layout.layers_named()
def plot_ppc(
    posterior: Posterior,
    kind: str = "stat",
    *,
    replicate: str | None = None,
    ci_prob: float = CI_PROB,
    random_seed: Seed = None,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Compare the data with data replicated from the posterior predictive distribution.

    Parameters
    ----------
    posterior : Posterior
    kind : {"stat", "group", "dist", "ecdf", "loo_pit"}
        ``"stat"``: the statistics of :func:`hiermodels.results.checks.check`, a panel for each: the
        density over the replicates, of counts a histogram, the observed value as a line, and the
        tail probability.
        ``"group"``: each group's observed mean, of counts its proportion or rate (dot), and the
        interval of replicated ones.
        ``"dist"``, ``"ecdf"``: densities or distribution functions of the rows, of the data and of
        100 replicates.
        ``"loo_pit"``: probabilities of each row under the posterior without it, as deviations of
        their distribution function from the uniform one.
    replicate : str, optional
        ``"groups"``: new groups at every level, the default of ``"stat"`` and ``"group"``.
        ``"rows"``: the same groups, new rows, the default of the others and the only choice for
        ``"loo_pit"``.  The name of a column: new groups at this level and below.
    ci_prob : float
        Probability of intervals.
    random_seed : int or numpy.random.Generator, optional
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For ``"group"``: ``interval`` and ``observed``.  For the others as in ``plot_dist``,
        ``plot_ppc_dist`` and ``plot_loo_pit`` of arviz-plots; besides, ``observed`` for
        ``"stat"``.
    **pc_kwargs
        Passed to the function of arviz-plots, or to ``PlotCollection.grid``.

    Returns
    -------
    PlotCollection

    References
    ----------
    Gelman, Meng & Stern (1996), Statistica Sinica 6:733; Gelman et al. (2013), Bayesian Data
    Analysis, 3rd ed., chapter 6.
    """
    tails(ci_prob)
    if not posterior.spec.groups:
        raise SpecError("these pictures need groups, and this model has none")
    kinds: dict[str, tuple[Callable[..., PlotCollection], str]] = {
        "stat": (_plot_statistics, NEW),
        "group": (_plot_groups, NEW),
        "dist": (_plot_rows, SAME),
        "ecdf": (_plot_rows, SAME),
        "loo_pit": (_plot_loo_pit, SAME),
    }
    if kind not in kinds:
        raise SpecError(f"kind: expected {', '.join(map(repr, kinds))}; found {kind!r}")
    draw, default = kinds[kind]
    replicate = replicate or default
    options = _Options(
        posterior, kind, replicate, ci_prob, random_seed, backend, dict(visuals or {}), pc_kwargs
    )
    return draw(options)


@dataclass(frozen=True)
class _Options:
    """What was asked for."""

    posterior: Posterior
    kind: str
    replicate: str
    ci_prob: float
    random_seed: Seed
    backend: str | None
    visuals: dict[str, Any]
    pc_kwargs: dict[str, Any]


def _plot_statistics(options: _Options) -> PlotCollection:
    """A panel for each statistic."""
    _require_draws(options, 2)
    statistics = statistics_of(
        options.posterior, replicate=options.replicate, random_seed=options.random_seed
    )
    replicated, p = statistics.replicated, statistics.tail_probability
    given: dict[str, xr.Dataset] = {}
    if options.posterior.spec.family.is_discrete:
        given["dist"] = _histograms(statistics)
        replicated = replicated[list(given["dist"])]
    titles: dict[Any, Any] = {
        name: layout.literal(
            f"{layout.broken(str(name), TITLE)}\np = {float(p[name]):.3f}", options.backend
        )
        for name in replicated
    }
    own = {"point_estimate": False, "point_estimate_text": False} | options.visuals
    looks = {"color": "C1"} | (own.pop("observed", {}) or {})
    figure = layout.wrapped(options.backend, options.pc_kwargs, len(replicated))
    plot = azp.plot_dist(
        xr.DataTree.from_dict({"posterior_predictive": replicated}),
        group="posterior_predictive",
        kind="kde",
        stats=given,
        ci_kind="eti",
        ci_prob=options.ci_prob,
        backend=options.backend,
        labeller=MapLabeller(var_name_map=titles),
        visuals=own,
        **figure,
    )
    if options.visuals.get("observed") is not False:
        observed = statistics.observed[list(replicated)]
        plot.map(azp.visuals.vline, "observed", data=observed, **looks)
    layout.tidy(plot)
    return plot


def _histograms(statistics: Statistics) -> xr.Dataset:
    """Histograms of statistics of counts, as curves; what never varies has none.

    They end at quantiles ``SHOWN``, since a rate of a new group may be very large, or at what was
    observed.  Where a statistic is a small whole number each of its values has a bar; no bar is
    narrower than the distance between neighbouring values, such as 1/n of a proportion.
    """
    curves = {}
    for name, values in statistics.replicated.items():
        observed, drawn = float(statistics.observed[name]), values.to_numpy().ravel()
        low, high = np.quantile(drawn, SHOWN)
        low, high = min(low, observed), max(high, observed)
        if high == low:
            continue
        edges, step = np.linspace(low, high, BARS + 1), _step(drawn)
        if step:
            width = step * np.ceil((high - low + step) / step / BARS)
            first = step * np.floor(low / step + 1e-9)  # a value below which there is none
            edges = np.arange(first, high + width + step, width) - step / 2
        share = np.histogram(drawn, edges)[0] / len(drawn) / np.diff(edges)
        points = np.array([np.repeat(edges, 2), np.repeat([0.0, *share, 0.0], 2)[1:-1]])
        lacking = 2 * (BARS + 3) - points.shape[1]
        padded = np.pad(points, ((0, 0), (0, lacking)), mode="edge")
        coords = {"plot_axis": ["x", "y"]}
        dims = ("plot_axis", "place")
        curves[name] = xr.DataArray(padded, coords, dims, attrs={"kind": "kde"})
    return xr.Dataset(curves)


def _step(drawn: Floats) -> float:
    """The largest distance between neighbouring values that are shown, 0 if nearly all differ."""
    if (drawn == np.floor(drawn)).all():
        return 1.0
    low, high = np.quantile(drawn, SHOWN)
    shown = drawn[(drawn >= low) & (drawn <= high)]
    known = np.unique(np.round(shown, DIGITS))
    return float(np.diff(known).max()) if 1 < len(known) < REPEATED * len(shown) else 0.0


def _plot_groups(options: _Options) -> PlotCollection:
    """Observed means of the groups over intervals of replicated ones."""
    visuals = layout.split(options.visuals, GROUP_LAYERS)
    observed, means = replicated_means(
        options.posterior, replicate=options.replicate, random_seed=options.random_seed
    )
    known = observed.notnull().values
    dim = str(observed.dims[0])
    observed, means = observed.isel({dim: known}), means.isel({dim: known})
    order = np.argsort(-observed.values, kind="stable")
    means, observed = means.isel({dim: order}), observed.isel({dim: order})
    plot = layout.rows(means, ["forest"], options.backend, options.pc_kwargs)
    panel, y = {"column": "forest"}, layout.heights(observed)
    low, high = layout.interval(means, options.ci_prob)
    crowded, ends = layout.is_crowded(observed.size), layout.spans(low, high, y)
    looks: dict[str, Any] = {"color": "C0", "width": 0.7 if crowded else 3.0, "alpha": 0.5}
    layout.add(plot, "interval", layout.segments, ends, panel, looks, visuals)
    looks = {"color": "C1", "size": layout.dot_size(plot, 3.0 if crowded else 5.5)}
    points = layout.points(observed, y)
    layout.add(plot, "observed", layout.dots, points, panel, looks, visuals)
    inside = int(((low <= observed) & (observed <= high)).sum())
    word = options.posterior.spec.family.raw_word
    text = f"{word} of {means.name} by {dim}: {inside} of {observed.size} observed ● inside the "
    text = f"{text}{options.ci_prob:.0%} interval of replicates"
    layout.label_x(plot, panel, layout.placed(text, ""))
    return plot


def _plot_rows(options: _Options) -> PlotCollection:
    """Distributions of all rows, observed and replicated."""
    some = thin(options.posterior, CURVES)
    sizes = some.datatree["posterior"].sizes
    plot = azp.plot_ppc_dist(
        with_replicates(some, options.replicate, options.random_seed).datatree,
        kind="kde" if options.kind == "dist" else "ecdf",
        num_samples=min(CURVES, sizes["chain"] * sizes["draw"]),
        backend=options.backend,
        visuals=options.visuals,
        **layout.with_figure(options.backend, options.pc_kwargs, figsize=SIZE),
    )
    layout.tidy(plot)
    return plot


def _plot_loo_pit(options: _Options) -> PlotCollection:
    """Leave-one-out probabilities, through ArviZ."""
    if options.replicate != SAME:
        raise SpecError(
            f"replicate: {options.kind!r} is of the same groups, 'rows'; "
            f"found {options.replicate!r}"
        )
    _require_draws(options, FEWEST_FOR_LOO)
    most = max(int(MAX_NUMBERS // len(options.posterior.data.y)), FEWEST_FOR_LOO)
    some = with_replicates(thin(options.posterior, most), random_seed=options.random_seed)
    figure = layout.with_figure(options.backend, options.pc_kwargs, figsize=SIZE)
    plot = azp.plot_loo_pit(
        with_log_likelihood(some).datatree,
        backend=options.backend,
        visuals=options.visuals,
        **figure,
    )
    layout.tidy(plot)
    return plot


def _require_draws(options: _Options, fewest: int) -> None:
    """Raise SpecError if there are too few draws for a picture."""
    sizes = options.posterior.datatree["posterior"].sizes
    size = sizes["chain"] * sizes["draw"]
    if size < fewest:
        raise SpecError(
            f"{options.kind!r} needs at least {fewest} draws in all chains; found {size}"
        )
