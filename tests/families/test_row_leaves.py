"""Groups whose rows do not add up: sums over rows, and where their modes are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

import hiermodels as hm
from hiermodels.families import row_leaves
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal import NormalRows
from hiermodels.families.row_leaves import RowLeaves

ONE = {"trials": np.ones(1)}


def whole(leaves, theta):
    return leaves.constant[:, None] + leaves.log_likelihood(theta)


def test_rows_of_0_and_1_with_one_offset_are_a_count():
    y = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    group = np.array([0, 1, 0, 0, 1])
    leaves = hm.Binomial().leaves(y, ONE, np.full(5, 0.25), group, 2)
    assert isinstance(leaves, BinomialLeaves)
    np.testing.assert_array_equal(leaves.successes, [3, 0])
    np.testing.assert_array_equal(leaves.failures, [0, 2])
    theta = np.linspace(-3, 3, 7)
    log_p = stats.bernoulli.logpmf(1, 1 / (1 + np.exp(-theta - 0.25)))
    log_q = stats.bernoulli.logpmf(0, 1 / (1 + np.exp(-theta - 0.25)))
    np.testing.assert_allclose(whole(leaves, theta), [3 * log_p, 2 * log_q], rtol=1e-13)


def test_rows_of_0_and_1_with_several_offsets_are_few_counts():
    rng = np.random.default_rng(1)
    y, offset = rng.integers(0, 2, 60).astype(float), rng.choice([-1.0, 0.0, 0.5], 60)
    group = np.arange(60) % 4
    leaves = hm.Binomial().leaves(y, ONE, offset, group, 4)
    assert isinstance(leaves, RowLeaves)
    assert len(leaves.rows) == 12
    theta = np.linspace(-3, 3, 7)
    each = stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-theta[:, None] - offset)))
    expected = [each[:, group == g].sum(axis=1) for g in range(4)]
    np.testing.assert_allclose(whole(leaves, theta), expected, rtol=1e-12)


def test_a_million_rows_of_large_counts_keep_their_digits():
    """The probability of rows given their sum is a multivariate hypergeometric one."""
    n, y = np.array([4e5, 6e5]), np.array([1e5, 3e5])
    leaves = hm.Binomial().leaves(y, {"trials": n}, np.zeros(2), np.zeros(2, dtype=int), 1)
    given_sum = stats.hypergeom.logpmf(1e5, 1e6, 4e5, 4e5)
    together = BinomialLeaves.of(np.array([4e5]), 1e6).constant
    assert leaves.constant[0] - together[0] == pytest.approx(given_sum, rel=1e-9)


def test_poisson_rows_add_up_whatever_their_offsets():
    y, exposure = np.array([3.0, 0.0, 7.0, 2.0]), np.array([1.0, 5.0, 0.1, 2.0])
    offset, group = np.array([-600.0, 0.3, 600.0, 0.0]), np.array([0, 1, 2, 1])
    leaves = hm.Poisson().leaves(y, {"exposure": exposure}, offset, group, 3)
    np.testing.assert_array_equal(leaves.counts, [3, 2, 7])
    np.testing.assert_allclose(
        leaves.log_exposure[[0, 2]], np.log(exposure[[0, 2]]) + offset[[0, 2]]
    )
    given_sum = stats.binom.logpmf(0, 2, 5 * np.exp(0.3) / (5 * np.exp(0.3) + 2))
    np.testing.assert_allclose(leaves.log_given_sum, [0, given_sum, 0], atol=1e-13)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_normal_rows_are_a_weighted_mean(scale):
    y, sd = scale * np.array([3.0, 1.0, 8.0]), scale * np.array([1.0, 2.0, 4.0])
    leaves = NormalRows().leaves(y, {"sd": sd}, scale * np.ones(3), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(leaves.mean, scale * np.array([(2 + 0 / 4) / 1.25, 7]), rtol=1e-14)
    np.testing.assert_allclose(leaves.sd, scale * np.array([1.25**-0.5, 4]), rtol=1e-14)
    theta = scale * np.array([-2.0, 0.0, 3.0])
    first = stats.norm.logpdf(y[:2, None], theta + scale, sd[:2, None]).sum(axis=0)
    np.testing.assert_allclose(whole(leaves, theta)[0], first, rtol=1e-13)


@pytest.mark.parametrize("nu", [0.5, 4.0])
def test_the_highest_of_several_modes_is_found(nu):
    """By the product's values on a fine grid."""
    rng = np.random.default_rng(1)
    y = np.concatenate([rng.normal(-20, 1, 6), rng.normal(20, 1, 5), [500.0], rng.normal(0, 9, 70)])
    sd = np.concatenate([np.full(12, 0.7), np.full(70, 3.0)])
    group = np.repeat([0, 1], [12, 70])
    leaves = hm.StudentT(nu).leaves(y, {"sd": sd}, np.zeros(len(y)), group, 2)
    assert not leaves.log_concave
    theta = np.linspace(-60, 60, 200_001)
    values = whole(leaves, theta)
    np.testing.assert_allclose(leaves.centre, theta[values.argmax(axis=1)], atol=1e-3)
    np.testing.assert_allclose(leaves.constant, values.max(axis=1), atol=1e-4)
    assert (values.max(axis=1) <= leaves.constant + 1e-12).all()
    assert abs(leaves.slope_and_information(leaves.centre[:, None])[0]).max() < 1e-7


