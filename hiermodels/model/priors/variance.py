"""Priors of sds and variances: see :class:`hiermodels.model.priors.base.VariancePrior`.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors for variance parameters).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.codec import storable
from hiermodels.core.messages import short
from hiermodels.core.parameters import Named, called, translated
from hiermodels.core.scalars import is_number
from hiermodels.errors import SpecError
from hiermodels.model.priors.base import Scale, VariancePrior, no_draws


def power_to_pymc(prior: VariancePrior, pm: Any, name: str, start: float = 1.0) -> Any:
    """Add an sd whose improper density is a power: ``p(τ) = C τ^(2a − 1)``.

    The exponent a of τ² in ``p(log τ)`` is that of either tail.
    """
    constant, power = prior.log_density_log_sd(np.zeros(1))[0], 2 * prior.lower_tail - 1
    return pm.CustomDist(
        name,
        logp=lambda sd: constant + power * pm.math.log(sd),
        random=no_draws,
        transform=pm.distributions.transforms.log,
        initval=start,
        class_name=type(prior).__name__,
    )


def half_to_pymc(prior: VariancePrior, pm: Any, name: str, start: float = 1.0) -> Any:
    """Add an sd whose prior PyMC has under the same name, with the same parameters."""
    parameters = (np.float64(getattr(prior, field.name)) for field in fields(prior))  # type: ignore[arg-type]
    return getattr(pm, type(prior).__name__)(name, *parameters)


@storable
@dataclass(frozen=True)
class FlatVariance(VariancePrior):
    """Flat on the variance: ``p(τ²) = 1``.  Improper."""

    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = 1.0
    upper_tail: ClassVar[float] = 1.0
    to_pymc = power_to_pymc

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
    to_pymc = power_to_pymc

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
    to_pymc = power_to_pymc

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2``."""
        return np.full_like(t, LOG_2, dtype=float)


class SdPrior(VariancePrior):
    """A proper prior that is stated on τ, and has a density above 0 at τ = 0."""

    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5


@called(sigma="sd")
@storable
@dataclass(frozen=True)
class HalfNormal(SdPrior):
    """Normal(0, sd²) on τ, folded at 0.

    Parameters
    ----------
    sd : float
        Scale, in the outcome's unit; also as ``sigma``, its name in PyMC.
    """

    sd: float
    upper_tail: ClassVar[float] = -math.inf
    to_pymc = half_to_pymc

    def __post_init__(self) -> None:
        self._require_positive("sd")

    @property
    def gaussian_tail(self) -> float:
        """``1/(2 sd²)``."""
        return 0.5 / self.sd / self.sd

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``½ log(2/π) + u − ½ e^{2u}`` with ``u = t − log sd``."""
        u = t - math.log(self.sd)
        return 0.5 * math.log(2 / math.pi) + u - 0.5 * np.exp(2 * u)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw sds; shape (size,)."""
        return self.sd * np.abs(rng.standard_normal(size))


@storable
@dataclass(frozen=True)
class HalfCauchy(SdPrior):
    """Cauchy(0, scale) on τ, folded at 0.

    Parameters
    ----------
    beta : float
        Scale, in the outcome's unit: the prior median of τ.
    """

    beta: float
    upper_tail: ClassVar[float] = -0.5
    to_pymc = half_to_pymc

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
class HalfStudentT(SdPrior):
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
    to_pymc = half_to_pymc

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


def _mean_of_rate(named: Named) -> Named:
    """The mean of an exponential distribution in place of its rate ``lam``, as PyMC has it."""
    if "lam" not in named:
        return named
    rate, others = named["lam"], {name: value for name, value in named.items() if name != "lam"}
    if others:
        raise SpecError(f"Exponential: expected the mean or the rate lam; found {short(named)}")
    if not (is_number(rate) and 0 < rate < math.inf):
        raise SpecError(f"Exponential(lam={short(rate)}): expected a positive, finite number")
    return {"mean": 1 / rate}


@translated(_mean_of_rate)
@called(scale="mean")
@storable
@dataclass(frozen=True)
class Exponential(SdPrior):
    """Exponential on τ.

    Parameters
    ----------
    mean : float
        Prior mean of τ, in the outcome's unit; also as ``scale``, or by the rate ``lam``, which is
        its inverse: names of PyMC.
    """

    mean: float
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

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add the sd to the open PyMC model."""
        return pm.Exponential(name, scale=np.float64(self.mean))


def _from_zero(named: Named) -> Named:
    """The upper bound alone, where PyMC's ``lower`` is 0, as it is for every sd."""
    lower = named.get("lower", 0)
    if not (is_number(lower) and lower == 0):
        raise SpecError(f"Uniform(lower={short(lower)}): expected 0, where sds begin")
    return {name: value for name, value in named.items() if name != "lower"}


@translated(_from_zero)
@storable
@dataclass(frozen=True)
class Uniform(SdPrior):
    """Uniform on τ between 0 and an upper bound.

    Parameters
    ----------
    upper : float
        The bound, in the outcome's unit.
    """

    upper: float
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

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add the sd to the open PyMC model."""
        return pm.Uniform(name, 0, np.float64(self.upper))


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

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add the sd, whose square is inverse gamma, to the open PyMC model."""

        def root(alpha: Any, beta: Any, size: Any) -> Any:
            return pm.math.sqrt(pm.InverseGamma.dist(alpha, beta, size=size))

        return pm.CustomDist(
            name,
            np.float64(self.alpha),
            np.float64(self.beta),
            dist=root,
            transform=pm.distributions.transforms.log,
            class_name="RootInverseGamma",
        )


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
    gaussian_tail: ClassVar[float] = math.inf

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

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add the sd to the open PyMC model, as a number."""
        return pm.Deterministic(name, pm.math.constant(np.float64(self.value)))
