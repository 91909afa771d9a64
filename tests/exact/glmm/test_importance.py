"""Draws by importance: their weights against known integrals, and that they are never silent."""

from __future__ import annotations

from time import process_time

import arviz_stats
import numpy as np
import pytest
import xarray as xr

import hiermodels as hm
from hiermodels.exact.glmm.draws import draw
from hiermodels.exact.glmm.importance import WeightedDraws, draw_weighted, resample
from tests.exact.glmm.test_posterior import (
    KNOWN,
    LOG_INTEGRAL,
    PRIORS,
    ROOMS,
    columns,
    patients,
    seeds,
)
from tests.oracles.rows_of_counts import binary, grid_means

SAID = {**ROOMS, "engine": "importance", "random_seed": 1}


@pytest.fixture(scope="module")
def grid():
    return seeds()


@pytest.fixture(scope="module")
def weighted(grid):
    return draw_weighted(grid.marginal, 6000, np.random.default_rng(1))


@pytest.fixture(scope="module")
def fit():
    return hm.fit(binary(), **SAID)


def test_weighted_means(grid, weighted):
    """Against an integration to ten digits, within 4.5 standard errors."""
    values = columns(grid, weighted.tau, weighted.gamma)
    known = np.array(list(KNOWN.values())).T
    for deviation in (values - known[0], (values - known[0]) ** 2 - known[1] ** 2):
        mean = weighted.weight @ deviation
        error = np.sqrt(weighted.weight**2 @ deviation**2)
        assert np.abs(mean / error).max() < 4.5


def test_the_mean_weight_is_the_evidence(grid, weighted):
    """Of proposals whose density is normalised, it is the integral: all constants are right."""
    weight = np.exp(weighted.log_weight)
    of_proposals = grid.marginal.laplace_lattice.log_integral
    constants = grid.arrays.constant.sum() + grid.arrays.log_volume
    found = np.log(weight.mean()) + of_proposals + constants
    assert found == pytest.approx(LOG_INTEGRAL, abs=4.5 * weight.std() / weight.mean() / 77)


def test_effective_sample_size_and_k_hat(weighted):
    """Bounded weights of a density that is nearly normal."""
    n = len(weighted.tau)
    assert weighted.ess == pytest.approx(1 / (weighted.weight**2).sum())
    assert 0.85 * n < weighted.ess < n
    assert 1 < weighted.largest < 12
    assert weighted.k < 0.5


def test_resampling_rounds_up_or_down():
    rng = np.random.default_rng(3)
    weight = rng.lognormal(0, 1, 500)
    weight /= weight.sum()
    counts = np.array([np.bincount(resample(weight, 300, rng), minlength=500) for _ in range(400)])
    assert (np.abs(counts - 300 * weight) < 1).all()
    share = 300 * weight - np.floor(300 * weight)
    error = np.sqrt(share * (1 - share) / 400 + 1e-4)
    assert np.abs((counts.mean(axis=0) - 300 * weight) / error).max() < 4.5
    assert (np.diff(resample(weight, 300, rng)) >= 0).all()


def test_arviz_counts_repeated_draws_once():
    """Their standard error is that of means over the repeated draws, by simulation."""
    means, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(2000)
        weight = np.exp(0.8 * x)
        own = x[resample(weight / weight.sum(), 1000, rng)]
        draws = xr.DataArray(own.reshape(4, 250), dims=["chain", "draw"])
        means.append(own.mean())
        errors.append(float(arviz_stats.mcse(draws, method="mean")))
    assert np.mean(means) == pytest.approx(0.8, abs=4.5 * np.std(means) / np.sqrt(60) + 2e-3)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.35)
    assert np.mean(errors) > 1.15 / np.sqrt(1000)  # independent draws would have 1


def test_weights_that_few_make_up_are_refused():
    rng = np.random.default_rng(1)
    heavy = -2.0 * np.log(rng.random(2000))  # Pareto tails with k = 2
    own = WeightedDraws(np.ones(2000), np.ones((2000, 1)), heavy)
    assert own.k > 1
    with pytest.raises(hm.PrecisionError, match=r"k-hat .* engine='nuts'"):
        own.require_reliable()
    rare = np.where(np.arange(20_000) < 600, 12 + np.log(rng.uniform(0.5, 1, 20_000)), 0.0)
    few = WeightedDraws(np.ones(20_000), np.ones((20_000, 1)), rare)
    assert few.k < 0.7
    with pytest.raises(hm.PrecisionError, match=r"ESS \d+ of 20,000"):
        few.require_reliable()


