"""Effects given tau, the coefficients integrated out: against posteriors with tau fixed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact import glmm_given_sd
from hiermodels.posterior.precision import WORST
from tests.exact.glmm.test_posterior import ROOMS, SEEDS, seeds
from tests.oracles.rows_of_counts import binary

PLATES = pd.DataFrame(SEEDS).assign(plate=[f"p{i}" for i in range(21)])
FORMULA = "r | trials(n) ~ seed + root + (1 | plate)"


@pytest.fixture(scope="module")
def grid():
    return seeds()


def fixed(tau):
    """By the lattice of counts whose covariates are those of groups, right to eight digits."""
    return hm.reference(PLATES, FORMULA, priors={"tau": hm.Fixed(float(tau))})


@pytest.mark.parametrize("effect", ["theta", "p"])
def test_moments_are_those_of_a_tau_that_is_fixed(grid, effect):
    at, mean, sd = glmm_given_sd.glmm_moments_given_sd(
        grid.spec, grid.data, effect, (1e-3, 0.99), None
    )
    assert (np.diff(at) > 0).all()
    for place in (9,):
        exact = fixed(at[place])
        own = exact.sd[effect].to_numpy()
        np.testing.assert_allclose((mean[place] - exact.mean[effect]) / own, 0, atol=2e-5)
        np.testing.assert_allclose(sd[place] / own, 1, atol=1e-4)


def test_random_directions_have_three_digits(grid, monkeypatch):
    monkeypatch.setattr(glmm_given_sd, "FEW", 0)
    laws, exact = glmm_given_sd.laws_given_tau(grid, 0.4), fixed(0.4)
    assert laws.posterior.points.is_random
    mean, sd = laws.effect_moments(0)
    x = laws.posterior.groups.x[:, 1:]  # theta belongs to x = 0
    theta = exact.mean["theta"].to_numpy() + x @ exact.mean["beta"].to_numpy()
    np.testing.assert_allclose((mean - theta) / sd, 0, atol=2 * WORST)


def test_what_takes_too_many_points_is_refused(grid, monkeypatch):
    monkeypatch.setattr(glmm_given_sd, "WORST", 1e-12)
    with pytest.raises(hm.PrecisionError, match=r"tau = 0\.4 are known to .* posterior sds only"):
        glmm_given_sd.laws_given_tau(grid, 0.4)


def test_places_of_tau(grid):
    """Between quantiles of its posterior, as Laplace has it."""
    at = glmm_given_sd.places_of_tau(grid.marginal, (0.05, 0.95))
    exact = hm.reference(PLATES, FORMULA, priors={"tau": hm.HalfNormal(1)})
    ends = exact.quantile([0.05, 0.95], ["tau"])["tau"].to_numpy()
    np.testing.assert_allclose(at[[0, -1]], ends, rtol=0.15)


def test_the_picture():
    fit = hm.fit(binary(), **ROOMS, random_seed=1)
    with pytest.warns(hm.PrecisionWarning):
        picture = fit.plot_trace_tau()
    assert picture is not None
