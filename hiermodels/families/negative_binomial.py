"""Negative binomial rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.parameters import Parametric
from hiermodels.families.binomial import summed
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.events import Events, describe_mean, draw_poisson
from hiermodels.families.family import Columns
from hiermodels.families.leaves import Leaves
from hiermodels.families.links import exponential
from hiermodels.families.row_leaves import log_density


@storable
@dataclass(frozen=True)
class NegativeBinomial(Parametric, Events):
    """Counts with mean ``m = exposure·e^η`` and variance ``m + m²/size``.

    ``p(y) = Γ(y + size)/(Γ(size) y!)·(m/(m + size))^y·(size/(m + size))^size``.

    Parameters
    ----------
    size : float
        Positive and known; Poisson rows are the limit of a large one.
    """

    size: float
    name: ClassVar[str] = "negative_binomial"
    additive: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self._require_positive("size")

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``NegativeBinomial(exposure·exp(η), size)``."""
        return f"NegativeBinomial({describe_mean(eta, columns)}, {self.size:g})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``log p(y)`` of each row."""
        return log_density(self._of_rows(y, columns, 0.0), eta)

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``m`` and ``m + m²/size``."""
        mean = columns["exposure"] * exponential(eta)
        return mean, mean * (1 + mean / float(self.size))

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """``I_q(size, y + 1)`` with ``q = size/(m + size)``, a beta distribution function."""
        from scipy.special import betainc, expit

        size, y = float(self.size), np.floor(y)
        share = expit(math.log(size) - np.log(columns["exposure"]) - eta)
        return np.where(y < 0, 0.0, betainc(size, np.maximum(y, 0.0) + 1, share))

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw counts, of the shape of η: Poisson ones around gamma draws of their means."""
        size = float(self.size)
        gamma = rng.standard_gamma(size, eta.shape) / size
        return draw_poisson(columns["exposure"] * exponential(eta) * gamma, rng)

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """Likelihoods of groups: rows of a group with one exposure and offset add up."""
        return summed(self._of_rows(y, columns, offset), group, size)

    def _of_rows(self, y: Floats, columns: Columns, offset: Floats | float) -> BinomialLeaves:
        """Those of y successes and ``size`` failures, whose logit is ``log m − log size``.

        Only the constant differs, by ``log(size/(y + size))``.
        """
        size = float(self.size)
        shift = np.log(columns["exposure"]) + offset - math.log(size)
        columns_of = (y, size, shift, -np.log1p(y / size))
        return BinomialLeaves(*(np.array(a, float) for a in np.broadcast_arrays(*columns_of)))

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        expected = columns["exposure"] * pm.math.exp(eta)
        counts = observed.astype("int64")
        return pm.NegativeBinomial(
            name, mu=expected, alpha=np.float64(self.size), observed=counts, dims=dims
        )
