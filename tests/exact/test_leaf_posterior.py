"""The exact posterior of two levels of counts, against posteriors that are known, and itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.leaves.draws import LeafDraws
from hiermodels.exact.leaves.effects import effect_laws
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import NewEffect, further_rows, leave_out, new_groups
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.normal_leaves import NormalLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.row_leaves import by_group
from hiermodels.families.student_t_leaves import StudentTLeaves
from tests.oracles import counts

ONE = np.ones(1)
PROBABILITIES = np.array(counts.PROBABILITIES)
BINOMIAL, POISSON = (BinomialLeaves, expit), (PoissonLeaves, np.exp)
CASES = {
    "surgical": (counts.SURGICAL, BINOMIAL, hm.HalfNormal(1), 0.0),
    "surgical flat": (counts.SURGICAL_FLAT, BINOMIAL, hm.FlatVariance(), 0.0),
    "surgical proper": (counts.SURGICAL_PROPER, BINOMIAL, hm.HalfNormal(1), 1 / 25),
    "pumps": (counts.PUMPS, POISSON, hm.HalfNormal(1), 0.0),
    "imatinib": (counts.IMATINIB, BINOMIAL, hm.HalfNormal(1), 0.0),
}
_POSTERIORS: dict[str, LeafPosterior] = {}


def model_of(leaves, prior=None, x=None, precision=0.0):
    x = np.ones((len(leaves), 1)) if x is None else x
    p = x.shape[1]
    return LeafModel(leaves, x, np.zeros(p), np.full(p, precision), prior or hm.HalfNormal(1))


def posterior_of(name):
    if name not in _POSTERIORS:
        known, (kind, _), prior, precision = CASES[name]
        leaves = kind.of(np.array(known.counts), np.array(known.size))
        _POSTERIORS[name] = LeafPosterior.of(model_of(leaves, prior, precision=precision))
    return _POSTERIORS[name]


def assert_moments(found, known, tolerance=1e-8):
    (mean, sd), (known_mean, known_sd) = found, known
    scale = np.array(known_sd)
    np.testing.assert_allclose((mean - np.array(known_mean)) / scale, 0.0, atol=tolerance)
    np.testing.assert_allclose(sd / scale, 1.0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_moments_of_known_posteriors(name):
    posterior, (known, (_, outcome), _, _) = posterior_of(name), CASES[name]
    assert posterior.certificate < 1e-8
    assert_moments(posterior.sd_moments(0), known.tau)
    assert_moments(posterior.coefficient_moments(), known.mu)
    assert_moments(posterior.effect_moments(), known.theta)
    assert_moments(posterior.function_moments(outcome), known.outcome)


@pytest.mark.parametrize("name", CASES)
def test_log_densities_of_known_posteriors(name):
    posterior, known = posterior_of(name), CASES[name][0]
    assert posterior.log_integral == pytest.approx(known.log_integral, abs=1e-9)
    np.testing.assert_allclose(leave_out(posterior), known.leave_out, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_quantiles_of_known_posteriors(name):
    posterior, known = posterior_of(name), CASES[name][0]
    tau = posterior.sd_quantiles(0, PROBABILITIES)
    np.testing.assert_allclose(tau, known.tau_quantiles, atol=1e-6 * known.tau[1])
    mu = LinearLaw.of(posterior, ONE).quantile(PROBABILITIES)
    np.testing.assert_allclose(mu, known.mu_quantiles, atol=1e-6 * known.mu[1])
    if known.theta_quantiles:
        for laws in effect_laws(posterior):
            error = laws.quantile(PROBABILITIES) - np.array(known.theta_quantiles)[laws.groups]
            assert (np.abs(error) / np.array(known.theta[1])[laws.groups, None]).max() < 1e-6


def test_distribution_functions_invert_quantiles():
    posterior = posterior_of("surgical")
    for laws in effect_laws(posterior, np.array([0, 3, 5])):
        places = laws.quantile(PROBABILITIES)
        np.testing.assert_allclose(laws.cdf(places), np.tile(PROBABILITIES, (len(places), 1)))
        width = 1e-4
        slope = (laws.cdf(places + width) - laws.cdf(places - width)) / (2 * width)
        np.testing.assert_allclose(laws.density(places), slope, rtol=1e-5)
    law = NewEffect.of(posterior, ONE)
    places = law.quantile(PROBABILITIES)
    np.testing.assert_allclose(law.cdf(places), PROBABILITIES, rtol=1e-10)
    slope = (law.cdf(places + 1e-4) - law.cdf(places - 1e-4)) / 2e-4
    np.testing.assert_allclose(law.density(places), slope, rtol=1e-6)


def test_leaving_a_group_out_is_refitting_without_it():
    known = counts.IMATINIB
    leaves = BinomialLeaves.of(np.array(known.counts), np.array(known.size))
    posterior = posterior_of("imatinib")
    left_out = leave_out(posterior)
    for group in (1, 4):
        rest = LeafPosterior.of(model_of(leaves.take(np.delete(np.arange(10), group))))
        own = new_groups(rest, leaves.take(np.array([group])), ONE)
        assert left_out[group] == pytest.approx(own[0], abs=1e-9)


def test_predictive_probabilities_sum_to_one():
    posterior = posterior_of("surgical")
    new = new_groups(posterior, BinomialLeaves.of(np.arange(51), 50), ONE)
    assert np.exp(new).sum() == pytest.approx(1, abs=1e-12)
    further = [further_rows(posterior, BinomialLeaves.of(np.full(12, r), 4)) for r in range(5)]
    np.testing.assert_allclose(np.exp(further).sum(axis=0), 1.0, atol=1e-12)
    one = np.exp(further_rows(posterior, BinomialLeaves.of(np.ones(12), 1)))
    np.testing.assert_allclose(one, posterior.function_moments(expit)[0], rtol=1e-12)


def test_successes_and_failures_have_mirrored_posteriors():
    known = counts.IMATINIB
    r, n = np.array(known.counts), np.array(known.size)
    mirrored = LeafPosterior.of(model_of(BinomialLeaves.of(n - r, n)))
    mean, sd = mirrored.effect_moments()
    assert_moments((-mean, sd), known.theta)
    assert mirrored.log_integral == pytest.approx(known.log_integral, abs=1e-9)


def test_rare_binomial_counts_are_poisson():
    n = 1e7
    y, exposure = np.array(counts.PUMPS.counts), np.array(counts.PUMPS.size)
    leaves = BinomialLeaves.of(y, n, np.log(exposure / n))
    mean, sd = LeafPosterior.of(model_of(leaves)).effect_moments()
    assert_moments((mean, sd), counts.PUMPS.theta, 1e-4)


def test_normal_leaves_have_the_posterior_of_the_normal_engine():
    data = hm.datasets.load_eight_schools()
    prior = hm.HalfNormal(10)
    reference = hm.reference(
        data, outcome="y", groups=["school"], se="sigma", priors={"tau": prior}, tol=1e-11
    )
    leaves = NormalLeaves.of(data["y"].to_numpy(float), data["sigma"].to_numpy(float))
    posterior = LeafPosterior.of(model_of(leaves, prior), tol=1e-10)
    for found, name in (
        (posterior.sd_moments(0), "tau"),
        (posterior.effect_moments(), "theta"),
        (posterior.linear_moments(np.ones((1, 1))), "mu"),
    ):
        known = reference.mean[name].values, reference.sd[name].values
        assert_moments(found, known, 1e-10)
    known = np.asarray(reference.quantile(PROBABILITIES)["theta"].values)
    known = known if known.shape[0] == 8 else known.T
    scale = reference.sd["theta"].values[:, None]
    for laws in effect_laws(posterior):
        error = (laws.quantile(PROBABILITIES) - known[laws.groups]) / scale[laws.groups]
        np.testing.assert_allclose(error, 0.0, atol=1e-7)


def test_a_fixed_sd_leaves_the_coefficients_alone_on_the_lattice():
    """At τ = 0 all groups have one probability, whose law under a flat logit is a beta law."""
    known = counts.SURGICAL
    r, n = np.array(known.counts), np.array(known.size)
    model = model_of(BinomialLeaves.of(r, n), hm.Fixed(0))
    posterior = LeafPosterior.of(model)
    a, b = r.sum(), (n - r).sum()
    mean, sd = posterior.function_moments(expit)
    np.testing.assert_allclose(mean, a / (a + b), rtol=1e-11)
    np.testing.assert_allclose(sd, np.sqrt(a * b / (a + b + 1)) / (a + b), rtol=1e-9)
    drawn = LeafDraws.draw(LeafMarginal(model), 50, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.effects(), np.tile(drawn.gamma[:, 0], (12, 1)))


def test_without_coefficients_effects_lie_around_zero():
    """Of one Bernoulli row: θ ~ N(0, τ²) has an even chance whatever τ is."""
    leaves = BinomialLeaves.of(np.array([1, 0]), 1)
    for prior in (hm.HalfNormal(1), hm.Fixed(0.7)):
        posterior = LeafPosterior.of(model_of(leaves, prior, np.empty((2, 0))))
        mean, _ = posterior.effect_moments()
        assert mean[0] == pytest.approx(-mean[1], abs=1e-10)
        assert mean[0] > 0.1
        assert posterior.log_integral == pytest.approx(-2 * np.log(2), abs=1e-10)


def test_a_group_without_observations_is_a_new_group():
    known = counts.PUMPS
    y, exposure = np.append(known.counts, 0), np.append(known.size, 0.0)
    posterior = LeafPosterior.of(model_of(PoissonLeaves.of(y, exposure)))
    mean, sd = posterior.effect_moments()
    assert_moments((mean[:10], sd[:10]), known.theta)
    new = NewEffect.of(posterior_of("pumps"), ONE).quantile(PROBABILITIES)
    (laws,) = effect_laws(posterior, np.array([10]))
    np.testing.assert_allclose(laws.quantile(PROBABILITIES)[0], new, atol=1e-6)
    assert leave_out(posterior)[10] == pytest.approx(0, abs=1e-12)


def test_more_dimensions_than_a_lattice_holds_are_refused():
    leaves = BinomialLeaves.of(np.arange(9), 9)
    with pytest.raises(hm.HierModelsError, match="engine='nuts'"):
        LeafMarginal(model_of(leaves, x=np.vander(np.arange(9.0), 5)))


def test_draws_have_the_exact_distribution_functions():
    posterior, size = posterior_of("surgical"), 40_000
    drawn = LeafDraws.draw(posterior.marginal, size, np.random.default_rng(3))
    assert drawn.drawn.largest_ratio <= drawn.drawn.bound
    spread = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / size)
    effects, places = drawn.effects(), np.empty((12, len(PROBABILITIES)))
    for laws in effect_laws(posterior):
        places[laws.groups] = laws.quantile(PROBABILITIES)
    below = (effects[:, :, None] <= places[:, None, :]).mean(axis=1)
    z = (below - PROBABILITIES) / spread
    assert np.abs(z).max() < 4.0
    assert np.sqrt((z**2).mean()) < 1.4
    tau = posterior.sd_quantiles(0, PROBABILITIES)
    mu = LinearLaw.of(posterior, ONE).quantile(PROBABILITIES)
    for values, own in ((drawn.tau, tau), (drawn.gamma[:, 0], mu)):
        below = (values[:, None] <= own).mean(axis=0)
        assert (np.abs(below - PROBABILITIES) < 4 * spread).all()


def test_draws_with_t_errors_have_the_exact_distribution_functions():
    """Eight schools with t errors of four degrees of freedom, which are not log-concave."""
    data, size = hm.datasets.load_eight_schools(), 40_000
    y, sd = data["y"].to_numpy(float), data["sigma"].to_numpy(float)
    posterior = LeafPosterior.of(model_of(StudentTLeaves.of(y, sd, 4.0), hm.HalfNormal(10)))
    drawn = LeafDraws.draw(posterior.marginal, size, np.random.default_rng(3))
    spread, effects = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / size), drawn.effects()
    for laws in effect_laws(posterior):
        places = laws.quantile(PROBABILITIES)
        below = (effects[laws.groups][:, :, None] <= places[:, None, :]).mean(axis=1)
        assert np.abs((below - PROBABILITIES) / spread).max() < 4.0
    mean, sd = posterior.effect_moments()
    assert np.abs((effects.mean(axis=1) - mean) / sd * np.sqrt(size)).max() < 4.0


@pytest.mark.parametrize(("gap", "nu"), [(20, 15.0), (60, 4.0)])
def test_laws_hold_groups_whose_rows_are_far_apart(gap, nu):
    """The likelihood of such a group has two modes, and coefficients are not where it pulls."""
    y, sd = (
        np.array([0.2, gap, -0.4, 0.9, -1.3, 0.8, 0.1, -0.6]),
        np.array([0.9, 0.4, 0.6, 0.8] * 2),
    )
    leaves = by_group(StudentTLeaves.of(y, sd, nu), np.arange(8) // 2, 4)
    posterior = LeafPosterior.of(model_of(leaves, precision=0.1))
    mean, own = posterior.effect_moments()
    for laws in effect_laws(posterior):
        assert_moments(laws.moments(), (mean[laws.groups], own[laws.groups]), 3e-9)
        np.testing.assert_allclose(laws.mass.sum(axis=1), 1.0, rtol=0, atol=3e-9)


def test_a_seed_gives_the_same_bits_whatever_else_is_drawn_and_on_any_threads(monkeypatch):
    marginal = posterior_of("surgical").marginal
    drawn = LeafDraws.draw(marginal, 30_000, np.random.default_rng(5))
    whole = drawn.effects()
    np.testing.assert_array_equal(drawn.effects(np.array([7, 2])), whole[[7, 2]])
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again = LeafDraws.draw(marginal, 30_000, np.random.default_rng(5))
    np.testing.assert_array_equal(again.effects(), whole)
    np.testing.assert_array_equal(again.tau, drawn.tau)


def test_priors_that_fight_the_data_are_integrated_all_the_same():
    """Groups of a million trials each, fifty sds of the fixed τ apart."""
    n = 1e6
    leaves = BinomialLeaves.of(n * expit(np.array([-2.0, -1.0, 0.0])), n)
    posterior = LeafPosterior.of(model_of(leaves, hm.Fixed(0.01), precision=1.0))
    mean, sd = posterior.effect_moments()
    information = leaves.information
    share = information / (information + 1e4)
    mu = posterior.coefficient_moments()[0][0]
    np.testing.assert_allclose(mean, share * leaves.centre + (1 - share) * mu, atol=0.03)
    assert (sd < 0.01).all()
