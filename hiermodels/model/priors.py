"""Priors: their densities, their tails, and whether they are proper.

A prior of a standard deviation τ is stated either on τ or on the variance τ², and says which
(``scale``).  The computations work with ``t = log τ``, where each of them is smooth:

    p(t) = p_sd(τ)·τ = 2·p_variance(τ²)·τ²,    t = log τ.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors for variance parameters).
"""

from __future__ import annotations

import ast
import inspect
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.codec import storable
from hiermodels.core.messages import short
from hiermodels.errors import SpecError

type Scale = Literal["sd", "variance"]

WEAK, LECTURE = "weak", "lecture"  # sets of priors that have a name
WEAK_FREEDOM, WEAK_SCALE = 3.0, 2.5  # of the half-t distribution, the latter at the least
MAD_OF_NORMAL = 1.4826  # sd of a normal distribution over its median absolute deviation
TABLE_ENDS = 350.0  # of log τ, where τ² is still a floating-point number
TABLE_SIZE = 4001
TABLE_DEPTH = 40.0  # below the highest log density


class Prior(ABC):
    """A prior of one parameter."""

    @property
    @abstractmethod
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not (self._number(name) > 0 and math.isfinite(value)):
                raise SpecError(
                    f"{type(self).__name__}({name}={value!r}): expected a positive, finite number"
                )

    def _require_finite(self, name: str) -> None:
        if not math.isfinite(self._number(name)):
            raise SpecError(
                f"{type(self).__name__}({name}={getattr(self, name)!r}): expected a finite number"
            )

    def _number(self, name: str) -> float:
        """A parameter, which has to be a number; nan if it is none that a float can hold."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise SpecError(
                f"{type(self).__name__}: {name}: expected a number; found {short(value)}"
            )
        try:
            return float(value)
        except OverflowError:
            return math.nan

    def _require_proper(self) -> None:
        if not self.is_proper:
            raise SpecError(f"{self} is improper: there is nothing to draw from")

    def __str__(self) -> str:
        values = ", ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({values})"


type Priors = Mapping[str, Prior] | str | None
"""Priors by parameter, ``"weak"``, ``"lecture"``, or None for the defaults."""


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


@dataclass(frozen=True)
class FlatVariance(VariancePrior):
    """Flat on the variance: ``p(τ²) = 1``.  Improper."""

    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = 1.0
    upper_tail: ClassVar[float] = 1.0

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2 + 2t``."""
        return LOG_2 + 2 * t


@dataclass(frozen=True)
class FlatSD(VariancePrior):
    """Flat on the sd: ``p(τ) = 1``.  Improper."""

    scale: ClassVar[Scale] = "sd"
    lower_tail: ClassVar[float] = 0.5
    upper_tail: ClassVar[float] = 0.5

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``t``."""
        return np.asarray(t, dtype=float)


@dataclass(frozen=True)
class Jeffreys(VariancePrior):
    """``p(σ²) = 1/σ²``, flat on log σ.  Improper; for a residual variance only."""

    scale: ClassVar[Scale] = "variance"
    lower_tail: ClassVar[float] = 0.0
    upper_tail: ClassVar[float] = 0.0

    def log_density_log_sd(self, t: Floats) -> Floats:
        """``log 2``."""
        return np.full_like(t, LOG_2, dtype=float)


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


def weak_scale(values: Floats | None = None) -> float:
    """Scale of weakly informative priors of sds: ``max(2.5, mad)``.

    Parameters
    ----------
    values : (n,), optional
        Outcomes, of whose spread ``mad = 1.4826 · median |y − median y|`` is a robust estimate; it
        is rounded to one decimal.  On the scale of a link there are none, and the scale is 2.5.

    References
    ----------
    Bürkner (2017), brms, Journal of Statistical Software 80(1): the defaults of that package.
    """
    if values is None:
        return WEAK_SCALE
    deviation = MAD_OF_NORMAL * float(np.median(np.abs(values - np.median(values))))
    return max(WEAK_SCALE, round(deviation, 1))


def weak_priors(sds: Iterable[str], scale: float) -> dict[str, Prior]:
    """Half-t distributions with 3 degrees of freedom for some sds, by their names."""
    return dict.fromkeys(sds, HalfStudentT(WEAK_FREEDOM, scale))


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


@dataclass(frozen=True)
class Flat(CoefficientPrior):
    """Flat on the whole line: ``p(μ) = 1``.  Improper."""

    def mean_and_precision(self) -> tuple[float, float]:
        """``(0, 0)``."""
        return 0.0, 0.0


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


PRIORS: Mapping[str, type[Prior]] = {
    kind.__name__: storable(kind)
    for kind in (
        *(FlatVariance, FlatSD, Jeffreys, HalfNormal, HalfCauchy, HalfStudentT, Exponential),
        *(Uniform, InverseGamma, Fixed, Flat, Normal, NormalInverseGamma),
    )
}


def parse_prior(text: str) -> Prior:
    """Read a prior as it is written in Python; nothing is evaluated.

    Parameters
    ----------
    text : str
        Name and parameters, which are numbers.

    Raises
    ------
    SpecError
        If it is not one of this module's priors, or its parameters are not right.

    Examples
    --------
    >>> from hiermodels.model.priors import parse_prior
    >>> parse_prior("HalfStudentT(3, sigma=2.5)")
    HalfStudentT(nu=3.0, sigma=2.5)
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise SpecError(f"prior: expected one such as HalfNormal(5) or FlatSD(); found {text!r}")
    if call.func.id not in PRIORS:
        raise SpecError(f"prior: there is no {call.func.id!r}; expected one of {', '.join(PRIORS)}")
    kind = PRIORS[call.func.id]
    positional = [_number(text, value) for value in call.args]
    named = {str(given.arg): _number(text, given.value) for given in call.keywords}
    signature = inspect.signature(kind)
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise SpecError(f"prior {text!r}: {error}; expected {kind.__name__}({names})") from error
    return kind(*positional, **named)


def _number(text: str, node: ast.expr) -> float:
    """Value of a number that is written out."""
    try:
        value = ast.literal_eval(node)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        pass
    raise SpecError(f"prior {text!r}: expected numbers; found {ast.unparse(node)}")
