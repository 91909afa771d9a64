"""Distribution functions, predictions and groups left out with three levels."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.effects import effect_laws
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.exchanged import leave_out_outer
from hiermodels.exact.leaves.nested.laws import NestedLaws
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.nested.shares import _Shares
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.binomial_leaves import BinomialLeaves
from tests.exact import nested_models as models
from tests.exact.nested_models import KNOWN, N, R, model_of, normal, small, synthetic

ONE = np.ones(1)
PROBABILITIES = np.array([0.025, 0.25, 0.5, 0.975])


def quantiles(laws, size):
    found = np.empty((size, len(PROBABILITIES)))
    for law in laws:
        found[law.groups] = law.quantile(PROBABILITIES)
    return found


@cache
def few():
    return NestedLaws(models.few())


def test_quantiles_of_lambda_are_the_known_ones():
    known = KNOWN["lam"]["quantile"]
    law = NestedLaws(synthetic()).linear(ONE)
    found = law.quantile(np.array(list(map(float, known))))
    np.testing.assert_allclose(found, list(known.values()), atol=1e-6 * KNOWN["lam"]["sd"])


def test_laws_of_effects_have_their_moments():
    """The law's masses and the moments are summed in different ways."""
    posterior = synthetic()
    laws = NestedLaws(posterior)
    for level in (0, 1):
        mean, sd = posterior.effect_moments(level)
        seen = np.zeros(len(mean), dtype=int)
        for own in laws.effect_laws(level):
            found = own.moments()
            np.testing.assert_allclose((found[0] - mean[own.groups]) / sd[own.groups], 0, atol=1e-9)
            np.testing.assert_allclose(found[1] / sd[own.groups], 1.0, atol=1e-9)
            places = own.quantile(PROBABILITIES)
            below = np.broadcast_to(PROBABILITIES, places.shape)
            np.testing.assert_allclose(own.cdf(places), below, atol=1e-10)
            seen[own.groups] += 1
        assert (seen == 1).all()


def test_without_variance_between_outer_groups_effects_have_the_laws_of_two_levels():
    model = small(outer=hm.Fixed(0))
    ones, zero = np.ones((12, 1)), np.zeros(1)
    two = LeafPosterior.of(LeafModel(model.leaves, ones, zero, zero, hm.HalfNormal(1)))
    nested = NestedLaws(NestedPosterior.of(model))
    found, known = quantiles(nested.effect_laws(1), 12), quantiles(effect_laws(two), 12)
    np.testing.assert_allclose(found, known, atol=1e-6)


def test_without_variance_within_outer_groups_they_have_the_laws_of_pooled_counts():
    pooled = BinomialLeaves.of(R.sum(axis=1), N.sum(axis=1))
    ones, zero = np.ones((4, 1)), np.zeros(1)
    two = LeafPosterior.of(LeafModel(pooled, ones, zero, zero, hm.HalfNormal(1)))
    nested = NestedLaws(NestedPosterior.of(small(inner=hm.Fixed(0))))
    known = quantiles(effect_laws(two), 4)
    np.testing.assert_allclose(quantiles(nested.effect_laws(0), 4), known, atol=1e-7)
    within = quantiles(nested.effect_laws(1), 12)
    np.testing.assert_allclose(within, np.repeat(known, 3, axis=0), atol=1e-7)


