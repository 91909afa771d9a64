"""The record that every engine returns and everything above reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import short
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.labels import nearly, places_of
from hiermodels.errors import DataError, SpecError
from hiermodels.families.normal import row_sds
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.linear_predictor import linear_predictor
from hiermodels.posterior.outcome_scale import on_outcome_scale
from hiermodels.posterior.shown_effects import shown_effects, shown_groups

WARNING = "warning"  # line of a certificate, where the draws are not to be trusted
WEIGHTS = "weights"  # the same, where the draws are resampled: what every table of them repeats
GROUPS_AT_A_TIME = 1024  # whose draws are made at a time, where they were not kept


@dataclass(frozen=True)
class Posterior:
    """Draws from a posterior, and where they come from.

    Attributes
    ----------
    spec : Spec
        What is assumed.
    data : GroupedData
        What was observed.
    engine : str
        Which engine drew.
    datatree : xarray.DataTree
        Groups ``posterior``, ``sample_stats``, ``observed_data``, ``constant_data``.
    certificate : mapping of str to str
        What the engine says of the quality of its draws, for people to read.
    draw_groups : callable, optional
        Where the groups' effects are not in ``datatree``, being too many: from indices of groups
        (g,) to their draws (chains, draws, g), or (chains, draws, g, e) of e effects each.
    """

    spec: Spec
    data: GroupedData
    engine: str
    datatree: xr.DataTree
    certificate: Mapping[str, str]
    draw_groups: Callable[[Indices], Floats] | None = None

    @property
    def caveats(self) -> list[str]:
        """What every table of the draws says of them: their weights, if they are resampled."""
        weights = self.certificate.get(WEIGHTS)
        return [f"engine={self.engine!r}, weights: {weights}"] if weights else []


def by_chain(values: Floats, chains: int) -> Floats:
    """From (..., n) to (chains, draws, ...), a view."""
    split = values.reshape(*values.shape[:-1], chains, -1)
    return np.moveaxis(split, (-2, -1), (0, 1))


def group_draws(
    posterior: Posterior,
    groups: Sequence[Any] | None = None,
    draws: slice = slice(None),
    memory_budget: float = float("inf"),
    level: str | None = None,
) -> xr.DataArray:
    """Draws of a level's effects, of all groups or of some, made now if they were not kept.

    Groups, level, budget and errors are those of :meth:`hiermodels.Fit.draws`; ``draws`` says which
    of each chain.
    """
    spec = posterior.spec
    if not spec.groups:
        raise SpecError("a model without groups has no draws of groups; see .datatree")
    name = spec.effect_of(level)
    number, (dim, *several) = spec.level_of(name), spec.dims(name)
    labels = posterior.data.levels[number].labels
    if isinstance(groups, (set, frozenset, Mapping)):
        raise SpecError(f"groups: expected a label or a list of labels; found {groups!r}")
    places = np.arange(len(labels)) if groups is None else _places(dim, labels, groups)
    kept = posterior.datatree["posterior"].to_dataset().isel(draw=draws)
    if name in kept:
        return kept[name] if groups is None else kept[name].isel({dim: places})
    size = kept.sizes["chain"] * kept.sizes["draw"]
    each = tuple(len(spec.coords[other]) for other in several)
    remedy = "Name fewer groups at a time, raise memory_budget, or write all of them with to_zarr"
    needs = memory.of_numbers([name], len(places) * prod(each), size)
    memory.require(needs, size, memory_budget, remedy)
    shape = (kept.sizes["chain"], kept.sizes["draw"], *each)
    values = _made(posterior, number, places, draws, shape)
    if name in spec.on_outcome_scale:
        beta = kept["beta"].to_numpy() if spec.covariates else None
        values = on_outcome_scale(spec, posterior.data, values, beta, places)
    coords = {"chain": kept["chain"], "draw": kept["draw"], dim: labels[places]}
    return xr.DataArray(
        values,
        coords=coords | {other: list(spec.coords[other]) for other in several},
        dims=(*SAMPLE_DIMS, dim, *several),
        name=name,
    )


def _made(
    posterior: Posterior, number: int, places: Indices, draws: slice, shape: tuple[int, ...]
) -> Floats:
    """Draws of effects that were not kept, of groups of a level; (chain, draw, g, …).

    The shape is (chain, draw, …).
    """
    make: Any = posterior.draw_groups
    if posterior.spec.is_crossed:  # all at once, as each call takes apart all groups anew
        return np.asarray(make.of_column(number, places)[:, draws])
    values = np.empty((len(places), *shape))
    for first in range(0, len(places), GROUPS_AT_A_TIME):
        part = slice(first, first + GROUPS_AT_A_TIME)
        values[part] = np.moveaxis(make(places[part])[:, draws], 2, 0)
    return np.moveaxis(values, 0, 2)


def _places(dim: str, labels: NDArray[Any], groups: Any) -> Indices:
    """Indices of the groups that are asked for."""
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        wanted = [groups]
    else:
        wanted = list(np.asarray(groups).ravel() if hasattr(groups, "__array__") else groups)
    places = places_of(labels, wanted)
    if (places < 0).any():
        unknown = wanted[int(np.argmax(places < 0))]
        raise DataError(f"there is no {dim} {short(unknown)} in the data{nearly(labels, unknown)}")
    return places


def how_to_draw(spec: Spec, name: str) -> str:
    """How to ask for draws of effects that were not kept."""
    level = "" if name == spec.effects[0] else f", level={spec.dims(name)[0]!r}"
    return f".draws(groups=[…]{level})"


def level_draws(posterior: Posterior, name: str, draws: slice = slice(None)) -> xr.DataArray:
    """Draws of a variable (chain, draw, …): those of a level's effects made now, if not kept."""
    if name not in (*posterior.spec.effects, *posterior.spec.on_outcome_scale):
        return posterior.datatree["posterior"].to_dataset()[name].isel(draw=draws)
    return group_draws(posterior, draws=draws, level=name)


