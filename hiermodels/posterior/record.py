"""The record that every engine returns and everything above reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.messages import short, variable_names
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import COEFFICIENT_DIM, GroupedData, require_rows
from hiermodels.data.labels import nearly, places_of
from hiermodels.errors import DataError, SpecError
from hiermodels.exact.joint import log_joint, log_normal, prior_log_densities
from hiermodels.exact.kernels.tree.tree import Floats, Indices
from hiermodels.model.priors import NormalInverseGamma
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory

type Seed = int | np.random.Generator | np.random.SeedSequence | None

SAMPLE_DIMS = ("chain", "draw")
SCHEMA = (  # attributes that ArviZ's schema knows of groups with draws
    *("created_at", "creation_library", "creation_library_version", "creation_library_language"),
    *("inference_library", "inference_library_version", "sampling_time", "sample_dims"),
)
WARNING = "warning"  # line of a certificate, where the draws are not to be trusted
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
        Where the groups' values are not in ``datatree``, being too many: from indices of groups
        (g,) to their draws (chains, draws, g).
    """

    spec: Spec
    data: GroupedData
    engine: str
    datatree: xr.DataTree
    certificate: Mapping[str, str]
    draw_groups: Callable[[Indices], Floats] | None = None


def by_chain(values: Floats, chains: int) -> Floats:
    """From (..., n) to (chains, draws, ...), a view."""
    split = values.reshape(*values.shape[:-1], chains, -1)
    return np.moveaxis(split, (-2, -1), (0, 1))


def attributes(sample_dims: Sequence[str] = SAMPLE_DIMS, **more: Any) -> dict[str, Any]:
    """Attributes of a group, as ArviZ's schema has them.

    Parameters
    ----------
    sample_dims : sequence of str
        Dimensions over which draws run.
    **more
        Further ones; ``inference_library`` with its version, where it was another package.
    """
    from arviz_base import make_attrs

    from hiermodels import __version__

    own = {"inference_library": "hiermodels", "inference_library_version": __version__}
    found: dict[str, Any] = make_attrs({**own, **more}, sample_dims=sample_dims)
    return found


def build_datatree(
    spec: Spec,
    data: GroupedData,
    variables: Mapping[str, Floats],
    sample_stats: Mapping[str, Floats],
    attrs: Mapping[str, Any],
) -> xr.DataTree:
    """Lay out draws as ArviZ expects them.

    To ``sample_stats`` it adds ``lp``, the joint log density of the outcome and of all variables
    (:mod:`hiermodels.exact.joint`), unless the groups' values were left out.

    Parameters
    ----------
    variables : mapping of str to array
        Draws of each variable of :meth:`Spec.dims`, with shape (chains, draws, *units).
    sample_stats : mapping of str to array
        Of shape (chains, draws).
    attrs : mapping
        Attributes of the posterior group: text and numbers.  Those of the schema are given to
        ``sample_stats``, too.
    """
    from arviz_base import from_dict

    seen = data.observations
    row_dims = {name: [seen.dim] for name in (*seen.observed, *seen.constant)}
    rows = {"row": np.arange(data.n_rows)} if data.has_rows else {}  # statistics have groups
    parents = _parents(data, seen.constant)
    nest = {name: [data.roles.groups[-1]] for name in parents}
    dims = {name: list(spec.dims(name)) for name in variables} | nest | row_dims
    stats = dict(sample_stats)
    if variables.keys() >= set(spec.variables):
        stats["lp"] = log_joint(spec, data, variables)
    groups = {
        "posterior": {name: variables[name] for name in spec.variables if name in variables},
        "sample_stats": stats,
        "observed_data": dict(seen.observed),
        "constant_data": dict(seen.constant) | parents,
    }
    drawn, given = attributes(**attrs), attributes(())
    shared = {name: drawn[name] for name in SCHEMA if name in drawn}
    return from_dict(
        groups,
        coords={**rows, **data.coords},
        dims=dims,
        attrs=dict(zip(groups, (drawn, shared, given, given), strict=True)),
        check_conventions=False,  # groups may be called "sample"
    )