def test_medians_keep_their_digits_where_sds_reach_far():
    """Of data that stay as they are when successes and failures are exchanged."""
    leaves = BinomialLeaves.of(np.array([0, 3, 0, 0, 3, 3, 1, 2]), np.full(8, 3))
    priors = hm.InverseGamma(3, 1), hm.InverseGamma(3, 8)
    nested = NestedPosterior.of(model_of(leaves, np.arange(8) // 2, *priors, precision=1.0))
    median = quantiles(NestedLaws(nested).effect_laws(0), 4)[:, 2]
    np.testing.assert_allclose(median, -median[[0, 2, 1, 3]], atol=1e-9)


def test_normal_leaves_have_the_quantiles_of_the_normal_engine():
    posterior, known = normal()
    laws = NestedLaws(posterior)
    for level, name in ((0, "mu"), (1, "theta")):
        values = known.quantile(list(PROBABILITIES), [name])[name].values
        members = np.array([0, 2] if level == 0 else [1, 5])
        found = quantiles(laws.effect_laws(level, members), values.shape[1])[members]
        error = 1e-6 * known.sd[name].values.min()
        np.testing.assert_allclose(found.T, values[:, members], atol=error)


def test_an_outer_group_without_trials_is_a_new_one():
    r, n = np.append(R.ravel(), [0, 0]), np.append(N.ravel(), [0, 0])
    parent, tau = np.append(np.repeat(np.arange(4), 3), [4, 4]), hm.Fixed(0.5)
    model = model_of(BinomialLeaves.of(r, n), parent, inner=tau, precision=1.0)
    with_new = NestedLaws(NestedPosterior.of(model))
    without = NestedLaws(NestedPosterior.of(small(inner=tau, precision=1.0)))
    new = without.new_law(ONE).quantile(PROBABILITIES)
    within = quantiles(with_new.effect_laws(1, np.array([12])), 14)[12]
    np.testing.assert_allclose(within, new, atol=1e-7)
    below = quantiles(with_new.predictor_laws(0, np.array([4]), np.ones((1, 1))), 1)[0]
    np.testing.assert_allclose(below, new, atol=1e-7)


def test_a_new_group_of_a_known_outer_group_varies_by_tau_around_it():
    laws, posterior = few(), few().posterior
    mean, sd = posterior.effect_moments(0)
    members, x = np.array([2, 0, 2]), np.ones((3, 1))
    (own,) = laws.predictor_laws(0, members, x)
    found = own.moments()
    tau2 = posterior.lattice.weights @ posterior.sds[:, 1] ** 2
    np.testing.assert_allclose(found[0], mean[members], atol=1e-8)
    np.testing.assert_allclose(found[1], np.sqrt(sd[members] ** 2 + tau2), atol=1e-8)


def test_means_of_functions_are_those_of_the_laws():
    laws = few()
    probabilities = laws.predictor_means(
        1, np.array([7, 2]), np.ones((2, 1)), lambda rows, theta: expit(theta)
    )
    known, _ = laws.posterior.function_moments(expit)
    np.testing.assert_allclose(probabilities, known[[7, 2]], atol=1e-9)
    law = laws.new_law(ONE)
    edges = np.array([0, 1, 2, 3, 4.5, 7, 11, 18, 30])
    edges = np.concatenate([-edges[:0:-1], edges])
    x, weight = leggauss(24)
    places = (edges[1:, None] + edges[:-1, None] + np.diff(edges)[:, None] * x) / 2
    density = law.density(places.ravel()).reshape(places.shape)
    share = density * weight * np.diff(edges)[:, None] / 2
    assert share.sum() == pytest.approx(1, abs=1e-9)
    assert laws.new_means(ONE, expit)[0] == pytest.approx((expit(places) * share).sum(), abs=1e-9)


def test_the_mean_rate_of_a_new_group_is_that_of_its_normal_law():
    """``E e^η = E e^(λ + ½κ² + ½τ²)``, of which a finer and wider lattice sums the right side."""
    half = hm.HalfNormal(0.4)
    laws = NestedLaws(NestedPosterior.of(small(outer=half, inner=half, precision=1.0)))
    finer = laws.posterior.marginal.lattice(
        0.45, growth=lambda sds, gamma: 1.5 * gamma[:, 0] + (sds**2).sum(axis=1)
    )
    coordinates = laws.posterior.coordinates
    sds, gamma = coordinates.sds(finer.points), coordinates.gamma(finer.points)
    known = finer.weights @ np.exp(gamma[:, 0] + 0.5 * (sds**2).sum(axis=1))
    assert laws.new_means(ONE, np.exp, 1)[0] == pytest.approx(known, rel=1e-8)


def test_leaving_out_agrees_with_posteriors_without_the_rows():
    laws, posterior = few(), few().posterior
    model, r, n = posterior.model, R.ravel(), N.ravel()

    def without(gone):
        kept = np.setdiff1d(np.arange(12), gone)
        parent = np.unique(model.parent[kept], return_inverse=True)[1]
        leaves = BinomialLeaves.of(r[kept], n[kept])
        return NestedPosterior.of(model_of(leaves, parent, precision=1.0)).log_integral

    groups = np.array([2, 7])
    nothing = BinomialLeaves.of(np.zeros(2), np.zeros(2))
    found = model.leaves.constant[groups] - laws.exchanged(groups, nothing)[0]
    assert found[1] == pytest.approx(posterior.log_integral - without([7]), abs=1e-8)
    whole, half = leave_out_outer(posterior)
    known = posterior.log_integral - without([6, 7, 8])
    assert whole[2] == pytest.approx(known, abs=1e-8)
    np.testing.assert_allclose(half, whole, atol=1e-5)


def test_probabilities_of_further_counts_sum_to_one():
    laws = few()
    own, further = laws.posterior.model.leaves, np.arange(8)
    leaves = BinomialLeaves.of(R[1, 0] + further, np.full(8, N[1, 0] + 7))
    alone = BinomialLeaves.of(further, np.full(8, 7))
    ways = np.exp(alone.constant)
    at = own.centre[3:4]
    scale = leaves.log_likelihood(at) - alone.log_likelihood(at) - own.log_likelihood(at)[3]
    ratio = np.exp(laws.exchanged(np.full(8, 3), leaves)[0] - scale[:, 0])
    assert ways @ ratio == pytest.approx(1.0, abs=1e-9)
    new = np.exp(laws.of_new_groups(ONE, alone)) @ ways
    assert new == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("levels", [(0,), (1,), (0, 1)])
def test_shares_of_variances_have_their_means(levels):
    """``E s = ∫ P(s > q) dq`` from the distribution function, and as a sum over the lattice."""
    laws, rest = few(), np.pi**2 / 3
    mean, _ = laws.variance_moments(lambda v: v[list(levels)].sum(axis=0) / (v.sum(axis=0) + rest))
    shares = _Shares(laws.posterior, levels, rest)
    z, weight = leggauss(160)
    logit = 30 * z
    slope = expit(logit) * expit(-logit) * 30 * weight
    assert slope @ [1 - shares.cdf(x) for x in logit] == pytest.approx(mean, abs=1e-6)
    (median,) = laws.share_quantiles(list(levels), rest, np.array([0.5]))
    assert shares.cdf(np.log(median / (1 - median))) == pytest.approx(0.5, abs=1e-9)


def test_shares_with_a_known_sd_follow_the_other():
    laws, rest = NestedLaws(NestedPosterior.of(small(outer=hm.Fixed(0.5)))), 2.0
    tau = laws.posterior.sd_quantiles(1, PROBABILITIES)
    own = laws.share_quantiles([1], rest, PROBABILITIES)
    np.testing.assert_allclose(own, tau**2 / (tau**2 + 0.25 + rest), rtol=1e-12)
    outer = laws.share_quantiles([0], rest, 1 - PROBABILITIES)
    np.testing.assert_allclose(outer, 0.25 / (tau**2 + 0.25 + rest), rtol=1e-9)
