"""What statistics of groups have besides where residual sds differ between strata of the rows.

The moments of each group add up stratum by stratum: its rows of each stratum have their own number,
weight, mean and scatter, as all its rows have in :class:`hiermodels.SufficientStatistics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.messages import listed
from hiermodels.data.merge import MOMENTS, added_moments, kept_moments
from hiermodels.data.slopes import SlopeStatistics
from hiermodels.errors import DataError


@storable
@dataclass(frozen=True)
class StratumStatistics:
    """Statistics of the rows of one stratum, of the c groups that have any.

    Attributes
    ----------
    group : (c,)
        Which of all groups, ascending.
    count, weight : (c,)
    mean, rest : (c, q + 1)
    scatter : (q + 1, q + 1)
    slopes : SlopeStatistics, optional
        As :class:`hiermodels.SufficientStatistics` has them.
    """

    group: Indices
    count: Indices
    weight: Floats
    mean: Floats
    rest: Floats
    scatter: Floats
    slopes: SlopeStatistics | None = None

    def kept(self, columns: NDArray[np.bool_]) -> StratumStatistics:
        """The same of some columns (q + 1,); of the others all are 0."""
        return replace(self, **kept_moments(self, columns))

    def moved(self, place: Indices) -> StratumStatistics:
        """The same where group g is ``place[g]`` among more groups."""
        group = place[self.group]
        order = np.argsort(group)
        arrays = {name: getattr(self, name)[order] for name in ("count", "weight", "mean", "rest")}
        slopes = self.slopes and replace(self.slopes, rows=self.slopes.rows[order])
        return replace(self, group=group[order], slopes=slopes, **arrays)

    def added(self, other: StratumStatistics, columns: Indices) -> StratumStatistics:
        """As if the rows of both had been together; ``columns`` (r,) have slopes."""
        group = np.union1d(self.group, other.group)
        places = np.searchsorted(group, self.group), np.searchsorted(group, other.group)
        moments = added_moments(self, other, places, len(group), columns)
        return StratumStatistics(group, **moments)


type Strata = tuple[NDArray[Any], tuple[StratumStatistics, ...]]
"""Labels (K,) of strata, and the statistics of each."""


def added_strata(
    a: Strata, b: Strata, places: tuple[Indices, Indices], columns: Indices
) -> dict[str, Any]:
    """Strata of two parts of the data: ``strata`` and ``by_stratum``, those of the first in front.

    Parameters
    ----------
    a, b : Strata
    places : ((g₁,), (g₂,))
        Where the groups of each part are among those of both.
    columns : (r,)
        That have slopes.
    """
    every: dict[Any, StratumStatistics] = {}
    for (labels, parts), place in zip((a, b), places, strict=True):
        for label, part in zip(labels.tolist(), parts, strict=True):
            own = part.moved(place)
            every[label] = every[label].added(own, columns) if label in every else own
    return {"strata": np.array([*every]), "by_stratum": tuple(every.values())}


def in_stratum(label: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of statistics whose rows are all of the stratum with this label, or None of one."""
    if label is None:
        return dict(fields)
    own = {name: fields[name] for name in MOMENTS if name in fields}
    part = StratumStatistics(group=np.arange(len(fields["labels"][-1])), **own)
    return {**fields, "strata": np.array([label]), "by_stratum": (part,)}


def require_strata(name: str, strata: NDArray[Any], parts: Sequence[StratumStatistics]) -> None:
    """Raise DataError where a residual sd for each stratum cannot be learnt, or is nothing new."""
    if len(strata) < 2:
        raise DataError(
            f"residual_by: the statistics have the one label {strata[0]} of {name!r}, so that a "
            f"residual sd for each is a single sigma. Leave residual_by out"
        )
    alone = [str(k) for k, part in zip(strata, parts, strict=True) if part.count.sum() < 2]
    if alone:
        raise DataError(
            f"residual_by: expected two rows or more in each stratum of {name!r}; found one of "
            f"{listed(alone)}. Join strata in a column of your own, or leave such rows out"
        )
