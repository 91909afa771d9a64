"""Coordinates of inner and of outer levels, which a lattice each holds better than one of all.

What is said of members of the level at the cut depends on the covariances below alone.  So a
density on all pairs of two lattices, of the inner and of the outer covariances, costs the inner
levels once for each point of the first, and the few outer members for each pair that is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Indices
from hiermodels.exact.blocks.coordinates import Coordinates

LEAST = 4  # dimensions of all for which a cut is made
MOST = 3  # dimensions of each part


@dataclass(frozen=True)
class Cut:
    """Which levels and coordinates are outer, and which are inner.

    Attributes
    ----------
    level : int
        The first of the inner levels.
    inner, outer : (d₁,) and (d₂,)
        Coordinates.
    """

    level: int
    inner: Indices
    outer: Indices

    @classmethod
    def of(cls, coordinates: Coordinates) -> Cut | None:
        """The cut that leaves the fewest coordinates in the larger part; None if none does.

        Nor where σ or strata of the rows have coordinates, which all levels share, or rows' errors
        are correlated.
        """
        blocks = coordinates.model.blocks
        if any(part is not None for part in (blocks.strata, blocks.turned, blocks.tree)):
            return None
        levels = _levels(coordinates)
        if coordinates.dimension < LEAST or len(levels) < coordinates.dimension:
            return None
        every = np.arange(len(levels))
        cuts = [
            cls(level, every[levels >= level], every[levels < level])
            for level in range(1, len(coordinates.model.levels))
        ]
        least = min(cuts, key=lambda cut: cut._largest, default=None)
        return least if least is not None and least._largest <= MOST else None

    @property
    def _largest(self) -> int:
        return max(len(self.inner), len(self.outer))


def _levels(coordinates: Coordinates) -> Indices:
    """Level of each coordinate of an sd or of a correlation."""
    model = coordinates.model
    of_sds = zip(model.sds, coordinates.on_lattice, strict=True)
    levels = [level for (level, _, _), place in of_sds if place is not None]
    return np.array([*levels, *(level for level, _, _ in model.correlations)], dtype=np.intp)
