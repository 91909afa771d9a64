"""Laws of single coordinates of a lattice, a lattice in no dimension, and where one begins."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hiermodels.numerics import lattice, rejection
from hiermodels.numerics.modes import find_modes

PROBABILITIES = np.array([1e-3, 0.05, 0.5, 0.9, 0.999])


def skew(x):
    """Log density of u = (log G, log G + ½ N): G ~ Gamma(2), N standard normal."""
    return stats.loggamma(2).logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1], x[:, 0], 0.5)


@pytest.fixture(scope="module")
def skewed():
    modes = find_modes(skew, np.array([[5.0, 7.0]]))
    return lattice.grow(skew, modes, 0.3, lambda x: np.zeros(len(x)))


def test_quantiles_of_a_skew_density(skewed):
    found = skewed.quantile(0, PROBABILITIES)
    np.testing.assert_allclose(found, stats.loggamma(2).ppf(PROBABILITIES), atol=1e-8)


def test_a_coordinate_whose_points_differ_from_row_to_row(skewed):
    """The second one: the integral over the first of a normal distribution function."""
    u, share = np.polynomial.legendre.leggauss(300)
    edges = stats.loggamma(2).ppf([1e-14, 1 - 1e-14])
    u = edges.mean() + np.ptp(edges) / 2 * u
    density = stats.loggamma(2).pdf(u) * share * np.ptp(edges) / 2
    places = np.array([-2.0, 0.1, 0.8, 2.2])
    below = stats.norm.cdf(places[:, None], u, 0.5) @ density
    np.testing.assert_allclose(skewed.cdf(1, places), below, atol=1e-9)
    np.testing.assert_allclose(skewed.quantile(1, below), places, atol=1e-7)


def test_a_density_in_no_dimension_is_a_point():
    nothing = lattice.Lattice.of_nothing(np.array([-3.5]))
    assert len(nothing) == 1
    assert nothing.points.shape == (1, 0)
    assert nothing.log_integral == -3.5
    np.testing.assert_array_equal(nothing.weights, [1.0])
    drawn = rejection.draw(nothing, pytest.fail, 7, np.random.default_rng(1))
    assert drawn.points.shape == (7, 0)
    np.testing.assert_array_equal(drawn.log_density, np.full(7, -3.5))
    assert (drawn.largest_ratio, drawn.bound, drawn.acceptance) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("radii", [[0.4], [3.0], [2.5, 1.0], [0.3, 4.0], [2.0, 1.5, 3.0]])
def test_points_to_begin_with_fill_an_ellipsoid(radii):
    """Half an axis shorter than a step holds the middle alone."""
    found = lattice.ball(np.array(radii))
    axes = [range(-5, 6) if r >= 1 else [0] for r in radii]
    every = [
        point
        for point in product(*axes)
        if sum((i / max(r, 1)) ** 2 for i, r in zip(point, radii, strict=True)) <= 1
    ]
    assert sorted(map(tuple, found.tolist())) == sorted(every)
