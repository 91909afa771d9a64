"""Priors of means and coefficients."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.codec import storable
from hiermodels.model.priors.base import Prior


class CoefficientPrior(Prior):
    """A prior of a mean or a coefficient: normal, or flat as its limit."""

    @abstractmethod
    def mean_and_precision(self) -> tuple[float, float]:
        """Mean and inverse variance of the normal distribution; precision 0 is flat."""

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""
        return self.mean_and_precision()[1] > 0

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw independently; shape (size,).

        Raises
        ------
        SpecError
            If the prior is improper.
        """
        self._require_proper()
        mean, precision = self.mean_and_precision()
        return mean + rng.standard_normal(size) / math.sqrt(precision)


@storable
@dataclass(frozen=True)
class Flat(CoefficientPrior):
    """Flat on the whole line: ``p(μ) = 1``.  Improper."""

    def mean_and_precision(self) -> tuple[float, float]:
        """``(0, 0)``."""
        return 0.0, 0.0


@storable
@dataclass(frozen=True)
class Normal(CoefficientPrior):
    """Normal(mean, sd²).

    Parameters
    ----------
    mean : float
        In the outcome's unit.
    sd : float
        In the outcome's unit.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        self._require_positive("sd")
        self._require_finite("mean")

    def mean_and_precision(self) -> tuple[float, float]:
        """``(mean, 1/sd²)``."""
        return self.mean, self.sd**-2


@storable
@dataclass(frozen=True)
class NormalInverseGamma(Prior):
    """The conjugate prior of one normal population, for mean and variance together.

    ``θ | σ² ~ Normal(m, σ² s²)`` and ``σ² ~ InverseGamma(alpha, beta)``.  In a regression without
    groups the same of ``mu`` or of a coefficient, with one ``alpha`` and ``beta`` for all.

    Parameters
    ----------
    m : float
        Prior mean of θ, in the outcome's unit.
    s : float
        Prior sd of θ in units of σ: the prior is worth ``1/s²`` observations.
    alpha : float
        Shape of σ².
    beta : float
        Scale of σ², in the outcome's unit squared.
    """

    m: float
    s: float
    alpha: float
    beta: float

    def __post_init__(self) -> None:
        self._require_positive("s", "alpha", "beta")
        self._require_finite("m")

    @property
    def is_proper(self) -> bool:
        """Always."""
        return True
