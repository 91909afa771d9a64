"""Quantiles and draws of groups with several effects, against known ones and one another."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.core.names import ROOT
from hiermodels.errors import SpecError
from hiermodels.exact.blocks.draws import BlockDraws, draw_log_sigma
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.mixtures import Mixtures
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.kernels.blocks.blocks import Blocks
from tests.exact.test_block_posterior import few, sleep
from tests.oracles.slopes import PROBABILITIES, SLEEP

P = np.array(PROBABILITIES)
FLAT = hm.FlatSD()


@cache
def nested():
    """Three levels and a covariate, under priors of all kinds, with what the tree says of them."""
    rng = np.random.default_rng(11)
    parent = np.repeat(np.arange(4), 2)
    group = np.repeat(np.arange(8), 3)
    x = rng.normal(size=24)
    y = 2 + x + rng.normal(size=4)[parent][group] + rng.normal(size=8)[group]
    y = y + 0.7 * rng.normal(size=24)
    priors = {
        "lam": hm.Normal(0, 3),
        "kappa": hm.HalfNormal(2),
        "tau": hm.HalfNormal(1),
        "sigma": hm.HalfStudentT(5, 1),
        "beta[x]": hm.Normal(0, 1),
    }
    frame = pd.DataFrame({"y": y, "x": x, "s": parent[group], "c": group}).astype(
        {"s": str, "c": str}
    )
    reference = hm.reference(frame, "y ~ x + (1 | s/c)", priors=priors)
    model = BlockModel(
        Blocks.of((np.ones((24, 1)), x[:, None], y), group, (parent,)),
        tuple(CovariancePrior((priors[name],)) for name in ("kappa", "tau")),
        priors["sigma"],
        np.zeros(2),
        np.array([1 / 9, 1.0]),
    )
    return reference, BlockPosterior.of(model)


@pytest.mark.parametrize("name", SLEEP)
def test_quantiles_of_the_sleep_study(name):
    laws, known = HyperLaws(sleep(name)), SLEEP[name]["hyper"]
    for j, key in enumerate(("tau0", "tau1", "sigma")):
        found = laws.sd_quantiles(j, P)
        error = (found - known[key]["quantiles"]) / known[key]["sd"]
        assert np.abs(error).max() < 6e-7, key
        np.testing.assert_allclose(laws.sd_cdf(j, found), P, atol=1e-10)
    found = laws.correlation_quantiles(0, P)
    assert np.abs((found - known["rho"]["quantiles"]) / known["rho"]["sd"]).max() < 1e-6
    np.testing.assert_allclose(laws.correlation_cdf(0, found), P, atol=1e-10)
    assert laws.correlation_cdf(0, np.array([-1.0, 1.0])).tolist() == [0.0, 1.0]


def test_densities_are_the_slopes_of_distribution_functions():
    laws = HyperLaws(sleep("sleepstudy_half_normal_lkj2"))
    for law, density, at in (
        (lambda v: laws.sd_cdf(0, v), lambda v: laws.sd_density(0, v), 25.0),
        (lambda v: laws.sd_cdf(2, v), lambda v: laws.sd_density(2, v), 26.0),
        (lambda v: laws.correlation_cdf(0, v), lambda v: laws.correlation_density(0, v), 0.2),
    ):
        h = 1e-4 * at
        slope = np.diff(law(np.array([at - h, at + h])))[0] / (2 * h)
        assert density(np.array([at]))[0] == pytest.approx(slope, rel=1e-6)
    assert laws.sd_density(0, np.array([-1.0]))[0] == laws.sd_cdf(0, np.array([0.0]))[0] == 0
    assert laws.correlation_density(0, np.array([1.5]))[0] == 0


def test_quantiles_of_three_levels_as_in_the_tree():
    reference, posterior = nested()
    laws, mixtures = HyperLaws(posterior), Mixtures(posterior)
    known = {name: reference.quantile(P)[name].to_numpy() for name in reference.mean.data_vars}
    sd = {name: reference.sd[name].to_numpy() for name in known}
    for j, name in enumerate(("kappa", "tau", "sigma")):
        assert np.abs(laws.sd_quantiles(j, P) - known[name]).max() / sd[name] < 3e-6, name
    found = mixtures.coefficient_quantiles(P)
    assert np.abs(found[:, 0] - known["lam"]).max() / sd["lam"] < 1e-6
    assert np.abs(found[:, 1] - known["beta"][:, 0]).max() / sd["beta"][0] < 1e-6
    for level, name in enumerate(("mu", "theta")):
        members = np.array([3, 1])
        found = mixtures.effect_quantiles(level, 0, members, P)
        error = (found - known[name][:, members]) / sd[name][members]
        assert np.abs(error).max() < 1e-6, name


def test_combinations_of_effects_and_covariates():
    posterior = sleep("sleepstudy_flat_sd_lkj1")
    z = np.array([[1.0, 4.5], [1.0, -2.0]])
    members = np.array([5, 0])
    weights, mean, sd = Mixtures(posterior).combinations(0, members, z, np.zeros((2, 0)))
    center = weights @ mean
    every = posterior.effect_moments(0)[0][:, members]
    np.testing.assert_allclose(center, (z * every.T).sum(axis=1), rtol=1e-9)
    covariance = posterior.effect_covariances(0)[:, :, members]
    known = np.einsum("rp,pqr,rq->r", z, covariance, z)
    np.testing.assert_allclose(weights @ (sd**2 + (mean - center) ** 2), known, rtol=1e-8)


def test_new_groups():
    """Against draws of what their effects are drawn from, a mean of normals at each of them."""
    posterior, size = sleep("sleepstudy_half_normal_lkj2"), 40_000
    z = np.array([[1.0, 4.0], [0.0, 1.0]])
    none = np.zeros((2, 0))
    weights, mean, sd = Mixtures(posterior).of_new_members(ROOT, np.zeros(2, int), z, none)
    draws = BlockDraws.draw(posterior.marginal, size, np.random.default_rng(6))
    factor = posterior.marginal.coordinates.factors(draws.values)[0] * draws.sigma
    noise = np.random.default_rng(7).standard_normal((2, size))
    drawn = z @ (draws.coefficients + np.einsum("pqn,qn->pn", factor, noise))
    found = weights @ mean
    spread = np.sqrt(weights @ (sd**2 + (mean - found) ** 2))
    assert np.abs((drawn.mean(axis=1) - found) / spread).max() < 4.5 / np.sqrt(size)
    assert np.abs(drawn.std(axis=1) / spread - 1).max() < 0.02


def test_new_groups_below_known_members_as_in_the_tree():
    _, posterior = nested()
    mixtures, members = Mixtures(posterior), np.array([2, 0])
    z, x = np.ones((2, 1)), np.array([[0.5], [-1.0]])
    weights, mean, sd = mixtures.of_new_members(0, members, z, x)
    _, known_mean, known = mixtures.combinations(0, members, z, x)
    np.testing.assert_array_equal(mean, known_mean)
    tau = weights @ (sd**2 - known**2)
    first, spread = (part[1] for part in posterior.sd_moments())
    np.testing.assert_allclose(tau, first**2 + spread**2, rtol=1e-7)


def test_sigma_on_the_lattice_has_the_same_laws():
    level = CovariancePrior((hm.HalfNormal(3), hm.HalfNormal(2)))
    model = BlockModel.of(few(), (level,), hm.HalfNormal(2))
    one, other = (BlockPosterior.of(replace(model, integrate_sigma=own)) for own in (True, False))
    sd = one.sd_moments()[1]
    for j in range(3):
        found, known = (HyperLaws(p).sd_quantiles(j, P) for p in (one, other))
        assert np.abs(found - known).max() / sd[j] < 1e-5
        at = known[[3]]
        densities = [HyperLaws(p).sd_density(j, at)[0] for p in (one, other)]
        assert densities[0] == pytest.approx(densities[1], rel=1e-4)
        np.testing.assert_allclose(HyperLaws(other).sd_cdf(j, known), P, atol=1e-10)
    found, known = (Mixtures(p).effect_quantiles(0, 1, np.arange(2), P) for p in (one, other))
    assert np.abs(found - known).max() < 1e-7
    found, known = (Mixtures(p).coefficient_quantiles(P) for p in (one, other))
    assert np.abs(found - known).max() < 1e-7


def test_an_sd_that_is_fixed():
    level = CovariancePrior((FLAT, hm.Fixed(0.5)))
    laws = HyperLaws(BlockPosterior.of(BlockModel.of(few(), (level,), hm.HalfNormal(2))))
    assert laws.sd_quantiles(1, P).tolist() == [0.5] * len(P)
    assert laws.sd_cdf(1, np.array([0.4, 0.5])).tolist() == [0.0, 1.0]
    with pytest.raises(SpecError, match="fixed at"):
        laws.sd_density(1, np.ones(1))


@pytest.mark.parametrize("name", SLEEP)
def test_draws_of_the_sleep_study(name):
    posterior, size = sleep(name), 20_000
    draws = BlockDraws.draw(posterior.marginal, size, np.random.default_rng(4))
    assert draws.drawn.acceptance > 0.6
    for drawn, moments in (
        (np.vstack([draws.sds, draws.sigma]), posterior.sd_moments()),
        (draws.correlations, posterior.correlation_moments()),
        (draws.coefficients, posterior.coefficient_moments()),
        (draws.effects[0].reshape(36, -1), [m.ravel() for m in posterior.effect_moments(0)]),
    ):
        mean, sd = moments
        assert np.abs((drawn.mean(axis=-1) - mean) / sd).max() < 4.5 / np.sqrt(size)
    known = SLEEP[name]["hyper"]
    for own, key in zip((*draws.sds, draws.sigma), ("tau0", "tau1", "sigma"), strict=True):
        below = (own[:, None] <= known[key]["quantiles"]).mean(axis=0)
        assert np.abs((below - P) / np.sqrt(P * (1 - P) / size)).max() < 4.5, key
    effects = draws.effects[0][:, 3]
    error = np.cov(effects) - posterior.effect_covariances(0)[:, :, 3]
    sd = posterior.effect_moments(0)[1][:, 3]
    assert np.abs(error / np.outer(sd, sd)).max() < 5 * np.sqrt(2 / size)


def test_draws_with_priors_of_coefficients_and_levels():
    _, posterior = nested()
    size = 20_000
    draws = BlockDraws.draw(posterior.marginal, size, np.random.default_rng(5))
    pairs = [(draws.coefficients, posterior.coefficient_moments())]
    pairs += [(draws.effects[i][0], [m[0] for m in posterior.effect_moments(i)]) for i in (0, 1)]
    for drawn, (mean, sd) in pairs:
        assert np.abs((drawn.mean(axis=-1) - mean) / sd).max() < 4.5 / np.sqrt(size)
        assert np.abs(drawn.std(axis=-1) / sd - 1).max() < 4.5 / np.sqrt(size)


def test_draws_of_sigma_where_its_law_is_known():
    """By rejection, of the law that has a closed form."""
    marginal = BlockMarginal.of(
        BlockModel.of(few(), (CovariancePrior((FLAT, FLAT)),), hm.Jeffreys())
    )
    values = marginal.coordinates.values(marginal.mode_and_scale.modes[:1])
    every = values.at(np.zeros(20_000, dtype=np.intp))
    root = marginal.root(every)

    class Summed(type(marginal.scale)):
        is_closed = False

    drawn = draw_log_sigma(
        Summed(marginal.residual), root, every.log_theta, np.random.default_rng(1)
    )
    law = stats.invgamma(marginal.scale.shape, scale=root.square[0] / 2)
    assert stats.kstest(np.exp(2 * drawn), law.cdf).pvalue > 1e-3
    summed = Summed(marginal.residual).law(root.at(slice(0, 1)), every.log_theta[:, :1])
    closed = marginal.scale.law(root.at(slice(0, 1)), every.log_theta[:, :1])
    assert summed.sigma == pytest.approx(closed.sigma, rel=1e-12)
    assert summed.coefficients.sigma2 == pytest.approx(closed.coefficients.sigma2, rel=1e-12)


def test_draws_are_the_same_with_the_same_seed():
    marginal = sleep("sleepstudy_flat_sd_lkj1").marginal
    one, other = (BlockDraws.draw(marginal, 50, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.effects[0], other.effects[0])
    np.testing.assert_array_equal(one.sigma, other.sigma)
