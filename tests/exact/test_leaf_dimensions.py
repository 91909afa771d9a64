"""Posteriors of counts with covariates: lattices in three to five dimensions."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import hiermodels as hm
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.draws import LeafDraws
from hiermodels.exact.leaves.effects import effect_laws
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import leave_out
from hiermodels.exact.leaves.tables import line_tables
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.odds_ratio_leaves import OddsRatioLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from tests.oracles.count_figures import FIGURES
from tests.oracles.counts import SEEDS, SEEDS_BETA, SEEDS_X

PROBABILITIES = np.array([0.025, 0.25, 0.5, 0.75, 0.975])


def model_of(leaves, *columns, prior=None):
    x = np.column_stack([np.ones(len(leaves)), *columns])
    zero = np.zeros(x.shape[1])
    return LeafModel(leaves, x, zero, zero, prior or hm.HalfNormal(1))


def seeds(*columns):
    return model_of(BinomialLeaves.of(np.array(SEEDS.counts), np.array(SEEDS.size)), *columns)


def assert_moments(found, known, tolerance):
    (mean, sd), (known_mean, known_sd) = found, known
    scale = np.array(known_sd)
    np.testing.assert_allclose((mean - np.array(known_mean)) / scale, 0.0, atol=tolerance)
    np.testing.assert_allclose(sd / scale, 1.0, atol=tolerance)


@cache
def seeds_posterior():
    return LeafPosterior.of(seeds(*np.array(SEEDS_X).reshape(2, -1)))


def test_two_covariates_have_the_known_posterior():
    """Known to 8e-8 sds, three times what its two spacings differ by; see the sources there."""
    posterior = seeds_posterior()
    assert 1e-10 < posterior.certificate <= 1e-8
    assert_moments(posterior.sd_moments(0), SEEDS.tau, 1e-9)
    mean, sd = zip(SEEDS.mu, *SEEDS_BETA, strict=True)
    assert_moments(posterior.coefficient_moments(), (mean, sd), 8e-8)
    assert_moments(posterior.effect_moments(), SEEDS.theta, 1.5e-8)
    assert_moments(posterior.function_moments(expit), SEEDS.outcome, 1.5e-8)
    assert posterior.log_integral == pytest.approx(SEEDS.log_integral, abs=9e-9)
    np.testing.assert_allclose(leave_out(posterior), SEEDS.leave_out, atol=2.5e-8)


def test_two_lattices_with_two_covariates_agree_as_is_stated():
    """What the known figures cannot tell: errors are below what two spacings of one lattice say."""
    posterior = seeds_posterior()
    wide = LeafPosterior(posterior.marginal, posterior.marginal.lattice(0.6, leave_out=True))
    error = 0.0
    for found, better in (
        (wide.coefficient_moments(), posterior.coefficient_moments()),
        (wide.effect_moments(), posterior.effect_moments()),
    ):
        error = max(error, np.abs((found[0] - better[0]) / better[1]).max())
        error = max(error, np.abs(found[1] / better[1] - 1).max())
    assert error < wide.certificate < 100 * error
    assert wide.log_integral == pytest.approx(posterior.log_integral, abs=1e-8)


def test_draws_with_two_covariates_have_the_quantiles_of_few_gathered_nodes():
    posterior, size = seeds_posterior(), 20_000
    drawn = LeafDraws.draw(posterior.marginal, size, np.random.default_rng(1))
    effects, places = drawn.effects(), np.empty((21, len(PROBABILITIES)))
    for laws in effect_laws(posterior):
        places[laws.groups] = laws.quantile(PROBABILITIES)
    below = (effects[:, :, None] <= places[:, None, :]).mean(axis=1)
    spread = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / size)
    assert np.abs((below - PROBABILITIES) / spread).max() < 4.2
    own = np.array([LinearLaw.of(posterior, x).quantile(PROBABILITIES) for x in np.eye(3)])
    below = (drawn.gamma.T[:, :, None] <= own[:, None, :]).mean(axis=1)
    assert np.abs((below - PROBABILITIES) / spread).max() < 4.0


def test_one_covariate_of_few_values_has_one_posterior_at_two_spacings():
    """Counts of 56 districts, of which four covariates tell apart."""
    rng = np.random.default_rng(5)
    exposure = rng.gamma(2.0, 5.0, 56)
    covariate = rng.choice([0.0, 0.1, 0.7, 1.6], 56)
    y = rng.poisson(exposure * np.exp(0.3 * covariate + rng.normal(0, 0.6, 56)))
    posterior = LeafPosterior.of(model_of(PoissonLeaves.of(y, exposure), covariate))
    assert posterior.certificate < 1e-8
    spacing = 0.8 * posterior.lattice.spacing
    finer = LeafPosterior(posterior.marginal, posterior.marginal.lattice(spacing, leave_out=True))
    assert_moments(posterior.coefficient_moments(), finer.coefficient_moments(), 1e-9)
    assert_moments(posterior.effect_moments(), finer.effect_moments(), 1e-9)
    assert_moments(posterior.function_moments(np.exp), finer.function_moments(np.exp), 1e-9)
    assert posterior.log_integral == pytest.approx(finer.log_integral, abs=1e-10)
    np.testing.assert_allclose(leave_out(posterior), leave_out(finer), atol=1e-8)
    own = posterior, finer
    first, second = (LinearLaw.of(each, np.array([1, 0.5])).quantile(PROBABILITIES) for each in own)
    sd = finer.linear_moments(np.array([[1, 0.5]]))[1][0]
    np.testing.assert_allclose(first, second, atol=2e-7 * sd)


def test_five_dimensions_say_how_exact_they_are_and_draw_exactly():
    x1, x2 = np.array(SEEDS_X).reshape(2, -1)
    marginal = LeafMarginal(seeds(x1, x2, x1 * x2))
    posterior = LeafPosterior(marginal, marginal.lattice(0.85))
    assert 1e-5 < posterior.certificate < 1e-3
    size = 8_000
    drawn = LeafDraws.draw(marginal, size, np.random.default_rng(2))
    assert drawn.drawn.largest_ratio <= drawn.drawn.bound
    mean, sd = posterior.coefficient_moments()
    assert np.abs((drawn.gamma.mean(axis=0) - mean) / sd * np.sqrt(size)).max() < 4
    mean, sd = posterior.effect_moments()
    assert np.abs((drawn.effects().mean(axis=1) - mean) / sd * np.sqrt(size)).max() < 4


def test_five_dimensions_are_refined_as_far_as_points_allow(monkeypatch):
    monkeypatch.setattr("hiermodels.exact.leaves.refinement.MAX_POINTS", 350_000)
    x1, x2 = np.array(SEEDS_X).reshape(2, -1)
    with pytest.raises(hm.PrecisionError, match="posterior sd"):
        LeafPosterior.of(seeds(x1, x2, x1 * x2))


def test_odds_ratios_have_the_known_posterior():
    known = FIGURES["nielweise2007_half_normal0.5"]
    data = {name: np.array(values, dtype=float) for name, values in known["data"].items()}
    leaves = OddsRatioLeaves.of(data["a"], data["n1"], data["n2"], data["a"] + data["c"])
    posterior = LeafPosterior.of(model_of(leaves, prior=hm.HalfNormal(0.5)))
    assert_moments(posterior.sd_moments(0), (known["tau"]["mean"], known["tau"]["sd"]), 1e-10)
    mean, sd = posterior.effect_moments()
    informative = np.flatnonzero(data["a"] + data["c"] > 0)[known["groups"]]
    own = mean[informative], sd[informative]
    assert_moments(own, (known["theta"]["mean"], known["theta"]["sd"]), 1e-10)
    assert posterior.log_integral == pytest.approx(known["log_integral"], abs=1e-10)
    probabilities = np.array([float(p) for p in known["tau"]["quantile"]])
    for found, name in (
        (posterior.sd_quantiles(0, probabilities), "tau"),
        (LinearLaw.of(posterior, np.ones(1)).quantile(probabilities), "mu"),
    ):
        exact = np.array(list(known[name]["quantile"].values()))
        np.testing.assert_allclose(found, exact, atol=1e-6 * known[name]["sd"])


LEAVES = {
    "binomial": BinomialLeaves.of(np.array([0.0, 3, 46, 3, 5]), np.array([4.0, 20, 810, 20, 5])),
    "poisson": PoissonLeaves.of(np.array([0.0, 22, 3, 3, 0]), np.array([5.0, 10.5, 40, 40, 0.1])),
}
SETS = {"shared": [0.0, 1.0, 0.0, 0.0, 1.0], "own": [0.0, 0.3, -1.0, 0.31, 9.0]}


def nodes_on_lines(coordinates, rng, count):
    """Nodes of a lattice, many of which share a τ."""
    tau = rng.choice([1e-6, 0.05, 0.4, 3.0], count)
    return tau, coordinates.whitening(tau).gamma(rng.normal(0.0, 1.5, (count, 2)))


@pytest.mark.parametrize("covariate", SETS)
@pytest.mark.parametrize("kind", LEAVES)
def test_tables_along_lines_are_the_integrals_and_grow(kind, covariate):
    model, rng = model_of(LEAVES[kind], np.array(SETS[covariate])), np.random.default_rng(1)
    coordinates = Coordinates(model)
    tables = line_tables(model.alike, model.leaves, coordinates)
    assert sorted(np.concatenate([t.groups for t in tables])) == [0, 1, 2, 3, 4]
    for count in (40, 200):
        tau, gamma = nodes_on_lines(coordinates, rng, count)
        weights = rng.uniform(size=(2, count))
        for table in tables:
            leaf_of = table.leaf_of
            mu = gamma @ model.x[table.groups].T
            for i, group in enumerate(table.groups):
                own = LeafIntegrals.of(model.leaves.take(np.array([group])))
                known = own.log_integrals(mu[:, i], tau)[0]
                near = known > known.max() - 40
                found = table.log_integrals(tau, gamma)[leaf_of[i]]
                np.testing.assert_allclose(found[near], known[near], atol=1e-10)
                np.testing.assert_allclose(found, known, rtol=1e-10, atol=1e-10)
            places = table.gathered(tau, gamma, weights, lambda: np.empty(0))
            exact = table.integrals.log_integrals(places.mu, places.tau)
            np.testing.assert_allclose(places.log_integrals, exact, rtol=1e-12, atol=1e-12)
            for smooth in (lambda mu, tau: np.cos(mu / (1 + tau)), lambda mu, tau: mu**3 * tau):
                sums = places.weights @ smooth(places.mu, places.tau)
                direct = weights @ smooth(mu, tau[:, None])
                np.testing.assert_allclose(sums[:, leaf_of], direct, rtol=1e-9, atol=1e-9)


def test_a_covariate_that_differs_in_every_group_has_the_posterior_of_direct_integrals(monkeypatch):
    """Integrals and moments of tables, of groups with similar covariates, against those of each."""
    rng = np.random.default_rng(7)
    x, n = rng.normal(size=25), rng.integers(5, 300, 25)
    r = rng.binomial(n, expit(-1.5 + 0.8 * x + rng.normal(0, 0.4, 25)))
    r[:3], n[3] = 0, r[3]
    model = model_of(BinomialLeaves.of(r, n), x)
    tabulated = LeafMarginal(model)
    laid = tabulated.lattice(0.75, leave_out=True)
    np.testing.assert_allclose(laid.log_density, tabulated.log_density(laid.points), atol=1e-10)
    monkeypatch.setattr("hiermodels.exact.leaves.marginal.TABULATED", 3)
    direct = LeafPosterior(LeafMarginal(model), laid)
    monkeypatch.undo()
    posterior = LeafPosterior(tabulated, laid)
    at = np.column_stack([np.ones(25), np.zeros(25)])
    for found, known in (
        (posterior.effect_moments(), direct.effect_moments()),
        (posterior.effect_moments(at), direct.effect_moments(at)),
        (posterior.function_moments(expit), direct.function_moments(expit)),
    ):
        assert_moments(found, known, 1e-10)
    assert posterior.certificate == pytest.approx(direct.certificate, rel=1e-3)
    np.testing.assert_allclose(leave_out(posterior), leave_out(direct), atol=1e-10)


def test_what_three_levels_cannot_hold():
    """T errors are for NUTS; counts are drawn, and not summed up."""
    number = np.arange(12.0)
    frame = pd.DataFrame({"y": number % 5, "n": 9, "s": 1.0, "x": number % 3, "z": number % 4})
    frame["a"], frame["b"] = [f"a{i // 3}" for i in range(12)], [f"b{i}" for i in range(12)]
    said = {"outcome": "y", "groups": ["a", "b"]}
    said["priors"] = {"tau": hm.HalfNormal(1), "kappa": hm.HalfNormal(1)}
    message = "that of t errors is not.*engine='nuts': its draws have summary"
    with pytest.raises(hm.SpecError, match=message):
        hm.fit(frame, se="s", covariates=["x"], family=hm.StudentT(nu=4), **said)
    fit = hm.fit(frame, trials="n", covariates=["x", "z"], draws=25, random_seed=1, **said)
    assert "below a proven bound" in str(fit)
    with pytest.raises(hm.SpecError, match="three levels is not summed up"):
        fit.reference()
