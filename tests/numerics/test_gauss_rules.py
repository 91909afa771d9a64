"""Gauss's rules, and projections of lattices, against sums over all points."""

from __future__ import annotations

import numpy as np

from hiermodels.numerics.axis_projection import axis_projection
from hiermodels.numerics.gauss_rules import gauss_rules
from hiermodels.numerics.lattice import grow
from hiermodels.numerics.modes import find_modes


def test_polynomials_are_integrated_as_by_the_measure():
    rng = np.random.default_rng(1)
    places, weights = rng.normal(size=(5, 30)) * 0.3 + 7, rng.random((5, 30))
    weights /= weights.sum(axis=1, keepdims=True)
    x, w = gauss_rules(places, weights, 4)
    assert x.shape == w.shape == (5, 4)
    for degree in range(8):
        known = (weights * (places - 7) ** degree).sum(axis=1)
        np.testing.assert_allclose((w * (x - 7) ** degree).sum(axis=1), known, atol=1e-13)
    wrong = (w * (x - 7) ** 8).sum(axis=1) - (weights * (places - 7) ** 8).sum(axis=1)
    assert np.abs(wrong).min() > 1e-9


def test_sums_across_axes():
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])

    def log_density(points):
        return -0.5 * np.einsum("ni,ij,nj->n", points, precision, points)

    lattice = grow(
        log_density, find_modes(log_density, np.ones((1, 2))), 0.4, lambda x: np.zeros(len(x))
    )
    values = np.column_stack([lattice.weights, lattice.weights * lattice.points[:, 0]])
    for axis in (0, 1):
        places, spread, gather = axis_projection(lattice, axis)
        total, first = (spread @ (gather @ values)).T
        assert abs(total.sum() - 1) < 1e-12
        smooth = np.cos(1.3 * places)
        known = np.cos(1.3 * lattice.points[:, axis])
        assert abs(total @ smooth - lattice.weights @ known) < 1e-9
        assert abs(first @ smooth - values[:, 1] @ known) < 1e-9
