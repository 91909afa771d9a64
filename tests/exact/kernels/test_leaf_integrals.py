"""Integrals of leaves over the effect, against thirty digits and against adaptive quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

from hiermodels.exact.kernels.leaves import integral
from hiermodels.exact.kernels.leaves.grid import GridTable, ThetaGrid
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals, pair_integrals
from hiermodels.exact.kernels.leaves.prior_centred import node_places
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from tests.oracles import leaf_integrals as oracle

MILLION = 1_000_000
BINOMIAL = [(0, 1), (0, 47), (3, 20), (5, 5), (46, 810), (400_000, MILLION), (10, MILLION)]
POISSON = [(0, 1e-4), (22, 10.5), (MILLION, 1e4)]
TAU = (1e-6, 0.3, 3.0)
SURGICAL = BinomialLeaves.of(
    np.array([0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24]),
    np.array([47, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360]),
)


def error_in_many_digits(log_leaf, leaves, group, tau):
    """Largest error of the log integrals at two places of μ, one of them in conflict."""
    centre, sd = leaves.centre[group], leaves.information[group] ** -0.5
    mu = centre + np.hypot(sd, tau) * np.array([-5.0, 1.0])
    log_integrals = LeafIntegrals.of(leaves).log_integrals(mu, np.full(2, tau))[group]
    exact = np.array([oracle.log_integral(log_leaf, (centre, sd), m, tau) for m in mu])
    return np.abs(log_integrals - exact)[exact > -60].max()


@pytest.mark.parametrize("tau", TAU)
@pytest.mark.parametrize("group", range(len(BINOMIAL)), ids=map(str, BINOMIAL))
def test_binomial_integrals_to_many_digits(group, tau):
    leaves = BinomialLeaves.of(*np.array(BINOMIAL).T)
    error = error_in_many_digits(oracle.binomial(*BINOMIAL[group]), leaves, group, tau)
    assert error < (1e-11 if BINOMIAL[group][0] > 1000 else 5e-13)


@pytest.mark.parametrize("tau", TAU)
@pytest.mark.parametrize("group", range(len(POISSON)), ids=map(str, POISSON))
def test_poisson_integrals_to_many_digits(group, tau):
    leaves = PoissonLeaves.of(*np.array(POISSON).T)
    error = error_in_many_digits(oracle.poisson(*POISSON[group]), leaves, group, tau)
    assert error < 3e-11


def test_grid_and_adaptive_quadrature_agree():
    """Two methods that share the leaf alone, at nodes that are drawn at random."""
    rng = np.random.default_rng(1)
    mu, tau = rng.normal(-2.5, 1.0, 40), np.exp(rng.normal(-1.0, 1.5, 40))
    log_integrals = LeafIntegrals.of(SURGICAL).log_integrals(mu, tau)
    for j, group in enumerate(rng.integers(len(SURGICAL), size=40)):
        own = SURGICAL.take(np.array([group]))

        def integrand(z, own=own, j=j):
            theta = np.array([mu[j] + tau[j] * z])
            return np.exp(own.log_likelihood(theta)[0, 0] - z**2 / 2) / np.sqrt(2 * np.pi)

        z = np.clip((own.centre[0] - mu[j]) / tau[j], -9, 9)
        value = quad(integrand, -10, 10, points=[z], epsabs=0, epsrel=1e-12, limit=400)[0]
        assert log_integrals[group, j] == pytest.approx(np.log(value), abs=1e-11)


def far_integral(leaves, mu, tau):
    """The integral of one leaf over places that leave out nothing."""
    theta = np.linspace(-60.0, mu + 12 * tau, 200_001)
    log_terms = leaves.log_likelihood(theta)[0] + norm.logpdf(theta, mu, tau)
    return logsumexp(log_terms) + np.log(theta[1] - theta[0])


@pytest.mark.parametrize("mu", [60.0, 90.0, 110.0])
def test_wide_nodes_far_from_a_leaf_that_bends_between_are_known_well(mu):
    """One of two succeeded: the integrand bends where neither node nor mode are."""
    leaves = BinomialLeaves.of(np.array([1.0]), np.array([2.0]))
    found = LeafIntegrals.of(leaves).log_integrals(np.array([mu]), np.array([10.0]))[0, 0]
    assert found == pytest.approx(far_integral(leaves, mu, 10.0), abs=1e-9)


@pytest.mark.parametrize(("half", "mu", "tau"), [(5, 30.0, 3.0), (10, 20.0, 2.0), (50, 5.0, 0.5)])
def test_places_around_a_node_reach_the_mode_however_newton_steps_would_jump(half, mu, tau):
    leaves = BinomialLeaves.of(np.array([half]), np.array([2 * half]))
    (places,) = node_places(leaves, np.array([mu]), np.array([tau]))
    found = places.log_terms(leaves)[0][0, 0]
    assert found == pytest.approx(far_integral(leaves, mu, tau), abs=1e-9)


def test_pairs_together_have_their_integrals_where_slopes_are_beyond_all_bounds():
    """At μ = 300 the slope of a count's leaf is e^300: no bisection comes back from there."""
    leaves, tau = PoissonLeaves.of(np.array([2.0, 0.0]), np.array([4.0, 0.5])), 26.5
    mu = np.repeat(np.linspace(100.0, 335.0, 48), 2)
    group = np.tile([0, 1], 48)
    found = pair_integrals(leaves, group, mu, np.full(96, tau))
    theta, step = np.linspace(-500.0, 20.0, 260_001, retstep=True)
    log_leaf = leaves.log_likelihood(theta)
    for own, i, m in zip(found, group, mu, strict=True):
        exact = logsumexp(log_leaf[i] + norm.logpdf(theta, m, tau)) + np.log(step)
        assert own == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("tau", [1e3, 1e20, 1e80])
