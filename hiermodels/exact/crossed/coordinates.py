"""Coordinates of the sds of crossed groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.exact.blocks.sd_coordinates import BEYOND, SdCoordinates
from hiermodels.exact.crossed.model import CrossedModel


@dataclass(frozen=True, eq=False)
class CrossedCoordinates(SdCoordinates[CrossedModel]):
    """Points (n, K) and what they mean."""

    model: CrossedModel

    @property
    def _ranges(self) -> list[tuple[float, float]]:
        return [self._range(k) for k in range(len(self.model.sd_priors))]

    def _range(self, factor: int) -> tuple[float, float]:
        """Log variances from a spread lost among the errors of members to one larger than any."""
        rows = self.model.rows
        member, y = rows.members[factor], rows.y - rows.x @ self.model.design.anchor
        information = np.bincount(member, rows.weights)
        mean = np.bincount(member, rows.weights * y)[information > 0]
        information = information[information > 0]
        error = float(np.median(1 / information))
        spread = float(np.mean((mean / information) ** 2)) / self.model.typical_sigma**2
        low = np.log(error) - 0.5 * np.log(len(information)) - BEYOND
        return float(low), float(np.log(max(spread, error)) + BEYOND)
