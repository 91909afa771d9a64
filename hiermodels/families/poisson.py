"""Poisson rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.events import Events, describe_mean, draw_poisson
from hiermodels.families.family import Columns
from hiermodels.families.links import exponential
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.row_leaves import log_density, log_given_total


@storable
@dataclass(frozen=True)
class Poisson(Events):
    """``y ~ Poisson(exposure·e^η)``: events while the row was exposed, at the rate ``e^η``."""

    name: ClassVar[str] = "poisson"
    additive: ClassVar[tuple[str, ...]] = ("exposure",)

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``Poisson(exposure·exp(η))``."""
        return f"Poisson({describe_mean(eta, columns)})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``y log m − m − log y!`` of each row, with ``m = exposure·e^η``."""
        return log_density(PoissonLeaves.of(y, columns["exposure"]), eta)

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``m`` twice, with ``m = exposure·e^η``."""
        mean = columns["exposure"] * exponential(eta)
        return mean, mean

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``Q(y + 1, m)``, what a gamma distribution has above m."""
        from scipy.special import gammaincc

        y = np.floor(y)
        mean = columns["exposure"] * exponential(eta)
        return np.where(y < 0, 0.0, gammaincc(np.maximum(y, 0.0) + 1, mean))

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw counts, of the shape of η."""
        return draw_poisson(columns["exposure"] * exponential(eta), rng)

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> PoissonLeaves:
        """Likelihoods of groups: counts add up, and so do ``exposure·e^offset``."""
        rows = PoissonLeaves.of(y, columns["exposure"])
        rows = replace(rows, log_exposure=rows.log_exposure + offset)
        largest = np.full(size, -np.inf)
        np.maximum.at(largest, group, rows.log_exposure)
        relative = np.exp(rows.log_exposure - largest[group])
        total = PoissonLeaves(
            np.bincount(group, weights=rows.counts, minlength=size),
            largest + np.log(np.bincount(group, weights=relative, minlength=size)),
            np.zeros(size),
        )
        return replace(total, log_given_sum=log_given_total(rows, total, group))

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        expected = columns["exposure"] * pm.math.exp(eta)
        counts = observed.astype("int64")
        return pm.Poisson(name, expected, observed=counts, dims=dims)
