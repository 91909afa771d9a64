"""Draws of effects where a prior is far wider than a leaf, or in conflict with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hiermodels.exact.kernels.leaves.draws import draw_effects
from hiermodels.families.binomial_leaves import BinomialLeaves


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
