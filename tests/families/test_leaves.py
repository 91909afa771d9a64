"""Leaves against SciPy and against many digits, and what each says of its own shape."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import stats

from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves

SUCCESSES = np.array([0, 1, 3, 46, 0, 5, 7, 400_000, 3, 999_999])
TRIALS = np.array([47, 1, 20, 810, 0, 5, 8, 1_000_000, 1_000_000, 1_000_000])
SHIFT = np.array([0.0, 0.3, -1.0, 0.0, 0.5, 0.0, 2.0, 0.0, 0.0, 0.1])
COUNTS = np.array([0, 1, 22, 5, 1_000_000, 0])
EXPOSURE = np.array([10.5, 1.05, 10.5, 94.3, 3e4, 1e-4])

BINOMIAL = BinomialLeaves.of(SUCCESSES, TRIALS, SHIFT)
POISSON = PoissonLeaves.of(COUNTS, EXPOSURE)
NORMAL = NormalLeaves.of(np.array([28.0, 8.0, -3.0]), np.array([15.0, 10.0, 1e-3]))
ALL = [BINOMIAL, POISSON, NORMAL]


def whole(leaves, theta):
    """Log likelihoods with all constants; (k, K)."""
    return leaves.constant[:, None] + leaves.log_likelihood(theta)


def test_binomial_leaves_are_those_of_scipy():
    theta = np.linspace(-6, 6, 25)
    p = 1 / (1 + np.exp(-(theta + SHIFT[:, None])))
    expected = stats.binom.logpmf(SUCCESSES[:, None], TRIALS[:, None], p)
    np.testing.assert_allclose(whole(BINOMIAL, theta), expected, rtol=2e-10, atol=1e-11)


def test_poisson_leaves_are_those_of_scipy():
    theta = np.linspace(-6, 6, 25)
    expected = stats.poisson.logpmf(COUNTS[:, None], EXPOSURE[:, None] * np.exp(theta))
    np.testing.assert_allclose(whole(POISSON, theta), expected, rtol=2e-10, atol=1e-11)


def test_normal_leaves_are_those_of_scipy():
    theta = np.linspace(-30, 30, 25)
    expected = stats.norm.logpdf(NORMAL.mean[:, None], theta, NORMAL.sd[:, None])
    np.testing.assert_allclose(whole(NORMAL, theta), expected, rtol=1e-13)


def binomial_exactly(r, n, logit):
    coefficient = mp.loggamma(n + 1) - mp.loggamma(r + 1) - mp.loggamma(n - r + 1)
    return coefficient + r * logit - n * mp.log1p(mp.exp(logit))


@pytest.mark.parametrize("sds", [-8.0, -1.0, -1e-3, 0.0, 0.5, 3.0, 8.0])
def test_no_digits_are_lost_at_a_million_trials(sds):
    theta = BINOMIAL.centre + sds * BINOMIAL.information**-0.5
    with mp.workdps(50):
        exact = [
            float(binomial_exactly(mpf(int(r)), mpf(int(n)), mpf(t) + mpf(s)))
            for r, n, t, s in zip(SUCCESSES, TRIALS, theta, SHIFT, strict=True)
        ]
    # A logit known to 16 digits says no more than slope·logit·1e-16 of its log likelihood.
    slope = np.abs(BINOMIAL.slope_and_information(theta[:, None])[0][:, 0])
    floor = 1e-13 + 1e-15 * slope * (1 + np.abs(theta))
    error = np.abs(whole(BINOMIAL, theta[:, None])[:, 0] - exact)
    assert (error < floor).all()


def test_far_tails_are_straight_lines_and_none_overflows():
    theta = np.array([-800.0, -60.0, 60.0, 800.0])
    with np.errstate(all="raise", under="ignore"):
        log_likelihood = BinomialLeaves.of(np.array([3]), np.array([20])).log_likelihood(theta)[0]
        poisson = PoissonLeaves.of(np.array([3]), 2.0).log_likelihood(theta)[0]
    top = 3 * np.log(3 / 20) + 17 * np.log(17 / 20)
    np.testing.assert_allclose(log_likelihood[:2], 3 * theta[:2] - top, rtol=1e-14)
    np.testing.assert_allclose(log_likelihood[2:], -17 * theta[2:] - top, rtol=1e-14)
    top = 3 * np.log(3) - 3
    np.testing.assert_allclose(poisson[:2], 3 * (theta[:2] + np.log(2)) - top, rtol=1e-14)
    assert poisson[2] < -1e26
    assert poisson[3] < -1e250


def test_successes_and_failures_mirror_each_other():
    mirrored = BinomialLeaves.of(TRIALS - SUCCESSES, TRIALS, -SHIFT)
    theta = np.linspace(-9, 9, 41)
    np.testing.assert_allclose(
        mirrored.log_likelihood(-theta), BINOMIAL.log_likelihood(theta), rtol=1e-9, atol=1e-13
    )
    np.testing.assert_allclose(mirrored.centre, -BINOMIAL.centre)
    np.testing.assert_array_equal(mirrored.falls_below, BINOMIAL.falls_above)
    np.testing.assert_allclose(-mirrored.bend_range[:, ::-1], BINOMIAL.bend_range)


@pytest.mark.parametrize("times", [1, 10**6])
def test_an_expansion_keeps_what_digits_there_are_at_any_count(times):
    binomial = BinomialLeaves.of(SUCCESSES * times, TRIALS * times, SHIFT)
    poisson = PoissonLeaves.of(COUNTS * times, EXPOSURE * times)
    for leaves, count in ((binomial, TRIALS), (poisson, COUNTS)):
        theta = leaves.centre[:, None] + np.linspace(-8, 8, 5) * leaves.information[:, None] ** -0.5
        value, *derivatives = leaves.expansion(theta)
        floor = 1e-15 * count.max()
        np.testing.assert_allclose(value, leaves.log_likelihood(theta), rtol=1e-10, atol=floor)
        scale = leaves.information[:, None] ** np.array([0.5, 1.0])
        for i, expected in enumerate(leaves.slope_and_information(theta)):
            error = np.abs(derivatives[i] - expected) / scale[:, [i]]
            assert error.max() < 1e-8


@pytest.mark.parametrize("times", [1, 10**6])
def test_an_expansion_far_away_is_a_number(times):
    leaves = BinomialLeaves.of(SUCCESSES * times, TRIALS * times, SHIFT)
    theta = np.array([-1e4, -900.0, -650.0, 650.0, 900.0, 1e4])
    with np.errstate(all="raise", under="ignore"):
        found = leaves.expansion(theta)
    expected = leaves.log_likelihood(theta), *leaves.slope_and_information(theta)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-100)


@pytest.mark.parametrize("leaves", ALL, ids=lambda leaves: type(leaves).__name__)
def test_slope_and_information_are_derivatives(leaves):
    width = 1e-4 * leaves.information[:, None] ** -0.5
    theta = leaves.centre[:, None] + np.linspace(-3, 3, 7) * leaves.information[:, None] ** -0.5
    low, middle, high = (leaves.log_likelihood(theta + d * width) for d in (-1, 0, 1))
    slope, information = leaves.slope_and_information(theta)
    scale = leaves.information[:, None] ** 0.5
    np.testing.assert_allclose((high - low) / (2 * width) / scale, slope / scale, atol=1e-6)
    bend = (2 * middle - low - high) / width**2
    np.testing.assert_allclose(bend / scale**2, information / scale**2, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("leaves", ALL, ids=lambda leaves: type(leaves).__name__)
def test_the_supremum_is_zero_and_tails_fall_where_they_say(leaves):
    reach = leaves.information[:, None] ** -0.5 * np.linspace(-60, 60, 4001)
    log_likelihood = leaves.log_likelihood(leaves.centre[:, None] + reach)
    assert (log_likelihood <= 1e-12).all()
    assert (log_likelihood.max(axis=1) > -1e-2).all()
    far = leaves.log_likelihood(leaves.centre[:, None] + reach[:, [0, -1]] * 20)
    np.testing.assert_array_equal(far[:, 0] < -40, leaves.falls_below)
    np.testing.assert_array_equal(far[:, 1] < -40, leaves.falls_above)


def test_a_group_without_observations_has_a_constant_leaf():
    nothing = [BinomialLeaves.of(np.zeros(1), 0), PoissonLeaves.of(np.zeros(1), 0.0)]
    for leaves in nothing:
        assert leaves.constant == 0.0
        assert not leaves.falls_below[0]
        assert not leaves.falls_above[0]
        assert np.isfinite([leaves.centre, leaves.information]).all()
        np.testing.assert_array_equal(leaves.log_likelihood(np.array([-50.0, 0.0, 50.0])), 0.0)


@pytest.mark.parametrize("leaves", ALL, ids=lambda leaves: type(leaves).__name__)
def test_beyond_its_range_a_leaf_no_longer_bends(leaves):
    """It is negligible, or bends by little over a distance of 1."""
    ends = leaves.bend_range
    value = leaves.log_likelihood(ends)
    information = leaves.slope_and_information(ends)[1]
    assert ((value < -30) | (information < 0.5)).all()


@pytest.mark.parametrize("leaves", ALL, ids=lambda leaves: type(leaves).__name__)
def test_the_trapezoid_rule_integrates_a_leaf_at_its_step(leaves):
    """Times a normal density of three of its widths: the same wherever the places begin."""
    for one in (leaves.take(np.array([i])) for i in range(len(leaves))):
        centre, sd, step = one.centre[0], one.information[0] ** -0.5, one.step[0]
        assert 0 < step < sd
        places = np.arange(-40 * sd / step, 40 * sd / step)
        z = step / sd * np.stack([places, places + 0.3])
        log_density = one.log_likelihood(centre + sd * z.ravel())[0].reshape(z.shape) - z**2 / 18
        sums = np.exp(log_density).sum(axis=1) * step / sd
        np.testing.assert_allclose(*sums, rtol=1e-11)


def test_leaves_that_are_alike_are_found():
    leaves = BinomialLeaves.of(
        np.array([3, 2, 3, 3]), np.array([9, 9, 9, 9]), 0.0, np.array([0.0, 0.0, -1.0, 0.0])
    )
    distinct, inverse = leaves.distinct()
    assert len(distinct) == 2
    np.testing.assert_array_equal(distinct.successes[inverse], leaves.successes)
    np.testing.assert_allclose(leaves.constant[2], leaves.constant[0] - 1.0)


def test_the_limit_of_many_trials_is_poisson():
    n, theta = 1e7, np.linspace(-2, 2, 9)
    binomial = BinomialLeaves.of(np.array([0, 1, 4]), n, -np.log(n))
    poisson = PoissonLeaves.of(np.array([0, 1, 4]), 1.0)
    np.testing.assert_allclose(whole(binomial, theta), whole(poisson, theta), atol=1e-5)
