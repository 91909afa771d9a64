"""Groups of a DataTree, as ArviZ expects them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import variable_names
from hiermodels.core.names import COEFFICIENT_DIM, ROOT, SAMPLE_DIMS
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.families.normal import STRATA
from hiermodels.model.nests import parents_of
from hiermodels.model.prior_densities import prior_log_densities
from hiermodels.model.priors.coefficients import NormalInverseGamma
from hiermodels.model.spec import Spec
from hiermodels.posterior import rows as given_rows
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.record import Posterior, rows_given, with_groups

SCHEMA = (  # attributes that ArviZ's schema knows of groups with draws
    *("created_at", "creation_library", "creation_library_version", "creation_library_language"),
    *("inference_library", "inference_library_version", "sampling_time", "sample_dims"),
)


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
    attrs: dict[str, Any] = make_attrs({**own, **more}, sample_dims=sample_dims)
    return attrs


def seed_attribute(random_seed: Seed) -> dict[str, int]:
    """The seed that draws are made from as an attribute of theirs, if it is a number."""
    if not isinstance(random_seed, int | np.integer):
        return {}
    return {"random_seed": int(random_seed)}


def build_datatree(
    spec: Spec,
    data: GroupedData,
    variables: Mapping[str, Floats],
    sample_stats: Mapping[str, Floats],
    attrs: Mapping[str, Any],
) -> xr.DataTree:
    """Lay out draws as ArviZ expects them.

    Parameters
    ----------
    variables : mapping of str to array
        Draws of each variable of :meth:`Spec.dims`, with shape (chains, draws, *members).
    sample_stats : mapping of str to array
        Of shape (chains, draws).
    attrs : mapping
        Attributes of the posterior group: text and numbers.  Those of the schema are given to
        ``sample_stats``, too.
    """
    seen = data.observations
    number = len(next(iter(seen.observed.values())))
    rows = {seen.dim: np.arange(number)}  # of statistics, groups, whose labels are below, or cells
    parents = _parents(data, seen.constant)
    chains, size = next(iter(variables.values())).shape[:2]
    samples = dict(zip(SAMPLE_DIMS, (np.arange(chains), np.arange(size)), strict=True))
    coords = samples | rows | coords_of(spec, data)
    drawn, given = attributes(**attrs), attributes(())
    shared = {name: value for name, value in drawn.items() if name in SCHEMA}
    known = [name for name in spec.variables if name in variables]
    posterior = {name: ((*SAMPLE_DIMS, *spec.dims(name)), variables[name]) for name in known}
    stats = {name: (SAMPLE_DIMS, values) for name, values in sample_stats.items()}
    observed = {name: ((seen.dim,), values) for name, values in seen.observed.items()}
    constant = {name: ((seen.dim,), values) for name, values in seen.constant.items()}
    constant |= parents
    groups = {
        "posterior": _dataset(posterior, coords, drawn),
        "sample_stats": _dataset(stats, coords, shared),
        "observed_data": _dataset(observed, coords, given),
        "constant_data": _dataset(constant, coords, given),
    }
    tree = xr.DataTree()  # from_dict, which takes any depth, copies each group on the way
    tree.children = {name: xr.DataTree(group) for name, group in groups.items()}
    return tree


def _dataset(
    variables: Mapping[str, tuple[tuple[str, ...], Any]],
    coords: Mapping[str, Any],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """A group's variables, each its dimensions and values, with the coordinates of these alone.

    A variable with the name of a dimension, as ``group`` may be, gives way to its coordinate.
    """
    dims = dict.fromkeys(dim for own, _ in variables.values() for dim in own)
    kept = {name: variable for name, variable in variables.items() if name not in dims}
    return xr.Dataset(kept, {dim: coords[dim] for dim in dims}, attrs)


def _parents(data: GroupedData, taken: Iterable[str]) -> dict[str, tuple[tuple[str], NDArray[Any]]]:
    """Each inner group's parent at every level, such as ``classroom_school``, along its column.

    Not as a coordinate of the draws: beside variables without that dimension, ``mu`` and ``tau``,
    it would keep ArviZ's tables of all variables (``arviz_stats.summary``, ``psense_summary``) from
    being made, whatever its name and type are.
    """
    names = variable_names(data.parent_names, taken)
    named = zip(names, data.pairs, strict=True)
    return {name: ((inner.column,), outer.labels[inner.parent]) for name, (outer, inner) in named}


def with_parents(posterior: Posterior, draws: xr.DataArray) -> xr.DataArray:
    """Add what each group is in to draws of the effects of a level, as coordinates."""
    data = posterior.data
    if not data.levels:
        return draws
    own = posterior.spec.level_of(str(draws.name))
    inner, above = data.levels[own], parents_of(data.roles.nesting, len(data.levels))
    member = pd.Index(inner.labels).get_indexer(draws[inner.column].to_index())
    coords = {}
    while above[own] != ROOT:
        member, own = data.levels[own].parent[member], above[own]
        outer = data.levels[own]
        coords[f"{inner.column}_{outer.column}"] = (inner.column, outer.labels[member])
    return draws.assign_coords(coords)


def with_log_likelihood(posterior: Posterior) -> Posterior:
    """Add a group ``log_likelihood``: of each row given ``theta_g[i] + x_i'beta`` and sigma.

    One number for each draw and row, (chain, draw, row): for ``arviz_stats.loo`` and its like.
    Where errors are correlated a row is given the others, too.

    Raises
    ------
    SpecError
        If the draws of the groups were not kept, being too many.
    """
    spec, (eta, columns) = posterior.spec, _rows(posterior, "log_likelihood")
    data = require_rows(posterior.data, "log_likelihood")
    group = {spec.outcome: given_rows.log_likelihoods(spec, data, eta, columns)}
    return with_group(posterior, "log_likelihood", group, _row_coords(posterior))


def with_posterior_predictive(posterior: Posterior, random_seed: Seed = None) -> Posterior:
    """Add a group ``posterior_predictive``: outcomes of the same rows, drawn anew.

    Each is drawn given ``theta_g[i] + x_i'beta`` and sigma at one draw of the posterior: new
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
    spec, (eta, columns) = posterior.spec, _rows(posterior, "posterior_predictive")
    rng = np.random.default_rng(named_seed(random_seed, "posterior_predictive"))
    data = require_rows(posterior.data, "posterior_predictive")
    group = {spec.outcome: given_rows.draw(spec, data, eta, columns, rng)}
    return with_group(posterior, "posterior_predictive", group, _row_coords(posterior))


