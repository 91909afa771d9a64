"""Draws of effects of leaves that are not log-concave."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hiermodels.exact.kernels.leaves import interpolated
from hiermodels.exact.kernels.leaves.draws import draw_effects
from hiermodels.families.row_leaves import RowLeaves
from hiermodels.families.student_t_leaves import StudentTLeaves

SIZE = 20_000
TAU = (1e-3, 0.5, 3.0, 100.0)


def drawn_and_cdf(leaf, mu, tau, seed=1):
    """Draws, and their distribution function by sums over a plain grid."""
    drawn = draw_effects(leaf, np.array([mu]), np.full(SIZE, tau), np.random.default_rng(seed))[0]
    own, far = mu + tau * np.linspace(-10, 10, 20_001), np.linspace(-80, 80, 40_001)
    theta = np.unique(np.concatenate([own, far]))
    density = np.exp(leaf.log_likelihood(theta)[0] - 0.5 * ((theta - mu) / tau) ** 2)
    cells = (density[1:] + density[:-1]) * np.diff(theta)
    below = np.concatenate([[0], np.cumsum(cells)]) / cells.sum()
    return drawn, lambda at: np.interp(at, theta, below)


@pytest.mark.parametrize("tau", TAU)
@pytest.mark.parametrize("mu", [0.0, 6.0])
@pytest.mark.parametrize("nu", [1.0, 4.0])
def test_draws_of_t_leaves_have_the_law_of_a_plain_grid(nu, mu, tau):
    drawn, cdf = drawn_and_cdf(StudentTLeaves.of(np.zeros(1), 1.0, nu), mu, tau)
    assert stats.kstest(drawn, cdf).pvalue > 1e-3


@pytest.mark.parametrize("tau", TAU)
@pytest.mark.parametrize("mu", [0.0, 6.0])
def test_with_many_degrees_of_freedom_draws_are_normal(mu, tau):
    leaves = StudentTLeaves.of(np.zeros(2), 1.0, 1e6)
    mus = np.array([np.full(SIZE, mu), np.full(SIZE, -mu)])
    drawn = draw_effects(leaves, mus, np.full(SIZE, tau), np.random.default_rng(2))
    variance = 1 / (1 + tau**-2.0)
    for sign, own in ((1, drawn[0]), (-1, drawn[1])):
        law = stats.norm(sign * mu * variance / tau**2, np.sqrt(variance))
        assert stats.kstest(own, law.cdf).pvalue > 1e-3


def test_draws_of_a_product_with_three_modes():
    rows = StudentTLeaves.of(np.array([0.0, 8.0, -5.0]), np.array([1.0, 0.5, 1.0]), 3.0)
    drawn, cdf = drawn_and_cdf(RowLeaves(rows, np.array([0])), 2.0, 5.0)
    assert stats.kstest(drawn, cdf).pvalue > 1e-3


def test_without_spread_effects_are_their_means():
    leaves = StudentTLeaves.of(np.zeros(1), 1.0, 4.0)
    tau = np.array([0.0, 1e-9, 0.0])
    drawn = draw_effects(leaves, np.array([3.0, 2.0, 1.0]), tau, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn[0, [0, 2]], [3, 1])
    assert drawn[0, 1] == pytest.approx(2, abs=1e-7)


def test_a_bound_that_is_too_low_is_raised_and_all_is_drawn_again(monkeypatch):
    """Without it, places in the middle between those of the grid would be drawn too rarely."""
    ratios = []
    draw = interpolated.Interpolants.draw

    def spied(self, bound, rng):
        z, largest = draw(self, bound, rng)
        ratios.append((bound, largest))
        return z, largest

    monkeypatch.setattr(interpolated.Interpolants, "draw", spied)
    monkeypatch.setattr(interpolated, "BOUND", 0.9)
    drawn, cdf = drawn_and_cdf(StudentTLeaves.of(np.zeros(1), 1.0, 4.0), 1.0, 1.0)
    assert ratios[0][0] < ratios[0][1]
    assert ratios[-1][0] >= ratios[-1][1]
    assert stats.kstest(drawn, cdf).pvalue > 1e-3
