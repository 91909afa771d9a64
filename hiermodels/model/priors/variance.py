"""Priors: their densities, their tails, and whether they are proper.

A prior of a standard deviation τ is stated either on τ or on the variance τ², and says which
(``scale``).  The computations work with ``t = log τ``, where each of them is smooth:

    p(t) = p_sd(τ)·τ = 2·p_variance(τ²)·τ²,    t = log τ.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors for variance parameters).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.codec import storable
from hiermodels.errors import SpecError
from hiermodels.model.priors.base import Prior, Scale

TABLE_ENDS = 350.0  # of log τ, where τ² is still a floating-point number
TABLE_SIZE = 4001
TABLE_DEPTH = 40.0  # below the highest log density


class VariancePrior(Prior):
    """A prior of a standard deviation τ, stated on τ or on τ².

    To make one of your own, subclass this as a frozen dataclass with ``scale``,
    ``log_density_log_sd``, ``lower_tail`` and ``upper_tail``.  The tails decide whether a
    posterior exists: ``p(log τ)`` behaves as ``(τ²)**lower_tail`` when τ → 0 and as
    ``(τ²)**upper_tail`` when τ → ∞.

    Attributes
    ----------
    scale : {"sd", "variance"}
        What the prior's parameters, and its ``log_density``, speak of.
    upper : float
        Largest sd that the prior allows; infinity if there is none.
    """

    scale: ClassVar[Scale]
    upper: float = math.inf

    @property
    @abstractmethod
    def lower_tail(self) -> float:
        """Exponent of τ² in ``p(log τ)`` as τ → 0."""

    @property
    @abstractmethod
    def upper_tail(self) -> float:
        """Exponent of τ² in ``p(log τ)`` as τ → ∞."""

    @abstractmethod
    def log_density_log_sd(self, t: Floats) -> Floats:
        """Log density of ``t = log τ``."""

    def log_density(self, value: Floats) -> Floats:
        """Log density on the prior's own scale, at sds or at variances as ``scale`` says."""
        log_value = np.log(value)
        if self.scale == "sd":
            return self.log_density_log_sd(log_value) - log_value
        return self.log_density_log_sd(log_value / 2) - log_value - LOG_2

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral: both tails fall."""
        return self.lower_tail > 0 and self.upper_tail < 0

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds τ independently, whichever scale the prior is stated on; shape (size,).

        The proper priors of this module know how to draw.  For a prior of a user's own this
        inverts the distribution function of log τ, tabulated from the density.

        Raises
        ------
        SpecError
            If the prior is improper, or its tails are too heavy for a table.
        """
        self._require_proper()
        t, density = self._table()
        below = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
        return np.exp(np.interp(rng.random(size) * below[-1], below, t))

    def _table(self) -> tuple[Floats, Floats]:
        """Evenly spaced values of log τ over all but e⁻⁴⁰ of the prior, and the density there."""
        low, high = -TABLE_ENDS, min(TABLE_ENDS, math.log(self.upper))
        while True:
            t = np.linspace(low, high, TABLE_SIZE)
            with np.errstate(over="ignore"):
                log_density = self.log_density_log_sd(t)
            log_density = log_density - log_density.max()
            first, last = np.flatnonzero(log_density > -TABLE_DEPTH)[[0, -1]]
            if t[first] == -TABLE_ENDS or t[last] == TABLE_ENDS:
                raise SpecError(
                    f"{self} has tails so heavy that its draws cannot be tabulated; give "
                    f"{type(self).__name__} a method draw(size, rng) of its own"
                )
            if last - first > TABLE_SIZE / 4:
                return t, np.exp(log_density)
            low, high = t[max(first - 1, 0)], t[min(last + 1, TABLE_SIZE - 1)]


@storable
@dataclass(frozen=True)
class FlatVariance(VariancePrior):
    """Flat on the variance: ``p(τ²) = 1``.  Improper."""

    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = 1.0
    upper_tail: ClassVar[float] = 1.0

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2 + 2t``."""
        return LOG_2 + 2 * t


@storable
@dataclass(frozen=True)
class FlatSD(VariancePrior):
    """Flat on the sd: ``p(τ) = 1``.  Improper."""

    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = 0.5

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``t``."""
        return np.asarray(t, dtype=float)


@storable
@dataclass(frozen=True)
class Jeffreys(VariancePrior):
    """``p(σ²) = 1/σ²``, flat on log σ.  Improper; for a residual variance only."""

    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = 0.0
    upper_tail: ClassVar[float] = 0.0

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2``."""
        return np.full_like(t, LOG_2, dtype=float)


@storable
@dataclass(frozen=True)
class HalfNormal(VariancePrior):
    """Normal(0, sd²) on τ, folded at 0.

    Parameters
    ----------
    sd : float
        Scale, in the outcome's unit.
    """

    sd: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = -math.inf

    def __post_init__(self) -> None:
        self._require_positive("sd")

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``½ log(2/π) + u − ½ e^{2u}`` with ``u = t − log sd``."""
        u = t - math.log(self.sd)
        return 0.5 * math.log(2 / math.pi) + u - 0.5 * np.exp(2 * u)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.sd * np.abs(rng.standard_normal(size))


