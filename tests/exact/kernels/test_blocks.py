"""The block recursion against one large multivariate normal in many digits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from mpmath import mp

from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.children import merging_plan
from hiermodels.exact.kernels.blocks.downward import downward
from hiermodels.exact.kernels.blocks.draws import EffectDraws
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw, mixture_moments
from hiermodels.exact.kernels.blocks.upward import evaluate, upward
from tests.oracles.dense_blocks import Nested, random_nested
from tests.oracles.slopes import sleepstudy

SEEDS = range(1, 17)


@cache
def case(seed):
    """A random design of 1–4 levels, p of 1–3, with priors of coefficients in every other one."""
    rng = np.random.default_rng(seed)
    levels, p, q = 1 + seed % 4, 1 + seed % 3, int(rng.integers(0, 3))
    return random_nested(rng, levels, p, q, proper=seed % 2 == 1)


def blocks_of(nested):
    columns = nested.z, nested.x, nested.y
    return Blocks.of(columns, nested.group, nested.parents, nested.weight, nested.fixed)


def factors_of(*settings):
    """L of each level, at several nodes."""
    return [np.stack(level, axis=-1) for level in zip(*settings, strict=True)]


def repeated():
    """Ten groups of two designs under three parents, with a covariate that varies within them."""
    rng = np.random.default_rng(5)
    parents = (np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),)
    kind = np.array([0, 1, 0, 0, 1, 0, 1, 1, 1, 0])
    times = [np.array([2.0, 0.0, 1.0]), np.array([0.0, 1.0])]
    group = np.concatenate([np.full(len(times[k]), g) for g, k in enumerate(kind)])
    t = np.concatenate([times[k] for k in kind])
    n = len(t)
    return Nested(
        np.column_stack([np.ones(n), t]),
        rng.normal(size=(n, 1)),
        rng.normal(size=n),
        np.ones(n),
        group,
        parents,
        [np.array([[0.7, 0.0], [0.2, 0.5]]), np.array([[1.2, 0.0], [-0.9, 0.0]])],
        0.8,
        np.array([True, True]),
        np.zeros(3),
        np.zeros(3),
    )


def log_likelihood(nested, blocks):
    sigma = np.array([nested.sigma])
    root = evaluate(blocks, factors_of(nested.factors))
    root = root.with_prior(nested.mean, nested.precision, sigma)
    return root.log_likelihood(sigma, blocks.n_rows, blocks.log_weight)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_log_likelihood_of_random_designs(seed):
    nested = case(seed)
    with mp.workdps(60):
        known = nested.log_likelihood()
    assert log_likelihood(nested, blocks_of(nested)) == pytest.approx(known, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("theta", [0.0, 1e-6, 0.3, 1e4])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_one_effect_is_two_of_which_one_does_not_vary(levels, theta):
    rng = np.random.default_rng(levels)
    nested = random_nested(rng, levels, 1, 2, proper=False)
    z = np.column_stack([nested.z, rng.normal(size=len(nested.y))])
    columns = z, nested.x, nested.y
    two = Blocks.of(columns, nested.group, nested.parents, nested.weight, (True, False))
    one = blocks_of(nested)
    assert one.tree is not None
    assert two.tree is None
    thetas = theta * np.arange(1.0, levels + 1)
    narrow = [np.full((1, 1, 3), value) for value in thetas]
    wide = [value * np.array([[1.0, 0.0], [0.0, 0.0]])[..., None].repeat(3, 2) for value in thetas]
    found, known = evaluate(one, narrow), evaluate(two, wide)
    np.testing.assert_allclose(found.log_scale, known.log_scale, rtol=1e-12)
    size = float(nested.y @ nested.y)  # of which S may be a tiny part
    np.testing.assert_allclose(found.square, known.square, rtol=1e-11, atol=1e-15 * size)
    np.testing.assert_allclose(found.mean, known.mean, rtol=1e-10)
    np.testing.assert_allclose(found.covariance, known.covariance, rtol=1e-10)


def test_a_group_of_which_the_rows_say_nothing():
    z, y, group = np.array([[1.0], [2.0], [0.0], [1.5]]), np.arange(4.0), np.array([0, 0, 1, 2])
    blocks = Blocks.of((z, np.zeros((4, 0)), y), group)
    rest = Blocks.of((z[[0, 1, 3]], np.zeros((3, 0)), y[[0, 1, 3]]), np.array([0, 0, 1]))
    assert blocks.tree is None
    assert rest.tree is not None
    theta = [np.array([[[0.5]]])]
    found, known = evaluate(blocks, theta), evaluate(rest, theta)
    np.testing.assert_allclose(found.square, known.square + 4.0, rtol=1e-13)
    np.testing.assert_allclose(found.log_scale, known.log_scale, rtol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_of_random_designs(seed):
    nested, worst = case(seed), []
    blocks, factors = blocks_of(nested), factors_of(nested.factors)
    up, sigma2 = upward(blocks, factors), np.array([nested.sigma**2])
    root = up.root.with_prior(nested.mean, nested.precision, np.sqrt(sigma2))
    for level, _, given in downward(blocks, factors, up.messages):
        mean, covariance = given.moments(root.mean, root.covariance * sigma2, sigma2)
        for u in [0, mean.shape[1] - 1] if level >= 0 else []:
            with mp.workdps(60):
                known_mean, known = nested.effects(level, u)
            sd = np.sqrt(np.where(np.diag(known) > 0, np.diag(known), 1.0))
            worst += [np.abs((mean[:, u, 0] - known_mean) / sd).max()]
            worst += [np.abs((covariance[:, :, u, 0] - known) / np.outer(sd, sd)).max()]
    assert max(worst) < 2e-10


def test_groups_of_one_design_are_put_together():
    nested = repeated()
    blocks = blocks_of(nested)
    assert blocks.designs.shape[2] == 2
    assert len(blocks.classes.design) == 6
    assert blocks.classes.count.sum() == 10
    known = nested.log_likelihood()
    assert log_likelihood(nested, blocks) == pytest.approx(known, rel=1e-13)


def test_groups_of_one_design_without_levels_above():
    nested = repeated()
    flat = replace(nested, parents=(), factors=nested.factors[:1])
    blocks = blocks_of(flat)
    assert len(blocks.classes.design) == 2
    assert log_likelihood(flat, blocks) == pytest.approx(flat.log_likelihood(), rel=1e-13)


def test_order_of_rows_does_not_matter():
    nested = repeated()
    order = np.random.default_rng(1).permutation(len(nested.y))
    moved = {name: getattr(nested, name)[order] for name in ("z", "x", "y", "weight", "group")}
    blocks = blocks_of(replace(nested, **moved))
    assert blocks.designs.shape[2] == 2
    assert log_likelihood(nested, blocks) == pytest.approx(nested.log_likelihood(), rel=1e-13)


@pytest.mark.parametrize("seed", [5, 7, 10])
def test_an_outcome_less_what_covariates_explain(seed):
    nested = case(seed)
    assert nested.x.shape[1]
    beta = np.linspace(-1, 2, nested.x.shape[1])
    moved = replace(nested, y=nested.y - nested.x @ beta)
    less = blocks_of(nested).less(beta)
    assert log_likelihood(moved, less) == pytest.approx(
        log_likelihood(moved, blocks_of(moved)), rel=1e-12
    )


def test_many_nodes_at_once():
    nested = repeated()
    blocks, rng = blocks_of(nested), np.random.default_rng(3)
    factors = [np.tril(rng.normal(size=(3000, 2, 2))).transpose(1, 2, 0) for _ in range(2)]
    every = evaluate(blocks, factors)
    for i in (0, 1234, 2999):
        alone = evaluate(blocks, [f[..., [i]] for f in factors])
        np.testing.assert_allclose(alone.triangle[..., 0], every.triangle[..., i], atol=1e-14)
        np.testing.assert_allclose(alone.log_det[0], every.log_det[i], rtol=1e-14)


def test_moments_of_mixtures():
    nested, weights = repeated(), np.array([[0.25, 0.75], [1.0, 0.0]])
    blocks = blocks_of(nested)
    other = [f * 1.7 for f in nested.factors]
    factors, sigma2 = factors_of(nested.factors, other), np.full(2, nested.sigma**2)
    root = evaluate(blocks, factors)
    law = CoefficientLaw(root.mean, root.covariance * sigma2, sigma2)
    mixed = mixture_moments(blocks, factors, weights, law)
    for level, member in [(0, 1), (1, 0), (1, 7)]:
        (m0, c0), (m1, c1) = (
            replace(nested, factors=f).effects(level, member) for f in (nested.factors, other)
        )
        mean = 0.25 * m0 + 0.75 * m1
        away = [np.outer(m - mean, m - mean) for m in (m0, m1)]
        np.testing.assert_allclose(mixed[level].mean[:, :, member], [mean, m0], rtol=1e-11)
        covariance = 0.25 * (c0 + away[0]) + 0.75 * (c1 + away[1])
        np.testing.assert_allclose(
            mixed[level].covariance[..., member], [covariance, c0], rtol=1e-10, atol=1e-13
        )


def test_effects_that_vary_without_end():
    """What a group's own rows say of its effects is left, whatever the root's coefficients do."""
    nested = replace(repeated(), factors=[1e20 * np.array([[1.0, 0.0], [-0.3, 0.7]])] * 2)
    blocks, factors = blocks_of(nested), factors_of(nested.factors)
    up = upward(blocks, factors)
    *_, (_, _, given) = downward(blocks, factors, up.messages)
    one = np.ones(1)
    mean, covariance = given.moments(up.root.mean, up.root.covariance, one)
    rows = nested.group == 4  # two rows, which two effects fit
    z, x = nested.z[rows], nested.x[rows]
    inverse, beta = np.linalg.inv(z), up.root.mean[2, 0]
    np.testing.assert_allclose(
        mean[:, 4, 0], inverse @ (nested.y[rows] - x[:, 0] * beta), rtol=1e-10
    )
    spread = np.eye(2) + up.root.covariance[2, 2, 0] * x @ x.T
    np.testing.assert_allclose(covariance[:, :, 4, 0], inverse @ spread @ inverse.T, rtol=1e-10)


def test_draws_have_the_moments_of_the_effects():
    nested, n = repeated(), 40_000
    blocks, rng = blocks_of(nested), np.random.default_rng(8)
    factors = [np.repeat(f[..., None], n, axis=-1) for f in nested.factors]
    one = evaluate(blocks, factors_of(nested.factors))
    root = np.linalg.cholesky(one.covariance[..., 0]) * nested.sigma
    gamma = one.mean + root @ rng.standard_normal((3, n))
    sigma, seed = np.full(n, nested.sigma), np.random.SeedSequence(9)
    draws = EffectDraws.draw(blocks, factors, gamma, sigma, seed)
    drawn = (*draws.above, draws.of_groups())
    for level, member in [(0, 2), (1, 4)]:
        mean, covariance = nested.effects(level, member)
        own = drawn[level][:, member]
        sd = np.sqrt(np.diag(covariance))
        assert np.abs((own.mean(axis=1) - mean) / sd).max() < 5 / np.sqrt(n)
        error = (np.cov(own) - covariance) / np.outer(sd, sd)
        assert np.abs(error).max() < 5 * np.sqrt(2 / n)


def test_neighbours_are_merged_until_one_is_left_for_each_parent():
    parent = np.array([0, 0, 0, 1, 2, 2, 2, 2, 2])
    members = [{i} for i in range(len(parent))]
    for stays, merges in merging_plan(parent):
        members = [
            members[i] | members[i + 1] if both else members[i]
            for i, both in zip(stays, merges, strict=True)
        ]
    assert members == [{0, 1, 2}, {3}, {4, 5, 6, 7, 8}]


def restricted_deviance(root, n, c):
    """``−2 log`` restricted likelihood at the best σ, as lme4 has it."""
    sigma2 = root.square / (n - c)
    return -2 * root.log_scale + (n - c) * (1 + np.log(2 * np.pi * sigma2))


def test_restricted_likelihood_of_the_sleep_study():
    y, days, subject = sleepstudy()
    z = np.column_stack([np.ones(180), days])
    blocks = Blocks.of((z, np.zeros((180, 0)), y), subject)
    # lme4's published optimum: Pinheiro & Bates's relative Cholesky factor, and 1743.628
    theta = np.array([[0.966742, 0.0], [0.015169, 0.230909]])
    root = evaluate(blocks, [theta[..., None]])
    deviance = restricted_deviance(root, 180, 2)[0]
    assert deviance == pytest.approx(1743.628, abs=5e-4)
    assert np.sqrt(root.square[0] / 178) == pytest.approx(25.592, abs=1e-3)
    np.testing.assert_allclose(root.mean[:, 0], [251.405, 10.467], atol=5e-4)
    for factor in (theta, 30 * theta, np.array([[0.2, 0.0], [-0.4, 0.0]])):
        dense = np.eye(180)
        for g in range(18):
            own = np.ix_(subject == g, subject == g)
            dense[own] += z[subject == g] @ factor @ factor.T @ z[subject == g].T
        solved = np.linalg.solve(dense, np.column_stack([z, y]))
        precision, moment = z.T @ solved[:, :2], z.T @ solved[:, 2]
        square = y @ solved[:, 2] - moment @ np.linalg.solve(precision, moment)
        known = np.linalg.slogdet(dense)[1] + np.linalg.slogdet(precision)[1]
        known += 178 * (1 + np.log(2 * np.pi * square / 178))
        own = restricted_deviance(evaluate(blocks, [factor[..., None]]), 180, 2)[0]
        assert own == pytest.approx(known, rel=1e-12)