def with_log_prior(posterior: Posterior) -> Posterior:
    """Add a group ``log_prior``: the log density of each parameter's prior at the draws.

    One number for each draw, and for each coefficient in ``beta``, for
    ``arviz_stats.psense_summary``.  Densities are of the posterior's variables: of the sd also
    where the prior is stated on the variance.  An improper prior has no density and is left out,
    so that what is said of sensitivity speaks of the proper ones only.  Distributions of groups
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
    densities = prior_log_densities(spec, variables)
    group = {name: densities[name] for name in spec.variables if name in proper}
    if any(isinstance(prior, NormalInverseGamma) for prior in proper.values()):
        group["sigma"] = densities["sigma"]
    parts = {
        level.sd: (level.dims[0], level.terms) for level in spec.levels if level.has_slopes
    } | {"beta": (COEFFICIENT_DIM, spec.covariates)}
    if spec.strata:
        parts["sigma"] = (spec.columns[STRATA], spec.strata)
    coords: dict[str, Any] = {}
    dims: dict[str, tuple[str, ...]] = {}
    for name, (dim, terms) in parts.items():
        some = [j for j, term in enumerate(terms) if f"{name}[{term}]" in proper]
        if some:
            group[name] = densities[name][..., some]
            dims[name], coords[dim] = (dim,), coords_of(spec, posterior.data)[dim][some]
    return with_group(posterior, "log_prior", group, coords, dims)


def _rows(posterior: Posterior, purpose: str) -> tuple[Floats, dict[str, Floats]]:
    """Draws of the rows' linear predictors, (chain, draw, row), and the family's columns."""
    spec, data = posterior.spec, posterior.data
    if spec.is_crossed:  # whose draws are left out because they take long, not for their size
        posterior = with_groups(posterior)
    if posterior.draw_groups is not None:
        raise SpecError(
            f"{purpose}: {data.n_groups:,} groups are too many to keep draws of "
            f"{spec.effects[0]} for each; raise memory_budget or ask for fewer draws"
        )
    draws = posterior.datatree["posterior"].to_dataset()
    return rows_given(spec, data, {name: draws[name].to_numpy() for name in spec.variables})


def _row_coords(posterior: Posterior) -> dict[str, Any]:
    return {"row": np.arange(len(posterior.data.y))}


def with_group(
    posterior: Posterior,
    name: str,
    variables: Mapping[str, Floats],
    coords: Mapping[str, Any],
    dims: Mapping[str, Sequence[str]] | None = None,
) -> Posterior:
    """Add a group of variables with dimensions (chain, draw), and those of ``coords`` or ``dims``.

    Parameters
    ----------
    dims : mapping of str to sequence of str, optional
        Of each variable that has further ones; by default as many of ``coords`` as it has.
    """
    draws = posterior.datatree["posterior"].to_dataset()
    samples = {dim: draws[dim] for dim in SAMPLE_DIMS}
    further = {key: tuple(coords) for key in variables} if dims is None else dims
    group = {
        key: ((*SAMPLE_DIMS, *further.get(key, ()))[: values.ndim], values)
        for key, values in variables.items()
    }
    tree = posterior.datatree.copy()
    tree[name] = xr.DataTree(xr.Dataset(group, samples | dict(coords), attributes()))
    return replace(posterior, datatree=tree)
