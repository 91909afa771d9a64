"""What Stirling's formula leaves out of a factorial."""

from __future__ import annotations

import math

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats

SERIES_FROM = 16.0  # where five terms of the series leave less than 1e-16
SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def stirling_error(n: Floats) -> Floats:
    """``log n! − ½ log(2πn) − n log n + n`` for n > 0, without loss of digits at large n.

    With it the probability of a count at its own mean is stated without large terms that cancel:
    a Poisson count y has ``−½ log(2πy) − error(y)`` for its log probability there.

    References
    ----------
    Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    from scipy.special import gammaln

    n = np.asarray(n, dtype=float)
    small, large = np.minimum(n, SERIES_FROM), np.maximum(n, SERIES_FROM)
    direct = gammaln(small + 1) - (small + 0.5) * np.log(small) + small - 0.5 * LOG_2PI
    series = np.polynomial.polynomial.polyval(large**-2.0, SERIES) / large
    return np.where(n < SERIES_FROM, direct, series)


def log_gamma_half(a: float) -> float:
    """``log Γ(a + ½) − log Γ(a)`` for a > 0, without loss of digits at large a.

    Each of the two is of the order ``a log a``: their difference would have as many digits less.
    """
    if a < SERIES_FROM:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    n = a - 1  # a factorial, log Γ(a) = log n!
    large, small = stirling_error(np.array([n + 0.5, n]))
    return float(large - small + (n + 1) * math.log1p(0.5 / n) + 0.5 * math.log(n) - 0.5)
