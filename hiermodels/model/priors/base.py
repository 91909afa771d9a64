"""What every prior is, and what every prior of an sd or a variance is.

A prior is a frozen dataclass: what it says of itself is all that the engines take from it.  The
exact engine takes the log density and its tails, PyMC takes ``to_pymc``, simulation takes ``draw``,
and files and summaries take the parameters.  ``tests/contracts`` holds every registered prior to
this.

A prior of a standard deviation τ is stated either on τ or on the variance τ², and says which
(``scale``).  The computations work with ``t = log τ``, where each of them is smooth:

    p(t) = p_sd(τ)·τ = 2·p_variance(τ²)·τ²,    t = log τ.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from hiermodels.core.arrays import LOG_2, Floats
from hiermodels.core.messages import short
from hiermodels.core.parameters import Parametric
from hiermodels.errors import SpecError

type Scale = Literal["sd", "variance"]

TABLE_ENDS = 350.0  # of log τ, where τ² is still a floating-point number
TABLE_SIZE = 4001
TABLE_DEPTH = 40.0  # below the highest log density


class Prior(Parametric, ABC):
    """A prior of one parameter."""

    @property
    @abstractmethod
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""

    @abstractmethod
    def to_pymc(self, pm: Any, name: str, start: float) -> Any:
        """Add the parameter to the open PyMC model.

        Parameters
        ----------
        pm : module
            ``pymc``, which takes seconds to import: it comes in.
        name : str
            Of the variable.
        start : float
            Where sampling starts, in the outcome's unit, if the prior has no place of its own.
            Priors of means take more, by name.

        Returns
        -------
        TensorVariable
        """

    def _require_proper(self) -> None:
        if not self.is_proper:
            raise SpecError(f"{self} is improper: there is nothing to draw from")


class VariancePrior(Prior):
    """A prior of a standard deviation τ, stated on τ or on τ².

    To make one of your own, subclass this as a frozen dataclass with ``scale``,
    ``log_density_log_sd``, ``lower_tail`` and ``upper_tail``.  The tails decide whether a
    posterior exists: ``p(log τ)`` behaves as ``(τ²)**lower_tail`` when τ → 0 and as
    ``(τ²)**upper_tail`` when τ → ∞.  Draws and the form in PyMC are made from the density; give it
    ``draw`` and ``to_pymc`` of its own where that is not possible, or is slow.

    Attributes
    ----------
    scale : {"sd", "variance"}
        What the prior's parameters, and its ``log_density``, speak of.
    upper : float
        Largest sd that the prior allows; infinity if there is none.
    """

    scale: ClassVar[Scale]
    upper: float = math.inf

    def __init_subclass__(cls, **options: Any) -> None:
        """A class with another density inherits neither draws nor PyMC's form of the old one."""
        super().__init_subclass__(**options)
        if "log_density_log_sd" in vars(cls):
            for name in ("draw", "to_pymc"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(VariancePrior, name))

    @property
    @abstractmethod
    def lower_tail(self) -> float:
        """Exponent of τ² in ``p(log τ)`` as τ → 0."""

    @property
    @abstractmethod
    def upper_tail(self) -> float:
        """Exponent of τ² in ``p(log τ)`` as τ → ∞."""

    @property
    def gaussian_tail(self) -> float:
        """Rate c with which ``p(τ)`` falls as ``exp(−cτ²)`` as τ → ∞: 0 if slower, ∞ if faster.

        The mean of what grows as ``exp(τ²)``, such as a rate whose logarithm has the sd τ, needs
        it.  A class that does not say it has 0, or ∞ if it ends at a largest sd.
        """
        return math.inf if math.isfinite(self.upper) else 0.0

    @abstractmethod
    def log_density_log_sd(self, t: Floats) -> Floats:
        """Log density of ``t = log τ``."""

    def log_density(self, value: Floats) -> Floats:
        """Log density on the prior's own scale, at sds or at variances as ``scale`` says."""
        log_value = np.log(value)
        if self.scale == "sd":
            return self.log_density_log_sd(log_value) - log_value
        return self.log_density_log_sd(log_value / 2) - log_value - LOG_2

    def log_density_sd(self, sd: Floats) -> Floats:
        """Log density of an sd, whichever scale the prior is stated on."""
        log_sd = np.log(sd)
        return self.log_density_log_sd(log_sd) - log_sd

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

    def to_pymc(self, pm: Any, name: str, start: float = 1.0) -> Any:
        """Add the sd to the open PyMC model.

        The density's own code, run on a variable of PyTensor in place of an array, states it: NumPy
        hands such functions as ``np.exp``, ``np.log1p``, ``np.abs`` and all arithmetic on to the
        variable.

        Raises
        ------
        SpecError
            If the code needs numbers, as ``np.where`` and SciPy's functions do.
        """
        self._require_symbolic(pm, name)
        transforms = pm.distributions.transforms
        bounded = math.isfinite(self.upper)

        def random(*_: Any, rng: np.random.Generator, size: Any) -> Floats:
            shape = () if size is None else tuple(size)
            return self.draw(math.prod(shape), rng).reshape(shape)

        return pm.CustomDist(
            name,
            logp=self.log_density_sd,
            random=random if self.is_proper else no_draws,
            transform=transforms.Interval(0.0, self.upper) if bounded else transforms.log,
            initval=min(start, self.upper / 2),
            class_name=type(self).__name__,
        )

    def _require_symbolic(self, pm: Any, name: str) -> None:
        """Raise SpecError if the density's code does not run on a variable of PyTensor."""
        sd = pm.HalfFlat.dist()
        reason: Exception | None = None
        try:
            density: Any = self.log_density_sd(sd)
            if not isinstance(density, type(sd)):
                reason = TypeError(f"expected an expression of PyTensor; found {short(density)}")
        except Exception as error:  # whatever code of the user's own may raise
            reason = error
        if reason:
            kind = type(self).__name__
            raise SpecError(
                f"priors: PyMC cannot state {self} of {name!r}: {kind}.log_density_log_sd needs "
                f"numbers, as np.where and SciPy's functions do. Give {kind} a method "
                f"to_pymc(pm, name, start) that adds the sd to the open model; or use "
                f"engine='exact', which takes any prior"
            ) from reason

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


def no_draws(*parameters: Any, rng: Any = None, size: Any = None) -> Floats:
    """What an improper prior has instead of draws in PyMC: nan, of the shape that is asked for.

    PyMC's ``Flat`` and ``HalfFlat`` raise an error where it draws to learn a shape, as
    ``model.table`` and ``pm.model_to_graphviz`` do.
    """
    return np.full(() if size is None else tuple(size), np.nan)


type Priors = Mapping[str, Prior | str] | str | None
"""By parameter, as objects or as text; or ``"weak"``, ``"lecture"``, or None for the defaults."""
