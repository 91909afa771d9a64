"""Sums over the binomial rows of groups, in machine code.

Numba compiles a loop when it is first used, in about a second, and keeps it on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices

AT_ONCE = 16  # rows whose factors are multiplied before a logarithm is taken


def log_products(factor: Floats, shift: Floats) -> Floats:
    """``Σ_i log(1 + factor_i shift)``.

    Parameters
    ----------
    factor : (g, m, J)
        Products of 16 of them with a shift, each with 1 added, must be numbers.
    shift : (g, J, K)

    Returns
    -------
    (g, J, K)
    """
    total = np.zeros(shift.shape)
    _compiled(_add_logs)(factor, shift, total)
    return total


def logistic_sums(
    factor: Floats, shift: Floats, trials: Floats, first: Indices
) -> tuple[Floats, Floats]:
    """``Σ m_i p_i`` and ``Σ m_i p_i (1 − p_i)``, ``p_i = e_i c/(1 + e_i c)``; (G, J) each.

    Parameters
    ----------
    factor : (N, J)
    shift : (G, J)
        Products of the two must be numbers.
    trials : (N,)
    first : (G,)
        Number of the first row of each group.
    """
    mean, variance = np.zeros(shift.shape), np.zeros(shift.shape)
    ends = np.append(first, len(factor))
    _compiled(_add_moments)(factor, shift, trials, ends, mean, variance)
    return mean, variance


@cache
def _compiled(loop: Callable[..., None]) -> Any:
    import numba

    return numba.njit(cache=True, nogil=True, error_model="numpy")(loop)


def _add_moments(
    factor: Floats, shift: Floats, trials: Floats, ends: Indices, mean: Floats, variance: Floats
) -> None:
    for g in range(len(ends) - 1):
        for i in range(ends[g], ends[g + 1]):
            m = trials[i]
            for j in range(shift.shape[1]):
                odds = factor[i, j] * shift[g, j]
                other = 1.0 / (1.0 + odds)
                p = odds * other
                mean[g, j] += m * p
                variance[g, j] += m * p * other


def _add_logs(factor: Floats, shift: Floats, total: Floats) -> None:
    g, m, settings = factor.shape
    n = shift.shape[2]
    product = np.empty(n)
    for a in range(g):
        for j in range(settings):
            for start in range(0, m, AT_ONCE):
                product[:] = 1.0
                for i in range(start, min(start + AT_ONCE, m)):
                    own = factor[a, i, j]
                    for k in range(n):
                        product[k] *= 1.0 + own * shift[a, j, k]
                for k in range(n):
                    total[a, j, k] += np.log(product[k])
