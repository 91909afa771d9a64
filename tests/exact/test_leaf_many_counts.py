"""Groups with very many distinct counts: between few leaves, against each group's own integrals."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves import many_counts
from hiermodels.exact.leaves.draws import LeafDraws
from hiermodels.exact.leaves.many_counts import InterpolatedAlike
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.model import Alike, LeafModel
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import leave_out
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.numerics import chebyshev_cells

FEW = 1000  # distinct leaves, from which on these tests interpolate


def binomial(k, most, mu, tau, shift=0.0):
    rng = np.random.default_rng(5)
    trials = rng.integers(1, most, k)
    p = 1 / (1 + np.exp(-mu - tau * rng.normal(size=k)))
    return BinomialLeaves.of(rng.binomial(trials, p), trials, shift)


def poisson(k, most, mu, tau):
    rng = np.random.default_rng(6)
    exposure = np.exp(rng.uniform(np.log(most / 1000), np.log(most), k))
    return PoissonLeaves.of(rng.poisson(exposure * np.exp(mu + tau * rng.normal(size=k))), exposure)


def model_of(leaves, *columns, precision=0.0, prior=None):
    x = np.column_stack([np.ones(len(leaves)), *columns])
    p = x.shape[1]
    return LeafModel(leaves, x, np.zeros(p), np.full(p, precision), prior or hm.HalfNormal(1))


MODELS = {
    "binomial": lambda: model_of(binomial(4000, 20_000, -2.5, 0.4)),
    "rates": lambda: model_of(poisson(6000, 1000.0, -1.0, 0.6)),
    "two sets": lambda: model_of(
        binomial(4000, 3000, 0.5, 0.4), np.arange(4000) % 2, precision=0.1, prior=hm.Fixed(0.5)
    ),
}
RATES = {
    "binomial, all sizes": lambda: (binomial(20_000, 100_000, -4.0, 1.5), -4.0, 1.5),
    "binomial, nearly all": lambda: (binomial(20_000, 20_000, 3.0, 0.7), 3.0, 0.7),
    "binomial, moved": lambda: (binomial(20_000, 20_000, -2.0, 0.4, 0.3), -2.3, 0.4),
    "Poisson": lambda: (poisson(20_000, 10_000.0, -2.0, 0.8), -2.0, 0.8),
    "Poisson, none or few": lambda: (poisson(30_000, 3.0, 0.0, 0.5), 0.0, 0.5),
}


def at_threshold(monkeypatch, threshold):
    monkeypatch.setattr(many_counts, "MANY", threshold)
    monkeypatch.setattr(many_counts, "SHARE", 1.0)


def both(monkeypatch, model):
    """Its posterior between few leaves, and by each group's own integrals."""
    at_threshold(monkeypatch, FEW)
    few = LeafPosterior.of(model)
    assert all(isinstance(part, InterpolatedAlike) for part in few.marginal.parts())
    moments = few.effect_moments(), few.function_moments(np.exp), few.effect_moments(model.x + 0.5)
    at_threshold(monkeypatch, len(model.leaves) + 1)
    own = LeafPosterior.of(model)
    assert all(isinstance(part, Alike) for part in own.marginal.sets)
    return few, moments, own


def assert_close(found, known, tolerance):
    (mean, sd), (known_mean, known_sd) = found, known
    np.testing.assert_allclose((mean - known_mean) / known_sd, 0.0, atol=tolerance)
    np.testing.assert_allclose(sd / known_sd, 1.0, atol=tolerance)


@pytest.mark.parametrize("name", RATES)
def test_log_integrals_are_those_of_each_group(monkeypatch, name):
    """Of all groups, and of more with none or all, at values of μ and τ around the truth."""
    at_threshold(monkeypatch, FEW)
    leaves, mu, tau = RATES[name]()
    model = model_of(leaves)
    (part,) = LeafMarginal(model).sets
    assert isinstance(part, InterpolatedAlike)
    assert len(part.counts) < 0.55 * len(part.alike.leaves)
    at = mu + tau * np.array([0.0, -0.5, 0.5, 0.1]), tau * np.array([1.0, 0.7, 1.0, 1.5])
    own = part.log_integrals(at[1], at[0][:, None])
    few = part.of_groups(own.T)
    some = np.unique(np.r_[np.arange(0, len(leaves), 7), np.flatnonzero(~leaves.falls_below)])
    exact = LeafIntegrals.of(leaves.take(some)).log_integrals(*at)
    np.testing.assert_allclose(few[:, some].T, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_the_posterior_is_that_of_each_groups_own_integrals(monkeypatch, name):
    model = MODELS[name]()
    few, (effects, odds, elsewhere), own = both(monkeypatch, model)
    assert few.work < len(model.leaves)
    assert abs(few.log_integral - own.log_integral) < 1e-9
    assert_close(few.coefficient_moments(), own.coefficient_moments(), 1e-10)
    if model.fixed_sd is None:
        assert_close(few.sd_moments(0), own.sd_moments(0), 1e-10)
    assert_close(effects, own.effect_moments(), 1e-10)
    assert_close(odds, own.function_moments(np.exp), 1e-10)
    assert_close(elsewhere, own.effect_moments(model.x + 0.5), 1e-10)


def test_groups_are_left_out_by_their_own_integrals(monkeypatch):
    few, _, own = both(monkeypatch, MODELS["binomial"]())
    np.testing.assert_allclose(leave_out(few), leave_out(own), rtol=0, atol=1e-9)


def test_draws_are_those_of_each_groups_own_integrals(monkeypatch):
    model = MODELS["binomial"]()
    drawn = []
    for threshold in (FEW, len(model.leaves) + 1):
        at_threshold(monkeypatch, threshold)
        drawn.append(LeafDraws.draw(LeafMarginal(model), 500, np.random.default_rng(3)))
    few, own = drawn
    np.testing.assert_allclose(few.tau, own.tau, rtol=1e-9)
    some = np.arange(20)
    np.testing.assert_allclose(few.effects(some), own.effects(some), rtol=1e-7, atol=1e-7)


def test_work_does_not_grow_with_the_groups():
    """Ten times the groups, nearly all distinct: about as many leaves at each node."""
    work = []
    for k in (20_000, 200_000):
        (part,) = LeafMarginal(model_of(binomial(k, 20_000, -2.5, 0.4))).sets
        assert isinstance(part, InterpolatedAlike)
        work.append(len(part.counts))
        np.testing.assert_allclose(part.counts.sum(), k, rtol=1e-10)
    assert work[1] < 1.5 * work[0] < 6000


def test_too_few_points_are_noticed(monkeypatch):
    at_threshold(monkeypatch, FEW)
    monkeypatch.setattr(chebyshev_cells, "POINTS", 8)
    (part,) = LeafMarginal(MODELS["binomial"]()).sets
    assert isinstance(part, Alike)


def test_groups_that_differ_by_more_than_counts_stand_for_themselves(monkeypatch):
    at_threshold(monkeypatch, FEW)
    shift = np.linspace(0, 1, 4000)
    (part,) = LeafMarginal(model_of(binomial(4000, 20_000, -2.5, 0.4, shift))).sets
    assert isinstance(part, Alike)


@pytest.mark.parametrize("leaves", [binomial(50, 300, -1.0, 1.0, 0.2), poisson(50, 30.0, 0.0, 1.0)])
def test_leaves_at_their_own_places_are_the_same(leaves):
    theta = np.linspace(-4, 3, 15)
    again = leaves.at(leaves.places)
    np.testing.assert_allclose(
        again.log_likelihood(theta), leaves.log_likelihood(theta), rtol=1e-12, atol=1e-12
    )
