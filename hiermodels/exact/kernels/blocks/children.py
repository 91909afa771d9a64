"""Members of a level in the order of their parents, and how they are merged into one for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Indices

type Plan = tuple[tuple[Indices, Flags], ...]


@dataclass(frozen=True, eq=False)
class Children:
    """Members in the order of their parents.

    Attributes
    ----------
    parent : (u,)
        Ascending.
    first : (m,)
        First child of each parent.
    plan : tuple of (Indices, Flags)
        How they are merged into one for each parent: see :func:`merging_plan`.
    """

    parent: Indices
    first: Indices
    plan: Plan

    @classmethod
    def of(cls, parent: Indices) -> Self:
        """From the parents (u,), of whom none is left out."""
        first = np.searchsorted(parent, np.arange(int(parent[-1]) + 1))
        return cls(parent, first, merging_plan(parent))


def merging_plan(parent: Indices) -> Plan:
    """Rounds in which neighbours of the same parent are merged, until each has one.

    Parameters
    ----------
    parent : (u,)
        Ascending.

    Returns
    -------
    tuple of (Indices, Flags)
        For each round the members that stay, and which of these take in the member behind them.
    """
    rounds = []
    while (parent[1:] == parent[:-1]).any():
        starts = np.searchsorted(parent, parent)
        stays = np.flatnonzero((np.arange(len(parent)) - starts) % 2 == 0)
        behind = np.append(parent, -1)[stays + 1]
        rounds.append((stays, behind == parent[stays]))
        parent = parent[stays]
    return tuple(rounds)
