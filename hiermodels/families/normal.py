"""Normal rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.families.family import Columns


def log_normal(y: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    """Log density of ``N(mean, sd²)`` at y."""
    return -0.5 * (LOG_2PI + ((y - mean) / sd) ** 2) - np.log(sd)


@dataclass(frozen=True)
class NormalRows:
    """``y ~ N(η, sd²)``: the linear predictor is the mean."""

    name: ClassVar[str] = "normal"
    columns: ClassVar[tuple[str, ...]] = ("sd",)
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({})
    link: ClassVar[str] = "identity"
    effect: ClassVar[str | None] = None
    is_discrete: ClassVar[bool] = False

    def inverse_link(self, eta: Floats) -> Floats:
        """The linear predictor itself."""
        return eta

    def invalid(self, y: Floats, columns: Columns) -> Iterator[tuple[str, NDArray[np.bool_], str]]:
        """Nothing: any number will do."""
        yield from ()

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``Normal(η, sd)``."""
        return f"Normal({eta}, {columns['sd']})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log N(y; η, sd²)`` of each row."""
        return log_normal(y, eta, columns["sd"])

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw outcomes: ``η + sd·noise``, of the shape of η."""
        drawn = rng.standard_normal(eta.shape)
        drawn *= columns["sd"]
        drawn += eta
        return drawn

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Floats, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        return pm.Normal(name, eta, columns["sd"], observed=observed, dims=dims)