def _parents(data: GroupedData, taken: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Each inner unit's parent, such as ``classroom_school``.

    Not as a coordinate of the draws: beside variables without that dimension, ``mu`` and ``tau``,
    it would keep ArviZ's tables of all variables (``arviz_stats.summary``, ``psense_summary``) from
    being made, whatever its name and type are.
    """
    if not data.parents:
        return {}
    (name,) = variable_names([data.parent_name], taken)
    return {name: data.labels[0][data.parents[0]]}


def with_parents(posterior: Posterior, draws: xr.DataArray) -> xr.DataArray:
    """Add each group's parent to draws of the groups' values alone, as a coordinate."""
    data = posterior.data
    if not data.parents:
        return draws
    (dim,) = posterior.spec.dims("theta")
    places = pd.Index(data.labels[-1]).get_indexer(draws[dim].to_index())
    parents = data.labels[0][data.parents[0][places]]
    return draws.assign_coords({data.parent_name: (dim, parents)})


def group_draws(
    posterior: Posterior,
    groups: Sequence[Any] | None = None,
    draws: slice = slice(None),
    memory_budget: float = float("inf"),
) -> xr.DataArray:
    """Draws of theta for some groups, made now if they were not kept.

    Parameters
    ----------
    posterior : Posterior
    groups : label or sequence of labels, optional
        All groups by default.
    draws : slice
        Which draws of each chain.
    memory_budget : float
        Bytes that draws which were not kept may take.

    Raises
    ------
    DataError
        If there is no group of that label.
    SpecError
        If the draws would take more than the budget.
    """
    (dim,) = posterior.spec.dims("theta") or ("",)
    if not dim:
        raise SpecError("a model without groups has no draws of groups; see .datatree")
    labels = posterior.data.labels[-1]
    if isinstance(groups, (set, frozenset, Mapping)):
        raise SpecError(f"groups: expected a label or a list of labels; found {groups!r}")
    places = np.arange(len(labels)) if groups is None else _places(dim, labels, groups)
    kept = posterior.datatree["posterior"].to_dataset().isel(draw=draws)
    if posterior.draw_groups is None:
        return kept["theta"] if groups is None else kept["theta"].isel({dim: places})
    size = kept.sizes["chain"] * kept.sizes["draw"]
    remedy = "Name fewer groups at a time, raise memory_budget, or write all of them with to_zarr"
    memory.require(memory.of_numbers(["theta"], len(places), size), size, memory_budget, remedy)
    values = np.empty((len(places), kept.sizes["chain"], kept.sizes["draw"]))
    for first in range(0, len(places), GROUPS_AT_A_TIME):
        part = slice(first, first + GROUPS_AT_A_TIME)
        values[part] = np.moveaxis(posterior.draw_groups(places[part])[:, draws], -1, 0)
    return xr.DataArray(
        np.moveaxis(values, 0, -1),
        coords={"chain": kept["chain"], "draw": kept["draw"], dim: labels[places]},
        dims=(*SAMPLE_DIMS, dim),
        name="theta",
    )


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


def level_draws(posterior: Posterior, name: str, draws: slice = slice(None)) -> xr.DataArray:
    """Draws of the values of a level (chain, draw, unit), made now if they were not kept."""
    if name == "theta":
        return group_draws(posterior, draws=draws)
    return posterior.datatree["posterior"].to_dataset()[name].isel(draw=draws)


def at_covariates(
    posterior: Posterior, place: Place, names: Sequence[str] | None = None
) -> Posterior:
    """The same posterior with draws of ``v + x'beta`` for the values v of all levels.

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
    moved = {}
    for level, name in enumerate(posterior.spec.values):
        if name in draws and (names is None or name in names):
            shift = place.shift(level, beta)
            moved[name] = draws[name] + (
                shift if draws[name].ndim > beta.ndim - 1 else shift[..., 0]
            )
    tree["posterior"] = xr.DataTree(draws.assign(moved))

    def draw(groups: Indices) -> Floats:
        assert draw_groups is not None
        return draw_groups(groups) + place.shift(0, beta, groups)

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
    if posterior.draw_groups is not None:
        kept = tree["posterior"].to_dataset()
        tree["posterior"] = xr.DataTree(kept.assign(theta=group_draws(posterior, draws=every)))
    return replace(posterior, datatree=tree, draw_groups=None)


def row_moments(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """Means and sds of the rows given the variables, of shapes that broadcast to (..., N).

    Parameters
    ----------
    variables : mapping of str to array
        Draws of any shape (...,): scalars with this shape, ``theta`` (..., g), ``beta`` (..., q).
    """
    rows = require_rows(data, "what is asked for")
    value = variables[spec.values[0]]
    mean = value[..., rows.group] if spec.groups else value[..., None]
    if spec.covariates:
        mean = mean + variables["beta"] @ rows.design.matrix.T
    return mean, variables["sigma"][..., None] if rows.se is None else rows.se


def with_log_likelihood(posterior: Posterior) -> Posterior:
    """Add a group ``log_likelihood``: ``log N(y_i; theta_g[i] + x_i'beta, sigma²)``.

    One number for each draw and row, (chain, draw, row): for ``arviz_stats.loo`` and its like.

    Raises
    ------
    SpecError
        If the draws of the groups were not kept, being too many.
    """
    mean, sigma = _rows(posterior, "log_likelihood")
    group = {posterior.spec.outcome: log_normal(posterior.data.y, mean, sigma)}
    return with_group(posterior, "log_likelihood", group, _row_coords(posterior))


def with_posterior_predictive(posterior: Posterior, random_seed: Seed = None) -> Posterior:
    """Add a group ``posterior_predictive``: outcomes of the same rows, drawn anew.

    Each is drawn from ``N(theta_g[i] + x_i'beta, sigma²)`` at one draw of the posterior: new
    outcomes of the same groups, (chain, draw, row).

    Parameters
    ----------
    posterior : Posterior
    random_seed : int, Generator, SeedSequence or None
        May be the one that the posterior was drawn with: this stream is another.

    Raises
    ------
    SpecError
        If the draws of the groups were not kept, being too many.
    """
    mean, sigma = _rows(posterior, "posterior_predictive")
    rng = np.random.default_rng(named_seed(random_seed, "posterior_predictive"))
    group = {posterior.spec.outcome: mean + sigma * rng.standard_normal(mean.shape)}
    return with_group(posterior, "posterior_predictive", group, _row_coords(posterior))


def with_seed(posterior: Posterior, random_seed: Seed) -> Posterior:
    """Keep the seed that the draws were made from as an attribute of theirs, if it is a number."""
    if not isinstance(random_seed, int | np.integer):
        return posterior
    tree = posterior.datatree.copy()
    draws = tree["posterior"].to_dataset().assign_attrs(random_seed=int(random_seed))
    tree["posterior"] = xr.DataTree(draws)
    return replace(posterior, datatree=tree)


def with_log_prior(posterior: Posterior) -> Posterior:
    """Add a group ``log_prior``: the log density of each parameter's prior at the draws.

    One number for each draw, and for each coefficient in ``beta``, for
    ``arviz_stats.psense_summary``.  Densities are of the posterior's variables: of the sd also
    where the prior is stated on the variance.  An improper prior has no density and is left out,
    so that what is found of sensitivity speaks of the proper ones only.  Distributions of groups
    given tau belong to the model and are not among the priors.

    Raises
    ------
    SpecError
        If every prior is improper.

    References
    ----------
    Kallioinen, Paananen, Bürkner & Vehtari (2024), Detecting and diagnosing prior and likelihood
    sensitivity with power-scaling, Statistics and Computing 34:57.
    """
    spec, draws = posterior.spec, posterior.datatree["posterior"].to_dataset()
    free = {name: prior for name, prior in spec.priors.items() if name not in spec.fixed}
    proper = {name: prior for name, prior in free.items() if prior.is_proper}
    if not proper:
        raise SpecError(
            f"log_prior: there is no proper prior, and improper ones have no density: "
            f"{'; '.join(f'{k} ~ {v}' for k, v in spec.describe_priors().items())}. Give one with "
            f"priors={{…}}, such as HalfNormal(sd=…) for an sd, or leave out log_prior"
        )
    variables = {name: draws[name].to_numpy() for name in spec.variables if name in draws}
    found = prior_log_densities(spec, variables)
    group = {name: found[name] for name in spec.variables if name in proper}
    if any(isinstance(prior, NormalInverseGamma) for prior in proper.values()):
        group["sigma"] = found["sigma"]
    names = [name for name in spec.covariates if f"beta[{name}]" in proper]
    if names:
        group["beta"] = found["beta"][..., [spec.covariates.index(name) for name in names]]
    return with_group(posterior, "log_prior", group, {COEFFICIENT_DIM: names} if names else {})


def generator(random_seed: Seed) -> np.random.Generator:
    """Make a generator from a seed; one that is given is returned.

    Raises
    ------
    SpecError
        If it is no seed.
    """
    found: Exception | None = None
    try:
        rng = np.random.default_rng(random_seed)
    except (TypeError, ValueError) as error:
        found = error
    if found or isinstance(random_seed, np.random.RandomState):  # which cannot be spawned from
        raise SpecError(
            f"random_seed: expected a non-negative integer, a numpy Generator or SeedSequence, or "
            f"None; found {short(random_seed)}"
        ) from found
    return rng


def named_seed(random_seed: Seed, name: str) -> np.random.SeedSequence:
    """Seed of a stream apart from all others that are made from the same ``random_seed``."""
    rng = generator(random_seed)
    if random_seed is None or isinstance(random_seed, (int, np.integer)):
        return np.random.SeedSequence(random_seed, spawn_key=tuple(name.encode()))
    return rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]


def _rows(posterior: Posterior, purpose: str) -> tuple[Floats, Floats]:
    """Draws of the rows' means, (chain, draw, row), and sds that broadcast with them."""
    spec, data = posterior.spec, posterior.data
    if posterior.draw_groups is not None:
        raise SpecError(
            f"{purpose}: {data.sizes[0]:,} groups are too many to keep draws of theta "
            f"for each; raise memory_budget or ask for fewer draws"
        )
    draws = posterior.datatree["posterior"].to_dataset()
    mean, sd = row_moments(spec, data, {name: draws[name].to_numpy() for name in spec.variables})
    return np.broadcast_to(mean, (*mean.shape[:-1], len(data.y))), sd


def _row_coords(posterior: Posterior) -> dict[str, Any]:
    return {"row": np.arange(len(posterior.data.y))}


def with_group(
    posterior: Posterior, name: str, variables: Mapping[str, Floats], coords: Mapping[str, Any]
) -> Posterior:
    """Add a group of variables with dimensions (chain, draw) and those of ``coords``."""
    draws = posterior.datatree["posterior"].to_dataset()
    samples = {dim: draws[dim] for dim in SAMPLE_DIMS}
    dims = (*SAMPLE_DIMS, *coords)
    group = {key: (dims[: values.ndim], values) for key, values in variables.items()}
    tree = posterior.datatree.copy()
    tree[name] = xr.DataTree(xr.Dataset(group, samples | dict(coords), attributes()))
    return replace(posterior, datatree=tree)
