"""Interpolation by Lagrange's formula, against polynomials."""

from __future__ import annotations

import numpy as np

from hiermodels.numerics.lagrange import lagrange_weights


def test_weights_are_shared_out_as_polynomials_ask():
    """Lagrange's weights keep the mean of every power up to the ninth."""
    inside = np.array([0.0, 1e-9, 0.3, 0.5, 0.99])
    shares = lagrange_weights(inside, 5)
    for power in range(10):
        found = sum(
            share * float(k) ** power for k, share in zip(range(-4, 6), shares, strict=True)
        )
        np.testing.assert_allclose(found, inside**power, rtol=0, atol=1e-9)
