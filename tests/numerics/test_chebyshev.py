"""Sums over many places from few points, against the plain sums."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array

from hiermodels.numerics import chebyshev
from hiermodels.numerics.chebyshev import Interpolation

RATIOS = [1.0001, 2.3, 10.0, 1e4, 1e12]
SHARES = [0.0, 1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e4, 1e12]


def places(ratio):
    x = np.sort(np.random.default_rng(0).uniform(0, np.log(ratio), 20_000))
    x[0], x[-1] = 0, np.log(ratio)
    return x


@pytest.mark.parametrize("ratio", RATIOS)
def test_sums_of_inverses_and_logarithms(ratio):
    """Of ``a + e^{−x}``, from constant to steepest, over random amounts."""
    x = places(ratio)
    amounts = np.random.default_rng(1).normal(size=(len(x), 3)) + np.array([0, 1, 1])
    few = Interpolation(x)
    moved = few.moved(amounts)
    assert moved.shape == (len(few), 3)
    assert len(few.points) == len(few) <= 26 * max(1, np.ceil(np.log10(ratio)))
    for a in SHARES:
        for f in (lambda x: 1 / (a + np.exp(-x)), lambda x: np.log(a + np.exp(-x))):  # noqa: B023
            size = (np.abs(amounts) * (1 + np.abs(f(x)))[:, None]).sum(axis=0)
            error = np.abs(f(few.points) @ moved - f(x) @ amounts)
            assert (error <= 1e-14 * size).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_place_alone_has_its_own_value(ratio):
    """Where the function is small among its values elsewhere, too."""
    x = places(ratio)
    few = Interpolation(x)
    moved = few.moved(csr_array(np.eye(len(x), 40)))
    for a in SHARES:
        found = 1 / (a + np.exp(-few.points)) @ moved
        np.testing.assert_allclose(found, 1 / (a + np.exp(-x[:40])), rtol=1e-13)


@pytest.mark.parametrize("length", [0.01, 0.3, 0.5, 1.0, 1.9, 2.3, 3.0, 8.0, 30.0])
def test_the_number_of_points_is_the_least_that_keeps_the_bound(length):
    """``4 M ρ^{1−n} / (ρ − 1) ≤ 1e-14`` with ρ and M from the ellipse that reaches 0.9 π up."""
    half, theta = length / 2, 0.9 * np.pi
    rho = (theta + np.hypot(theta, half)) / half
    m = np.exp(half + np.hypot(half, theta)) / np.cos(theta / 2)
    n = chebyshev.n_points(length)
    bound = [4 * m * rho ** (1.0 - k) / (rho - 1) for k in (n - 1, n)]
    assert bound[1] <= 1e-14 < bound[0]


@pytest.mark.parametrize("ratio", [1.001, 1.5, 2.3, 10.0])
def test_there_are_as_many_points_as_rounding_asks_for(ratio):
    """With all digits kept: errors below 1e-16, and above it with four points fewer."""
    length = math.log(ratio)
    n = chebyshev.n_points(length)
    assert worst_error(length, n) < 1e-16
    assert worst_error(length, n - 4) > 1e-16


def worst_error(length, n):
    """Largest relative error of the barycentric interpolant of 1/(a + e^{−x}); mpmath."""
    with mpmath.workdps(40):
        angles = [(j + mpmath.mpf(1) / 2) * mpmath.pi / n for j in range(n)]
        places = [length / 2 * (1 - mpmath.cos(angle)) for angle in angles]
        signed = [(-1) ** j * mpmath.sin(angle) for j, angle in enumerate(angles)]
        worst = 0
        for log_a in [-30.0, -10.0, -3.0, *(length * np.linspace(-1.5, 0.5, 9)), 3.0]:
            a = mpmath.exp(log_a)
            values = [1 / (a + mpmath.exp(-x)) for x in places]
            for i in range(9):
                x = length * i / 8 + mpmath.mpf("1e-9")
                shares = [s / (x - place) for s, place in zip(signed, places, strict=True)]
                total = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
                worst = max(worst, abs(total * (a + mpmath.exp(-x)) - 1))
        return float(worst)


def test_parts_without_places_have_no_points():
    x = np.array([0.0, 0.1, 0.2, 30.0])
    few = Interpolation(x)
    assert len(few) == 2 * chebyshev.n_points(30 / 14)
    moved = few.moved(np.ones((4, 1)))[:, 0]
    assert moved @ np.log1p(np.exp(-few.points)) == pytest.approx(np.log1p(np.exp(-x)).sum())


def test_rows_are_taken_in_parts(monkeypatch):
    x, amounts = places(10.0), np.random.default_rng(2).normal(size=(20_000, 2))
    whole = Interpolation(x).moved(amounts)
    monkeypatch.setattr(chebyshev, "ROWS", 777)
    np.testing.assert_allclose(Interpolation(x).moved(amounts), whole, rtol=0, atol=1e-11)


def test_functions_are_interpolated_where_they_are_known():
    """``log(a + x)`` has its singularity at −a: far from the places, near to them, at their end."""
    x = np.random.default_rng(3).uniform(-1, 2, (300, 3))
    x[0], x[1] = -1, 2
    a = np.array([20.0, 1.2, 1 + 1e-9])
    values, known = chebyshev.interpolated(lambda t: np.log(a + t), x, 16, 1e-12)
    assert known.tolist() == [True, False, False]
    np.testing.assert_allclose(values[:, 0], np.log(a[0] + x[:, 0]), rtol=0, atol=1e-13)
    assert np.abs(values - np.log(a + x))[:, 1].max() > 1e-12


def test_equal_places_are_interpolated():
    values, known = chebyshev.interpolated(np.exp, np.full((5, 2), 0.7), 16, 1e-12)
    assert known.all()
    np.testing.assert_allclose(values, np.exp(0.7), rtol=1e-14)
