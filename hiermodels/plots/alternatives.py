"""One posterior under several priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import arviz_plots as azp
import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_base.labels import MapLabeller
from arviz_plots import PlotCollection
from numpy.typing import NDArray

import hiermodels.plots.layout as layout
from hiermodels.core.arguments import checked
from hiermodels.errors import SpecError
from hiermodels.plots.effects import term_of
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB, flatten, tails

LAYERS = ("interval", "point_estimate", "baseline")
TITLE = 30  # characters in a line above a panel
SHIFT_LAYERS = ("shift", "baseline")
MIN_REACH = 0.25  # of the axis to both sides of 0, in sds: less than that is no shift
SPREAD = 0.2  # half the height that the priors' dots of one group take, in rows


@checked
def plot_sensitivity(
    references: Mapping[str, ReferencePosterior],
    *,
    level: str | None = None,
    effect: str | None = None,
    ci_prob: float = CI_PROB,
    backend: str | None = None,
    visuals: dict[str, Any] | None = None,
    **pc_kwargs: Any,
) -> PlotCollection:
    """Show what a change of the priors does to the posterior.

    Without a level: a panel for each hyperparameter (the intercept, the sds, the coefficients; of
    more than 40, which is ``plot.max_subplots`` of ArviZ's ``rcParams``, those whose median moves
    furthest), with the posterior median and an equal-tailed interval under each prior, and the
    baseline's median (dashed).  With a level: how far the posterior mean of each group moves
    from the baseline's, in posterior sds of the baseline, for each other prior; groups in the order
    of their baseline means, the highest first.  There is no Monte Carlo error.

    Parameters
    ----------
    references : mapping of str to ReferencePosterior
        Posteriors of the same data under different priors, by name; the first is the baseline.
    level : str, optional
        Which groups: ``"theta"`` for the groups, ``"mu"`` for the outer groups of three levels, or
        the name of their column.
    effect : str, optional
        Which of several effects of each group, such as ``"Days"``; by default the first.
    ci_prob : float
        Probability of the intervals.
    backend : {"matplotlib", "plotly", "bokeh"}, optional
    visuals : dict, optional
        For each layer a dict of properties, or False: ``interval``, ``point_estimate`` and
        ``baseline``; with a level ``shift`` and ``baseline``.
    **pc_kwargs
        Passed to ``arviz_plots.PlotCollection``.

    Returns
    -------
    PlotCollection

    Examples
    --------
    >>> import hiermodels as hm
    >>> from hiermodels.plots import plot_sensitivity
    >>> priors = {"flat variance": hm.FlatVariance(), "flat sd": hm.FlatSD()}
    >>> roles = {"outcome": "y", "groups": "school", "se": "sigma"}
    >>> schools = hm.datasets.load_eight_schools()
    >>> references = {
    ...     name: hm.reference(schools, priors={"tau": prior}, **roles)
    ...     for name, prior in priors.items()
    ... }
    >>> plot = plot_sensitivity(references, level="school")
    """
    tails(ci_prob)
    _check(references)
    if level is None:
        return _plot_hyperparameters(references, ci_prob, backend, visuals, pc_kwargs)
    name = _baseline(references).spec.effect_of(level)
    term = term_of(_baseline(references).spec, name, effect)
    return _plot_shifts(references, name, term, backend, visuals, pc_kwargs)


def _baseline(references: Mapping[str, ReferencePosterior]) -> ReferencePosterior:
    return next(iter(references.values()))


def _outcomes(reference: ReferencePosterior) -> NDArray[Any]:
    return reference.data.observations.observed[reference.spec.outcome]


def _check(references: Mapping[str, ReferencePosterior]) -> None:
    """Raise SpecError if this is not a comparison of priors."""
    if len(references) < 2:
        raise SpecError(
            f"references: expected a baseline and at least one other; found {len(references)}"
        )
    first = _baseline(references)
    for name, other in references.items():
        if other.spec.variables != first.spec.variables or not np.array_equal(
            _outcomes(other), _outcomes(first)
        ):
            raise SpecError(f"references: {name!r} is of another model or of other data")


def _plot_hyperparameters(
    references: Mapping[str, ReferencePosterior],
    ci_prob: float,
    backend: str | None,
    visuals: layout.Visuals,
    pc_kwargs: dict[str, Any],
) -> PlotCollection:
    """A panel for each hyperparameter, a row for each prior."""
    visuals = layout.split(visuals, LAYERS)
    quantiles = most_moved(hyperparameters(references, ci_prob))
    middle, names = quantiles.sel(end="median"), quantiles["prior"].values.astype(str)
    options = layout.wrapped(backend, pc_kwargs, len(quantiles), sharey=True)
    plot = PlotCollection.wrap(middle, cols=["__variable__"], backend=backend, **options)
    targets = [plot.get_target(str(name), {}) for name in quantiles]
    layout.tidy(plot)
    y = layout.heights(middle[next(iter(quantiles))])
    for target in targets:
        layout.backend_of(plot).yticks(y.values.tolist(), names.tolist(), target)
        layout.backend_of(plot).ylim([-0.7, len(names) - 0.3], target)
    low, high = quantiles.sel(end="low"), quantiles.sel(end="high")
    ends = xr.Dataset({str(v): layout.spans(low[v], high[v], y) for v in quantiles})
    points = xr.Dataset({str(v): layout.points(middle[v], y) for v in quantiles})
    looks: dict[str, Any] = {"color": "C0", "width": 1.5, "alpha": 0.6}
    layout.add(plot, "interval", layout.segments, ends, {}, looks, visuals)
    looks = {"color": "C0", "size": layout.dot_size(plot, 6.0)}
    layout.add(plot, "point_estimate", layout.dots, points, {}, looks, visuals)
    looks = {"color": "gray", "linestyle": "C1", "alpha": 0.8}
    base = middle.isel(prior=0, drop=True)
    layout.add(plot, "baseline", azp.visuals.vline, base, {}, looks, visuals)
    titles: dict[Any, Any] = {
        str(v): layout.literal(layout.broken(str(v), TITLE), backend) for v in quantiles
    }
    named = MapLabeller(var_name_map=titles)
    plot.map(azp.visuals.labelled_title, "title", labeller=named, subset_info=True)
    return plot


def hyperparameters(references: Mapping[str, ReferencePosterior], ci_prob: float) -> xr.Dataset:
    """Medians and ends of intervals; a variable for each scalar, dims (prior, end)."""
    spec = _baseline(references).spec
    sds = [level.sd for level in spec.levels]
    sds += [level.correlation for level in spec.levels if level.correlation]
    names = [*spec.top, *sds, *(["beta"] if spec.covariates else [])]
    names += ["sigma"] if spec.has_sigma else []
    names = [name for name in names if name not in spec.fixed]
    low, high = tails(ci_prob)
    tables = []
    for reference in references.values():
        quantiles = reference.quantile([low, 0.5, high], names)
        tables.append(np.array([flatten(quantiles.isel(quantile=i, drop=True)) for i in range(3)]))
    labels = flatten(quantiles.isel(quantile=0, drop=True)).index
    coords = {"prior": list(references), "end": ["low", "median", "high"]}
    values = np.array(tables)
    return xr.Dataset(
        {label: (("prior", "end"), values[:, :, i]) for i, label in enumerate(labels)}, coords
    )


def most_moved(quantiles: xr.Dataset) -> xr.Dataset:
    """The hyperparameters whose median moves furthest, in lengths of the baseline's interval."""
    most = rcParams["plot.max_subplots"]
    if most is None or len(quantiles) <= most:
        return quantiles
    furthest = sorted(quantiles, key=lambda name: -_moved(quantiles[name]))
    kept = set(furthest[:most])
    return quantiles[[name for name in quantiles if name in kept]]