def test_very_wide_nodes_see_no_events_as_half_of_their_density(tau):
    """Which without a step at 0 were Φ(−μ/τ); beside a leaf that sees events, or alone."""
    z = np.array([-1e5, -30.0, -12.0, -9.0, -8.0, -7.0, -6.0, 3.0, 8.5])
    leaves = PoissonLeaves.of(np.array([0.0, 7.0]), np.array([1.0, 4.0]))
    for own in (leaves, leaves.take(np.array([0]))):
        for far in (True, False):
            found = LeafIntegrals.of(own).log_integrals(z * tau, np.full(len(z), tau), far=far)[0]
            np.testing.assert_allclose(found, norm.logcdf(-z), rtol=20 / tau + 1e-9, atol=2e-10)


@pytest.mark.parametrize("tau", [1e20, 1e60, 1e120])
def test_integrals_at_very_wide_nodes_fall_as_one_over_tau_on_the_grid(tau, monkeypatch):
    """To ``∫L/(τ√2π)``, a gamma function; and no pair takes places of its own."""
    monkeypatch.setattr(integral, "pair_places", None)
    leaves = PoissonLeaves.of(np.array([3.0]), np.array([2.0]))
    found = LeafIntegrals.of(leaves).log_integrals(np.zeros(1), np.array([tau]))[0, 0]
    exact = gammaln(3.0) - 3.0 * np.log(3.0) + 3.0 - np.log(tau) - 0.5 * np.log(2 * np.pi)
    assert found == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("mu", "tau"), [(9000.0, 1e3), (1e5, 1e3)])
def test_modes_of_pairs_are_found_however_far_a_leaf_falls_to_nothing(mu, tau):
    """Without events the leaf's slope at μ is beyond all numbers: there is but the prior's tail."""
    leaves = PoissonLeaves.of(np.array([0.0]), np.array([12.0]))
    found = pair_integrals(leaves, np.array([0]), np.array([mu]), np.array([tau]))[0]
    assert found == pytest.approx(norm.logcdf(-mu / tau), rel=1e-3)


def test_a_node_whose_place_does_not_know_its_width_has_all_of_a_flat_leaf():
    leaves = PoissonLeaves.of(np.array([0.0]), np.array([12.0]))
    at = np.array([-3e23]), np.array([1e3])
    assert pair_integrals(leaves, np.array([0]), *at)[0] == pytest.approx(0.0, abs=1e-12)


def test_a_node_without_spread_has_the_leaf_at_its_mean():
    mu = np.linspace(-4, 1, 7)
    log_integrals = LeafIntegrals.of(SURGICAL).log_integrals(mu, np.zeros(7))
    np.testing.assert_allclose(log_integrals, SURGICAL.log_likelihood(mu), atol=2e-13)


@pytest.mark.parametrize("tau", [1e-3, 0.4, 30.0])
@pytest.mark.parametrize("far", [-4e3, -300.0, -20.0, 0.0, 20.0, 300.0])
def test_normal_leaves_have_normal_integrals_however_far_they_lie(far, tau):
    leaves = NormalLeaves.of(np.array([3.0, -1.0]), np.array([0.5, 40.0]))
    mu, scale = np.array([far]), np.hypot(tau, leaves.sd)
    log_integrals = LeafIntegrals.of(leaves).log_integrals(mu, np.array([tau]))[:, 0]
    exact = -0.5 * ((leaves.mean - far) / scale) ** 2 - np.log(scale / leaves.sd)
    np.testing.assert_allclose(log_integrals, exact, rtol=1e-12, atol=1e-12)


def test_a_group_without_observations_says_nothing():
    leaves = BinomialLeaves.of(np.array([0, 8]), np.array([0, 119]))
    mu, tau = np.array([-90.0, -2.0, 0.0, 40.0]), np.array([0.01, 20.0, 0.3, 1e4])
    log_integrals = LeafIntegrals.of(leaves).log_integrals(mu, tau)
    np.testing.assert_allclose(log_integrals[0], 0.0, atol=1e-12)


