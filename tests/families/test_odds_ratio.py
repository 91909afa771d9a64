"""2×2 tables against direct sums in many digits, symmetries, and a published meta-analysis."""

from __future__ import annotations

import math

import numpy as np
import pymc as pm
import pytest
from mpmath import mp, mpf
from scipy import optimize, stats

import hiermodels as hm
from hiermodels.families.odds_ratio_leaves import OddsRatioLeaves
from hiermodels.families.odds_ratio_tables import Tables

# Niel-Weise et al. (2007), as in Stijnen et al. (2010), Statistics in Medicine 29:3046: catheters
# with bloodstream infections, treated ones and others.
EVENTS = np.array([0, 1, 2, 0, 5, 1, 1, 1, 1, 1, 0, 0, 3, 6, 0, 0, 1, 4.0])
TREATED = np.array(
    [116, 44, 208, 130, 151, 98, 174, 74, 97, 113, 66, 70, 188, 187, 118, 252, 345, 64.0]
)
CONTROL_EVENTS = np.array([3, 3, 9, 7, 6, 4, 3, 2, 19, 2, 7, 1, 5, 11, 0, 1, 3, 1.0])
CONTROL = np.array(
    [117, 35, 195, 136, 157, 139, 177, 39, 103, 122, 64, 58, 175, 180, 105, 262, 362, 69.0]
)
COLUMNS = {"trials": TREATED, "control_trials": CONTROL, "total_events": EVENTS + CONTROL_EVENTS}


def table_exactly(treated, control, events, eta):
    """Log probability of each count that the margins allow, by plain sums to 60 digits."""
    treated, control, events = (int(a) for a in (treated, control, events))
    with mp.workdps(60):
        odds = mp.exp(mpf(eta))
        counts = range(max(0, events - control), min(treated, events) + 1)
        terms = [math.comb(treated, u) * math.comb(control, events - u) * odds**u for u in counts]
        total = mp.fsum(terms)
        return {u: float(mp.log(term / total)) for u, term in zip(counts, terms, strict=True)}


def exactly(y, treated, control, events, eta):
    return table_exactly(treated, control, events, eta)[int(y)]


def leaves_of_trials():
    return OddsRatioLeaves.of(EVENTS, TREATED, CONTROL, EVENTS + CONTROL_EVENTS)