@storable
@dataclass(frozen=True)
class HalfCauchy(VariancePrior):
    """Cauchy(0, scale) on τ, folded at 0.

    Parameters
    ----------
    beta : float
        Scale, in the outcome's unit: the prior median of τ.
    """

    beta: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = -0.5

    def __post_init__(self) -> None:
        self._require_positive("beta")

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log(2/π) + u − log(1 + e^{2u})`` with ``u = t − log beta``."""
        u = t - math.log(self.beta)
        return math.log(2 / math.pi) + u - np.logaddexp(0, 2 * u)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.beta * np.abs(rng.standard_cauchy(size))


@storable
@dataclass(frozen=True)
class HalfStudentT(VariancePrior):
    """Student-t(nu, 0, sigma) on τ, folded at 0.

    Parameters
    ----------
    nu : float
        Degrees of freedom.
    sigma : float
        Scale, in the outcome's unit.
    """

    nu: float
    sigma: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        self._require_positive("nu", "sigma")

    @property
    def upper_tail(self) -> float:
        """``−nu/2``."""
        return -self.nu / 2

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``c + u − ½(nu + 1) log(1 + e^{2u}/nu)`` with ``u = t − log sigma``."""
        nu = self.nu
        u = t - math.log(self.sigma)
        constant = LOG_2 + math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
        constant -= 0.5 * math.log(nu * math.pi)
        return constant + u - 0.5 * (nu + 1) * np.logaddexp(0, 2 * u - math.log(nu))

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.sigma * np.abs(rng.standard_t(self.nu, size))


@storable
@dataclass(frozen=True)
class Exponential(VariancePrior):
    """Exponential on τ.

    Parameters
    ----------
    mean : float
        Prior mean of τ, in the outcome's unit: the inverse of the rate.
    """

    mean: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = -math.inf

    def __post_init__(self) -> None:
        self._require_positive("mean")

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``u − e^u`` with ``u = t − log mean``."""
        u = t - math.log(self.mean)
        return u - np.exp(u)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.mean * rng.standard_exponential(size)


@storable
@dataclass(frozen=True)
class Uniform(VariancePrior):
    """Uniform on τ between 0 and an upper bound.

    Parameters
    ----------
    upper : float
        The bound, in the outcome's unit.
    """

    upper: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = -math.inf

    def __post_init__(self) -> None:
        self._require_positive("upper")

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``t − log upper`` up to ``t = log upper``, and −∞ beyond."""
        bound = math.log(self.upper)
        return np.where(t <= bound, t - bound, -np.inf)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.upper * (1 - rng.random(size))


@storable
@dataclass(frozen=True)
class InverseGamma(VariancePrior):
    """Inverse gamma on the variance τ²: ``p(τ²) ∝ τ^{−2(alpha + 1)} exp(−beta/τ²)``.

    Parameters
    ----------
    alpha : float
        Shape.
    beta : float
        Scale, in the outcome's unit squared.
    """

    alpha: float
    beta: float
    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        self._require_positive("alpha", "beta")

    @property
    def upper_tail(self) -> float:
        """``−alpha``."""
        return -self.alpha

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2 + alpha log beta − log Γ(alpha) − 2 alpha t − beta e^{−2t}``.

        With ``u = t − ½ log(beta/alpha)``, which is 0 where the density of t is highest, the last
        two terms are ``−alpha (2u + e^{−2u} − 1)`` and a constant: of a narrow prior's large
        terms no digits are lost.
        """
        alpha = self.alpha
        u = t - (math.log(self.beta) - math.log(alpha)) / 2
        constant = LOG_2 + alpha * (math.log(alpha) - 1) - math.lgamma(alpha)
        return constant - alpha * (2 * u + np.expm1(-2 * u))

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds, the square roots of variances ``beta/Gamma(alpha, 1)``; shape (size,)."""
        return np.sqrt(self.beta / rng.standard_gamma(self.alpha, size))


@storable
@dataclass(frozen=True)
class Fixed(VariancePrior):
    """All mass on one sd, which is thereby known.

    Parameters
    ----------
    value : float
        The sd, in the outcome's unit.  A group-level sd may be 0, which pools completely; a
        residual sd may not.
    """

    value: float
    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = math.inf
    upper_tail: ClassVar[float] = -math.inf

    def __post_init__(self) -> None:
        if not (self._number("value") >= 0 and math.isfinite(self.value)):
            raise SpecError(f"Fixed(value={self.value!r}): expected a finite number, at least 0")

    def log_density_log_sd(self, t: Floats) -> Floats:
        """There is none.

        Raises
        ------
        SpecError
            Always: a mass at one place has no density.
        """
        raise SpecError(f"{self} is a mass at one place, which has no density")

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Return the sd, as often as asked for; shape (size,)."""
        return np.full(size, float(self.value))
