"""Posteriors with three levels, against posteriors that are known, and limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.outer_leaves import OuterLeaves
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.student_t_leaves import StudentTLeaves
from tests.exact.nested_models import (
    KAPPA,
    KNOWN,
    TAU,
    N,
    R,
    assert_moments,
    few,
    model_of,
    normal,
    small,
    synthetic,
)
from tests.oracles import brute_nested


def figures(name):
    return np.array(KNOWN[name]["mean"]), np.array(KNOWN[name]["sd"])


def some(moments):
    return tuple(values[KNOWN["groups"]] for values in moments)


def test_moments_of_a_known_posterior():
    posterior = synthetic()
    assert posterior.certificate < 1e-8
    assert_moments(posterior.sd_moments(TAU), figures("tau"), 1e-9)
    assert_moments(posterior.sd_moments(KAPPA), figures("kappa"), 1e-9)
    assert_moments(posterior.coefficient_moments(), figures("lam"), 1e-9)
    assert_moments(posterior.effect_moments(0), figures("mu"), 1e-9)
    assert_moments(some(posterior.effect_moments(1)), figures("theta"), 1e-9)
    assert_moments(some(posterior.function_moments(expit)), figures("p"), 1e-9)
    assert posterior.log_integral == pytest.approx(KNOWN["log_integral"], abs=1e-10)


@pytest.mark.parametrize(("name", "level"), [("tau", TAU), ("kappa", KAPPA)])
def test_quantiles_of_sds_of_a_known_posterior(name, level):
    posterior, known = synthetic(), KNOWN[name]["quantile"]
    probabilities, values = np.array(list(map(float, known))), np.array(list(known.values()))
    found = posterior.sd_quantiles(level, probabilities)
    np.testing.assert_allclose(found, values, atol=1e-6 * KNOWN[name]["sd"])
    np.testing.assert_allclose(posterior.sd_cdf(level, found), probabilities, atol=1e-9)
    step = 1e-4 * KNOWN[name]["sd"]
    ends = [posterior.sd_cdf(level, found + side * step) for side in (1, -1)]
    density = posterior.sd_density(level, found)
    np.testing.assert_allclose(density, (ends[0] - ends[1]) / (2 * step), rtol=1e-5)


def test_few_groups_have_the_posterior_of_brute_force():
    """Brute force is good to 2e-9."""
    posterior, known = few(), brute_nested.KNOWN
    assert_moments(posterior.sd_moments(TAU), known["tau"], 1e-8)
    assert_moments(posterior.sd_moments(KAPPA), known["kappa"], 1e-8)
    mean, sd = posterior.coefficient_moments()
    assert_moments((mean[0], sd[0]), known["lam"], 1e-8)
    mean, _ = posterior.function_moments(expit)
    np.testing.assert_allclose(mean, np.ravel(known["mean_p"]), atol=1e-8)
    assert posterior.log_integral == pytest.approx(known["log_integral"], abs=1e-8)


def test_without_variance_between_outer_groups_there_are_two_levels():
    nested = NestedPosterior.of(small(outer=hm.Fixed(0)), tol=1e-10)
    leaves = nested.model.leaves
    ones, zero = np.ones((len(leaves), 1)), np.zeros(1)
    two = LeafPosterior.of(LeafModel(leaves, ones, zero, zero, hm.HalfNormal(1)), tol=1e-10)
    assert nested.log_integral == pytest.approx(two.log_integral, abs=1e-10)
    assert_moments(nested.sd_moments(TAU), two.sd_moments(0), 1e-9)
    assert_moments(nested.effect_moments(1), two.effect_moments(), 1e-9)
    lam = tuple(np.repeat(value, 4) for value in two.coefficient_moments())
    assert_moments(nested.effect_moments(0), lam, 1e-9)
    assert nested.sd_moments(KAPPA) == (0.0, 0.0)


def test_without_variance_within_outer_groups_their_counts_are_pooled():
    nested = NestedPosterior.of(small(inner=hm.Fixed(0)), tol=1e-10)
    pooled = BinomialLeaves.of(R.sum(axis=1), N.sum(axis=1))
    ones, zero = np.ones((4, 1)), np.zeros(1)
    two = LeafPosterior.of(LeafModel(pooled, ones, zero, zero, hm.HalfNormal(1)), tol=1e-10)
    ways = nested.model.constant - pooled.constant.sum()
    loglik = nested.model.leaves.log_likelihood(pooled.centre[:1])[:3].sum()
    ways += loglik - pooled.log_likelihood(pooled.centre[:1])[0].item()
    for s in (1, 2, 3):
        place = pooled.centre[s : s + 1]
        own = nested.model.leaves.log_likelihood(place)[3 * s : 3 * s + 3].sum()
        ways += own - pooled.log_likelihood(place)[s].item()
    assert nested.log_integral == pytest.approx(two.log_integral + ways, abs=1e-10)
    assert_moments(nested.sd_moments(KAPPA), two.sd_moments(0), 1e-9)
    assert_moments(nested.effect_moments(0), two.effect_moments(), 1e-9)
    theta = tuple(np.repeat(value, 3) for value in two.effect_moments())
    assert_moments(nested.effect_moments(1), theta, 1e-9)


def test_one_group_in_each_outer_group_has_both_variances():
    leaves = BinomialLeaves.of(R.ravel(), N.ravel())
    nested = NestedPosterior.of(
        model_of(leaves, np.arange(12), hm.Fixed(0.6), hm.Fixed(0.8)), tol=1e-10
    )
    ones, zero = np.ones((12, 1)), np.zeros(1)
    two = LeafPosterior.of(LeafModel(leaves, ones, zero, zero, hm.Fixed(1.0)), tol=1e-10)
    assert nested.log_integral == pytest.approx(two.log_integral, abs=1e-10)
    assert_moments(nested.coefficient_moments(), two.coefficient_moments(), 1e-10)
    assert_moments(nested.effect_moments(1), two.effect_moments(), 1e-10)


def test_normal_leaves_have_the_posterior_of_the_normal_engine():
    posterior, known = normal()
    for found, name in (
        (posterior.sd_moments(TAU), "tau"),
        (posterior.sd_moments(KAPPA), "kappa"),
        (posterior.effect_moments(0), "mu"),
        (posterior.effect_moments(1), "theta"),
    ):
        assert_moments(found, (known.mean[name].values, known.sd[name].values), 1e-9)
    assert posterior.log_integral == pytest.approx(known.log_marginal_likelihood, abs=1e-9)


def test_successes_and_failures_may_be_exchanged():
    failures = BinomialLeaves.of((N - R).ravel(), N.ravel())
    posterior, other = few(), NestedPosterior.of(small(failures, precision=1.0))
    assert other.log_integral == pytest.approx(posterior.log_integral, abs=1e-9)
    for level in (0, 1):
        assert_moments(other.sd_moments(level), posterior.sd_moments(level), 1e-8)
        mean, sd = posterior.effect_moments(level)
        assert_moments(other.effect_moments(level), (-mean, sd), 1e-8)


def test_extreme_groups_and_groups_without_trials():
    r = np.array([0, 0, 0, 3, 2, 0, 5, 5, 0, 1])
    n = np.array([4, 2, 9, 3, 2, 0, 9, 6, 0, 3])
    parent, tau = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 4]), hm.Fixed(0.7)
    posterior = NestedPosterior.of(model_of(BinomialLeaves.of(r, n), parent, inner=tau))
    assert posterior.certificate < 1e-8
    kept = n > 0
    kept_parent = np.unique(parent[kept], return_inverse=True)[1]
    leaves = BinomialLeaves.of(r[kept], n[kept])
    without = NestedPosterior.of(model_of(leaves, kept_parent, inner=tau))
    assert without.log_integral == pytest.approx(posterior.log_integral, abs=1e-9)
    assert_moments(posterior.sd_moments(KAPPA), without.sd_moments(KAPPA), 1e-8)
    own = tuple(values[kept] for values in posterior.effect_moments(1))
    assert_moments(own, without.effect_moments(1), 1e-8)
    (mean, sd), (lam, spread) = posterior.effect_moments(0), posterior.coefficient_moments()
    kappa = posterior.lattice.weights @ posterior.sds[:, KAPPA] ** 2
    assert mean[2] == pytest.approx(lam[0], abs=1e-8)
    assert sd[2] == pytest.approx(np.sqrt(spread[0] ** 2 + kappa), rel=1e-8)


def test_without_an_intercept_outer_effects_lie_around_zero():
    leaves = BinomialLeaves.of(np.array([1, 0, 0, 1]), 1)
    model = model_of(leaves, np.array([0, 0, 1, 1]), intercept=False)
    posterior = NestedPosterior.of(model)
    mean, _ = posterior.effect_moments(1)
    np.testing.assert_allclose(mean, mean[0] * np.array([1, -1, -1, 1]), atol=1e-10)
    np.testing.assert_allclose(posterior.effect_moments(0)[0], 0.0, atol=1e-10)
    assert mean[0] > 0.05


def test_moments_that_do_not_exist_are_nan():
    """Of one-sided outer groups, where a flat prior of κ falls too slowly."""
    r, n = np.array([0, 0, 2, 3, 4, 1]), np.array([5, 4, 6, 7, 8, 9])
    parent, flat = np.array([0, 0, 1, 1, 2, 2]), hm.FlatSD()
    model = model_of(BinomialLeaves.of(r, n), parent, flat, precision=1.0)
    assert [model.sd_moment_exists(KAPPA, order) for order in (1, 2)] == [False, False]
    assert model.effect_moments_exist(0, 1).tolist() == [False, True, True]
    assert model.effect_moments_exist(1, 1).tolist() == [False, False, True, True, True, True]
    posterior = NestedPosterior.of(model, tol=1e-4)
    assert np.isnan(posterior.sd_moments(KAPPA)).all()
    assert np.isnan(posterior.effect_moments(0)[0]).tolist() == [True, False, False]
    assert np.isfinite(posterior.sd_moments(TAU)).all()


def test_poisson_counts_are_the_limit_of_binomial_ones():
    y, exposure = R.ravel(), N.ravel().astype(float)
    poisson = NestedPosterior.of(small(PoissonLeaves.of(y, exposure)), tol=1e-7)
    rare = BinomialLeaves.of(y, 1e8, np.log(exposure / 1e8))
    binomial = NestedPosterior.of(small(rare), tol=1e-7)
    assert_moments(binomial.effect_moments(1), poisson.effect_moments(1), 1e-6)
    assert_moments(binomial.sd_moments(KAPPA), poisson.sd_moments(KAPPA), 1e-6)


def test_what_it_does_not_take_is_refused():
    leaves = BinomialLeaves.of(R.ravel(), N.ravel())
    x, zero = np.random.default_rng(1).normal(size=(12, 4)), np.zeros(4)
    prior, parent = hm.HalfNormal(1), np.repeat(np.arange(4), 3)
    with pytest.raises(hm.SpecError, match=r"6 dimensions.*engine='nuts'"):
        NestedMarginal(NestedModel(leaves, parent, x, True, zero, zero, prior, prior))
    t, two = StudentTLeaves.of(np.arange(12.0), 1.0, 4.0), zero[:2]
    with pytest.raises(hm.SpecError, match=r"log-concave.*engine='nuts'"):
        NestedMarginal(NestedModel(t, parent, x[:, :2], True, two, two, prior, prior))


def few_events(prior, precision=0.7**-2):
    """Two events' worth of groups, and five without events."""
    leaves = PoissonLeaves.of(
        np.array([0, 0, 0, 0, 0, 1.0, 7.0]), np.array([6.0, 3.0, 12.0, 1.0, 8.0, 30.0, 4.0])
    )
    parent = np.array([0, 1, 1, 2, 2, 2, 3])
    return NestedMarginal(model_of(leaves, parent, prior, prior, precision))


