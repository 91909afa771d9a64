"""Monte Carlo errors against closed forms, and combined p-values against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hiermodels.numerics.monte_carlo_error import batch_means, combine, excess
from tests.statistical.samplers import autoregressive


def test_independent_draws_have_the_textbook_error():
    draws = np.random.default_rng(1).standard_normal((4, 1000, 300))
    means = batch_means(draws)
    assert means.mean == pytest.approx(draws.mean(axis=(0, 1)), abs=1e-14)
    assert np.mean(means.error**2) == pytest.approx(1 / 4000, rel=0.02)
    assert (means.df == 127).all()
    assert np.median(means.ess(np.ones(300))) == pytest.approx(4000, rel=0.05)


@pytest.mark.parametrize(("rho", "excess"), [(-0.5, 0.08), (0.5, 0.0), (0.9, 0.0), (0.97, 0.0)])
def test_autoregressive_draws_have_the_error_of_theory(rho, excess):
    """The variance of the mean of a long AR(1) series is (1 + rho)/(1 − rho)/n.

    Batches of 16 antithetic draws show 8 % more: errors are too large, not too small.
    """
    rng = np.random.default_rng(2)
    means = batch_means(autoregressive((4, 5000, 400), rho, rng))
    expected = (1 + rho) / (1 - rho) / 20_000
    assert np.mean(means.error**2) == pytest.approx((1 + excess) * expected, rel=0.05)
    assert np.var(means.mean) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_p_values_are_uniform(rho):
    rng = np.random.default_rng(3)
    p = batch_means(autoregressive((4, 1000, 4000), rho, rng)).p
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert (p < 0.001).mean() == pytest.approx(0.001, abs=0.002)


def stays(rng, share, length, columns):
    """Events that happen with a probability, and then go on for a while: a chain of two states."""
    state = rng.random((4, columns)) < share
    events = np.empty((4, 1000, columns), dtype=bool)
    for i in range(1000):
        chance = rng.random((4, columns))
        begins = chance < share / (length * (1 - share))
        state = np.where(state, chance > 1 / length, begins)
        events[:, i] = state
    return events


def test_rare_events_that_go_on_for_a_while_are_not_found_too_often():
    """As the tails of slow chains do; with the error of the draws alone, six times as often."""
    rng = np.random.default_rng(9)
    parts = [stays(rng, 0.05, 4, 2000) for _ in range(5)]
    p = np.concatenate([excess(events, 0.05).p for events in parts])
    assert (p < 0.001).sum() <= 22  # Binomial(10,000, 0.001): more have probability 0.0004
    assert (p < 0.01).sum() <= 140
    own = np.concatenate([batch_means(events - 0.05).p for events in parts])
    assert (own < 0.001).sum() > 40


def test_the_excess_of_events_is_wilson_s_score():
    """``(p − q)/√(q(1 − q)/n)`` for independent events; none at all have no error of their own."""
    rng = np.random.default_rng(10)
    events = rng.random((4, 4096, 2)) < np.array([0.03, 0.6])
    found = excess(events, np.array([0.02, 0.7]))
    n = 4 * 4096
    for j, q in enumerate([0.02, 0.7]):
        seen = events[..., j].mean()
        assert found.mean[j] == pytest.approx(seen - q, rel=1e-12)
        assert found.error[j] == pytest.approx(np.sqrt(q * (1 - q) / n), rel=0.1)
        own = batch_means(events[..., j : j + 1] - q).error[0]
        factor = np.sqrt(q * (1 - q) / (seen * (1 - seen)))
        assert found.error[j] == pytest.approx(own * factor, rel=1e-12)


@pytest.mark.parametrize("always", [False, True])
def test_what_never_or_always_happened_has_no_error_of_its_own(always):
    """Not even one by rounding, which a share of nearly 0 would make a large one."""
    q = np.array([0.1, 0.005, 1 / 3, 0.0049751, 0.95])
    found = excess(np.full((4, 1000, 5), always), q)
    assert (found.error == 0).all()
    np.testing.assert_allclose(found.mean, always - q, rtol=1e-12)


def test_a_constant_has_no_error():
    means = batch_means(np.full((4, 100, 2), [0.0, 0.1]))
    assert (means.error < 1e-15).all()
    assert means.t[0] == 0
    assert means.p[1] < 1e-100


def test_an_error_can_have_a_floor():
    rng = np.random.default_rng(4)
    sure, rare = rng.standard_normal((4, 1000, 1)), np.full((4, 1000, 1), 0.05)
    bounded = batch_means(rare).at_least(0.2, batch_means(sure))
    assert bounded.error == pytest.approx(0.2 * batch_means(sure).error)
    assert bounded.df == batch_means(sure).df
    assert batch_means(sure).at_least(0.5, batch_means(sure)).error == batch_means(sure).error


@pytest.mark.parametrize(("rho", "level"), [(0.0, 0.01), (0.5, 0.01), (0.8, 0.013), (1.0, 0.01)])
def test_combined_p_values_hold_their_level_whatever_the_dependence(rho, level):
    rng = np.random.default_rng(5)
    shared, own = rng.standard_normal((20_000, 1)), rng.standard_normal((20_000, 50))
    p = 2 * stats.norm.sf(np.abs(rho * shared + np.sqrt(1 - rho**2) * own))
    combined = np.array([combine(row) for row in p])
    assert (combined < 0.01).mean() == pytest.approx(level, abs=0.0025)
    assert (combined < 0.001).mean() == pytest.approx(0.001, abs=0.001)


def test_combining_is_explicit():
    assert combine(np.array([0.03])) == pytest.approx(0.03)
    assert combine(np.full(7, 0.2)) == pytest.approx(0.2)
    p = np.array([1e-5, 0.4, 0.7])
    total = np.mean(np.tan((0.5 - p) * np.pi))
    assert combine(p) == pytest.approx(0.5 - np.arctan(total) / np.pi)
    assert 0 < combine(np.array([0.0, 1.0])) < 1e-300
