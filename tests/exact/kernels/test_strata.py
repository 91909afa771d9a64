"""Rows with residual sds by stratum against one large multivariate normal in many digits."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from mpmath import mp

from hiermodels.exact.kernels.blocks.downward import downward
from hiermodels.exact.kernels.blocks.draws import EffectDraws
from hiermodels.exact.kernels.blocks.strata import is_shared
from hiermodels.exact.kernels.blocks.stratified import stratified
from hiermodels.exact.kernels.blocks.upward import evaluate, upward
from tests.oracles.dense_blocks import random_nested

STRATA = 3
KINDS = ("of rows", "of groups")
SEEDS = range(1, 10)


@cache
def case(seed, kind):
    """A random design of 1–3 levels, the stratum of each row, and δ."""
    rng = np.random.default_rng(seed)
    nested = random_nested(
        rng, 1 + seed % 3, 1 + seed % 2, int(rng.integers(0, 3)), proper=seed % 2 == 1
    )
    size = len(nested.y) if kind == "of rows" else int(nested.group.max()) + 1
    stratum = rng.integers(STRATA, size=size)
    stratum = stratum if kind == "of rows" else stratum[nested.group]
    return nested, stratum, np.array([0.3, 1.0, 4.0])


def blocks_of(nested, stratum):
    columns, strata = (nested.z, nested.x, nested.y), (stratum, STRATA)
    strata = (*strata, is_shared(nested.group, stratum))
    return stratified(columns, nested.group, nested.parents, nested.weight, nested.fixed, strata)


def factors_of(nested, blocks):
    factors = [factor[..., None] for factor in nested.factors]
    return factors + [np.zeros_like(factors[0])] * (len(blocks.sizes) - len(factors))


def known(nested, stratum, delta):
    """The same rows, with weights in place of residual sds."""
    return replace(nested, weight=nested.weight / delta[stratum] ** 2)


def log_likelihood(nested, blocks, delta):
    sigma = np.array([nested.sigma])
    root = evaluate(blocks.given(1 / delta[:, None]), factors_of(nested, blocks))
    root = root.with_prior(nested.mean, nested.precision, sigma)
    return root.log_likelihood(sigma, blocks.n_rows, blocks.log_weight)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_log_likelihood_of_random_designs(seed, kind):
    nested, stratum, delta = case(seed, kind)
    with mp.workdps(60):
        expected = known(nested, stratum, delta).log_likelihood()
    found = log_likelihood(nested, blocks_of(nested, stratum), delta)
    assert found == pytest.approx(expected, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_effects_of_random_designs(seed, kind):
    nested, stratum, delta = case(seed, kind)
    blocks, sigma2 = blocks_of(nested, stratum), np.array([nested.sigma**2])
    here, factors = blocks.given(1 / delta[:, None]), factors_of(nested, blocks)
    up, dense = upward(here, factors), known(nested, stratum, delta)
    root = up.root.with_prior(nested.mean, nested.precision, np.sqrt(sigma2))
    for level, _, given in downward(here, factors, up.messages):
        if not 0 <= level < len(nested.factors):
            continue
        mean, covariance = given.moments(root.mean, root.covariance * sigma2, sigma2)
        for u in (0, mean.shape[1] - 1):
            with mp.workdps(60):
                known_mean, known_covariance = dense.effects(level, u)
            sd = np.sqrt(np.maximum(np.diag(known_covariance), 1e-300))
            np.testing.assert_allclose((mean[:, u, 0] - known_mean) / sd, 0.0, atol=2e-10)
            away = (covariance[:, :, u, 0] - known_covariance) / np.outer(sd, sd)
            np.testing.assert_allclose(away, 0.0, atol=2e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_many_nodes_at_once(kind):
    nested, stratum, _ = case(4, kind)
    blocks, n = blocks_of(nested, stratum), 2000
    inverse = np.exp(np.random.default_rng(1).normal(size=(STRATA, n)))
    factors = [np.repeat(factor, n, axis=2) for factor in factors_of(nested, blocks)]
    every = evaluate(blocks.given(inverse), factors)
    for node in (0, 777, n - 1):
        one = evaluate(blocks.given(inverse[:, [node]]), [f[..., [node]] for f in factors])
        np.testing.assert_allclose(every.triangle[..., [node]], one.triangle, rtol=1e-12)
        np.testing.assert_allclose(every.log_det[[node]], one.log_det, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_effects(kind):
    nested, stratum, delta = case(1, kind)
    blocks, n = blocks_of(nested, stratum), 20_000
    factors = [np.repeat(factor, n, axis=2) for factor in factors_of(nested, blocks)]
    here = blocks.given(np.repeat(1 / delta[:, None], n, axis=1))
    gamma = np.repeat(np.arange(1.0, blocks.n_coefficients + 1)[:, None], n, axis=1)
    draws = EffectDraws.draw(here, factors, gamma, np.full(n, 0.7), np.random.SeedSequence(1))
    drawn = (*draws.above, draws.of_groups())
    one = blocks.given(1 / delta[:, None])
    some = [factor[..., :1] for factor in factors]
    for level, _, given in downward(one, some, upward(one, some).messages):
        if not 0 <= level < len(nested.factors):
            continue
        nothing = np.zeros((len(gamma), len(gamma), 1))
        mean, covariance = given.moments(gamma[:, :1], nothing, np.array([0.49]))
        sd = np.sqrt(np.einsum("iiu->iu", covariance[..., 0]))
        error = (drawn[level].mean(axis=2) - mean[..., 0]) / np.where(sd > 0, sd, 1.0)
        assert np.abs(error).max() < 4.5 / np.sqrt(n)


def test_rows_of_some_strata():
    nested, stratum, delta = case(2, "of rows")
    blocks = blocks_of(nested, stratum).only(np.array([True, False, True]))
    some = stratum != 1
    own = replace(nested, **{k: getattr(nested, k)[some] for k in ("z", "x", "y", "weight")})
    _, group = np.unique(nested.group[some], return_inverse=True)
    own = replace(own, group=group, parents=(), factors=nested.factors[-1:])
    assert blocks.n_rows == some.sum()
    flat = replace(blocks, parents=blocks.parents[-1:])
    found = log_likelihood(own, flat, delta)
    with mp.workdps(60):
        dense = known(own, stratum[some], delta).log_likelihood()
    weight = blocks.log_weight - np.log(own.weight).sum()  # that of all rows stays
    assert found - weight / 2 == pytest.approx(dense, rel=1e-10)
