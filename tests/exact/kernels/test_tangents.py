"""Draws of effects given their mean and sd, against distribution functions by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hiermodels.exact.kernels.leaves.draws import draw_effects
from hiermodels.exact.kernels.leaves.tangents import _Density, _Envelope, draw_below_tangents
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves

SIZE = 20_000
BINOMIAL = BinomialLeaves.of(
    np.array([0, 1, 46, 400_000, 20, 0]), np.array([47, 1, 810, 1_000_000, 20, 0])
)
POISSON = PoissonLeaves.of(np.array([0, 3, 1_000_000]), np.array([10.5, 1e-4, 1e4]))
NORMAL = NormalLeaves.of(np.array([28.0, -3.0]), np.array([15.0, 1e-3]))


def distribution(leaves, group, mu, tau):
    """Places, and the distribution function there, by the trapezoid rule on a fine grid."""
    one = leaves.take(np.array([group]))
    ends = np.array([mu, one.centre[0]])
    width = 1 / np.hypot(1 / tau, one.information[0] ** 0.5)
    for _ in range(3):  # onto where the density is
        theta = np.linspace(ends.min() - 12 * tau, ends.max() + 12 * tau, 20_001)
        log_density = one.log_likelihood(theta)[0] - 0.5 * ((theta - mu) / tau) ** 2
        kept = theta[log_density > log_density.max() - 40]
        ends, tau_ = np.array([kept[0], kept[-1]]), width
        theta = np.linspace(ends[0] - tau_, ends[1] + tau_, 20_001)
        log_density = one.log_likelihood(theta)[0] - 0.5 * ((theta - mu) / tau) ** 2
    density = np.exp(log_density - log_density.max())
    return theta, np.cumsum(density) / density.sum()


@pytest.mark.parametrize("conflict", [-6.0, 0.0, 4.0])
@pytest.mark.parametrize("tau", [1e-3, 0.4, 5.0])
@pytest.mark.parametrize("leaves", [BINOMIAL, POISSON, NORMAL], ids=lambda x: type(x).__name__)
def test_draws_have_the_distribution_that_they_should(leaves, tau, conflict):
    rng = np.random.default_rng(17)
    width = np.hypot(tau, np.minimum(leaves.information**-0.5, 1.0))
    mu = leaves.centre + conflict * width
    draws = draw_below_tangents(leaves, np.tile(mu[:, None], SIZE), np.full(SIZE, tau), rng)
    for group in range(len(leaves)):
        places, below = distribution(leaves, group, mu[group], tau)
        uniform = np.interp(draws[group], places, below)
        assert stats.kstest(uniform, "uniform").pvalue > 1e-4, group


def test_an_envelope_is_nowhere_below_the_density_and_wastes_little():
    mu, tau = np.linspace(-9, 4, 30), np.geomspace(1e-3, 8, 30)
    mu, tau = (np.tile(x.ravel(), (len(BINOMIAL), 1)) for x in np.meshgrid(mu, tau))
    density = _Density(BINOMIAL, mu, tau)
    envelope, rng = _Envelope.of(density), np.random.default_rng(2)
    log_ratios = []
    for _ in range(40):
        z, height = envelope.draw(rng)
        log_ratios.append(density(z) - height)
    assert np.max(log_ratios) < 1e-9
    accepted = np.exp(log_ratios).mean(axis=0)
    assert accepted.mean() > 0.8
    assert accepted.min() > 0.2


def test_a_prior_without_width_draws_its_mean():
    mu = np.linspace(-3, 3, 7)
    draws = draw_below_tangents(BINOMIAL, mu, np.zeros(7), np.random.default_rng(1))
    np.testing.assert_array_equal(draws, np.tile(mu, (len(BINOMIAL), 1)))


@pytest.mark.parametrize("tau", [1e4, 1e8, 1e30])
@pytest.mark.parametrize(("successes", "side"), [(0.0, -1.0), (47.0, 1.0)])
def test_without_events_an_effect_is_half_of_its_prior(tau, successes, side):
    """Where the prior is wide, the leaf is a step at 0."""
    leaves = BinomialLeaves.of(np.array([successes]), np.array([47.0]))
    drawn = draw_effects(leaves, np.zeros(1), np.full(4000, tau), np.random.default_rng(1))[0]
    assert stats.kstest(side * drawn / tau, stats.halfnorm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("mu", "tau"), [(-2.0, 0.1), (-2.0, 0.01), (5.0, 1.0), (-40.0, 0.5)])
def test_a_prior_in_conflict_with_a_million_rows(mu, tau):
    """Against the density on a fine grid around its mode."""
    leaves = BinomialLeaves.of(np.array([5.0]), np.array([1e6]))
    theta = np.linspace(-60, 10, 2_000_001)
    log_density = 5 * theta - 1e6 * np.logaddexp(0, theta) - 0.5 * ((theta - mu) / tau) ** 2
    density = np.exp(log_density - log_density.max())
    below = np.cumsum(density) / density.sum()
    drawn = draw_effects(leaves, np.full(1, mu), np.full(4000, tau), np.random.default_rng(1))[0]
    assert stats.kstest(drawn, lambda at: np.interp(at, theta, below)).pvalue > 1e-3
