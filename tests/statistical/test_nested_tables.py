"""Odds ratios with three levels, by a sampler that shares no code with the package.

Parameters that the package simulates rank uniformly among this sampler's draws, so that what is
simulated is the model; and given some outcomes the exact draws are distributed as its draws.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import gammaln, logsumexp

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.numerics import uniformity
from hiermodels.results.simulation import draw_outcomes, draw_variables
from tests.statistical.count_samplers import Counts, Z, drawn_place
from tests.statistical.nested_count_samplers import NestedCounts

SIMULATIONS, EXACT = 100, 3
DRAWS = 250  # in each of four chains
PLACES = np.linspace(-25, 25, 5001)  # of an effect
MU, LAM = np.linspace(-7, 6, 131), np.linspace(-5.5, 4.5, 61)
LOG_SD = np.linspace(np.log(3e-4), np.log(3.2), 71)
PARENT = np.arange(6) // 2
TRIALS, CONTROLS = np.array([3, 12, 1, 14, 7, 5]), np.array([8, 2, 11, 14, 5, 9])
NAMES = ("lam", "kappa", "mu", "tau", "theta")
EVENTS, OFFSET = np.array([4, 2, 5, 8, 5, 3]), np.array([0.3, -0.2, 0.0, 0.4, -0.5, 0.1])
PRIORS = {"lam": hm.Normal(-0.5, 1.0), "kappa": hm.HalfNormal(0.7), "tau": hm.HalfNormal(0.7)}
ROLES = {
    "outcome": "y",
    "trials": "n",
    "groups": ["outer", "inner"],
    "offset": "known",
    "family": hm.OddsRatio(control_events="c", control_trials="m"),
    "priors": PRIORS,
}


def log_choose(n, k):
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def log_table(y, trials, controls, events, offset):
    """Log probability of a table given its margins, at all places of the effect."""
    eta = PLACES + offset
    k = np.arange(max(0, events - controls), min(trials, events) + 1)
    log_ways = log_choose(trials, k) + log_choose(controls, events - k)
    total = logsumexp(log_ways[:, None] + k[:, None] * eta, axis=0)
    return log_choose(trials, y) + log_choose(controls, events - y) + y * eta - total


class Tables(Counts):
    """Groups whose log likelihoods are interpolated between places."""

    def at(self, g, theta):
        margins = TRIALS[g], CONTROLS[g], EVENTS[g], OFFSET[g]
        return np.interp(theta, PLACES, log_table(self.y[g], *margins))

    def log_integral(self, g):
        theta = self.mu[..., None] + self.tau[..., None] * Z[::2]
        return np.log(np.exp(self.at(g, theta) - Z[::2] ** 2 / 2).sum(axis=-1))

    def effect(self, g, mu, tau, rng):
        density = np.exp(self.at(g, mu[:, None] + tau[:, None] * Z) - Z**2 / 2)
        z = Z[drawn_place(density, rng)] + (Z[1] - Z[0]) * (rng.random(len(mu)) - 0.5)
        return mu + tau * z


def half_normal(sd):
    return -((sd / 0.7) ** 2) / 2


def groups_of(y):
    return Tables(y, TRIALS, half_normal, MU, LOG_SD)


def drawn(y, rng):
    """Independent draws as a Dataset."""
    nested = NestedCounts(
        groups_of(y), PARENT, lambda lam: -((lam + 0.5) ** 2) / 2, half_normal, LAM, LOG_SD
    )
    return nested.draw(rng, DRAWS)["posterior"].to_dataset()


def columns(draws, y):
    """All scalars of a Dataset and the log likelihood; (n, quantities)."""
    values = {name: draws[name].stack(all=("chain", "draw")).to_numpy().T for name in NAMES}
    return with_log_likelihood(values, y)


def with_log_likelihood(values, y):
    groups = groups_of(y)
    log_likelihood = sum(groups.at(g, own) for g, own in enumerate(values["theta"].T))
    return np.column_stack([*(values[name] for name in NAMES), log_likelihood])


@pytest.fixture(scope="module")
def simulated():
    """Parameters and outcomes as the package simulates them for a calibration."""
    spec, data = prepare(table(np.ones(6)), None, **ROLES)
    rng = np.random.default_rng(4)
    truth = draw_variables(spec, data, SIMULATIONS, rng)
    return truth, draw_outcomes(spec, data, truth, rng)


def table(y):
    frame = {"y": y, "outer": PARENT, "inner": np.arange(6), "n": TRIALS, "m": CONTROLS}
    return pd.DataFrame({**frame, "c": EVENTS - y, "known": OFFSET})


@pytest.mark.slow
def test_what_is_simulated_is_the_model(simulated):
    truth, outcomes = simulated
    rng = np.random.default_rng(5)
    pits = []
    for i, y in enumerate(outcomes):
        draws = columns(drawn(y, rng), y)
        own = with_log_likelihood({name: truth[name][i : i + 1] for name in NAMES}, y)
        below = (draws < own).sum(axis=0)
        pits.append((below + rng.random(len(below))) / (len(draws) + 1))
    p = np.array([uniformity.p_value(values) for values in np.transpose(pits)])
    assert p.min() > 1e-3 / len(p), p


@pytest.mark.slow
def test_exact_draws_are_distributed_as_those_of_the_grid(simulated):
    rng, p = np.random.default_rng(6), []
    for y in simulated[1][:EXACT]:
        with contextlib.redirect_stdout(None):
            fit = hm.fit(table(y), draws=DRAWS, random_seed=7, **ROLES)
        pair = columns(fit.datatree["posterior"].to_dataset(), y), columns(drawn(y, rng), y)
        p.append(stats.ks_2samp(*pair, axis=0).pvalue)
    assert np.min(p) > 1e-3 / np.size(p), p
