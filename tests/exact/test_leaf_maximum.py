"""Maximum likelihood of counts, against brute force and published figures."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import special

import hiermodels as hm
from hiermodels.exact.leaves.maximum import effects_given, maximum_likelihood, own_maxima
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.score import Score
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.negative_binomial import NegativeBinomial
from hiermodels.families.poisson_leaves import PoissonLeaves
from hiermodels.families.student_t import StudentT
from tests.oracles import count_likelihoods as oracle
from tests.oracles.count_figures import model as figures
from tests.oracles.maxima import newton_step


def leaf_model(leaves, x=None, prior=None):
    x = np.ones((len(leaves), 1)) if x is None else x
    p = x.shape[1]
    return LeafModel(leaves, x, np.zeros(p), np.zeros(p), prior or hm.HalfNormal(1))


def binomial(name):
    data, _ = figures(name)
    r, n = data["r"].to_numpy(float), data["n"].to_numpy(float)
    rows = [oracle.binomial(*each) for each in zip(r, n, strict=True)]
    x = np.ones((len(data), 1))
    if "x1" in data:
        x = np.column_stack([x, data["x1"], data["x2"]]).astype(float)
    return leaf_model(BinomialLeaves.of(r, n), x), rows


def pumps():
    data, _ = figures("pumps_half_normal1")
    y, exposure = data["y"].to_numpy(float), data["E"].to_numpy(float)
    rows = [oracle.poisson(*each) for each in zip(y, exposure, strict=True)]
    return leaf_model(PoissonLeaves.of(y, exposure)), rows


def negative_binomial():
    y, exposure = np.array([3.0, 0, 9, 1, 22, 5, 2, 14]), np.array([2.0, 1, 3, 1, 2, 4, 1, 3])
    nothing, every = np.zeros(8), np.arange(8)
    family = NegativeBinomial(size=5.0)
    leaves = family.leaves(y, {"exposure": exposure}, nothing, every, 8)
    rows = [oracle.negative_binomial(*each, 5.0) for each in zip(y, exposure, strict=True)]
    return leaf_model(leaves), rows


def student_t():
    y, se = np.array([0.1, 2.0, -1.4, 0.7, 9.0, -2.5]), np.array([0.5, 0.8, 0.4, 0.6, 1.0, 0.7])
    leaves = StudentT(nu=4.0).leaves(y, {"sd": se}, np.zeros(6), np.arange(6), 6)
    rows = [oracle.student_t(*each, 4.0) for each in zip(y, se, strict=True)]
    return leaf_model(leaves), rows


MODELS = {
    "surgical": lambda: binomial("surgical_half_normal1"),
    "rats": lambda: binomial("rats_half_normal1"),
    "seeds": lambda: binomial("seeds_half_normal1"),
    "pumps": pumps,
    "negative binomial": negative_binomial,
    "student t": student_t,
}


@cache
def solved(name):
    """A model, its rows for the oracle, and the place that is found."""
    model, rows = MODELS[name]()
    return model, rows, maximum_likelihood(model).place


@pytest.mark.parametrize("name", MODELS)
def test_the_highest_place_is_that_of_adaptive_hermite_as_in_glmer(name):
    """To five digits: where 25 points are enough of them, which Student's t has not."""
    model, rows, place = solved(name)
    rule = oracle.by_adaptive_hermite
    if name == "student t":
        rule = lambda *given: oracle.by_even_places(*given)[0]  # noqa: E731

    def value(parameters):
        return rule(rows, model.x @ parameters[:-1], np.exp(parameters[-1]))

    step, _ = newton_step(value, np.append(place.gamma, np.log(place.tau)), h=1e-2)
    np.testing.assert_array_less(np.abs(step[:-1]), 1e-5 * (1 + np.abs(place.gamma)))
    assert abs(step[-1]) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_the_likelihood_and_its_derivatives_are_those_of_brute_force(name):
    model, rows, place = solved(name)
    p, tau = len(place.gamma), place.tau

    def log_likelihood(away):
        sd = tau * np.exp(away[-1])
        return oracle.by_even_places(rows, model.x @ (place.gamma + away[:-1]), sd)[0]

    at = np.zeros(p + 1)
    assert place.score.value + model.constant == pytest.approx(log_likelihood(at), abs=1e-9)
    step, covariance = newton_step(log_likelihood, at, h=2e-3)
    np.testing.assert_allclose(step, 0, atol=1e-6)
    np.testing.assert_allclose(place.score.covariance, covariance[:p, :p], rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("tau", [0.0, 1e-4, 0.02, 0.5, 3.0, 40.0])
def test_slopes_away_from_the_highest_place(tau):
    """Against difference quotients of the package's own integrals, in τ² also at 0."""
    model, _ = MODELS["surgical"]()
    gamma, step = np.array([-2.2]), 1e-5
    score = Score.of(model, gamma, tau)
    by_gamma = [Score.of(model, gamma + s, tau).value for s in (-step, step)]
    assert score.slope[0] == pytest.approx(np.diff(by_gamma)[0] / (2 * step), rel=1e-6)
    bend = by_gamma[0] - 2 * score.value + by_gamma[1]
    assert score.information[0, 0] == pytest.approx(-bend / step**2, rel=1e-2)
    wide = 1e-5 * max(tau**2, 0.01)
    low, high = max(tau**2 - wide, 0.0), tau**2 + wide
    values = [Score.of(model, gamma, np.sqrt(v)).value for v in (low, high)]
    assert score.by_variance == pytest.approx(np.diff(values)[0] / (high - low), rel=2e-3)


def test_second_derivatives_by_the_logarithm_of_tau():
    model, _ = MODELS["surgical"]()
    gamma, step = np.array([-2.2]), 1e-4
    score = Score.of(model, gamma, 0.5)
    low, high = (Score.of(model, gamma, 0.5 * np.exp(s)) for s in (-step, step))
    assert score.cross[0] == pytest.approx((high.slope - low.slope)[0] / (2 * step), rel=1e-6)
    bend = (low.value - 2 * score.value + high.value) / step**2
    assert score.bend == pytest.approx(-bend, rel=1e-4)


def test_a_published_maximum_with_three_coefficients():
    """Seeds with the interaction: BUGS examples, volume 1, after Breslow & Clayton (1993)."""
    data, _ = figures("seeds_half_normal1")
    x1, x2 = data["x1"].to_numpy(float), data["x2"].to_numpy(float)
    x = np.column_stack([np.ones(21), x1, x2, x1 * x2])
    leaves = BinomialLeaves.of(data["r"].to_numpy(float), data["n"].to_numpy(float))
    place = maximum_likelihood(leaf_model(leaves, x)).place
    np.testing.assert_allclose(place.gamma, [-0.548, 0.097, 1.337, -0.811], atol=1e-3)
    se = np.sqrt(np.diag(place.score.covariance))
    np.testing.assert_allclose(se, [0.167, 0.278, 0.237, 0.385], atol=1e-3)
    assert place.tau == pytest.approx(0.236, abs=1e-3)


def test_priors_play_no_part():
    model, _ = MODELS["surgical"]()
    narrow = LeafModel(model.leaves, model.x, np.ones(1), np.full(1, 100.0), hm.HalfNormal(0.01))
    ours, theirs = (maximum_likelihood(each).place for each in (model, narrow))
    np.testing.assert_allclose([*theirs.gamma, theirs.tau], [*ours.gamma, ours.tau], rtol=1e-9)


def test_groups_that_differ_less_than_by_chance_have_tau_0():
    r, n = np.array([4.0, 5, 4, 5, 4]), np.full(5, 20.0)
    found = maximum_likelihood(leaf_model(BinomialLeaves.of(r, n)))
    assert found.place.tau == 0
    assert found.place is found.pooled
    p = r.sum() / n.sum()
    assert special.expit(found.place.gamma[0]) == pytest.approx(p, rel=1e-12)
    se = np.sqrt(found.place.score.covariance[0, 0])
    assert se == pytest.approx((n.sum() * p * (1 - p)) ** -0.5, rel=1e-10)
    mean, sd = effects_given(leaf_model(BinomialLeaves.of(r, n)), found.place, special.expit)
    np.testing.assert_allclose(mean, p, rtol=1e-12)
    assert (sd == 0).all()


def test_groups_that_differ_hardly_more_than_by_chance_have_a_small_tau():
    """Just above where the slope by τ² is 0 at τ = 0: the highest place goes to 0 with it."""
    n, even = np.full(6, 1e4), np.array([-1.0, 1, -1, 1, -1, 1])
    chance = np.sqrt(2500.0)
    taus = []
    for more in (1.01, 1.001):
        leaves = BinomialLeaves.of(5000 + chance * more * even, n)
        taus.append(maximum_likelihood(leaf_model(leaves)).place.tau)
    expected = [np.sqrt((more**2 - 1) / 2500) for more in (1.01, 1.001)]  # as of normal means
    np.testing.assert_allclose(taus, expected, rtol=0.02)


def test_one_trial_a_group_says_nothing_of_tau():
    leaves = BinomialLeaves.of(np.array([0.0, 1, 1, 0, 1]), np.ones(5))
    found = maximum_likelihood(leaf_model(leaves))
    assert found.place is None
    assert found.is_flat
    assert special.expit(found.pooled.gamma[0]) == pytest.approx(0.6, rel=1e-10)


def test_nothing_and_everything_have_no_highest_place():
    leaves = BinomialLeaves.of(np.array([0.0, 20, 0, 20]), np.full(4, 20.0))
    found = maximum_likelihood(leaf_model(leaves))
    assert found.place is None
    assert not found.is_flat


def test_a_tau_that_is_fixed_is_taken_for_known():
    model, rows = MODELS["pumps"]()
    fixed = leaf_model(model.leaves, prior=hm.Fixed(0.4))
    found = maximum_likelihood(fixed)
    assert found.place.tau == 0.4
    step = 1e-3
    value, below, above = (
        oracle.by_even_places(rows, fixed.x @ (found.place.gamma + s), 0.4)[0]
        for s in (0.0, -step, step)
    )
    assert (above - below) / (2 * step) == pytest.approx(0, abs=1e-4)
    information = -(above - 2 * value + below) / step**2
    assert found.place.score.information[0, 0] == pytest.approx(information, rel=1e-5)
    assert found.place.score.covariance[0, 0] == pytest.approx(1 / information, rel=1e-5)
    assert found.pooled.tau == 0


@pytest.mark.parametrize("name", MODELS)
def test_effects_there_are_those_of_brute_force(name):
    model, rows, place = solved(name)
    _, laws = oracle.by_even_places(rows, model.x @ place.gamma, place.tau)
    for function in (lambda theta: theta, special.expit):
        mean, sd = effects_given(model, place, function)
        expected = [weight @ function(theta) for theta, weight in laws]
        np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-9)
        spread = [
            np.sqrt(weight @ (function(theta) - m) ** 2)
            for (theta, weight), m in zip(laws, expected, strict=True)
        ]
        np.testing.assert_allclose(sd, spread, rtol=1e-7)


def test_each_group_s_own_maximum():
    r, n = np.array([0.0, 3, 20, 1e5, 7]), np.array([20.0, 20, 20, 1e6, 9])
    own, se = own_maxima(BinomialLeaves.of(r, n))
    assert np.isnan(own[[0, 2]]).all()
    assert np.isnan(se[[0, 2]]).all()
    some = [1, 3, 4]
    p = (r / n)[some]
    np.testing.assert_allclose(special.expit(own[some]), p, rtol=1e-10)
    np.testing.assert_allclose(se[some], (n[some] * p * (1 - p)) ** -0.5, rtol=1e-9)
