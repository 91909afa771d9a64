"""Ranks of groups, draw by draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.threads import for_each


def rank_draws(values: xr.DataArray, highest_first: bool = True) -> xr.DataArray:
    """Ranks within each draw, from 1; a group's ranks are side by side in memory."""
    flat = by_member(values)
    members, n = flat.shape
    ranks = np.empty((members, n), dtype=np.int32)
    counting = np.arange(1, members + 1, dtype=np.int32)
    step = max(1, BLOCK // members)

    def count(first: int) -> None:
        part = flat[:, first : first + step].T.copy()
        orders = np.argsort(np.negative(part, out=part) if highest_first else part, axis=1)
        places = np.empty(part.shape, dtype=np.int32)
        for place, order in zip(places, orders, strict=True):
            place[order] = counting
        ranks[:, first : first + step] = places.T

    for_each(count, range(0, n, step))
    by_draw = np.moveaxis(ranks.reshape(members, *values.shape[:-1]), 0, -1)
    return values.copy(data=by_draw).rename("rank")


def by_member(values: xr.DataArray) -> NDArray[Any]:
    """From (chain, draw, group) to (group, draws of all chains), a view."""
    return np.moveaxis(values.to_numpy(), -1, 0).reshape(values.shape[-1], -1)


BLOCK = 1 << 18  # values that are sorted, or summarised, at a time
