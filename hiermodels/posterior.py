"""The record that every engine returns and everything above reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.data import GroupedData
from hiermodels.errors import DataError, SpecError
from hiermodels.gaussian import LOG_2PI, Floats, Indices
from hiermodels.spec import Spec

SAMPLE_DIMS = ("chain", "draw")


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
        Draws of each variable of :meth:`Spec.dims`, with shape (chains, draws, *units).
    sample_stats : mapping of str to array
        Of shape (chains, draws).
    attrs : mapping
        Attributes of the posterior group: text and numbers.
    """
    from arviz_base import from_dict

    observed = {spec.outcome: data.y}
    constant: dict[str, Any] = {}
    if data.labels:
        constant["group"] = data.labels[-1][data.group]
    if data.se is not None and spec.se is not None:
        constant[spec.se] = data.se
    row_dims = {name: ["row"] for name in (*observed, *constant)}
    dims = {name: list(spec.dims(name)) for name in variables} | row_dims
    tree = from_dict(
        {
            "posterior": {name: variables[name] for name in spec.variables if name in variables},
            "sample_stats": dict(sample_stats),
            "observed_data": observed,
            "constant_data": constant,
        },
        coords={**data.coords, "row": np.arange(len(data.y))},
        dims=dims,
        attrs={"posterior": dict(attrs)},
    )
    return _with_parents(tree, data)


def _with_parents(tree: xr.DataTree, data: GroupedData) -> xr.DataTree:
    """Add each inner unit's parent as a coordinate of its own."""
    if not data.parents:
        return tree
    outer, inner = data.roles.groups
    parent = (inner, data.labels[0][data.parents[0]])
    tree["posterior"] = tree["posterior"].to_dataset().assign_coords({f"{inner}_{outer}": parent})
    return tree


def group_draws(posterior: Posterior, groups: Sequence[Any] | None = None) -> xr.DataArray:
    """Draws of theta for some groups, made now if they were not kept.

    Parameters
    ----------
    posterior : Posterior
    groups : sequence of labels, optional
        All groups by default.

    Raises
    ------
    DataError
        If there is no group of that label.
    """
    (dim,) = posterior.spec.dims("theta") or ("",)
    if not dim:
        raise SpecError("a model without groups has no draws of groups; see .datatree")
    labels = posterior.data.labels[-1]
    wanted = labels if groups is None else np.asarray(groups)
    places = pd.Index(labels).get_indexer(pd.Index(wanted))
    if (places < 0).any():
        unknown = wanted[places < 0].tolist()[0]
        raise DataError(f"there is no {dim} {unknown!r} in the data")
    if posterior.draw_groups is None:
        return posterior.datatree["posterior"].to_dataset()["theta"].isel({dim: places})
    chains = posterior.datatree["posterior"].to_dataset()
    return xr.DataArray(
        posterior.draw_groups(places),
        coords={"chain": chains["chain"], "draw": chains["draw"], dim: labels[places]},
        dims=(*SAMPLE_DIMS, dim),
        name="theta",
    )


def row_moments(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """Means and sds of the rows given the variables, of shapes that broadcast to (..., N).

    Parameters
    ----------
    variables : mapping of str to array
        Draws of any shape (...,): scalars with this shape, ``theta`` (..., g), ``beta`` (..., q).
    """
    theta = variables["theta"]
    mean = theta[..., data.group] if spec.groups else theta[..., None]
    if spec.covariates:
        mean = mean + variables["beta"] @ data.design.matrix.T
    return mean, variables["sigma"][..., None] if data.se is None else data.se


def log_normal(y: Floats, mean: Floats, sd: Floats) -> Floats:
    """Log density of ``N(mean, sd²)`` at y."""
    return -0.5 * (LOG_2PI + ((y - mean) / sd) ** 2) - np.log(sd)


def with_log_likelihood(posterior: Posterior) -> Posterior:
    """Add a group ``log_likelihood``: ``log N(y_i; theta_g[i] + x_i'beta, sigma²)``.

    One number for each draw and row, (chain, draw, row): for ``arviz_stats.loo`` and its like.

    Raises
    ------
    SpecError
        If the draws of the groups were not kept, being too many.
    """
    spec, data = posterior.spec, posterior.data
    if posterior.draw_groups is not None:
        raise SpecError(
            f"log_likelihood: {data.sizes[0]:,} groups are too many to keep draws of theta "
            f"for each; raise memory_budget or ask for fewer draws"
        )
    draws = posterior.datatree["posterior"].to_dataset()
    mean, sd = row_moments(spec, data, {n: draws[n].to_numpy() for n in spec.variables})
    log_density = log_normal(data.y, mean, sd)
    dims = (*SAMPLE_DIMS, "row")
    coords = {name: draws[name] for name in SAMPLE_DIMS} | {"row": np.arange(len(data.y))}
    group = xr.Dataset({spec.outcome: (dims, log_density)}, coords)
    tree = posterior.datatree.copy()
    tree["log_likelihood"] = xr.DataTree(group)
    return replace(posterior, datatree=tree)
