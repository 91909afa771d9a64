"""Simulated data, with the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arguments import checked
from hiermodels.core.messages import LARGEST
from hiermodels.core.seeds import generator
from hiermodels.errors import SpecError

SDS = ("kappa", "tau", "sigma")
LARGEST_SIZE = 1_000_000_000  # of groups or rows


@checked
def simulate_classrooms(
    n_schools: int | tuple[int, int] = 20,
    classrooms: int | tuple[int, int] = 4,
    pupils: int | tuple[int, int] = 25,
    *,
    lam: float = 0.0,
    kappa: float = 1.0,
    tau: float = 0.7,
    sigma: float = 1.5,
    beta: float | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Simulate pupils in classrooms in schools.

    The three-level model::

        mu[school] ~ Normal(lam, kappa)
        theta[classroom] ~ Normal(mu[school], tau)
        score ~ Normal(theta[classroom] + beta ses, sigma),    ses ~ Normal(0, 1)

    Parameters
    ----------
    n_schools, classrooms, pupils : int or (int, int)
        Schools, classrooms in each school, and pupils in each classroom: a number, or the lowest
        and the highest of whole numbers that are equally likely.
    lam : float
    kappa, tau, sigma : float
        Standard deviations, which may be 0.
    beta : float, optional
        Slope of the covariate; without it there is no column ``ses``.
    random_seed : int or Generator, optional
        With the same integer, adding a covariate leaves everything else as it is.

    Returns
    -------
    DataFrame
        Columns ``school`` and ``classroom``, text labels that are unique over the data; ``score``;
        and ``ses``.  ``frame.attrs`` holds the truth: ``lam``, ``kappa``, ``tau``, ``sigma``,
        ``beta``; ``mu``, a dict by school; and ``theta``, a dict by classroom.

    Raises
    ------
    SpecError
        If a number is out of its range.

    Examples
    --------
    >>> import hiermodels as hm
    >>> pupils = hm.datasets.simulate_classrooms(3, classrooms=(1, 2), pupils=2, random_seed=1)
    >>> pupils["classroom"].unique().tolist()
    ['s1/c1', 's2/c1', 's2/c2', 's3/c1', 's3/c2']
    >>> list(pupils.attrs["mu"])
    ['s1', 's2', 's3']
    """
    parameters = {"lam": lam, "kappa": kappa, "tau": tau, "sigma": sigma, "beta": beta}
    _check_parameters(parameters)
    rng = generator(random_seed)
    [count] = _sizes("n_schools", n_schools, 1, rng)
    rooms = _sizes("classrooms", classrooms, count, rng)
    sizes = _sizes("pupils", pupils, int(rooms.sum()), rng)
    school = np.repeat(np.arange(count), rooms)
    classroom = np.repeat(np.arange(len(sizes)), sizes)
    mu = lam + kappa * rng.standard_normal(count)
    theta = mu[school] + tau * rng.standard_normal(len(sizes))
    score = theta[classroom] + sigma * rng.standard_normal(len(classroom))
    outer = pd.Index([f"s{i + 1}" for i in range(count)])
    pairs = zip(outer, rooms, strict=True)
    inner = pd.Index([f"{name}/c{j + 1}" for name, number in pairs for j in range(number)])
    frame = pd.DataFrame(
        {"school": outer.take(school[classroom]), "classroom": inner.take(classroom)}
    ).assign(score=score)
    if beta is not None:
        frame["ses"] = rng.standard_normal(len(frame))
        frame["score"] += beta * frame["ses"]
    frame.attrs = parameters | {
        "mu": dict(zip(outer, mu.tolist(), strict=True)),
        "theta": dict(zip(inner, theta.tolist(), strict=True)),
    }
    return frame


@checked
def simulate_hospitals(
    n_hospitals: int | tuple[int, int] = 50,
    cases: int | tuple[int, int] = (20, 500),
    *,
    mu: float = -2.5,
    tau: float = 0.4,
    beta: float | None = None,
    random_seed: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Simulate deaths after an operation in hospitals.

    The two-level model of counts::

        theta[hospital] ~ Normal(mu, tau)
        deaths ~ Binomial(cases, p),    logit p = theta[hospital] + beta severity
        severity ~ Normal(0, 1)

    Parameters
    ----------
    n_hospitals, cases : int or (int, int)
        Hospitals, and operations in each: a number, or the lowest and the highest of whole numbers
        that are equally likely.
    mu : float
        Mean of the hospitals' log odds of death; at -2.5 about one patient in 13 dies.
    tau : float
        Standard deviation of their log odds, which may be 0.
    beta : float, optional
        Slope of a covariate of hospitals, how severe their cases are; without it there is no column
        ``severity``.
    random_seed : int or Generator, optional
        With the same integer, adding a covariate leaves the hospitals and their cases as they are.

    Returns
    -------
    DataFrame
        A row for each hospital, with columns ``hospital``, a text label; ``deaths`` among its
        ``cases``; and ``severity``.  ``frame.attrs`` holds the truth: ``mu``, ``tau``, ``beta``;
        and, as dicts by hospital, ``theta`` and ``p``, the probability of death.

    Raises
    ------
    SpecError
        If a number is out of its range.

    Examples
    --------
    >>> import hiermodels as hm
    >>> hospitals = hm.datasets.simulate_hospitals(3, cases=100, random_seed=1)
    >>> list(hospitals), hospitals["hospital"].tolist()
    (['hospital', 'deaths', 'cases'], ['h1', 'h2', 'h3'])
    >>> sorted(hospitals.attrs)
    ['beta', 'mu', 'p', 'tau', 'theta']
    """
    from scipy.special import expit

    parameters = {"mu": mu, "tau": tau, "beta": beta}
    _check_parameters(parameters)
    rng = generator(random_seed)
    [count] = _sizes("n_hospitals", n_hospitals, 1, rng)
    number = _sizes("cases", cases, int(count), rng)
    theta = mu + tau * rng.standard_normal(count)
    severity = rng.standard_normal(count) if beta is not None else np.zeros(count)
    p = expit(theta + (beta or 0.0) * severity)
    hospital = [f"h{i + 1}" for i in range(count)]
    frame = pd.DataFrame({"hospital": hospital, "deaths": rng.binomial(number, p), "cases": number})
    if beta is not None:
        frame["severity"] = severity
    frame.attrs = parameters | {
        "theta": dict(zip(hospital, theta.tolist(), strict=True)),
        "p": dict(zip(hospital, p.tolist(), strict=True)),
    }
    return frame


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        low = 0.0 if name in SDS else -LARGEST
        if value is not None and not (
            isinstance(value, int | float | np.number) and low <= value <= LARGEST
        ):
            least = " of 0 or more" if name in SDS else ""
            raise SpecError(f"{name}: expected a finite number{least}; found {value!r}")


def _sizes(
    name: str, given: int | tuple[int, int], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw sizes, uniformly between the lowest and the highest."""
    low, high = given if isinstance(given, tuple) and len(given) == 2 else (given, given)
    whole = all(isinstance(size, int | np.integer) for size in (low, high))
    if not whole or not 1 <= low <= high <= LARGEST_SIZE:
        raise SpecError(
            f"{name}: expected a positive whole number, or the lowest and the highest of them as "
            f"(low, high); found {given!r}"
        )
    return rng.integers(low, high, size=count, endpoint=True)
