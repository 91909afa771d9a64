"""Draws of values that are predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT, SAMPLE_DIMS
from hiermodels.data.new_rows import NewRows
from hiermodels.model.standard_errors import from_se
from hiermodels.posterior.arviz_groups import attributes
from hiermodels.posterior.record import Posterior, group_draws


def draw_values(
    posterior: Posterior, rows: NewRows, draws: xr.Dataset, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield joint draws of what is predicted of the rows, then of their outcomes.

    First their linear predictors, on the outcome's scale where the family has one; of normal rows
    these are their means.  Arrays are (chain, draw, row).
    """
    spec = posterior.spec
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    mean = _known_effects(posterior, rows, draws)
    for level, numbers in reversed(list(zip(spec.levels, rows.fresh, strict=True))):
        new = np.flatnonzero(numbers >= 0)
        place, members = pd.factorize(numbers[new])
        noise = draws[level.sd].to_numpy()[..., None] * rng.standard_normal((*shape, len(members)))
        mean[..., new] += noise[..., place]
    if spec.covariates:
        mean += draws["beta"].to_numpy() @ rows.x.T
    columns: dict[str, Floats] = dict(rows.columns)
    mean += columns.pop("offset", 0.0)
    yield spec.family.inverse_link(mean) if spec.family.effect else mean
    if "sd" in spec.family.columns:
        columns["sd"] = draws["sigma"].to_numpy()[..., None] if rows.se is None else rows.se
    yield spec.family.draw(mean, columns, rng)


def _known_effects(posterior: Posterior, rows: NewRows, draws: xr.Dataset) -> Floats:
    """Draws of the effect of each row's lowest known group; (chain, draw, row)."""
    spec = posterior.spec
    effects = np.empty((draws.sizes["chain"], draws.sizes["draw"], len(rows)))
    for level in np.unique(rows.level):
        here = np.flatnonzero(rows.level == level)
        if level == ROOT:
            effects[..., here] = (
                draws[spec.intercept].to_numpy()[..., None] if spec.intercept else 0.0
            )
            continue
        members, place = np.unique(rows.unit[here], return_inverse=True)
        known = spec.levels[level]
        own = (
            group_draws(posterior, posterior.data.levels[level].labels[members])
            if known is spec.levels[-1]
            else draws[known.effect].isel({known.column: members})
        )
        effects[..., here] = own.to_numpy()[..., place]
    return effects


def predictive_tree(
    posterior: Posterior,
    rows: NewRows,
    known: Mapping[str, Any],
    drawn: Mapping[str, Floats],
    labels: NDArray[Any],
) -> xr.DataTree:
    """Groups for ArviZ: what was predicted, what was known of the rows, and the data of the fit.

    Parameters
    ----------
    posterior : Posterior
    rows : NewRows
    known : mapping of str to (row,)
        Labels of the rows' groups, and what is known of these.
    drawn : mapping of str to (chain, draw, row)
    labels : (row,)
    """
    spec, dims = posterior.spec, (*SAMPLE_DIMS, "row")
    draws = posterior.datatree["posterior"].to_dataset()
    coords = {dim: draws[dim] for dim in SAMPLE_DIMS} | {"row": labels}
    values: dict[str, Any] = dict(known)
    values |= zip(posterior.data.covariate_names, rows.x.T, strict=True)
    if rows.se is not None:
        values[str(spec.se)] = from_se(rows.se, spec.se_scale)
    named = {role: name for role, name in spec.columns.items() if role in rows.columns}
    values |= {name: rows.columns[role] for role, name in named.items()}
    constant = xr.Dataset(
        {n: ("row", v) for n, v in values.items()}, {"row": labels}, attributes(())
    )
    predicted = xr.Dataset({n: (dims, v) for n, v in drawn.items()}, coords, attributes())
    fitted = {name: posterior.datatree[name] for name in ("observed_data", "constant_data")}
    return xr.DataTree.from_dict(
        {"predictions": predicted, "predictions_constant_data": constant, **fitted}
    )
