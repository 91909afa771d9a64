"""Densities of rows where they are hardest: in the tails, and at counts of a million."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy import stats

import hiermodels as hm
from hiermodels.families.normal import NormalRows

ETA = np.array([-700.0, -40.0, -5.0, -0.3, 0.0, 1e-9, 2.0, 36.0, 700.0])
MILLION = np.array([1e6])


def column(**values):
    return {name: np.array(value, dtype=float) for name, value in values.items()}


def binomial_exactly(y, n, eta):
    choose = mp.loggamma(n + 1) - mp.loggamma(y + 1) - mp.loggamma(n - y + 1)
    return choose + y * eta - n * mp.log1p(mp.exp(eta))


def poisson_exactly(y, exposure, eta):
    mean = exposure * mp.exp(eta)
    return y * mp.log(mean) - mean - mp.loggamma(y + 1)


def negative_binomial_exactly(y, exposure, size, eta):
    mean = exposure * mp.exp(eta)
    choose = mp.loggamma(y + size) - mp.loggamma(size) - mp.loggamma(y + 1)
    return choose + y * mp.log(mean / (mean + size)) + size * mp.log(size / (mean + size))


def student_t_exactly(z, nu):
    nu = mpf(nu)
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(mp.pi * nu) / 2
    return constant - (nu + 1) / 2 * mp.log1p(mpf(z) ** 2 / nu)


def exactly(function, *arguments):
    """To 60 digits, rounded once."""
    with mp.workdps(60):
        return np.array(
            [float(function(*map(mpf, row))) for row in np.broadcast(*map(np.asarray, arguments))]
        )


@pytest.mark.parametrize("y", [0, 1, 7, 499_999, 999_999, 1_000_000])
def test_no_digits_of_a_million_trials_are_lost(y):
    own = np.log((y + 0.5) / (1e6 - y + 0.5)) + np.array([-1.0, -1e-3, 0.0, 1e-3, 0.5])
    for eta in (own, ETA):
        found = hm.Binomial().log_likelihood(
            np.array([float(y)]), eta[:, None], {"trials": MILLION}
        )
        expected = exactly(binomial_exactly, y, 1e6, eta)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14, atol=2e-12)


@pytest.mark.parametrize("y", [0, 1, 7, 1_000_000])
def test_no_digits_of_a_million_events_are_lost(y):
    own = np.log((y + 0.5) / 3e4) + np.array([-1.0, -1e-3, 0.0, 1e-3, 0.5])
    for eta in (own, ETA[:-1]):
        found = hm.Poisson().log_likelihood(
            np.array([float(y)]), eta[:, None], column(exposure=[3e4])
        )
        expected = exactly(poisson_exactly, y, 3e4, eta)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14, atol=2e-12)


@pytest.mark.parametrize("size", [1e-3, 0.37, 4.0, 1e3, 1e7])
@pytest.mark.parametrize("y", [0, 1, 7, 1_000_000])
def test_no_digits_of_overdispersed_counts_are_lost(y, size):
    own = np.log((y + 0.5) / 3e4) + np.array([-1.0, -1e-3, 0.0, 1e-3, 0.5])
    family = hm.NegativeBinomial(size)
    for eta in (own, ETA):
        found = family.log_likelihood(np.array([float(y)]), eta[:, None], column(exposure=[3e4]))
        expected = exactly(negative_binomial_exactly, y, 3e4, size, eta)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14, atol=2e-12)


@pytest.mark.parametrize("nu", [0.01, 1, 4, 29.5, 1e6, 1e12])
def test_no_digits_of_many_degrees_of_freedom_are_lost(nu):
    z = np.array([0.0, 1e-5, 0.3, 5.0, 1e4, 1e8, 1e12])
    found = hm.StudentT(nu).log_likelihood(z, np.zeros(1), column(sd=[1.0]))
    np.testing.assert_allclose(found, exactly(student_t_exactly, z, nu), rtol=1e-14, atol=1e-14)


def test_tails_of_t_are_powers_as_far_as_numbers_go():
    y = np.array([1e150, 1e250])
    found = hm.StudentT(3).log_likelihood(y, np.zeros(1), column(sd=[1e-50]))
    assert found[1] - found[0] == pytest.approx(-4 * np.log(1e100), rel=1e-12)


def test_many_degrees_of_freedom_are_normal():
    y, sd = np.array([-3.0, 0.2, 5.0]), column(sd=[1.5])
    found = hm.StudentT(1e15).log_likelihood(y, np.zeros(1), sd)
    np.testing.assert_allclose(found, NormalRows().log_likelihood(y, np.zeros(1), sd), rtol=1e-13)


def test_a_large_size_is_poisson():
    y, exposure = np.array([0.0, 3.0, 40.0]), column(exposure=[20.0])
    found = hm.NegativeBinomial(1e15).log_likelihood(y, np.zeros(1), exposure)
    expected = hm.Poisson().log_likelihood(y, np.zeros(1), exposure)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_row_without_trials_says_nothing():
    eta = np.array([[-3.0], [0.0], [800.0]])
    found = hm.Binomial().log_likelihood(np.zeros(2), eta, column(trials=[0, 0]))
    np.testing.assert_array_equal(found, np.zeros((3, 2)))
    drawn = hm.Binomial().draw(np.zeros((3, 2)), column(trials=[0, 0]), np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, np.zeros((3, 2)))


@pytest.mark.parametrize("family", [hm.Poisson(), hm.NegativeBinomial(1e16)])
def test_counts_that_no_integer_holds_are_drawn_with_their_mean_and_sd(family):
    eta = np.full((20_000, 1), np.log(1e24))
    drawn = family.draw(eta, column(exposure=[1.0]), np.random.default_rng(1))
    sd = np.sqrt(1e24 + (1e48 / 1e16 if family.name == "negative_binomial" else 0))
    assert stats.kstest((drawn[:, 0] - np.exp(eta[0, 0])) / sd, "norm").pvalue > 1e-3
    beyond = family.draw(np.full((5, 1), 800.0), column(exposure=[1.0]), np.random.default_rng(1))
    assert (beyond == np.inf).all()


def test_a_negative_binomial_has_the_variance_that_it_states():
    eta = np.full((400_000, 1), np.log(3.0))
    drawn = hm.NegativeBinomial(2.0).draw(eta, column(exposure=[2.0]), np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(6.0, rel=0.01)
    assert drawn.var() == pytest.approx(6.0 + 36.0 / 2.0, rel=0.02)


@pytest.mark.parametrize(
    ("family", "y", "columns", "fault", "rows"),
    [
        (hm.Binomial(), [1, 2, 3], {"trials": [2, -1, 2.5]}, "trials", [1, 2]),
        (hm.Binomial(), [3, 0, 2], {"trials": [2, 0, 2]}, "outcome", [0]),
        (hm.Poisson(), [1, 0, 3], {"exposure": [0, 1e-9, -2]}, "exposure", [0, 2]),
        (hm.StudentT(3), [1, 0, 3], {"sd": [0, 1e-9, -2]}, "sd", [0, 2]),
        (
            hm.OddsRatio(),
            [0, 5, 1],
            {"trials": [4, 4, 4], "control_trials": [3, 9, 9], "total_events": [4, 6, 0]},
            "outcome",
            [1],
        ),
        (
            hm.OddsRatio(),
            [0, 1, 1],
            {"trials": [4, 4, 4], "control_trials": [3, 9, 9], "total_events": [4, 6, 0]},
            "total_events",
            [0, 2],
        ),
        (
            hm.OddsRatio(),
            [4, 1],
            {"trials": [4, 4], "control_trials": [3, 3], "total_events": [8, 4]},
            "total_events",
            [0],
        ),
    ],
)
def test_rows_that_cannot_be_are_named_with_their_column(family, y, columns, fault, rows):
    found = {
        wrong.column: np.flatnonzero(wrong.rows).tolist()
        for wrong in family.invalid(np.array(y, dtype=float), column(**columns))
    }
    assert found[fault] == rows
