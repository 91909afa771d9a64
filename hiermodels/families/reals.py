"""What families of real outcomes have in common: rows around η, with a standard deviation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.families.checks import OUTCOME, Invalid, finite, positive, where_any
from hiermodels.families.family import Columns
from hiermodels.families.links import IdentityLink


class Reals(IdentityLink):
    """Base of families of numbers, ``η + sd·noise``."""

    columns: ClassVar[tuple[str, ...]] = ("sd",)
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({})
    additive: ClassVar[tuple[str, ...]] = ()
    effect: ClassVar[str | None] = None
    is_discrete: ClassVar[bool] = False
    raw_word: ClassVar[str] = "mean"

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Outcomes that are not finite, and standard deviations, where known, not positive."""
        sds = [positive("sd", columns["sd"])] if "sd" in columns else []
        return where_any(*sds, finite(OUTCOME, y))

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Outcomes less their offsets weighted by ``1/sd²``, and these weights, ``(N,)``."""
        weight = np.broadcast_to(columns["sd"], offset.shape) ** -2.0
        return (y - offset) * weight, weight

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """All numbers."""
        every = np.full_like(columns["sd"], np.inf)
        return -every, every