def test_draws_against_a_grid_over_everything(fit):
    expected, draws = grid_means(binary()), fit.datatree["posterior"].to_dataset()
    for name in ("tau", "mu", "beta", "theta", "p"):
        values = draws[name].to_numpy().reshape(4000, -1)
        error = values.std(axis=0) / np.sqrt(3000)
        z = (values.mean(axis=0) - np.ravel(expected[name])) / (error + 1e-4)
        assert np.abs(z).max() < 4.5, name


def test_every_table_of_them_says_so(fit):
    label = "engine='importance', weights: ESS "
    attrs = fit.datatree["posterior"].attrs
    assert f"ESS {attrs['importance_ess']:,.0f} of {attrs['proposals']:,.0f}" in str(fit)
    assert f"k-hat {attrs['pareto_k']:.2f}" in str(fit)
    assert "not exact" in str(fit)
    assert attrs["engine"] == fit.engine == "importance"
    assert attrs["largest_weight"] >= fit.datatree["sample_stats"]["importance_weight"].max()
    assert label in str(fit.summary(["tau"]))
    assert label in str(fit.check(random_seed=1))
    with pytest.warns(hm.PrecisionWarning):
        assert label in str(fit.rank("p").table)


def test_the_same_seed_and_a_file(fit, tmp_path):
    again = hm.fit(binary(), **SAID, memory_budget=1)
    draws = fit.datatree["posterior"].to_dataset()
    assert draws["tau"].equals(again.datatree["posterior"]["tau"])
    assert "theta" not in again.datatree["posterior"]
    expected = draws["theta"].sel(room=[2]).to_numpy()
    loaded = hm.load(again.to_netcdf(tmp_path / "fit.nc"))
    np.testing.assert_array_equal(loaded.draws([2]).to_numpy(), expected)
    assert str(loaded) == str(again)
    assert "engine='importance', weights" in str(loaded.summary(["tau"]))


def test_few_draws_and_a_tau_that_is_fixed():
    priors = PRIORS | {"tau": hm.Fixed(0.5)}
    fixed = hm.fit(binary(), **{**SAID, "priors": priors}, draws=3, chains=2)
    assert (fixed.datatree["posterior"]["tau"] == 0.5).all()
    assert fixed.datatree["posterior"].attrs["proposals"] == 4000


def test_models_whose_draws_are_exact_are_refused():
    with pytest.raises(hm.SpecError, match="use engine='exact'"):
        hm.fit(hm.datasets.load_eight_schools(), engine="importance")
    with pytest.raises(hm.SpecError, match="engine 'importance' has no option 'tune'"):
        hm.fit(binary(), **SAID, tune=5)


def test_the_acceptance_is_known_beforehand(grid):
    """Of draws below the bound, by the masses of the density and below it."""
    drawn = draw(grid.marginal, 4000, np.random.default_rng(1))
    assert grid.marginal.acceptance == pytest.approx(drawn.kept * drawn.accepted, rel=0.1)


def test_few_rows_and_many_covariates():
    """Exact draws are refused before they begin, and the remedy takes seconds."""
    frame = patients("binomial", 10, hospitals=20)
    formula = f"died ~ {' + '.join(f'x{i}' for i in range(10))} + (1 | hospital)"
    said = {"family": "binomial", "priors": {"tau": hm.HalfNormal(1)}, "random_seed": 1}
    begun = process_time()
    with pytest.raises(hm.SpecError, match=r"1 of .* engine='importance'"):
        hm.fit(frame, formula, **said)
    fit = hm.fit(frame, formula, **said, engine="importance")
    assert process_time() - begun < 10
    assert fit.datatree["posterior"].attrs["importance_ess"] > 4000


def test_calibrating_it():
    found = hm.calibrate(
        binary(), **{**SAID, "random_seed": 2}, simulations=12, draws=60, progressbar=False
    )
    assert found.passed