def test_masses_are_the_posterior_of_each_effect():
    """Each weighs what its nodes weigh, and has the moments of adaptive quadrature."""
    mu, tau = np.array([-2.5, -2.0, -3.0]), np.array([0.5, 0.02, 0.9])
    weights = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    integrals = LeafIntegrals.of(SURGICAL)
    log_integrals = integrals.log_integrals(mu, tau)
    sums = np.zeros((2, 2, len(SURGICAL)))
    for part in integrals.masses(mu, tau, weights, log_integrals):
        for row, values in zip(sums, (np.ones_like(part.theta), part.theta), strict=True):
            np.add.at(row.T, part.groups, (part.mass * values).sum(axis=-1).T)
    np.testing.assert_allclose(sums[0], 1.0, rtol=1e-13)
    for group in (0, 3):
        own, moment = SURGICAL.take(np.array([group])), 0.0
        for m, t, w in zip(mu, tau, weights[0], strict=True):

            def density(theta, own=own, m=m, t=t):
                return np.exp(
                    own.log_likelihood(np.array([theta]))[0, 0] - 0.5 * ((theta - m) / t) ** 2
                )

            mass = quad(density, m - 9 * t, m + 9 * t, epsabs=0, epsrel=1e-12)[0]
            first = quad(lambda x: x * density(x), m - 9 * t, m + 9 * t, epsabs=0)[0]
            moment += w * first / mass
        assert sums[1][0, group] == pytest.approx(moment, abs=1e-10)


def test_masses_of_a_group_in_conflict_with_a_node():
    leaves = NormalLeaves.of(np.array([3.0, -1.0]), np.array([0.1, 0.5]))
    mu, tau = np.array([-1.0]), np.array([0.3])  # 12 sds from the first
    integrals = LeafIntegrals.of(leaves)
    log_integrals, mean = integrals.log_integrals(mu, tau), np.zeros(2)
    for part in integrals.masses(mu, tau, np.ones((1, 1)), log_integrals):
        np.add.at(mean, part.groups, (part.mass[0] * part.theta).sum(axis=-1))
    precision = leaves.sd**-2, tau**-2
    exact = (leaves.mean * precision[0] + mu * precision[1]) / (precision[0] + precision[1])
    np.testing.assert_allclose(mean, exact, rtol=1e-10)


def test_mirrored_counts_have_mirrored_integrals():
    mirrored = BinomialLeaves.of(SURGICAL.trials - SURGICAL.successes, SURGICAL.trials)
    mu, tau = np.array([-4.0, -2.5, 0.0, 3.0]), np.array([0.03, 0.4, 2.0, 9.0])
    np.testing.assert_allclose(
        LeafIntegrals.of(mirrored).log_integrals(-mu, tau),
        LeafIntegrals.of(SURGICAL).log_integrals(mu, tau),
        atol=1e-12,
    )


def test_blocks_change_nothing():
    """Each group by itself, and among ten thousand others, has the same integrals."""
    rng = np.random.default_rng(3)
    n = np.exp(rng.uniform(0, 13, 300)).round()
    leaves = BinomialLeaves.of(rng.binomial(n.astype(int), 0.08), n)
    mu, tau = np.array([-2.4, -2.6, -1.0]), np.array([0.02, 0.3, 3.0])
    together = LeafIntegrals.of(leaves)
    assert len(together.blocks) > 4
    log_integrals = together.log_integrals(mu, tau)
    for group in range(0, 300, 23):
        alone = LeafIntegrals.of(leaves.take(np.array([group]))).log_integrals(mu, tau)[0]
        np.testing.assert_allclose(log_integrals[group], alone, rtol=1e-12, atol=1e-11)


def test_any_function_may_stand_for_a_leaf():
    grid = ThetaGrid.of((-3.0, 3.0), (-400.0, 400.0), 0.1)
    table = GridTable(grid, np.stack([np.ones(len(grid)), 1 / (1 + np.exp(-grid.theta))]))
    mu, tau = np.array([0.0, 1.0, 0.0]), np.array([0.5, 20.0, 3.0])
    integrals = table.integrals(mu, tau)
    np.testing.assert_allclose(integrals[0], 1.0, rtol=1e-13)
    np.testing.assert_allclose(integrals[1, [0, 2]], 0.5, rtol=1e-13)


def test_a_table_cut_from_a_wider_one_is_the_same():
    fresh, known = (LeafIntegrals.of(SURGICAL).blocks[0] for _ in range(2))
    mu, narrow = np.full(2, -2.5), np.full(2, 0.5)
    known.table(mu, np.full(2, 100.0))
    cut, laid = known.table(mu, narrow), fresh.table(mu, narrow)
    assert len(cut.grid) < len(known.table(mu, np.full(2, 100.0)).grid)
    for name in ("theta", "weight"):
        np.testing.assert_allclose(getattr(cut.grid, name), getattr(laid.grid, name), rtol=1e-14)
    np.testing.assert_allclose(cut.grid.first, laid.grid.first)
    np.testing.assert_allclose(cut.values, laid.values, rtol=1e-13)
