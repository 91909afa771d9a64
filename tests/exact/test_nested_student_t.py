"""Three levels of rows with t errors, whose likelihoods are not log-concave."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.nested.direct import DirectDensity
from hiermodels.exact.leaves.nested.draws import NestedDraws
from hiermodels.exact.leaves.nested.effects import effect_laws
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.line_table import LineTable
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.families.row_leaves import by_group
from hiermodels.families.student_t_leaves import StudentTLeaves
from tests.exact.nested_models import KAPPA, TAU, assert_moments, model_of, normal
from tests.oracles.brute_nested_t import KNOWN, NU, SD, Y

PARENT = np.repeat(np.arange(3), 3)
PROBABILITIES = np.array([0.055, 0.25, 0.5, 0.75, 0.945])


@cache
def posterior() -> NestedPosterior:
    """Nine groups in three outer ones, of which one is far from all others."""
    leaves = StudentTLeaves.of(Y.ravel(), SD.ravel(), NU)
    return NestedPosterior.of(model_of(leaves, PARENT, precision=1.0))


def test_brute_force_agrees():
    own = posterior()
    assert own.certificate < 1e-8
    for level, name in ((TAU, "tau"), (KAPPA, "kappa")):
        assert_moments(own.sd_moments(level), KNOWN[name], 3e-8)
    assert_moments(own.coefficient_moments(), np.array(KNOWN["lam"])[:, None], 3e-8)
    np.testing.assert_allclose(
        own.function_moments(expit)[0], np.ravel(KNOWN["mean_p"]), rtol=0, atol=1e-8
    )
    assert own.lattice.log_integral == pytest.approx(KNOWN["log_integral"], abs=3e-8)


def test_many_degrees_of_freedom_are_normal():
    """The error falls as 1/nu; so that of twice the one less the other as its square."""
    (same, known), size = normal(), 1e4
    leaves, parent = same.model.leaves, same.model.parent

    def moments(nu):
        t = StudentTLeaves.of(leaves.mean, leaves.sd, nu)
        half = hm.HalfNormal(0.5)
        own = NestedPosterior.of(model_of(t, parent, half, half, precision=1.0))
        every = own.sd_moments(TAU), own.sd_moments(KAPPA), own.effect_moments(1)
        return np.concatenate([np.ravel(part) for part in every])

    first, second = moments(size), moments(2 * size)
    right = [known.mean["tau"], known.sd["tau"], known.mean["kappa"], known.sd["kappa"]]
    right = np.concatenate([*map(np.ravel, right), known.mean["theta"], known.sd["theta"]])
    np.testing.assert_allclose(2 * second - first, right, rtol=0, atol=1e-7)
    assert np.abs(first - right).max() > 1e-6


def test_laws_of_effects_have_the_moments_of_the_lattice():
    """Rows of one group far from each other, in a unit in which errors are not about 1."""
    rng, scale = np.random.default_rng(0), 30.0
    y, sd = rng.normal(0, 1, 12), rng.uniform(0.4, 1, 12)
    y[1] += 9
    leaves = by_group(StudentTLeaves.of(scale * y, scale * sd, 3.0), np.arange(12) // 2, 6)
    half, parent = hm.HalfNormal(scale), np.repeat(np.arange(2), 3)
    own = NestedPosterior.of(model_of(leaves, parent, half, half, precision=scale**-2))
    for level in (0, 1):
        mean, sd = own.effect_moments(level)
        for laws in effect_laws(own, level):
            assert_moments(laws.moments(), (mean[laws.groups], sd[laws.groups]), 1e-8)
            np.testing.assert_allclose(laws.mass.sum(axis=1), 1.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tau", [1e-3, 0.3, 1.5, 6.0])
def test_tables_hold_outer_groups(tau):
    """Where normal densities of one τ go over into tails of t, F bends most."""
    kinds = Kinds.of(posterior().model)
    table = LineTable.of(kinds, tau)
    rng = np.random.default_rng(1)
    mu = rng.uniform(-20 - 3 * tau, 20 + 3 * tau, 60)
    (first, shares), right = table.between(mu), table.beyond(mu)
    found = sum(share[:, None] * table.values[first + i] for i, share in enumerate(shares)).T
    near = right > -40
    assert near.sum() > 60
    np.testing.assert_allclose(found[near], right[near], rtol=0, atol=2e-8)
    for i, j in zip(*np.nonzero(near), strict=True):
        if j % 6 == 0:
            own = _log_integrals(mu[j], tau, 3 * i + np.arange(3)).sum()
            assert right[i, j] + table.constant[i] == pytest.approx(own, abs=1e-8)


def _log_integrals(mu, tau, groups):
    """``log ∫ L(θ)/sup L N(θ | μ, τ²) dθ`` on even places."""
    theta = np.linspace(mu - 11 * tau, mu + 11 * tau, 4001)
    normal_density = stats.norm.pdf(theta, mu, tau) * (theta[1] - theta[0])
    y, sd = Y.ravel()[groups, None], SD.ravel()[groups, None]
    return np.log((stats.t.pdf((theta - y) / sd, NU) / stats.t.pdf(0, NU)) @ normal_density)


def test_the_density_that_draws_are_accepted_by_is_that_of_the_lattice():
    own = posterior()
    some = np.random.default_rng(0).permutation(np.flatnonzero(own.lattice.weights > 1e-9))[:60]
    found = DirectDensity(own.marginal)(own.lattice.points[some])
    np.testing.assert_allclose(found, own.lattice.log_density[some], rtol=0, atol=2e-9)


def test_draws_have_the_exact_distribution_functions():
    own, size = posterior(), 1000
    drawn = NestedDraws.draw(own.marginal, size, np.random.default_rng(3))
    spread = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / size)
    for level in (0, 1):
        effects = drawn.effects.effects(level)
        for laws in effect_laws(own, level):
            places = laws.quantile(PROBABILITIES)
            below = (effects[laws.groups][:, :, None] <= places[:, None, :]).mean(axis=1)
            assert np.abs((below - PROBABILITIES) / spread).max() < 4.0
