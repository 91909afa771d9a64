"""Lattices that begin with points that a coarser one tells."""

from __future__ import annotations

import numpy as np
import pytest

from hiermodels.numerics import lattice
from hiermodels.numerics.finer import points_within

DROP = 30.0


def long_tail(points):
    """Log density that is normal to one side of each axis, and falls as exp(x) to the other."""
    skewed = np.where(points < 0, points + 1 - np.exp(-np.abs(points)), -(points**2) / 2)
    return skewed.sum(axis=1) + 0.3 * np.prod(points, axis=1) * np.exp(-(points**2).sum(axis=1))


def grown(d, spacing, first=None):
    """A lattice, and how many times the density was evaluated."""
    calls = []

    def evaluate(points):
        calls.append(len(points))
        return long_tail(points), lambda some: np.zeros(some.sum())

    basis = np.eye(d) + 0.2 * np.tril(np.ones((d, d)), -1)
    scale = lattice.ModesAndScale(np.zeros((1, d)), basis)
    return lattice.grow_weighted(evaluate, scale, spacing, DROP, first), len(calls)


def inside(laid):
    """Points that are not negligible."""
    kept = laid.log_density > laid.log_density.max() - DROP
    return {tuple(index) for index in laid.index[kept]}


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("ratio", [0.5, 0.73])
def test_they_are_the_same_in_fewer_steps(d, ratio):
    spacing = np.array([0.9, 1.1, 1.0])[:d]
    coarse, _ = grown(d, spacing)
    alone, steps = grown(d, ratio * spacing)
    laid, fewer = grown(d, ratio * spacing, points_within(coarse, ratio * spacing))
    assert inside(laid) == inside(alone)
    assert d == 1 or len(laid) < 1.1 * len(alone)
    assert fewer <= min(4, steps)
    np.testing.assert_allclose(laid.log_integral, alone.log_integral, rtol=1e-12)


def test_points_are_those_of_a_normal_density():
    """Of one axis: from −1 to 1 in steps of 1 grown, the ends −2 and 2 not."""
    zeros = np.zeros(5)
    coarse = lattice.Lattice(np.zeros(1), np.eye(1), np.arange(-2, 3)[:, None], zeros, np.ones(1))
    fine = points_within(coarse, np.array([0.25]))
    np.testing.assert_array_equal(fine[:, 0], np.arange(-7, 8))
