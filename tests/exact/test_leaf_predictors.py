"""Effects of groups of counts at other covariates than their own, and those of new groups."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.draws import LeafDraws
from hiermodels.exact.leaves.effects import effect_laws
from hiermodels.exact.leaves.elsewhere import laws_elsewhere
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import new_groups
from hiermodels.exact.leaves.predictors import MemberPredictors, NewPredictors
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves

PROBABILITIES = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
SUCCESSES = np.array([3.0, 5, 0, 2, 6, 4])
TRIALS = np.array([8.0, 9, 4, 6, 7, 9])
COVARIATE = np.array([0.0, 0, 0, 1, 1, 1])
ROWS = np.array([[1, 0.5], [1, 1], [1, -2], [1, 0.5]])
MEMBERS = np.array([0, 2, 5, 3])


@cache
def binomial_posterior():
    """Few counts, so that plain sums are exact too, and a covariate of two values."""
    x = np.stack([np.ones(6), COVARIATE], axis=1)
    leaves = BinomialLeaves.of(SUCCESSES, TRIALS)
    model = LeafModel(leaves, x, np.zeros(2), np.ones(2), hm.HalfNormal(0.5))
    return LeafPosterior.of(model)


def characteristic_functions(frequency):
    """``E exp(iω(θ + (x − x_i)'γ))`` of rows by sums over plain grids of τ, γ and θ.

    As functions of τ all terms are even, so that the grid need not be finer near 0.
    """
    axes = 0.16 * (np.arange(20) + 0.5), np.linspace(-3.6, 3.2, 46), np.linspace(-4.2, 4.4, 49)
    tau, mu, beta = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    log_weight = -(tau**2) / (2 * 0.5**2) - (mu**2 + beta**2) / 2
    z = np.linspace(-8.5, 8.5, 61)
    share = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    waves = []
    for r, n, x in zip(SUCCESSES, TRIALS, COVARIATE, strict=True):
        theta = (mu + x * beta)[:, None] + tau[:, None] * z
        leaf = share * np.exp(r * theta - n * np.logaddexp(0, theta))
        total = leaf.sum(axis=1)
        log_weight += np.log(total)
        waves.append((leaf * np.exp(1j * frequency * theta)).sum(axis=1) / total)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    away = ROWS[:, 1] - COVARIATE[MEMBERS]
    moved = np.exp(1j * frequency * np.multiply.outer(away, beta))
    return np.array([weight @ (waves[i] * m) for i, m in zip(MEMBERS, moved, strict=True)])


@pytest.mark.parametrize("frequency", [1.0, 3.0])
def test_laws_of_rows_have_the_characteristic_functions_of_plain_sums(frequency):
    rows = MemberPredictors(binomial_posterior(), MEMBERS, ROWS)
    known = characteristic_functions(frequency)
    real, _ = rows.function_moments(lambda theta: np.cos(frequency * theta))
    imaginary, _ = rows.function_moments(lambda theta: np.sin(frequency * theta))
    np.testing.assert_allclose(real + 1j * imaginary, known, atol=2e-8)


def test_moments_of_rows_are_those_of_their_laws():
    rows = MemberPredictors(binomial_posterior(), MEMBERS, ROWS)
    mean, sd = rows.moments()
    own_mean, own_sd = rows.function_moments(lambda theta: theta)
    np.testing.assert_allclose((own_mean - mean) / sd, 0, atol=1e-7)
    np.testing.assert_allclose(own_sd / sd, 1, atol=1e-7)


@pytest.mark.parametrize("place", [0.0, 3.0])
def test_normal_leaves_have_the_effects_of_the_normal_engine(place):
    """At 0, which is inside of the covariate's range or far outside of it."""
    rng = np.random.default_rng(2)
    k = 6
    x, sd = rng.normal(place, 1.0, k), rng.uniform(0.05, 1.5, k)
    y = 1 + 0.5 * x + rng.normal(0, 0.4, k) + rng.normal(0, sd)
    data = pd.DataFrame({"g": list("abcdef"), "y": y, "s": sd, "x": x})
    known = hm.reference(
        data,
        outcome="y",
        groups=["g"],
        se="s",
        covariates=["x"],
        priors={"tau": hm.HalfNormal(1)},
        tol=1e-10,
    )
    design, zero = np.stack([np.ones(k), x], axis=1), np.zeros(2)
    model = LeafModel(NormalLeaves.of(y, sd), design, zero, zero, hm.HalfNormal(1))
    posterior, at = LeafPosterior.of(model), design * [1, 0]
    mean, scale = known.mean["theta"].values, known.sd["theta"].values
    found_mean, found_sd = posterior.effect_moments(at)
    np.testing.assert_allclose((found_mean - mean) / scale, 0, atol=1e-9)
    np.testing.assert_allclose(found_sd / scale, 1, atol=1e-9)
    quantiles = known.quantile(PROBABILITIES)["theta"].transpose("g", ...).values
    for laws in effect_laws(posterior, np.array([0, 3, 4]), at):
        error = (laws.quantile(PROBABILITIES) - quantiles[laws.groups]) / scale[laws.groups, None]
        np.testing.assert_allclose(error, 0, atol=1e-6)


def test_both_ways_to_a_law_at_a_groups_own_covariates_agree():
    posterior = binomial_posterior()
    members = np.array([1, 2])
    for other in laws_elsewhere(posterior, members, posterior.model.x[members]):
        group = members[other.groups]
        (own,) = effect_laws(posterior, group, posterior.model.x)
        assert own.groups == group
        scale = posterior.effect_moments()[1][group]
        error = (other.quantile(PROBABILITIES) - own.quantile(PROBABILITIES)) / scale
        np.testing.assert_allclose(error, 0, atol=1e-7)


def test_draws_of_rows_have_the_exact_distribution_functions():
    posterior, size = binomial_posterior(), 40_000
    rows = MemberPredictors(posterior, MEMBERS, ROWS)
    quantiles = rows.quantile(PROBABILITIES)
    np.testing.assert_allclose(rows.cdf(quantiles), np.tile(PROBABILITIES, (4, 1)), rtol=1e-10)
    slope = (rows.cdf(quantiles + 1e-4) - rows.cdf(quantiles - 1e-4)) / 2e-4
    np.testing.assert_allclose(rows.density(quantiles), slope, rtol=1e-5)
    drawn = LeafDraws.draw(posterior.marginal, size, np.random.default_rng(3))
    away = (ROWS - posterior.model.x[MEMBERS]) @ drawn.gamma.T
    values = drawn.effects()[MEMBERS] + away
    below = (values[:, :, None] <= quantiles[:, None, :]).mean(axis=1)
    z = (below - PROBABILITIES) / np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / size)
    assert np.abs(z).max() < 4
    mean, sd = rows.function_moments(expit)
    z = (expit(values).mean(axis=1) - mean) / sd * np.sqrt(size)
    assert np.abs(z).max() < 4


def test_moments_elsewhere_do_not_exist_where_those_of_flat_coefficients_do_not():
    """Under a flat τ², six groups and two flat coefficients: means exist, variances do not."""
    x = np.stack([np.ones(6), np.arange(6.0)], axis=1)
    leaves = BinomialLeaves.of(np.array([3, 2, 5, 4, 4, 6]), 9)
    model = LeafModel(leaves, x, np.zeros(2), np.zeros(2), hm.FlatVariance())
    marginal = LeafMarginal(model)
    posterior = LeafPosterior(marginal, marginal.lattice(1.0))
    mean, sd = posterior.effect_moments(x + np.array([0, 1]))
    assert np.isfinite(mean).all()
    assert np.isnan(sd).all()
    own_mean, own_sd = posterior.effect_moments(x)
    assert np.isfinite(own_mean).all()
    assert np.isfinite(own_sd).all()
    one = np.ones((1, 2))
    assert np.isfinite(NewPredictors(posterior, one).moments()[0]).all()
    assert np.isnan(NewPredictors(posterior, one).moments()[1]).all()


def test_new_groups_have_the_probabilities_of_new_trials():
    posterior = binomial_posterior()
    new = NewPredictors(posterior, ROWS[[0, 2, 0]])
    mean, sd = new.function_moments(expit)
    for i, x in ((0, ROWS[0]), (1, ROWS[2])):
        one, two = np.exp(new_groups(posterior, BinomialLeaves.of([1, 2], np.array([1, 2])), x))
        np.testing.assert_allclose([mean[i], sd[i]], [one, np.sqrt(two - one**2)], atol=1e-11)
    assert mean[2] == mean[0]
    both = new.moments(), new.function_moments(lambda theta: theta)
    np.testing.assert_allclose(both[0], both[1], atol=1e-12)
    places = new.quantile(PROBABILITIES)
    np.testing.assert_allclose(new.cdf(places), np.tile(PROBABILITIES, (3, 1)), atol=1e-11)


def test_the_mean_of_a_new_rate_is_given_where_it_exists():
    """``E e^θ`` is that of ``e^(x'γ + τ²/2)``, which is infinite for wide half-normal priors."""
    y, exposure = np.array([5.0, 1, 5, 14]), np.array([94.3, 15.7, 62.9, 126])
    for scale, exists in ((0.3, True), (1.0, False)):
        leaves, zero = PoissonLeaves.of(y, exposure), np.zeros(1)
        model = LeafModel(leaves, np.ones((4, 1)), zero, zero, hm.HalfNormal(scale))
        posterior = LeafPosterior.of(model)
        mean, _ = NewPredictors(posterior, np.ones((1, 1))).function_moments(np.exp)
        if exists:
            heavy = posterior.lattice.weights > 0
            known = np.exp(posterior.gamma[heavy, 0] + posterior.tau[heavy] ** 2 / 2)
            assert mean[0] == pytest.approx(posterior.lattice.weights[heavy] @ known, rel=1e-9)
        else:
            assert np.isnan(mean[0])


def test_moments_of_new_groups_need_those_of_tau_whatever_the_coefficients_priors():
    """Under a half-Cauchy prior: six groups have them, one with both outcomes does not."""
    for groups, exists in ((np.arange(6), True), (np.array([0, 2]), False)):
        leaves = BinomialLeaves.of(SUCCESSES[groups], TRIALS[groups])
        ones = np.ones((len(groups), 1))
        marginal = LeafMarginal(LeafModel(leaves, ones, np.zeros(1), np.ones(1), hm.HalfCauchy(1)))
        new = NewPredictors(LeafPosterior(marginal, marginal.lattice(1.0)), np.ones((1, 1)))
        assert np.isfinite(new.moments()[1]).all() == exists
