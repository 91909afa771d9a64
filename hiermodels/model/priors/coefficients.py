"""Priors of means and coefficients."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.core.codec import storable
from hiermodels.core.parameters import called
from hiermodels.families.normal import log_normal
from hiermodels.model.priors.base import Prior, no_draws
from hiermodels.model.priors.variance import InverseGamma


class CoefficientPrior(Prior):
    """A prior of a mean or a coefficient: normal, or flat as its limit."""

    @abstractmethod
    def mean_and_precision(self) -> tuple[float, float]:
        """Mean and inverse variance of the normal distribution; precision 0 is flat."""

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""
        return self.mean_and_precision()[1] > 0

    def log_density(self, value: Floats) -> Floats:
        """Log density; 0 under a flat prior."""
        mean, precision = self.mean_and_precision()
        return log_normal(value, mean, precision**-0.5) if precision > 0 else np.zeros_like(value)

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

    def to_pymc(
        self, pm: Any, name: str, start: float = 0.0, *, shift: Any = 0.0, **options: Any
    ) -> Any:
        """Add the parameter, moved by a shift that may be a variable, to the open PyMC model.

        Further options are those of PyMC's distributions: ``dims``, ``transform``.
        """
        mean, precision = self.mean_and_precision()
        sd = precision**-0.5 if precision > 0 else math.inf
        return normal_to_pymc(pm, name, mean, sd, start, shift=shift, **options)


@storable
@dataclass(frozen=True)
class Flat(CoefficientPrior):
    """Flat on the whole line: ``p(μ) = 1``.  Improper."""

    def mean_and_precision(self) -> tuple[float, float]:
        """``(0, 0)``."""
        return 0.0, 0.0


@called(mu="mean", sigma="sd")
@storable
@dataclass(frozen=True)
class Normal(CoefficientPrior):
    """Normal(mean, sd²).

    Parameters
    ----------
    mean : float
        In the outcome's unit; also as ``mu``, its name in PyMC.
    sd : float
        In the outcome's unit; also as ``sigma``.
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

    @property
    def variance(self) -> InverseGamma:
        """Prior of σ²."""
        return InverseGamma(self.alpha, self.beta)

    def log_density(self, value: Floats, sigma: Floats) -> Floats:
        """Log density of the mean given σ."""
        return log_normal(value, self.m, self.s * sigma)

    def to_pymc(
        self,
        pm: Any,
        name: str,
        start: float = 0.0,
        *,
        sigma: Any = 1.0,
        shift: Any = 0.0,
        **options: Any,
    ) -> Any:
        """Add the mean given σ, which is in the open PyMC model with the prior ``variance``."""
        return normal_to_pymc(pm, name, self.m, self.s, start, sigma=sigma, shift=shift, **options)


def normal_to_pymc(
    pm: Any,
    name: str,
    mean: float | Floats,
    sd: float | Floats,
    start: float | Floats,
    *,
    sigma: Any = 1.0,
    shift: Any = 0.0,
    **options: Any,
) -> Any:
    """Add means or coefficients, normal or flat, to the open PyMC model.

    Parameters
    ----------
    pm, name
        As in :meth:`Prior.to_pymc`.
    mean, sd : float or (q,)
        ``Normal(mean + shift, (sigma·sd)²)``; the density is 1 where the sd is infinite.
    start : float or (q,)
        Where sampling starts those whose prior has no place of its own.
    sigma, shift : scalar
        Numbers, or variables of the model.
    **options
        As PyMC's distributions take them.
    """
    mean, sd = np.float64(mean), np.float64(sd)
    if np.isfinite(sd).all():
        return pm.Normal(name, mean + shift, sd * sigma, **options)
    options |= {"initval": start, "random": no_draws}
    if np.isinf(sd).all():
        return pm.CustomDist(name, logp=pm.math.zeros_like, class_name="Flat", **options)

    def log_density(value: Any, mean: Any, precision: Any) -> Any:
        square = precision * (value - mean) ** 2
        log_precision = pm.math.log(pm.math.switch(precision > 0, precision, 2 * np.pi))
        return 0.5 * (log_precision - LOG_2PI - square)

    parameters = (mean + shift, sd**-2.0 / sigma**2)
    return pm.CustomDist(name, *parameters, logp=log_density, class_name="NormalOrFlat", **options)
