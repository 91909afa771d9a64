"""Exact draws of counts with three levels are calibrated, effects included."""

from __future__ import annotations

import os

import numpy as np
from scipy import stats

import hiermodels as hm
from hiermodels.exact.leaves.nested.draws import NestedDraws
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.families.binomial_leaves import BinomialLeaves

SIMULATIONS = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 25
DRAWS = 19  # more would hardly tell more: a rank's variance falls as 1 + 1 / DRAWS
PARENT = np.array([0, 1, 1, 2, 2, 2, 3])
SIZES = np.array([6.0, 3.0, 12.0, 1.0, 8.0, 30.0, 4.0])
MEAN, SD, SCALE = -0.5, 0.7, 0.8


def ranks_of(rng):
    """Ranks, among draws, of the values that data were simulated from."""
    tau, kappa = SCALE * np.abs(rng.standard_normal(2))
    lam = rng.normal(MEAN, SD)
    mu = rng.normal(lam, kappa, 4)
    theta = rng.normal(mu[PARENT], tau)
    priors = hm.HalfNormal(SCALE), hm.HalfNormal(SCALE)
    normal = np.array([MEAN]), np.array([SD**-2])
    counts = rng.binomial(SIZES.astype(int), 1 / (1 + np.exp(-theta)))
    leaves = BinomialLeaves.of(counts.astype(float), SIZES)
    model = NestedModel(leaves, PARENT, np.ones((7, 1)), True, *normal, *priors)
    marginal = NestedMarginal(model)
    drawn = NestedDraws.draw(marginal, DRAWS, rng, marginal.lattice(0.9)).effects
    draws = [drawn.tau, drawn.kappa, drawn.lam, *drawn.effects(0), *drawn.effects(1)]
    truth = [tau, kappa, lam, *mu, *theta]
    return [int((own < value).sum()) for own, value in zip(draws, truth, strict=True)]


def test_draws_of_three_levels_are_calibrated():
    rng = np.random.default_rng(1)
    ranks = np.array([ranks_of(rng) for _ in range(SIMULATIONS)])
    uniform = (ranks + rng.random(ranks.shape)) / (DRAWS + 1)
    p = stats.kstest(uniform, "uniform").pvalue
    assert p.min() > 1e-3 / len(p), p
