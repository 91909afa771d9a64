"""Polynomials that interpolate in a ball."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from hiermodels.numerics.ball_polynomials import (
    CHECKED,
    DEGREES,
    interpolated,
    leja_points,
    size_of,
)


def within(n, d, seed=1):
    """Random points in the unit ball."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d))
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return points / length * rng.random((n, 1)) ** (1 / d)


def largest(found, true):
    return float(np.abs(found - true).max())


def smooth(points):
    """Two functions that are analytic up to a distance of 3 and more."""
    total = points @ np.arange(1.0, points.shape[1] + 1)
    return np.column_stack([np.log(12 + total), 100 + np.cos(total / 2)])


@pytest.mark.parametrize("d", [1, 2, 3])
def test_smooth_functions_are_interpolated_to_the_tolerance(d):
    seen = []

    def counted(points):
        seen.append(points)
        return smooth(points)

    found = interpolated(counted, d, largest, 1e-6)
    places = within(2000, d)
    assert largest(found(places), smooth(places)) < 1e-6
    assert found.error <= 1e-6
    tried = np.vstack(seen)
    assert len(tried) == len(np.unique(tried, axis=0)) == size_of(d, found.degree) + CHECKED


@pytest.mark.parametrize(("d", "degree"), [(1, 8), (2, 6), (3, 4)])
def test_polynomials_of_their_degree_are_met(d, degree):
    def power(points):
        return ((points @ np.ones(d) / 2 - 0.3) ** degree)[:, None]

    found = interpolated(power, d, largest, 1e-12)
    assert found.degree == degree
    places = within(500, d)
    assert_allclose(found(places), power(places), rtol=0, atol=1e-12)


def test_what_is_not_smooth_is_given_up_early():
    seen = []

    def bent(points):
        seen.append(len(points))
        return np.abs(points[:, :1] - 0.2)

    assert interpolated(bent, 2, largest, 1e-8) is None
    assert sum(seen) < size_of(2, DEGREES[2][1]) + CHECKED + 1
    assert interpolated(lambda p: np.full((len(p), 1), np.nan), 2, largest, 1e-8) is None


@pytest.mark.parametrize("d", [1, 2, 3])
def test_points_lie_in_the_ball_and_serve_all_degrees(d):
    points = leja_points(d)
    assert (np.linalg.norm(points, axis=1) <= 1 + 1e-15).all()
    assert len(np.unique(points, axis=0)) == len(points)
    assert len(points) == math.comb(DEGREES[d][-1] + 2 + d, d)
