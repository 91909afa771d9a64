"""Is a sample uniform between 0 and 1?  An exact test by its distribution function.

Of N values, the number R_i up to ``z_i = i/K`` is Binomial(N, z_i) if they are uniform.  The
statistic is the smallest two-sided tail probability among the points,

    γ = min_i 2 min{P(R ≤ R_i), P(R ≥ R_i)},

and its distribution follows from that of the whole path ``R_1, …, R_K``: a Poisson process's path,
given that it ends at N.  The band of paths whose γ is above a limit is what one plots.

References
----------
Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32:32 (statistic and band);
Moscovich & Nadler (2017), Statistics and Probability Letters 123:177 (the path).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hiermodels.core.arrays import Floats, Indices

MAX_POINTS = 100  # at which the distribution function is looked at
ROUNDING = 1e-9  # relative; tails at z and at 1 − z are equal up to this
STEPS = 40  # of a bisection, for the width of a band
TAIL_MASS = 1e-18  # probability of an increment


def p_value(sample: Floats) -> float:
    """Probability that uniform values deviate as much as these; exact but for ties in γ.

    Parameters
    ----------
    sample : (N,)
        Values between 0 and 1.
    """
    n = len(sample)
    points = _points(n)
    counts = np.searchsorted(np.sort(sample), points, side="right")
    return _crossing(n, float(_tails(n)[np.arange(len(points)), counts].min()))


def distance(sample: Floats) -> Floats:
    """Largest distance between a distribution function and the uniform one: Kolmogorov's.

    Parameters
    ----------
    sample : (N, ...)
        Values between 0 and 1.

    Returns
    -------
    (...)
    """
    in_order = np.sort(sample, axis=0)
    n = len(in_order)
    steps = np.arange(n + 1).reshape(-1, *(1,) * (sample.ndim - 1)) / n
    return np.maximum(steps[1:] - in_order, in_order - steps[:-1]).max(axis=0)


def band(n: int, level: float) -> tuple[Floats, Floats, Floats]:
    """Band that the distribution function of n uniform values leaves with at most some probability.

    Parameters
    ----------
    n : int
    level : float
        Probability of leaving the band anywhere.

    Returns
    -------
    points, lower, upper : (K + 1,)
        From 0 to 1; the band is closed.
    """
    low, high = np.log(level) - np.log(2 * n) - 5, 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _crossing(n, np.exp(middle)) <= level else (low, middle)
    first, last = _inside(n, np.exp(low))
    points = np.concatenate([[0.0], _points(n), [1.0]])
    lower, upper = (np.concatenate([[0.0], edge / n, [1.0]]) for edge in (first, last))
    return points, lower, upper


def _points(n: int) -> Floats:
    """Where the distribution function is looked at: ``i/K`` for 0 < i < K."""
    k = min(n, MAX_POINTS)
    return np.arange(1, k) / k


@lru_cache(maxsize=8)
def _tails(n: int) -> Floats:
    """Two-sided tail probability of each count at each point; (K − 1, n + 1)."""
    from scipy.special import bdtr, bdtrc

    count, z = np.arange(n + 1), _points(n)[:, None]
    above = np.where(count > 0, bdtrc(np.maximum(count - 1, 0), n, z), 1.0)
    return 2 * np.minimum(bdtr(count, n, z), above)


def _inside(n: int, gamma: float) -> tuple[Indices, Indices]:
    """Smallest and largest count at each point whose tail probability is above gamma."""
    inside = _tails(n) > gamma * (1 + ROUNDING)
    return inside.argmax(axis=1), n - inside[:, ::-1].argmax(axis=1)


def _crossing(n: int, gamma: float) -> float:
    """``P(γ ≤ gamma)`` for n uniform values: the path leaves the counts that are inside.

    Increments of a Poisson process with rate n are independent and equal in law from point to
    point; given its value n at 1 it is the path of n uniform values.
    """
    from scipy.special import gammaln

    if (_tails(n).max(axis=1, initial=0.0) <= gamma * (1 + ROUNDING)).any():
        return 1.0
    first, last = _inside(n, gamma)
    rate = n / (len(first) + 1)
    count = np.arange(n + 1)
    step = np.exp(count * np.log(rate) - rate - gammaln(count + 1))
    step = step[: np.flatnonzero(step > TAIL_MASS)[-1] + 1]
    start, path = 0, np.ones(1)
    for low, high in zip(np.append(first, n), np.append(last, n), strict=True):
        moved = np.convolve(path, step)[max(low - start, 0) : high - start + 1]
        start, path = max(low, start), moved
    total = np.exp(n * np.log(n) - n - gammaln(n + 1))
    return float(np.clip(1 - path.sum() / total, 0.0, 1.0))