@pytest.mark.parametrize("eta", [-300.0, -30.0, -1.3, 0.0, 0.7, 30.0, 300.0])
def test_probabilities_are_those_of_direct_sums(eta):
    found = hm.OddsRatio().log_likelihood(EVENTS, np.array([eta]), COLUMNS)
    expected = [
        exactly(*row, eta)
        for row in zip(EVENTS, TREATED, CONTROL, EVENTS + CONTROL_EVENTS, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "table",
    [(140, 400, 600, 300), (0, 500, 400, 30), (395, 400, 50, 430), (7, 7, 900, 500)],
)
def test_large_tables_are_those_of_direct_sums(table):
    y, treated, control, events = (np.array([float(a)]) for a in table)
    columns = {"trials": treated, "control_trials": control, "total_events": events}
    eta = np.array([-20.0, -1.5, 0.0, 0.01, 2.0, 9.0])
    found = hm.OddsRatio().log_likelihood(y, eta[:, None], columns)[:, 0]
    expected = [exactly(*table, e) for e in eta]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_no_digits_of_a_million_in_each_arm_are_lost():
    """Without a difference the distribution is hypergeometric, with sd 354."""
    columns = {name: np.array([1e6]) for name in ("trials", "control_trials", "total_events")}
    counts = np.array([496_000.0, 500_000.0, 500_123.0])
    found = hm.OddsRatio().log_likelihood(counts, np.zeros(1), columns)
    with mp.workdps(40):

        def log_choose(n, k):
            return mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)

        expected = [
            float(2 * log_choose(mpf(10**6), mpf(int(u))) - log_choose(mpf(2 * 10**6), mpf(10**6)))
            for u in counts
        ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_difference_is_hypergeometric():
    events = EVENTS + CONTROL_EVENTS
    expected = stats.hypergeom.logpmf(EVENTS, TREATED + CONTROL, events, TREATED)
    found = hm.OddsRatio().log_likelihood(EVENTS, np.zeros(1), COLUMNS)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_exchanging_arms_or_events_turns_the_sign():
    theta, leaves = np.linspace(-8, 8, 33), leaves_of_trials()
    arms = OddsRatioLeaves.of(CONTROL_EVENTS, CONTROL, TREATED, EVENTS + CONTROL_EVENTS)
    others = TREATED - EVENTS
    non_events = OddsRatioLeaves.of(others, TREATED, CONTROL, others + CONTROL - CONTROL_EVENTS)
    for mirrored in (arms, non_events):
        found = mirrored.log_likelihood(-theta)
        np.testing.assert_allclose(found, leaves.log_likelihood(theta), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(mirrored.centre, -leaves.centre, atol=1e-13)
        np.testing.assert_allclose(mirrored.constant, leaves.constant, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(-mirrored.bend_range[:, ::-1], leaves.bend_range, rtol=1e-12)


def test_a_trial_without_events_says_nothing():
    leaves = leaves_of_trials().take(np.array([14]))
    np.testing.assert_array_equal(leaves.log_likelihood(np.array([-50.0, 0.0, 50.0])), 0.0)
    assert leaves.constant == 0.0
    assert not leaves.falls_below[0]
    assert not leaves.falls_above[0]
    ends = leaves.bend_range[0]
    assert np.isfinite([*ends, leaves.information[0]]).all()
    assert ends[0] < leaves.centre[0] < ends[1]


def test_beyond_its_range_a_leaf_no_longer_bends():
    leaves = leaves_of_trials()
    value = leaves.log_likelihood(leaves.bend_range)
    information = leaves.slope_and_information(leaves.bend_range)[1]
    assert ((value < -30) | (information < 0.5)).all()


def test_tables_of_any_size_are_drawn():
    """Those of which some counts are left out, and those that leave no choice."""
    rng, n = np.random.default_rng(1), 20_000
    treated = np.array([900.0, 3.0, 0.0, 5.0])
    control = np.array([700.0, 9.0, 4.0, 0.0])
    events = np.array([600.0, 2.0, 3.0, 5.0])
    tables = Tables(treated, control, events, np.maximum(0.0, events - control))
    eta = np.array([-0.4, 1.0, 3.0, -3.0])
    drawn = tables.draw(np.repeat(eta[:, None], n, axis=1), rng)
    assert (drawn[2] == 0).all()
    assert (drawn[3] == 5).all()
    for i in (0, 1):
        counts = np.arange(tables.lowest[i], tables.highest[i] + 1)
        log_p = table_exactly(treated[i], control[i], events[i], eta[i])
        p = np.exp([log_p[int(u)] for u in counts])
        place = (drawn[i] - counts[0]).astype(int)
        below = np.cumsum(p)[place] - rng.random(n) * p[place]
        assert stats.kstest(below, "uniform").pvalue > 1e-3


def test_maximum_likelihood_is_the_published_one():
    """metafor 4, rma.glmm(measure="OR", model="CM.EL"): −1.3532, τ = 0.8327."""
    leaves, z = leaves_of_trials(), np.linspace(-9, 9, 400)
    weight = np.exp(-0.5 * z**2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)

    def minus_log_likelihood(at):
        likelihood = np.exp(leaves.log_likelihood(at[0] + np.exp(at[1]) * z))
        return -np.log(likelihood @ weight).sum()

    found = optimize.minimize(minus_log_likelihood, [0.0, 0.0], tol=1e-10).x
    assert found[0] == pytest.approx(-1.3532, abs=5e-5)
    assert np.exp(found[1]) == pytest.approx(0.8327, abs=5e-5)


def test_pymc_has_the_likelihood_whatever_the_margins_are_exchanged_for():
    """A table that is larger than those that the model was built with."""
    with pm.Model(coords={"row": range(2)}) as model:
        columns = {name: pm.Data(name, values[:2], dims="row") for name, values in COLUMNS.items()}
        hm.OddsRatio().to_pymc(pm, "y", -0.5, columns, EVENTS[:2], "row")
    compiled = model.compile_logp(mode="FAST_COMPILE")
    for rows in ([0, 1], [0, 8]):
        given = {name: values[rows] for name, values in COLUMNS.items()}
        pm.set_data(given, model=model)
        expected = hm.OddsRatio().log_likelihood(EVENTS[:2], np.array([-0.5]), given).sum()
        assert float(compiled({})) == pytest.approx(expected, rel=1e-12)


def test_in_pymc_what_the_margins_do_not_allow_is_impossible():
    columns = {
        name: np.full(5, margin) for name, margin in zip(COLUMNS, (4.0, 3.0, 5.0), strict=True)
    }
    with pm.Model(coords={"row": range(5)}):
        variable = hm.OddsRatio().to_pymc(pm, "y", 0.3, columns, np.full(5, 3.0), "row")
    found = pm.logp(variable, np.arange(1, 6)).eval(mode="FAST_COMPILE")
    expected = [-np.inf, *table_exactly(4, 3, 5, 0.3).values(), -np.inf]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
