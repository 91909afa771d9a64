"""The record that every engine returns and everything above reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.data import GroupedData
from hiermodels.gaussian import Floats
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
    """

    spec: Spec
    data: GroupedData
    engine: str
    datatree: xr.DataTree
    certificate: Mapping[str, str]


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
            "posterior": {name: variables[name] for name in spec.variables},
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
