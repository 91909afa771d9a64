"""The likelihood of counts row by row: against adaptive quadrature, and its own differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.integrals import Middles, effect_moments, expand, log_integrals
from hiermodels.exact.glmm.products import log_products
from hiermodels.exact.glmm.rows import BinomialRows, PoissonRows
from tests.oracles.rows_of_counts import log_likelihood

SIZES = np.array([7, 20, 1, 33, 2])
FIRST = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
GROUP = np.repeat(np.arange(len(SIZES)), SIZES)
KINDS = ("single", "binomial", "poisson")


def rows(kind, seed=1):
    """Three covariates; a group of one row, and one without any success, or trial."""
    rng = np.random.default_rng(seed)
    n = len(GROUP)
    x, offset = np.column_stack([np.ones(n), rng.normal(size=(n, 2))]), 0.3 * rng.normal(size=n)
    if kind == "poisson":
        return PoissonRows(rng.poisson(2.0 * (GROUP != 4)).astype(float), x, offset, FIRST)
    trials = np.ones(n) if kind == "single" else rng.integers(0, 9, n).astype(float)
    y = rng.binomial(trials.astype(int), 0.3) * (GROUP != 4)
    return BinomialRows(y.astype(float), x, offset, FIRST, trials)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", [0.0, 1e-6, 0.3, 1.0, 3.0, 20.0, 100.0, 3e3, 1e5])
def test_value(kind, tau):
    given, gamma = rows(kind), np.array([-0.5, 0.4, -0.3])
    size = given.trials if kind != "poisson" else np.zeros(len(GROUP))
    of = "poisson" if kind == "poisson" else "binomial"
    expected = log_likelihood(of, given.y, size, given.linear(gamma[None])[:, 0], GROUP, tau)
    assert expand(given, tau, gamma).value == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_derivatives(kind, tau):
    """Central differences: their own error is about 1e-9."""
    given, gamma, h = rows(kind), np.array([-0.5, 0.4, -0.3]), 1e-4
    here = expand(given, tau, gamma)
    beside = [[expand(given, tau, gamma + s * h * e) for s in (1, -1)] for e in np.eye(3)]
    slope = [(up.value - down.value) / (2 * h) for up, down in beside]
    bend = [(up.gradient - down.gradient) / (2 * h) for up, down in beside]
    np.testing.assert_allclose(here.gradient, slope, atol=1e-6)
    np.testing.assert_allclose(here.information.sum(axis=0), -np.array(bend), atol=1e-5)
    z = [(up.middles.z - down.middles.z)[:, 0] / (2 * h) for up, down in beside]
    np.testing.assert_allclose(here.slope, np.transpose(z), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_many_settings_are_each_by_itself(kind):
    """From middles that are a little off."""
    given, rng = rows(kind), np.random.default_rng(2)
    gamma, tau = 0.4 * rng.normal(size=(9, 3)), rng.uniform(0, 3, 9)
    each = [expand(given, t, g) for t, g in zip(tau, gamma, strict=True)]
    z = np.concatenate([one.middles.z + 0.3 * rng.normal() for one in each], axis=1)
    root = np.concatenate([one.middles.root for one in each], axis=1)
    found = log_integrals(given, given.linear(gamma), tau, Middles(z, root))
    np.testing.assert_allclose(found.sum(axis=0), [one.value for one in each], atol=1e-8)


def test_moments_of_effects_are_slopes_of_the_integral():
    """Of ``log ∫ exp(ηs) …``: with an offset that all rows of a group share, as y does not move."""
    given, tau, h = rows("binomial"), 0.8, 1e-4
    gamma = np.array([[-0.5, 0.4, -0.3]])
    eta, taus = given.linear(gamma), np.array([tau])
    middles = expand(given, tau, gamma[0]).middles
    value, mean, variance = effect_moments(given, eta, taus, middles)
    moved = [given.take(np.arange(len(GROUP)), FIRST) for _ in range(2)]
    first = np.zeros(len(GROUP))
    first[FIRST] = h
    shifted = []
    for sign, own in zip((1, -1), moved, strict=True):
        more = BinomialRows(own.y + sign * first, own.x, own.offset, FIRST, own.trials)
        here = log_integrals(more, eta, taus, middles)[:, 0]
        shifted.append(here - sign * h * eta[FIRST, 0])
    slope = (shifted[0] - shifted[1]) / (2 * h)
    bend = (shifted[0] - 2 * value[:, 0] + shifted[1]) / h**2
    np.testing.assert_allclose(mean[:, 0], slope, atol=1e-7)
    np.testing.assert_allclose(variance[:, 0], bend, atol=1e-5)


def test_extreme_predictors_are_numbers():
    """Where exponentials of 16 rows, or of one, would overflow."""
    given = rows("single")
    for far in (30.0, 60.0, 800.0):
        value = expand(given, 1.0, np.array([far, 0.0, 0.0])).value
        assert np.isfinite(value)
        assert value < -far


def test_integrals_that_would_take_too_many_points_are_refused():
    with pytest.raises(PrecisionError, match="points at tau"):
        expand(rows("single"), 1e5, np.array([0.0, 1e4, 1e4]))


def test_compiled_sums_of_logarithms():
    rng = np.random.default_rng(4)
    eta, b = rng.normal(size=(3, 37, 5)), rng.normal(size=(3, 5, 7))
    expected = np.log1p(np.exp(eta[..., None] + b[:, None])).sum(axis=1)
    np.testing.assert_allclose(log_products(np.exp(eta), np.exp(b)), expected, rtol=1e-14)


def test_compiled_sums_of_moments():
    """Of all groups at once, and of groups with linear predictors of their own."""
    rng, given = np.random.default_rng(4), rows("binomial")
    many = replace(given, are_some=True)
    eta, b = rng.normal(0, 3, (len(GROUP), 4)), rng.normal(0, 3, (5, 4))
    for found, expected in zip(
        many.sums_of_moments(eta, b), given.sums_of_moments(eta, b), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    own, theta, index = rng.normal(size=(6, 20)), rng.normal(size=(6, 3)), np.arange(120) % 63
    settings = own, index.reshape(6, 20), theta
    for found, expected in zip(
        many.own_sums_of_moments(*settings), given.own_sums_of_moments(*settings), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