def _moved(ends: xr.DataArray) -> float:
    """How far a median moves at the most, in lengths of the first prior's interval."""
    low, middle, high = (ends.sel(end=end).to_numpy() for end in ("low", "median", "high"))
    return float(np.abs(middle - middle[0]).max() / (high[0] - low[0]))


def _plot_shifts(
    references: Mapping[str, ReferencePosterior],
    name: str,
    term: str | None,
    backend: str | None,
    visuals: layout.Visuals,
    pc_kwargs: dict[str, Any],
) -> PlotCollection:
    """A row for each group, a dot for each prior but the baseline."""
    visuals = layout.split(visuals, SHIFT_LAYERS)
    moved = shifts(references, name, term)
    pc_kwargs = pc_kwargs | {"aes": {"color": ["prior"]} | pc_kwargs.get("aes", {})}
    plot = layout.rows(moved, ["forest"], backend, pc_kwargs)
    size, panel = moved.sizes["prior"], {"column": "forest"}
    offsets = np.linspace(SPREAD, -SPREAD, size) if size > 1 else np.zeros(1)
    y = layout.heights(moved) + xr.DataArray(offsets, {"prior": moved["prior"]}, "prior")
    crowded = layout.is_crowded(moved.shape[-1])
    reach = max(MIN_REACH, 1.1 * float(np.abs(moved).max()))
    layout.backend_of(plot).xlim([-reach, reach], plot.get_target(None, panel))
    looks = {"size": layout.dot_size(plot, 2.5 if crowded else 6.0)}
    points = layout.points(moved, y)
    layout.add(plot, "shift", layout.dots, points, panel, looks, visuals)
    layout.vertical(plot, "baseline", 0.0, panel, visuals)
    first, of_term = next(iter(references)), f"[{term}]" if term else ""
    text = f"shift of the posterior mean of {name}{of_term} from {first!r}, in its posterior sds"
    layout.label_x(plot, panel, text)
    plot.add_legend("prior")
    return plot


def shifts(
    references: Mapping[str, ReferencePosterior], name: str, term: str | None = None
) -> xr.DataArray:
    """``(mean − baseline mean)/baseline sd`` of each group; dims (prior, group), sorted.

    Raises
    ------
    SpecError
        If one of these moments does not exist.
    """
    first, *others = references.items()
    several = first[1].spec.dims(name)[1:]
    one = dict.fromkeys(several, term)
    base, sd = (part[name].sel(one, drop=True) for part in (first[1].mean, first[1].sd))
    means = (other.mean[name].sel(one, drop=True) for _, other in others)
    moved = xr.concat([(mean - base) / sd for mean in means], "prior")
    moved = moved.assign_coords(prior=[label for label, _ in others])
    if not bool(np.isfinite(moved).all()):
        raise SpecError(
            f"the posterior mean or sd of {name} does not exist under one of these priors; show "
            f"the hyperparameters without level=…, or give the sds priors with lighter tails"
        )
    order = np.argsort(-base.to_numpy(), kind="stable")
    return moved.isel({moved.dims[-1]: order}).rename(name)
