"""A smooth function of two numbers at many places from few points, against the function itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln

from hiermodels.numerics.chebyshev_cells import CellInterpolation

K = 20_000


def spread_places():
    """Over a plane of 5 × 3, with 300 that have −∞ for the first and 40 for both."""
    places = np.random.default_rng(0).uniform([0, -1], [5, 2], (K, 2))
    places[:300, 0] = -np.inf
    places[260:300, 1] = -np.inf
    return places


def log_beta(places):
    """``log B(e^x + 1, e^y + 1)``: both logarithms have their poles at ±iπ."""
    r, rest = np.exp(places).T + 1
    return gammaln(r) + gammaln(rest) - gammaln(r + rest)


def test_each_place_has_the_functions_value():
    places = spread_places()
    few = CellInterpolation.of(places)
    assert len(few) == len(few.points) < 0.3 * K
    values = np.stack([log_beta(few.points), -2 * log_beta(few.points)])
    exact = log_beta(places)
    found = few.interpolated(values)
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=2e-13 * np.abs(exact).max())
    np.testing.assert_allclose(found[1], -2 * exact, rtol=0, atol=4e-13 * np.abs(exact).max())


@pytest.mark.parametrize("repeated", [1, 10])
def test_sums_over_the_places_are_sums_over_the_points(repeated):
    """However many places there are, the points hardly become more."""
    places = np.concatenate([spread_places()] * repeated)
    few = CellInterpolation.of(places)
    assert len(few) < 6000
    amounts = np.random.default_rng(1).normal(size=len(places)) + 0.5
    moved = few.moved(amounts)
    size = np.abs(amounts * log_beta(places)).sum()
    assert abs(moved @ log_beta(few.points) - amounts @ log_beta(places)) < 1e-14 * size
    np.testing.assert_allclose(moved.sum(), amounts.sum(), rtol=1e-12)


def test_few_places_stand_for_themselves():
    places = spread_places()[260:400]
    few = CellInterpolation.of(places)
    assert len(few) == 101  # the 40 at one place become one
    values = np.random.default_rng(2).normal(size=(1, len(few)))
    found = few.interpolated(values)[0]
    assert np.array_equal(found[few.alone], values[0, :100])
    assert np.array_equal(found[:40], np.full(40, values[0, 100]))


def test_places_on_a_line_need_few_points():
    places = spread_places()
    places[:, 1] = 0.7
    few = CellInterpolation.of(places)
    assert len(few) <= 1 + 15 * 5
    np.testing.assert_allclose(few.interpolated(log_beta(few.points)[None])[0], log_beta(places))
