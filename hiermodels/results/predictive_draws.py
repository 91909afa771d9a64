"""Draws of values that are predicted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.data.new_rows import NewRows
from hiermodels.posterior.record import Posterior, group_draws


def draw_values(
    posterior: Posterior, rows: NewRows, draws: xr.Dataset, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield joint draws of the rows' means, then of their outcomes; (chain, draw, row) each."""
    spec = posterior.spec
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    mean = _known_values(posterior, rows, draws)
    for spread, numbers in zip(spec.spreads, rows.fresh, strict=True):
        new = np.flatnonzero(numbers >= 0)
        place, units = pd.factorize(numbers[new])
        noise = draws[spread].to_numpy()[..., None] * rng.standard_normal((*shape, len(units)))
        mean[..., new] += noise[..., place]
    if spec.covariates:
        mean += draws["beta"].to_numpy() @ rows.x.T
    yield mean
    sd = draws["sigma"].to_numpy()[..., None] if rows.se is None else rows.se
    yield spec.family.draw(mean, {"sd": sd}, rng)


def _known_values(posterior: Posterior, rows: NewRows, draws: xr.Dataset) -> Floats:
    """Draws of the value of each row's lowest known unit; (chain, draw, row)."""
    spec = posterior.spec
    values = np.empty((draws.sizes["chain"], draws.sizes["draw"], len(rows)))
    for level in np.unique(rows.level):
        here = np.flatnonzero(rows.level == level)
        if level == len(spec.values):
            values[..., here] = 0.0  # the mean at the top, where it is no parameter
            continue
        name = spec.values[level]
        if not spec.dims(name):
            values[..., here] = draws[name].to_numpy()[..., None]
            continue
        units, place = np.unique(rows.unit[here], return_inverse=True)
        labels = posterior.data.labels[-1 - level][units]
        found = (
            group_draws(posterior, labels)
            if level == 0
            else draws[name].isel({spec.dims(name)[0]: units})
        )
        values[..., here] = found.to_numpy()[..., place]
    return values
