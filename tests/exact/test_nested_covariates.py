"""Three levels of counts with covariates, against brute force and posteriors that are known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.laws import NestedLaws
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from tests.exact.nested_models import (
    FEW,
    KAPPA,
    TAU,
    N,
    R,
    X,
    assert_moments,
    with_covariate,
)
from tests.oracles.brute_covariate import KNOWN

AT_ZERO = np.tile([1.0, 0.0], (FEW, 1))


@cache
def few():
    return NestedLaws(NestedPosterior.of(with_covariate(X.ravel())))


def test_few_groups_have_the_posterior_of_brute_force():
    posterior = few().posterior
    assert posterior.certificate < 1e-8
    assert_moments(posterior.sd_moments(TAU), KNOWN["tau"], 1e-8)
    assert_moments(posterior.sd_moments(KAPPA), KNOWN["kappa"], 1e-8)
    mean, sd = posterior.coefficient_moments()
    assert_moments((mean[0], sd[0]), KNOWN["lam"], 1e-8)
    assert_moments((mean[1], sd[1]), KNOWN["beta"], 1e-8)
    assert_moments(posterior.effect_moments(0, AT_ZERO[:3]), KNOWN["mu"], 1e-8)
    mean, _ = posterior.function_moments(expit)
    np.testing.assert_allclose(mean, KNOWN["mean_p"], atol=1e-8)
    assert posterior.log_integral == pytest.approx(KNOWN["log_integral"], abs=1e-8)


@cache
def fixed(tau=0.6, kappa=None, precision=1.0):
    """With τ known, which takes a lattice of three dimensions."""
    inner, outer = hm.Fixed(tau), None if kappa is None else hm.Fixed(kappa)
    model = with_covariate(X.ravel(), precision=precision, inner=inner, outer=outer)
    return NestedLaws(NestedPosterior.of(model))


def assert_laws(laws, level, at=None, atol=1e-8, rtol=1e-8):
    mean, sd = laws.effect_moments(level, at)
    for own in laws.effect_laws(level, None, at):
        found = own.moments()
        np.testing.assert_allclose((found[0] - mean[own.groups]) / sd[own.groups], 0, atol=atol)
        np.testing.assert_allclose(found[1], sd[own.groups], rtol=rtol)


@pytest.mark.parametrize("kappa", [None, 0.8])
def test_laws_of_effects_have_their_moments_at_any_covariates(kappa):
    """The law's masses and the moments are summed in different ways."""
    laws = fixed(kappa=kappa)
    assert_laws(laws, 0)
    assert_laws(laws, 1, None, 1e-6, 2e-5)
    for x in (0.0, 1.4):
        at = np.tile([1.0, x], (FEW, 1))
        assert_laws(laws, 0, at[:3], 1e-6, 2e-5)
        assert_laws(laws, 1, at, 1e-6, 2e-5)


def test_means_of_functions_are_those_of_moments_at_any_covariates():
    """Of known groups and of new ones; the mean of a new one is ``E μ_s + x'β``."""
    laws = fixed()
    at, every = np.tile([1.0, 1.4], (FEW, 1)), np.arange(FEW)

    def square(rows, theta):
        return np.broadcast_to(theta**2, (len(rows), theta.shape[-1]))

    mean, sd = laws.effect_moments(1, at)
    found = laws.predictor_means(1, every, at, square)
    np.testing.assert_allclose(found, mean**2 + sd**2, rtol=1e-7)
    mean, sd = laws.effect_moments(0, at[:3])
    found = laws.predictor_means(0, every[:3], at[:3], square)
    np.testing.assert_allclose(found, mean**2 + sd**2 + 0.36, rtol=1e-7)
    mean, sd = laws.posterior.linear_moments(at[:1])
    kappa2 = laws.posterior.lattice.weights @ laws.posterior.sds[:, KAPPA] ** 2
    (found,) = laws.new_means(at[0], lambda theta: theta**2)
    assert found == pytest.approx(mean[0] ** 2 + sd[0] ** 2 + kappa2 + 0.36, rel=1e-7)


def test_far_away_effects_have_the_law_of_the_slope():
    """At covariates so large that nothing else matters."""
    laws, far = fixed(kappa=0.8), 1e6
    probabilities = np.array([0.1, 0.5, 0.9])
    slope = laws.linear(np.array([0.0, 1.0])).quantile(probabilities)
    for level, size in ((0, 3), (1, FEW)):
        for own in laws.effect_laws(level, None, np.tile([1.0, far], (size, 1))):
            found = own.quantile(probabilities) / far
            np.testing.assert_allclose(found, np.tile(slope, (len(found), 1)), atol=1e-5)