def test_the_supremum_of_rows_is_the_maximum_that_scipy_finds():
    rng = np.random.default_rng(2)
    y, offset = rng.integers(0, 2, 200).astype(float), rng.normal(0, 2, 200)
    group = np.repeat([0, 1], 100)
    leaves = hm.Binomial().leaves(y, ONE, offset, group, 2)

    for g in range(2):

        def minus(theta, g=g):
            return -whole(leaves, np.array([theta]))[g, 0]

        best = optimize.minimize_scalar(minus, bracket=(-1, 1), tol=1e-10)
        assert leaves.constant[g] == pytest.approx(-best.fun, abs=1e-11)


def test_rows_that_all_say_the_same_side_have_a_finite_centre():
    offset = np.array([-1.0, 0.5, 2.0, 0.0, 1.0])
    leaves = hm.Binomial().leaves(
        np.array([0.0, 0.0, 0.0, 1.0, 1.0]), ONE, offset, np.array([0, 0, 0, 1, 1]), 2
    )
    assert leaves.constant == pytest.approx(0.0, abs=1e-15)
    assert (leaves.falls_below == [False, True]).all()
    assert (leaves.falls_above == [True, False]).all()
    far = leaves.log_likelihood(np.array([-60.0, 60.0]))
    np.testing.assert_allclose([far[0, 0], far[1, 1]], 0.0, atol=1e-12)
    assert -6 < leaves.centre[0] < 0 < leaves.centre[1] < 6
    assert (leaves.information > 0.1).all()


def test_places_come_in_parts_where_rows_are_many(monkeypatch):
    rng = np.random.default_rng(3)
    y, offset = rng.integers(0, 2, 50).astype(float), rng.normal(size=50)
    leaves = hm.Binomial().leaves(y, ONE, offset, np.arange(50) % 3, 3)
    theta = np.linspace(-3, 3, 29)
    expected = leaves.log_likelihood(theta), *leaves.slope_and_information(theta)
    monkeypatch.setattr(row_leaves, "BLOCK", 150)
    found = leaves.log_likelihood(theta), *leaves.slope_and_information(theta)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_negative_binomial_rows_add_up_where_they_have_one_mean():
    y = np.array([3.0, 0.0, 8.0])
    family, exposure = hm.NegativeBinomial(1.3), {"exposure": np.array([2.0])}
    leaves = family.leaves(y, exposure, np.full(3, 0.1), np.zeros(3, dtype=int), 1)
    assert isinstance(leaves, BinomialLeaves)
    mean = 2 * np.exp(0.1 + np.linspace(-3, 3, 7))
    expected = stats.nbinom.logpmf(y[:, None], 1.3, 1.3 / (1.3 + mean)).sum(axis=0)
    np.testing.assert_allclose(whole(leaves, np.linspace(-3, 3, 7))[0], expected, rtol=1e-12)
