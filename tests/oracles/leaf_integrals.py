"""Integrals of leaves against normal densities to thirty digits, slow and plain.

Gauss's rule on pieces that are as short as the narrower of the two factors where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from mpmath import mp, mpf

from tests.oracles.manydigits import RULE

SPAN = 16  # sds of either factor


def log_integral(
    log_leaf: Callable[[mpf], mpf], place: tuple[float, float], mu: float, tau: float
) -> float:
    """``log ∫ exp(log_leaf(θ)) N(θ | μ, τ²) dθ`` of a leaf that lies at a centre with an sd."""
    mu, tau, centre, sd = (mpf(x) for x in (mu, tau, *place))
    low, high = mu - SPAN * tau, mu + SPAN * tau
    cuts = {mu + tau * j for j in range(-SPAN, SPAN + 1)}
    cuts |= {centre + sd * j for j in range(-SPAN, SPAN + 1)}
    ends = sorted(c for c in cuts if low <= c <= high)
    total = mp.zero
    for a, b in pairwise(ends):
        half, middle = (b - a) / 2, (a + b) / 2
        for x, weight in RULE:
            theta = middle + half * x
            z = (theta - mu) / tau
            total += weight * half * mp.exp(log_leaf(theta) - z * z / 2)
    return float(mp.log(total / (tau * mp.sqrt(2 * mp.pi))))


def binomial(r: int, n: int) -> Callable[[mpf], mpf]:
    """Log probability of r successes of n, relative to its supremum, as a function of a logit."""
    r, n = mpf(r), mpf(n)
    top = _entropy((r, n - r), n)
    return lambda logit: r * logit - n * mp.log1p(mp.exp(logit)) - top


def poisson(y: int, exposure: float) -> Callable[[mpf], mpf]:
    """Log probability of a count y, relative to its supremum, as a function of a log rate."""
    y, exposure = mpf(y), mpf(exposure)
    top = _entropy((y,), mpf(1)) - y
    return lambda theta: y * (theta + mp.log(exposure)) - exposure * mp.exp(theta) - top


def _entropy(counts: Sequence[mpf], n: mpf) -> mpf:
    return mp.fsum(c * mp.log(c / n) for c in counts if c)
