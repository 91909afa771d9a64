"""What families of events have in common: counts while rows were exposed, at a rate ``e^η``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.families.checks import OUTCOME, Invalid, positive, where_any, whole
from hiermodels.families.family import Columns
from hiermodels.families.links import LogLink

LARGEST_DRAWN = 1e18  # expected count up to which NumPy draws


class Events(LogLink):
    """Base of families whose counts have the mean ``exposure·e^η``."""

    columns: ClassVar[tuple[str, ...]] = ("exposure",)
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({"exposure": 1.0})
    effect: ClassVar[str | None] = "rate"
    is_discrete: ClassVar[bool] = True
    raw_word: ClassVar[str] = "rate"

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Counts that are negative or not whole, and exposures that are not positive."""
        return where_any(positive("exposure", columns["exposure"]), whole(OUTCOME, y))

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Events and exposures, of which an offset is a factor."""
        return y, columns["exposure"] * np.exp(offset)

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """From 0 on."""
        lowest = np.zeros_like(columns["exposure"])
        return lowest, lowest + np.inf


def describe_mean(eta: str, columns: Mapping[str, str]) -> str:
    """``exposure·exp(η)`` in words, or ``exp(η)`` where nobody names an exposure."""
    return f"{columns['exposure']}·exp({eta})" if "exposure" in columns else f"exp({eta})"


def draw_poisson(mean: Floats, rng: np.random.Generator) -> Floats:
    """Draw Poisson counts, of the shape of their means.

    Means beyond 10¹⁸, which no 64-bit integer holds a count of, have normal draws: their
    skewness is 10⁻⁹.
    """
    is_large = mean > LARGEST_DRAWN
    drawn = rng.poisson(np.where(is_large, 0.0, mean)).astype(float)
    if is_large.any():
        large = mean[is_large]
        drawn[is_large] = large * (1 + rng.standard_normal(large.shape) / np.sqrt(large))
    return drawn