def at_covariates(
    posterior: Posterior, place: Place, names: Sequence[str] | None = None
) -> Posterior:
    """The same posterior with draws of ``v + x'beta`` for the effects v of all levels.

    Parameters
    ----------
    posterior : Posterior
    place : Place
        The covariates x.
    names : sequence of str, optional
        Which variables are needed; all by default.
    """
    if place.is_zero:
        return posterior
    tree, draw_groups = posterior.datatree.copy(), posterior.draw_groups
    draws = tree["posterior"].to_dataset()
    beta = draws["beta"].to_numpy()
    moved: dict[str, xr.DataArray] = {}
    for name in posterior.spec.locations:
        if name not in draws or not (names is None or name in names):
            continue
        if posterior.spec.has_slopes:
            moved |= shown_effects(posterior.spec, posterior.data, draws, place, name)
        else:
            shift = place.shift(posterior.spec.level_of(name), beta)
            moved[name] = draws[name] + (
                shift if draws[name].ndim > beta.ndim - 1 else shift[..., 0]
            )
    tree["posterior"] = xr.DataTree(draws.assign(moved))

    def draw(groups: Indices) -> Floats:
        assert draw_groups is not None
        if posterior.spec.has_slopes:
            own = draw_groups(groups)
            return shown_groups(posterior.spec, posterior.data, draws, place, own, groups)
        return draw_groups(groups) + place.shift(len(posterior.spec.levels) - 1, beta, groups)

    if posterior.spec.is_crossed:  # whose effects are deviations
        return replace(posterior, datatree=tree)
    return replace(posterior, datatree=tree, draw_groups=draw if draw_groups else None)


def thin(posterior: Posterior, draws: int) -> Posterior:
    """Keep about so many draws, evenly spaced in each chain, those of the groups among them.

    Parameters
    ----------
    posterior : Posterior
    draws : int
        In all chains together: at least so many are kept, or all, and fewer than twice as many.
    """
    sizes = posterior.datatree["posterior"].sizes
    every = slice(None, None, max(1, sizes["chain"] * sizes["draw"] // draws))
    tree = posterior.datatree.copy()
    for name, group in tree.children.items():
        if "draw" in group.dims:
            tree[name] = xr.DataTree(group.to_dataset().isel(draw=every))
    return with_groups(posterior, tree, every)


def with_groups(
    posterior: Posterior, tree: xr.DataTree | None = None, every: slice = slice(None)
) -> Posterior:
    """The same with draws of the groups' effects, made now if they were not kept.

    Parameters
    ----------
    posterior : Posterior
    tree : DataTree, optional
        Some of its draws; all by default.
    every : slice
        Which of each chain these are.
    """
    tree = posterior.datatree.copy() if tree is None else tree
    if posterior.draw_groups is not None:
        kept = tree["posterior"].to_dataset()
        missing = [name for name in posterior.spec.effects if name not in kept]
        made = {name: level_draws(posterior, name, every) for name in missing}
        tree["posterior"] = xr.DataTree(kept.assign(made))
    return replace(posterior, datatree=tree, draw_groups=None)


def rows_given(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> tuple[Floats, dict[str, Floats]]:
    """What the family takes of the rows: their linear predictors and columns, given the variables.

    Parameters
    ----------
    variables : mapping of str to array
        Draws of any shape (...,): scalars with this shape, ``theta`` (..., g), ``beta`` (..., q).

    Returns
    -------
    eta : (..., N)
    columns : dict of str to array
        As :attr:`Family.columns` names them, of shapes that broadcast with ``eta``.
    """
    rows = require_rows(data, "what is asked for")
    columns = dict(rows.columns)
    eta = linear_predictor(spec, rows, variables) + columns.pop("offset", 0.0)
    if "sd" in spec.family.columns:
        columns["sd"] = row_sds(variables["sigma"], columns) if rows.se is None else rows.se
    return np.broadcast_to(eta, (*eta.shape[:-1], len(rows.y))), columns
