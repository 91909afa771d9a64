"""The bound along rays: searched for a violation, and what is drawn below it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from hiermodels.exact.glmm.envelope import RadialLaw, largest_reach, log_drop, reach
from hiermodels.exact.glmm.integrals import Middles, expand, log_integrals
from hiermodels.exact.glmm.modes import CountModel, find_mode
from hiermodels.exact.glmm.rows import BinomialRows, PoissonRows


def rows(kind, seed, n=24, groups=4, p=3):
    """Covariates of any scale, that may be constant in a group; counts at random."""
    rng = np.random.default_rng(seed)
    first = np.sort(rng.choice(np.arange(1, n), groups - 1, replace=False))
    first = np.concatenate([[0], first])
    scale = np.exp(rng.normal(size=p - 1))
    x = np.column_stack([np.ones(n), scale * rng.normal(size=(n, p - 1))])
    offset = rng.normal(size=n)
    if kind == "poisson":
        return PoissonRows(rng.poisson(1.5, n).astype(float), x, offset, first)
    trials = rng.integers(1, 6, n).astype(float)
    return BinomialRows(
        rng.binomial(trials.astype(int), 0.4).astype(float), x, offset, first, trials
    )


@pytest.mark.parametrize("kind", ["binomial", "poisson"])
@pytest.mark.parametrize("seed", range(8))
def test_no_density_is_above_its_bound(kind, seed):
    """Along rays from the mode in many directions, at τ from 0 to 3."""
    given, rng = rows(kind, seed), np.random.default_rng(seed + 100)
    prior = np.diag([0.0, 0.1, 0.1])  # so that no ray is separated
    model = CountModel(given, np.zeros(3), prior)
    for tau in (0.0, 0.3, 1.0, 3.0):
        mode = find_mode(model, tau, np.zeros(3), None)
        factor = np.linalg.cholesky(mode.covariance)
        unit = rng.normal(size=(60, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        away = unit @ factor.T
        k = np.einsum("ji,gik,jk->gj", away, mode.expansion.information, away)
        n = (k * reach(given, given.x @ away.T)).sum(axis=0)
        r = np.abs(rng.normal(0, 2, 60)) + 0.05
        gamma = mode.gamma + r[:, None] * away
        start = np.repeat(mode.expansion.middles.z, 60, axis=1)
        root = np.repeat(mode.expansion.middles.root, 60, axis=1)
        own = log_integrals(given, given.linear(gamma), np.full(60, tau), Middles(start, root))
        value = own.sum(axis=0) + model.log_prior(gamma)
        assert (value - mode.height + log_drop(n, r)).max() < 1e-8
        information = factor.T @ mode.expansion.information @ factor
        assert (n <= largest_reach(given, factor, information) + 1e-9).all()


@pytest.mark.parametrize("kind", ["binomial", "poisson"])
def test_curvature_falls_no_faster_than_the_theorem_says(kind):
    """``|∂_h K[v, v]| ≤ N(h) K[v, v]``, of single groups, with directions of both signs."""
    rng, worst = np.random.default_rng(5), 0.0
    for seed in range(30):
        given = rows(kind, seed, n=5, groups=1)
        gamma, h, v = rng.normal(size=(3, 3))
        tau, step = float(np.exp(rng.normal())), 1e-4
        k = [v @ expand(given, tau, gamma + s * step * h).information[0] @ v for s in (-1, 0, 1)]
        ratio = abs(k[2] - k[0]) / (2 * step * k[1]) / reach(given, given.x @ h[:, None])[0, 0]
        worst = max(worst, ratio)
    assert 0.3 < worst < 1 + 1e-6  # the search comes near, and never beyond


@pytest.mark.parametrize("n", [0.0, 1e-7, 0.3, 2.0, 50.0])
@pytest.mark.parametrize("p", [1, 2, 7, 21])
def test_masses_along_a_ray(n, p):
    def density(r):
        return r ** (p - 1) * np.exp(-log_drop(np.array(n), np.array(r)))

    end = max(60.0, n * (p + 60))
    expected, _ = integrate.quad(density, 0, end, epsrel=1e-11, limit=2000, points=[1, np.sqrt(p)])
    found = RadialLaw(np.array([n]), p).log_mass[0]
    assert found == pytest.approx(np.log(expected), abs=1e-8)


@pytest.mark.parametrize(("n", "p"), [(0.0, 3), (0.7, 5), (4.0, 2)])
def test_distances_have_their_law(n, p):
    drawn = RadialLaw(np.full(20_000, n), p).draw(np.random.default_rng(3))
    grid = np.geomspace(1e-4, 200, 20_001)
    density = grid ** (p - 1) * np.exp(-log_drop(np.array(n), grid))
    below = integrate.cumulative_trapezoid(density, grid, initial=0)
    result = stats.kstest(drawn, lambda r: np.interp(r, grid, below / below[-1]))
    assert result.pvalue > 1e-3


def test_reach_is_a_range_with_0():
    given = rows("poisson", 1, n=4, groups=2)
    given = PoissonRows(given.y, given.x, given.offset, np.array([0, 2]))
    moved = np.array([[1.0, -1.0], [3.0, -2.0], [-1.0, 0.0], [2.0, 0.0]])
    np.testing.assert_array_equal(reach(given, moved), [[3.0, 2.0], [3.0, 0.0]])


def test_modes_far_from_where_the_search_begins():
    """The first step of Newton's method would be of hundreds, and overflow."""
    rng = np.random.default_rng(1)
    x = np.column_stack([np.ones(60), rng.normal(size=(60, 2))])
    gamma = np.array([2.0, 5.0, 5.0])
    y = rng.poisson(np.exp(x @ gamma)).astype(float)
    given = PoissonRows(y, x, np.zeros(60), np.arange(0, 60, 6))
    mode = find_mode(CountModel(given, np.zeros(3), np.zeros((3, 3))), 0.0, np.zeros(3), None)
    np.testing.assert_allclose(x.T @ np.exp(x @ mode.gamma), x.T @ y, rtol=1e-6)
