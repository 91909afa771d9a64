"""The recursion against the dense multivariate normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from dense import conditional, log_likelihood, random_design

from hiermodels import gaussian
from hiermodels.gaussian import Coefficients, Tree, Variances

CASES = [
    (levels, q, known, zero, seed)
    for levels in (1, 2)
    for q in (0, 2)
    for known in (True, False)
    for zero in (None, *range(levels))
    for seed in range(5)
]


def setting(rng, levels, zero, size=1):
    """Random variances; the spread of level ``zero`` is exactly 0."""
    spreads = [rng.uniform(0.05, 4, size) for _ in range(levels)]
    if zero is not None:
        spreads[zero] = np.zeros(size)
    return spreads


def independent(mean, precision):
    """Independent normal priors of β and, last, of the intercept."""
    return Coefficients(
        root_row=np.append(np.zeros(len(mean) - 1), mean[-1]),
        root_precision=precision[-1],
        mean=mean[:-1],
        precision=np.diag(precision[:-1]),
        log_normalizer=0.5 * np.log(precision[:-1] / (2 * np.pi)).sum(),
    )


def case(levels, q, known, zero, seed):
    rng = np.random.default_rng([seed, levels, q, known])
    design = random_design(rng, levels, q, known)
    sigma2 = np.ones(1) if known else rng.uniform(0.1, 3, 1)
    variances = Variances(tuple(setting(rng, levels, zero)), sigma2)
    prior = independent(rng.normal(size=q + 1), rng.uniform(0.1, 2, q + 1))
    return design, variances, prior


@pytest.mark.parametrize(("levels", "q", "known", "zero", "seed"), CASES)
def test_log_likelihood_is_the_dense_one(levels, q, known, zero, seed):
    design, variances, prior = case(levels, q, known, zero, seed)
    found = gaussian.log_likelihood(design.tree, variances, prior)[0]
    np.testing.assert_allclose(found, log_likelihood(design, variances, prior), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("levels", "q", "known", "zero", "seed"), CASES)
def test_conditional_moments_are_the_dense_ones(levels, q, known, zero, seed):
    design, variances, prior = case(levels, q, known, zero, seed)
    mean, covariance = conditional(design, variances, prior)
    moments = gaussian.mixture_moments(design.tree, variances, np.ones((1, 1)), prior, np.zeros(q))
    found_mean = np.concatenate([*(m[0] for m in moments.means), moments.beta[0]])
    found_variance = np.concatenate(
        [*(v[0] for v in moments.variances), np.diag(moments.beta_covariance[0])]
    )
    np.testing.assert_allclose(found_mean, mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found_variance, np.diag(covariance), rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels", [1, 2])
def test_flat_priors_are_the_limit_of_vague_ones(levels):
    rng = np.random.default_rng(levels)
    design = random_design(rng, levels, 2, known=False)
    variances = Variances(tuple(setting(rng, levels, None)), np.ones(1))
    flat = gaussian.mixture_moments(
        design.tree, variances, np.ones((1, 1)), Coefficients.flat(2), np.zeros(2)
    )
    mean, _ = conditional(design, variances, Coefficients.flat(2))  # dense: prior variance 1e9
    found = np.concatenate([*(m[0] for m in flat.means), flat.beta[0]])
    np.testing.assert_allclose(found, mean, rtol=0, atol=1e-6)


def test_flat_likelihood_differs_from_a_vague_one_by_the_prior_density():
    """∫ p(y|μ) dμ is the limit of p(y)·√(2π·v) for a prior variance v → ∞."""
    rng = np.random.default_rng(3)
    design = random_design(rng, 2, 0, known=True)
    variances = Variances(tuple(setting(rng, 2, None)), np.ones(1))
    vague = independent(np.zeros(1), np.array([1e-9]))
    flat = gaussian.log_likelihood(design.tree, variances, Coefficients.flat())[0]
    proper = gaussian.log_likelihood(design.tree, variances, vague)[0]
    assert flat == pytest.approx(proper + 0.5 * np.log(2 * np.pi * 1e9), abs=1e-6)


@pytest.mark.parametrize("spread", [1.0, 1e12, 1e20])
def test_the_intercept_falls_back_on_its_prior_where_the_groups_say_nothing(spread):
    """``1/(1/v + k/(τ² + σ²))`` for k groups of one row, to all digits however large τ is."""
    rng = np.random.default_rng(4)
    design = random_design(rng, 1, 0, known=True)
    weight = design.tree.weight
    variances, prior = (
        Variances((np.array([spread]),), np.ones(1)),
        independent(np.zeros(1), np.array([0.25])),
    )
    _, variance = gaussian.level_moments(design.tree, variances, prior, np.zeros(0), level=1)
    expected = 1 / (0.25 + (1 / (spread + 1 / weight)).sum())
    np.testing.assert_allclose(variance, [[expected]], rtol=1e-13)


@pytest.mark.parametrize("dense", [0, 8])
def test_equal_weights_are_put_together_without_a_trace(monkeypatch, dense):
    """Groups of equal size share their sums, in a plain or a sparse table: the same density."""
    monkeypatch.setattr(gaussian, "DENSE", dense)
    rng = np.random.default_rng(5)
    mean, weight = rng.normal(size=(12, 1)), rng.choice([1.0, 2.0, 5.0], 12)
    parent = np.repeat(np.arange(3), 4)
    variances = Variances((np.array([0.7]), np.array([0.4])), np.array([1.3]))

    def likelihood(weights):
        tree = Tree(mean, weights, np.zeros((1, 1)), 12, 0.0, (parent,))
        found = gaussian.log_likelihood(tree, variances, Coefficients.flat())[0]
        return len(tree.by_weight.weight), found

    together, found = likelihood(weight)
    apart, expected = likelihood(weight * (1 + 1e-14 * np.arange(12)))
    assert (together, apart) == (3, 12)
    assert found == pytest.approx(expected, abs=1e-11)


def draw(tree, variances, prior, seed):
    upper_seed, group_seed = np.random.SeedSequence(seed).spawn(2)
    up = gaussian.upward_all(tree, variances, prior)
    upper = gaussian.draw_upper(tree, variances, up, prior, upper_seed)
    return upper, gaussian.draw_groups(tree, variances, upper, group_seed, (1.0, np.zeros(1)))


def test_many_nodes_are_as_one_at_a_time(monkeypatch):
    rng = np.random.default_rng(7)
    design = random_design(rng, 2, 1, known=False)
    spreads = tuple(rng.uniform(0.1, 2, 50) for _ in range(2))
    variances = Variances(spreads, rng.uniform(0.1, 2, 50))
    prior = Coefficients.flat(1)
    whole = gaussian.log_likelihood(design.tree, variances, prior)
    monkeypatch.setattr(gaussian, "BLOCK", 1)
    single = gaussian.log_likelihood(design.tree, variances, prior)
    np.testing.assert_allclose(whole, single, rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2])
def test_draws_have_the_conditional_moments(levels):
    rng = np.random.default_rng(11)
    design = random_design(rng, levels, 1, known=False)
    n = 40_000
    one = Variances(tuple(setting(rng, levels, None)), np.ones(1))
    many = Variances(tuple(np.repeat(s, n) for s in one.spreads), np.repeat(one.sigma2, n))
    prior = independent(np.array([0.3, -0.2]), np.array([0.5, 0.8]))
    mean, covariance = conditional(design, one, prior)
    upper, groups = draw(design.tree, many, prior, 11)
    values = np.concatenate([groups, *upper.levels, upper.beta])
    z = (values.mean(axis=1) - mean) / np.sqrt(np.diag(covariance) / n)
    assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(np.cov(values), covariance, rtol=0, atol=0.03 * covariance.max())


def test_draws_do_not_depend_on_how_the_work_is_cut(monkeypatch):
    rng = np.random.default_rng(13)
    design = random_design(rng, 2, 1, known=False)
    variances = Variances(tuple(rng.uniform(0.1, 2, 64) for _ in range(2)), np.ones(64))
    upper, groups = draw(design.tree, variances, Coefficients.flat(1), 1)
    monkeypatch.setattr(gaussian, "BLOCK", 8)
    other, other_groups = draw(design.tree, variances, Coefficients.flat(1), 1)
    np.testing.assert_allclose(groups, other_groups, rtol=0, atol=1e-12)
    for a, b in zip(upper.levels, other.levels, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_some_groups_are_drawn_as_they_are_among_all():
    rng = np.random.default_rng(17)
    g = 300
    tree = Tree(rng.normal(size=(g, 1)), rng.uniform(1, 3, g), np.eye(1), 2 * g, 0.0)
    variances = Variances((rng.uniform(0.1, 2, 20),), np.ones(20))
    seed = np.random.SeedSequence(5)
    up = gaussian.upward_all(tree, variances, Coefficients.flat())
    upper = gaussian.draw_upper(tree, variances, up, Coefficients.flat(), seed)
    unit = (2.0, np.arange(20.0))
    every = gaussian.draw_groups(tree, variances, upper, seed, unit)
    some = np.array([299, 0, 64, 63, 65, 128, 5])
    assert (gaussian.draw_groups(tree, variances, upper, seed, unit, some) == every[some]).all()
