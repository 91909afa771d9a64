"""The lecture's sampler: independent draws of two models, in plain numpy, to be read from the top.

A lecture on hierarchical models (Zhang, *Hierarchical Models*, University of Minnesota, Division of
Biostatistics) draws the posterior of two models directly, without a Markov chain.  Here are its
equations as they should be, a line of code each; nothing of the rest of the package is needed to
read or run them.  The exact engine computes the same posteriors, and many more, another way;
the tests hold the two to each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.messages import short
from hiermodels.errors import DataError, ImproperPosteriorError, SpecError

__all__ = ["OnePopulation", "TwoLevels", "draw_one_population", "draw_two_levels"]

type Floats = NDArray[np.float64]

MAX_SIZE = 100_000_000  # numbers in theta, 0.8 GB
LARGEST = 1e50  # of numbers here, and its inverse of positive ones: squares and ratios are floats


class TwoLevels(NamedTuple):
    """Draws of the two-level model: ``tau2`` and ``mu``, both (draws,); ``theta``, (draws, J)."""

    tau2: Floats
    mu: Floats
    theta: Floats


class OnePopulation(NamedTuple):
    """Draws of the conjugate model: ``sigma2`` and ``theta``, both (draws,)."""

    sigma2: Floats
    theta: Floats


def draw_two_levels(
    y: Any, sigma: float, draws: int, rng: np.random.Generator, n: float = 1
) -> TwoLevels:
    """Draw the posterior of J groups whose means have one known variance.

    The mean y_j of n observations of group j has the variance e = σ²/n::

        y_j | θ_j ~ N(θ_j, e)      θ_j | μ, τ² ~ N(μ, τ²)      π(μ, τ²) = 1

    Integrating over θ_j leaves y_j ~ N(μ, V) with V = e + τ².  With ȳ the mean of the y_j, and
    S = Σ_j (y_j − ȳ)²,

        p(μ, V | y)  ∝  V^(−J/2) exp{−[S + J (μ − ȳ)²] / 2V}      for V > e.

    1. Over μ this integrates to V^(−(J−1)/2) exp(−S/2V): V has an inverse gamma distribution with
       shape (J − 3)/2 and scale S/2, *truncated to V > e*, as τ² is not negative.  In other words
       B = e/V has a gamma distribution with that shape and rate S/2e, truncated to B < 1.
    2. Given τ², μ ~ N(ȳ, V/J).
    3. Given μ and τ², θ_j ~ N(B μ + (1 − B) y_j, (1 − B) e): each group's mean is pulled towards μ
       by its share of noise, B.

    Parameters
    ----------
    y : array_like, (J,)
        Means of the groups, at least four: with fewer the integral over V is infinite.
    sigma : float
        The known sd of an observation.
    draws : int
        How many, at most 100,000,000 numbers in all.
    rng : numpy.random.Generator
    n : float
        Number of observations of each group.

    Returns
    -------
    TwoLevels
        Independent draws of τ², μ and θ.

    Raises
    ------
    DataError
        If the means are not finite numbers.
    SpecError
        If another argument is not what it should be.
    ImproperPosteriorError
        If there are fewer than four groups.

    Examples
    --------
    >>> import numpy as np
    >>> import hiermodels as hm
    >>> players = hm.datasets.load_baseball()
    >>> rng = np.random.default_rng(1)
    >>> tau2, mu, theta = hm.lecture.draw_two_levels(players["y"], 0.06, 4000, rng)
    >>> theta.shape
    (4000, 18)
    """
    y = _checked_sample(y)
    J = len(y)
    if J < 4:
        raise ImproperPosteriorError(
            "y: under the flat prior of τ² the posterior exists for at least 4 groups; "
            f"found {J}. Add groups, or take hm.fit with a proper prior of tau"
        )
    e = _positive("sigma", sigma) ** 2 / _positive("n", n)
    _check_draws(draws, rng, MAX_SIZE // J)
    S = ((y - y.mean()) ** 2).sum()
    B = gamma_below_one((J - 3) / 2, S / (2 * e), draws, rng)
    V = e / B
    mu = rng.normal(y.mean(), np.sqrt(V / J))
    mean = B[:, None] * mu[:, None] + (1 - B[:, None]) * y
    theta = rng.normal(mean, np.sqrt((1 - B[:, None]) * e))
    return TwoLevels(e * (1 - B) / B, mu, theta)


def gamma_below_one(shape: float, rate: float, size: int, rng: np.random.Generator) -> Floats:
    """Draw from the density ∝ B^(shape − 1) exp(−rate B) on 0 < B ≤ 1; (size,).

    By rejection, in one of two ways, both exact.  Where enough of the gamma distribution lies below
    1, what falls above is drawn again.  Where hardly any does (the groups differ less than their
    noise lets expect), the density rises up to 1, and B = U^(1/k), whose density is ∝ B^(k − 1), is
    accepted with probability exp{rate (log B + 1 − B)}, for k = shape − rate.  More than one in ten
    is accepted, whatever the shape and the rate are.
    """
    accepted: Floats = np.empty(0)
    while len(accepted) < size:
        if rate > max(shape / 2, shape - np.sqrt(shape)):
            B = rng.gamma(shape, 1 / rate, 2 * size)
            B = B[B < 1]
        else:
            B = (1 - rng.random(2 * size)) ** (1 / (shape - rate))
            B = B[np.log(1 - rng.random(2 * size)) <= rate * (np.log(B) + 1 - B)]
        accepted = np.concatenate([accepted, B])
    return accepted[:size]


def draw_one_population(
    y: Any, m: float, s: float, alpha: float, beta: float, draws: int, rng: np.random.Generator
) -> OnePopulation:
    """Draw the posterior of one normal population under the conjugate prior.

    With observations y_i, i = 1 … n, and the normal–inverse-gamma prior ::

        y_i ~ N(θ, σ²)      θ | σ² ~ N(m, σ² s²)      σ² ~ InverseGamma(α, β)

    the posterior is of the prior's family, as completing the square in θ shows:

    1. σ² ~ InverseGamma(α*, β*), with α* = α + n/2 and
       β* = β + ½ [Σ_i (y_i − ȳ)² + n (ȳ − m)² / (1 + n s²)].
    2. Given σ², θ ~ N(m*, σ²/κ*), with κ* = n + 1/s² and m* = (n ȳ + m/s²)/κ*.

    Parameters
    ----------
    y : array_like, (n,)
        Observations.
    m, s : float
        The prior mean of θ, and its prior sd in units of σ.
    alpha, beta : float
        Shape and scale of the prior of σ².
    draws : int
        How many, at most 100,000,000 numbers in all.
    rng : numpy.random.Generator

    Returns
    -------
    OnePopulation
        Independent draws of σ² and θ.

    Raises
    ------
    DataError
        If the observations are not finite numbers.
    SpecError
        If another argument is not what it should be.

    Examples
    --------
    >>> import numpy as np
    >>> import hiermodels as hm
    >>> y = hm.datasets.load_dyestuff()["yield_"]
    >>> rng = np.random.default_rng(1)
    >>> sigma2, theta = hm.lecture.draw_one_population(y, 1500, 1, 2, 5000, 4000, rng)
    >>> theta.shape
    (4000,)
    """
    y = _checked_sample(y)
    m, s = _number("m", m), _positive("s", s)
    alpha, beta = _positive("alpha", alpha), _positive("beta", beta)
    _check_draws(draws, rng, MAX_SIZE)
    n = len(y)
    S = ((y - y.mean()) ** 2).sum()
    kappa_star = n + 1 / s**2
    m_star = (n * y.mean() + m / s**2) / kappa_star
    alpha_star = alpha + n / 2
    beta_star = beta + (S + n * (y.mean() - m) ** 2 / (1 + n * s**2)) / 2
    sigma2 = beta_star / rng.gamma(alpha_star, size=draws)
    theta = rng.normal(m_star, np.sqrt(sigma2 / kappa_star))
    return OnePopulation(sigma2, theta)


def _numbers(given: Any) -> Floats | None:
    """Finite real numbers as an array of floats, or None if they are something else."""
    try:
        numbers = np.asarray(given)
    except (TypeError, ValueError):  # lists of different lengths
        return None
    if numbers.dtype.kind not in "iuf" or not numbers.size:
        return None
    numbers = numbers.astype(float)
    return numbers if (np.abs(numbers) <= LARGEST).all() else None


def _checked_sample(y: Any) -> Floats:
    """The observations as an array, (n,), or an error that says what they are instead."""
    sample = _numbers(y)
    if sample is None or sample.ndim != 1:
        raise DataError(
            f"y: expected a list of numbers between ±{LARGEST:g}, none missing; found {short(y)}"
        )
    return sample


def _number(name: str, given: Any) -> float:
    """One number, or an error that says what it is instead."""
    number = _numbers(given)
    if number is None or number.ndim:
        raise SpecError(f"{name}: expected a number between ±{LARGEST:g}; found {short(given)}")
    return float(number)


def _positive(name: str, given: Any) -> float:
    """One positive number, or an error that says what it is instead."""
    number = _number(name, given)
    if number < 1 / LARGEST:
        raise SpecError(
            f"{name}: expected a positive number, {1 / LARGEST:g} or more; found {short(given)}"
        )
    return number


def _check_draws(draws: Any, rng: Any, most: int) -> None:
    """Raise an error unless there is a number of draws and a generator."""
    is_integer = isinstance(draws, int | np.integer) and not isinstance(draws, bool)
    if not (is_integer and 1 <= draws <= most):
        raise SpecError(f"draws: expected an integer from 1 to {most:,}; found {short(draws)}")
    if not isinstance(rng, np.random.Generator):
        raise SpecError(
            f"rng: expected a generator, such as numpy.random.default_rng(1); found {short(rng)}"
        )
