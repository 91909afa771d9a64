"""Test statistics of data in groups, from the raw values of the groups."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.families.raw import RawValues


def of_levels(data: GroupedData, raw: RawValues, word: str) -> dict[str, Floats]:
    """Largest, smallest and sd of the raw values at each level; inner ones around their parents'.

    Parameters
    ----------
    data : GroupedData
    raw : RawValues
        Of the innermost groups, (..., g).  Groups of which nothing is known are left out.
    word : str
        What a raw value is called.
    """
    *outer, inner = data.levels
    statistics = extremes(f"{inner.column} {word}", _known(raw))
    if not outer:
        statistics |= sd_of(f"{inner.column} {word}", _known(raw))
    for level, above in zip(reversed(data.levels[1:]), reversed(outer), strict=True):
        upper = raw.above(level.parent, len(above))
        within = f"sd of {level.column} {word}s within {above.column}"
        statistics |= _sd_within(within, raw, level.parent)
        statistics |= extremes(f"{above.column} {word}", _known(upper))
        statistics |= sd_of(f"{above.column} {word}", _known(upper))
        raw = upper
    return statistics


def is_known(raw: RawValues) -> Flags:
    """Of which groups something is known, whatever the draw; (g,)."""
    return np.asarray((raw.size > 0).reshape(-1, raw.size.shape[-1]).all(axis=0))


def _known(raw: RawValues) -> Floats:
    return raw.value[..., is_known(raw)]


def _sd_within(name: str, raw: RawValues, parent: np.ndarray) -> dict[str, Floats]:
    """Sd of values around the plain mean of those of their parent, if any parent has several."""
    kept = is_known(raw)
    values = raw.value[..., kept]
    of, size = np.unique(parent[kept], return_inverse=True)[1], np.bincount(parent[kept])
    df = len(of) - int((size > 0).sum())
    if not df:
        return {}
    first = np.searchsorted(of, np.arange(of[-1] + 1))
    centre = np.add.reduceat(values, first, axis=-1) / np.bincount(of)
    return {name: np.sqrt(((values - centre[..., of]) ** 2).sum(axis=-1) / df)}


def extremes(name: str, values: Floats) -> dict[str, Floats]:
    """Largest and smallest of values (..., u), or the only one."""
    if not values.shape[-1]:
        return {}
    if values.shape[-1] == 1:
        return {name: values[..., 0]}
    return {f"largest {name}": values.max(axis=-1), f"smallest {name}": values.min(axis=-1)}


def sd_of(name: str, values: Floats) -> dict[str, Floats]:
    """Sd of values (..., u), which a single one has not."""
    return {f"sd of {name}s": values.std(axis=-1, ddof=1)} if values.shape[-1] > 1 else {}
