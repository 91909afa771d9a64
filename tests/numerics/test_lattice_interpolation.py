"""Log densities between the points of a lattice."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln

from hiermodels.numerics import lattice, rejection
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.lattice_interpolation import LatticeInterpolant, interpolated
from hiermodels.numerics.modes import find_modes


def log_gammas(points, shape=400.0):
    """Of independent logarithms of gamma variables, turned by a little."""
    x = points @ np.linalg.qr(np.arange(points.shape[1] ** 2.0).reshape(-1, points.shape[1]) + 1)[0]
    return (shape * x - np.exp(x) - gammaln(shape)).sum(axis=1)


def lattice_of(density, d, spacing=0.5):
    scale = find_modes(density, np.full((1, d), 4.0))
    return lattice.grow(density, scale, spacing, lambda x: np.zeros(len(x)))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_it_is_the_log_density_between_the_points(d):
    laid = lattice_of(log_gammas, d)
    points = rejection.propose(laid, 5000, np.random.default_rng(1))
    called = []

    def counted(some):
        called.append(len(some))
        return log_gammas(some)

    found = LatticeInterpolant(laid, counted)(points)
    np.testing.assert_allclose(found, log_gammas(points), rtol=0, atol=1e-8)
    assert sum(called) < 50


def test_places_near_the_end_are_not_extrapolated():
    laid = lattice_of(log_gammas, 2)
    points = laid.points[laid.log_density < laid.log_density.max() - 25] + 0.3 * laid.step.sum(
        axis=1
    )
    np.testing.assert_array_equal(LatticeInterpolant(laid, log_gammas)(points), log_gammas(points))


def test_draws_from_it_are_those_from_the_density():
    laid = lattice_of(log_gammas, 2)
    density = interpolated(laid, log_gammas, np.random.default_rng(5))
    assert isinstance(density, LatticeInterpolant)
    found = rejection.draw(laid, density, 2000, np.random.default_rng(3))
    expected = rejection.draw(laid, log_gammas, 2000, np.random.default_rng(3))
    np.testing.assert_array_equal(found.points, expected.points)


def test_a_density_stays_as_it_is_where_interpolation_is_poor():
    def bent(points):
        return log_gammas(points) + 1e-5 * np.cos(60 * points[:, 0])

    laid = lattice_of(log_gammas, 2)
    assert interpolated(laid, bent, np.random.default_rng(5)) is bent


@pytest.mark.parametrize("d", [0, 4])
def test_a_density_stays_as_it_is_in_other_dimensions(d):
    laid = Lattice(np.zeros(d), np.eye(d), np.zeros((1, d), dtype=np.int64), np.ones(1), np.ones(d))
    assert interpolated(laid, log_gammas, np.random.default_rng(5)) is log_gammas
