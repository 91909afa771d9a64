"""Ranks of groups, draw by draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.threads import for_each


def rank_draws(values: xr.DataArray, highest_first: bool = True) -> xr.DataArray:
    """Ranks within each draw, from 1; a group's ranks are side by side in memory.

    Equal groups, as where their sd is 0, share their ranks: over the draws each has each of them
    about equally often, and of two each stands before the other in every second draw.
    """
    flat = by_member(values)
    members, n = flat.shape
    ranks = np.empty((members, n), dtype=np.int32)
    counting = np.arange(1, members + 1, dtype=np.int32)
    step = max(1, BLOCK // members)

    def count(first: int) -> None:
        part = flat[:, first : first + step].T.copy()
        orders = np.argsort(np.negative(part, out=part) if highest_first else part, axis=1)
        ordered = np.take_along_axis(part, orders, axis=1)
        tied = ordered[:, 1:] == ordered[:, :-1]
        for row in np.flatnonzero(tied.any(axis=1)).tolist():
            _share(orders[row], tied[row], first + row)
        places = np.empty(part.shape, dtype=np.int32)
        for place, order in zip(places, orders, strict=True):
            place[order] = counting
        ranks[:, first : first + step] = places.T

    for_each(count, range(0, n, step))
    by_draw = np.moveaxis(ranks.reshape(members, *values.shape[:-1]), 0, -1)
    return values.copy(data=by_draw).rename("rank")


def _share(order: NDArray[Any], tied: NDArray[Any], draw: int) -> None:
    """Put equal groups, side by side in an order, in the turn of a draw, in place.

    Two draws, one after the other, begin at the same of k equal groups, one forwards and the other
    backwards; the places ``k·(m·φ mod 1)`` of successive pairs m are spread evenly.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], tied, [0]])))
    for start, end in edges.reshape(-1, 2).tolist():
        own = np.sort(order[start : end + 1])
        turned = np.roll(own, int(len(own) * (draw // 2 * GOLDEN % 1)))
        order[start : end + 1] = turned[::-1] if draw % 2 else turned


def by_member(values: xr.DataArray) -> NDArray[Any]:
    """From (chain, draw, group) to (group, draws of all chains), a view."""
    return np.moveaxis(values.to_numpy(), -1, 0).reshape(values.shape[-1], -1)


BLOCK = 1 << 18  # values that are sorted, or summarised, at a time
GOLDEN = (5**0.5 - 1) / 2  # whose multiples, modulo 1, are spread most evenly
