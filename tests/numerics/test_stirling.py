"""What Stirling's formula leaves out, against many digits."""

from __future__ import annotations

import numpy as np
from mpmath import mp, mpf

from hiermodels.numerics.stirling import log_gamma_half, stirling_error


def test_it_is_what_the_formula_leaves_out():
    n = np.array([0.5, 1.0, 2.0, 7.5, 15.0, 16.0, 17.0, 100.0, 1e4, 1e6, 1e9])
    with mp.workdps(40):
        exact = [
            float(mp.loggamma(x + 1) - mp.log(2 * mp.pi * x) / 2 - x * mp.log(x) + x)
            for x in map(mpf, n)
        ]
    np.testing.assert_allclose(stirling_error(n), exact, rtol=1e-13, atol=2e-14)


def test_the_ratio_of_gamma_functions_half_apart():
    for a in (0.01, 0.5, 3.0, 15.9, 16.0, 33.5, 1e3, 15_507.5, 1e8):
        with mp.workdps(40):
            exact = float(mp.loggamma(mpf(a) + 0.5) - mp.loggamma(mpf(a)))
        np.testing.assert_allclose(log_gamma_half(a), exact, rtol=1e-15, atol=2e-14)
