"""Draws of values that are predicted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.data.new_rows import NewRows
from hiermodels.posterior.record import Posterior, group_draws


def draw_values(
    posterior: Posterior, rows: NewRows, draws: xr.Dataset, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield joint draws of the rows' means, then of their outcomes; (chain, draw, row) each."""
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
    yield mean
    sd = draws["sigma"].to_numpy()[..., None] if rows.se is None else rows.se
    yield spec.family.draw(mean, {"sd": sd}, rng)


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
