"""Sums of ``log(1 + e_i c)`` over the rows of groups, in machine code.

Numba compiles the loop when it is first used, in about a second, and keeps it on disk.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats

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
    _compiled()(factor, shift, total)
    return total


@cache
def _compiled() -> Any:
    import numba

    return numba.njit(cache=True, nogil=True, error_model="numpy")(_add_logs)


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