@pytest.mark.parametrize("tau", [1.0, 1e3, 1e20])
def test_far_out_the_posterior_falls_with_each_outer_group_that_has_events(tau):
    """As ``κ^−2``: two of four have."""
    kappa = np.array([1e24, 1e40, 1e120])
    line = few_events(hm.HalfNormal(1)).line(tau)
    values = line.log_integrals(np.full(3, -0.5), kappa).sum(axis=0)
    np.testing.assert_allclose(np.diff(values), -2 * np.diff(np.log(kappa)), atol=2e-4)


@pytest.mark.parametrize("precision", [0.0, 0.7**-2])
def test_modes_do_not_run_away_where_priors_have_heavy_tails(precision):
    marginal = few_events(hm.HalfCauchy(25), precision)
    sds = marginal.coordinates.sds(marginal.mode_and_scale.modes)
    assert (sds > 1).all()
    assert (sds < 30).all()
    with np.errstate(over="ignore", invalid="ignore"):
        values = marginal.log_density(np.array([[u, u, 0.0] for u in range(-9, 15)]))
    assert np.isfinite(values).all()


def test_inner_groups_that_exclude_each_other_make_no_grid_without_end():
    """Of a million trials each: at a small τ no effect of the outer group suits all of them."""
    successes = np.array([200_000, 350_000, 280_000, 100_000, 240_000, 160_000])
    leaves = BinomialLeaves.of(successes, np.full(6, 10**6))
    line = NestedMarginal(model_of(leaves, np.repeat([0, 1], 3))).line(1e-4)
    outer = OuterLeaves(line.table, np.arange(2))
    assert (outer.information < 1.01 * np.add.reduceat(leaves.information, [0, 3]) * 5).all()
    assert max(np.ptp(block.even) / block.step for block in line.integrals.blocks) < 2e4


def test_a_density_that_is_not_a_number_is_no_posterior(monkeypatch):
    model = small(precision=1.0)
    marginal = NestedMarginal(model)
    marginal.mode_and_scale  # noqa: B018
    evaluate = NestedMarginal._evaluate

    def broken(self, points, usual=None):
        found = evaluate(self, points, usual)
        found.log_density[-1] = np.nan
        return found

    monkeypatch.setattr(NestedMarginal, "_evaluate", broken)
    with pytest.raises(hm.PrecisionError, match="not a number"):
        marginal.lattice(0.6)
