"""Normal rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.family import Columns
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.reals import Reals
from hiermodels.families.row_leaves import log_given_total
from hiermodels.numerics.group_sums import group_means


def log_normal(y: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    """Log density of ``N(mean, sd²)`` at y."""
    return -0.5 * (LOG_2PI + ((y - mean) / sd) ** 2) - np.log(sd)


@storable
@dataclass(frozen=True)
class NormalRows(Reals):
    """``y ~ N(η, sd²)``: the linear predictor is the mean."""

    name: ClassVar[str] = "normal"

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``Normal(η, sd)``."""
        return f"Normal({eta}, {columns['sd']})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log N(y; η, sd²)`` of each row."""
        return log_normal(y, eta, columns["sd"])

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``η`` and ``sd²``."""
        sd = columns["sd"]
        return eta, np.broadcast_to(sd**2, np.broadcast_shapes(eta.shape, sd.shape))

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """The normal distribution function."""
        from scipy.special import ndtr

        return ndtr((y - eta) / columns["sd"])

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw outcomes: ``η + sd·noise``, of the shape of η."""
        drawn = rng.standard_normal(eta.shape)
        drawn *= columns["sd"]
        drawn += eta
        return drawn

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> NormalLeaves:
        """Likelihoods of groups: the rows' means, weighted by ``sd⁻²``."""
        rows = NormalLeaves.of(y - offset, columns["sd"])
        smallest = np.full(size, np.inf)
        np.minimum.at(smallest, group, rows.sd)
        weight = (smallest[group] / rows.sd) ** 2
        total, some, above = group_means(rows.mean[:, None], weight, group, size)
        means = NormalLeaves.of((some + above)[:, 0], smallest / np.sqrt(total))
        return replace(means, log_given_mean=log_given_total(rows, means, group))

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        return pm.Normal(name, eta, columns["sd"], observed=observed, dims=dims)
