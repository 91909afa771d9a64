"""Roots of falling functions that Newton's method alone would miss."""

from __future__ import annotations

import numpy as np
import pytest

from hiermodels.numerics.roots import falling_roots


def counted(y, n):
    """Slope and information of binomial counts; flat where the logit is far away."""

    def value_and_fall(x):
        p = 1 / (1 + np.exp(-x))
        return y - n * p, n * p * (1 - p)

    return value_and_fall


@pytest.mark.parametrize("start", [-30.0, 0.0, 3.0, 30.0])
def test_logits_are_found_from_anywhere(start):
    y, n = np.array([1.0, 5.0, 999.0, 3e5]), np.array([4.0, 1e4, 1000.0, 1e6])
    found = falling_roots(counted(y, n), np.full(4, start), np.ones(4))
    np.testing.assert_allclose(found, np.log(y / (n - y)), rtol=1e-9)


def test_steep_and_shallow_functions_are_found_together():
    level = np.array([1e-8, 1.0, 1e8])

    def value_and_fall(x):
        return level - np.exp(np.minimum(x, 700)), np.exp(np.minimum(x, 700))

    found = falling_roots(value_and_fall, np.array([300.0, -50.0, -700.0]), np.ones(3))
    np.testing.assert_allclose(found, np.log(level), rtol=1e-12, atol=1e-12)


def test_a_jump_is_found_by_halves():
    def value_and_fall(x):
        return np.where(x < np.pi, 1.0, -1.0), np.full_like(x, 1e-9)

    found = falling_roots(value_and_fall, np.zeros(1), np.ones(1))
    assert found[0] == pytest.approx(np.pi, rel=1e-11)


def test_where_it_starts_it_may_stay():
    found = falling_roots(lambda x: (-x, np.ones_like(x)), np.zeros(2), np.ones(2))
    np.testing.assert_array_equal(found, 0.0)