@pytest.mark.parametrize("x", [X.ravel(), np.stack([X.ravel(), np.cos(np.arange(12.0))])])
def test_known_sds_have_the_posterior_of_normal_equations(x):
    """With normal leaves: effects, coefficients, their laws and the marginal likelihood."""
    y, se = np.linspace(-1.0, 1.5, 12) ** 3, np.linspace(0.4, 0.9, 12)
    tau, kappa, sd = 0.6, 0.8, hm.Fixed
    model = with_covariate(x, NormalLeaves.of(y, se), 1.0, sd(kappa), sd(tau))
    laws = NestedLaws(NestedPosterior.of(model))
    tree, rows = np.eye(3)[np.arange(FEW) // 3], model.x
    design = np.hstack([np.eye(FEW), tree, rows])
    prior = np.diag([*[tau**2] * FEW, *[kappa**2] * 3, *[1.0] * rows.shape[1]])
    covariance = design @ prior @ design.T + np.diag(se[:FEW] ** 2)
    gain = prior @ design.T @ np.linalg.inv(covariance)
    mean, posterior = gain @ y[:FEW], prior - gain @ design @ prior
    x_zero = np.tile(np.eye(rows.shape[1])[0], (3, 1))
    at = np.vstack([design, np.hstack([np.zeros((3, FEW)), np.eye(3), x_zero])])
    means, sds = at @ mean, np.sqrt(np.einsum("ij,jk,ik->i", at, posterior, at))
    assert_moments(laws.effect_moments(1), (means[:FEW], sds[:FEW]), 1e-8)
    assert_moments(laws.effect_moments(0, x_zero), (means[FEW:], sds[FEW:]), 1e-8)
    slope = mean[-1], np.sqrt(posterior[-1, -1])
    found = laws.posterior.coefficient_moments()
    assert_moments((found[0][-1], found[1][-1]), slope, 1e-8)
    q = np.array([0.1, 0.5, 0.9])
    z = np.array([-1.2815515655446004, 0.0, 1.2815515655446004])
    np.testing.assert_allclose(
        laws.linear(np.eye(rows.shape[1])[-1]).quantile(q), slope[0] + slope[1] * z, atol=1e-7
    )
    for own in laws.effect_laws(0, None, x_zero):
        known = means[FEW:, None] + sds[FEW:, None] * z
        np.testing.assert_allclose(own.quantile(q), known[own.groups], atol=1e-7)
    for own in laws.effect_laws(1):
        known = means[:FEW, None] + sds[:FEW, None] * z
        np.testing.assert_allclose(own.quantile(q), known[own.groups], atol=1e-7)
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
    log_integral = -0.5 * (y[:FEW] @ np.linalg.solve(covariance, y[:FEW]) + log_det)
    assert laws.posterior.log_integral == pytest.approx(log_integral, abs=1e-8)


def test_without_variance_between_outer_groups_there_are_two_levels():
    nested = fixed(kappa=0.0).posterior
    model = nested.model
    two = LeafPosterior.of(
        LeafModel(model.leaves, model.x, model.mean, model.precision, hm.Fixed(0.6))
    )
    assert nested.log_integral == pytest.approx(two.log_integral, abs=1e-9)
    assert_moments(nested.coefficient_moments(), two.coefficient_moments(), 1e-8)
    assert_moments(nested.effect_moments(1), two.effect_moments(), 1e-8)
    assert_moments(nested.effect_moments(1, AT_ZERO), two.effect_moments(AT_ZERO), 1e-8)


def test_groups_alone_in_their_outer_groups_have_both_variances():
    leaves = BinomialLeaves.of(R.ravel(), N.ravel())
    model = with_covariate(X.ravel(), leaves, inner=hm.Fixed(0.6), outer=hm.Fixed(0.8))
    alone = type(model)(
        model.leaves,
        np.arange(FEW),
        *(
            getattr(model, name)
            for name in ("x", "has_intercept", "mean", "precision", "outer_prior", "prior")
        ),
    )
    nested = NestedPosterior.of(alone)
    two = LeafPosterior.of(
        LeafModel(model.leaves, model.x, model.mean, model.precision, hm.Fixed(1.0))
    )
    assert nested.log_integral == pytest.approx(two.log_integral, abs=1e-9)
    assert_moments(nested.coefficient_moments(), two.coefficient_moments(), 1e-8)
    assert_moments(nested.effect_moments(1), two.effect_moments(), 1e-8)


def test_groups_left_out_are_differences_of_marginal_likelihoods():
    laws = fixed(kappa=0.8)
    whole = laws.posterior.log_integral
    found = laws.leave_out(1)[0]
    model = laws.posterior.model
    for i in (0, 4):
        kept = np.delete(np.arange(FEW), i)
        less = type(model)(
            model.leaves.take(kept),
            model.parent[kept],
            model.x[kept],
            True,
            model.mean,
            model.precision,
            model.outer_prior,
            model.prior,
        )
        known = whole - NestedPosterior.of(less).log_integral
        assert found[i] == pytest.approx(known, abs=1e-8)
