"""Poisson rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.families.checks import OUTCOME, Invalid, positive, where_any, whole
from hiermodels.families.family import Columns, Link
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.row_leaves import log_density, log_given_total

LARGEST_DRAWN = 1e18  # expected count up to which NumPy draws


@storable
@dataclass(frozen=True)
class Poisson:
    """``y ~ Poisson(exposure·e^η)``: events while the row was exposed, at the rate ``e^η``."""

    name: ClassVar[str] = "poisson"
    columns: ClassVar[tuple[str, ...]] = ("exposure",)
    defaults: ClassVar[Mapping[str, float]] = MappingProxyType({"exposure": 1.0})
    additive: ClassVar[tuple[str, ...]] = ("exposure",)
    link: ClassVar[Link] = "log"
    effect: ClassVar[str | None] = "rate"
    is_discrete: ClassVar[bool] = True
    raw_word: ClassVar[str] = "rate"

    def inverse_link(self, eta: Floats) -> Floats:
        """``e^η``, the rate."""
        return exponential(eta)

    def invalid(self, y: Floats, columns: Columns) -> Iterator[Invalid]:
        """Counts that are negative or not whole, and exposures that are not positive."""
        return where_any(positive("exposure", columns["exposure"]), whole(OUTCOME, y))

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

    def raw(self, y: Floats, columns: Columns, offset: Floats) -> tuple[Floats, Floats]:
        """Events and exposures, of which an offset is a factor."""
        return y, columns["exposure"] * np.exp(offset)

    def support(self, columns: Columns) -> tuple[Floats, Floats]:
        """From 0 on."""
        lowest = np.zeros_like(columns["exposure"])
        return lowest, lowest + np.inf

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


def describe_mean(eta: str, columns: Mapping[str, str]) -> str:
    """``exposure·exp(η)`` in words, or ``exp(η)`` where nobody names an exposure."""
    return f"{columns['exposure']}·exp({eta})" if "exposure" in columns else f"exp({eta})"


def exponential(eta: Floats) -> Floats:
    """``e^η``, infinite where it is larger than any floating-point number."""
    with np.errstate(over="ignore"):
        return np.exp(eta)


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
