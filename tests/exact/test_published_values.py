"""The exact posterior against figures from elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.demo import lecture_quantiles
from tests.oracles.published import (
    BASEBALL,
    CRINS,
    CRINS_TAU,
    HINKS,
    SCHOOLS_FLAT_SD,
    SCHOOLS_FLAT_VARIANCE,
    SCHOOLS_HALF_CAUCHY,
)

CASES = {
    "baseball": (hm.datasets.load_baseball, hm.FlatVariance(), BASEBALL),
    "schools, flat sd": (hm.datasets.load_eight_schools, hm.FlatSD(), SCHOOLS_FLAT_SD),
    "schools, flat variance": (
        hm.datasets.load_eight_schools,
        hm.FlatVariance(),
        SCHOOLS_FLAT_VARIANCE,
    ),
    "schools, half-Cauchy": (hm.datasets.load_eight_schools, hm.HalfCauchy(5), SCHOOLS_HALF_CAUCHY),
}


def exact_posterior(name):
    load, prior, expected = CASES[name]
    group = load().columns[0]
    exact = hm.reference(load(), outcome="y", groups=group, se="sigma", priors={"tau": prior})
    return exact, expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("variable", ["mu", "tau", "theta"])
def test_means_and_sds(name, variable):
    exact, expected = exact_posterior(name)
    mean, sd = np.array(expected[variable]["mean"]), np.array(expected[variable]["sd"])
    np.testing.assert_array_less(np.abs(exact.mean[variable] - mean) / sd, 1e-8)
    np.testing.assert_array_less(np.abs(exact.sd[variable] - sd) / sd, 1e-8)
    assert exact.certificate < 1e-8


@pytest.mark.parametrize("name", CASES)
def test_quantiles_of_tau(name):
    exact, expected = exact_posterior(name)
    probabilities, values = zip(*expected["tau_quantiles"].items(), strict=True)
    found = exact.quantile(probabilities, ["tau"])["tau"]
    np.testing.assert_allclose(found, values, rtol=1e-5)


def test_two_priors_give_the_first_school_two_effects():
    """What "flat" means matters: eight schools, E θ_A = 11.40 or 14.64 (both often quoted)."""
    flat_sd, _ = exact_posterior("schools, flat sd")
    flat_variance, _ = exact_posterior("schools, flat variance")
    assert float(flat_sd.mean["theta"].sel(school="A")) == pytest.approx(11.40, abs=0.005)
    assert float(flat_variance.mean["theta"].sel(school="A")) == pytest.approx(14.64, abs=0.005)


def test_the_lecture_recipe_is_what_simulation_of_it_gives(baseball):
    """Draw V untruncated, set negative τ² to 0, then μ and θ: the recipe by plain Monte Carlo."""
    rng = np.random.default_rng(1)
    y, sigma2, n = baseball["y"].to_numpy(), 0.06**2, 200_000
    v = (17 * y.var(ddof=1) / 2) / rng.gamma(7.5, size=n)
    tau2 = np.maximum(v - sigma2, 0)
    mu = rng.normal(y.mean(), np.sqrt((sigma2 + tau2) / 18))
    shrink = sigma2 / (sigma2 + tau2)
    theta = rng.normal(shrink * mu + (1 - shrink) * y[0], np.sqrt((1 - shrink) * sigma2))
    fit = hm.fit(baseball, draws=1, chains=1)
    found = lecture_quantiles(fit, (0.025, 0.5, 0.975))[:, 0]
    np.testing.assert_allclose(found, np.quantile(theta, (0.025, 0.5, 0.975)), atol=5e-4)


def test_the_lecture_recipe_is_not_the_posterior(baseball):
    fit = hm.fit(baseball, draws=1, chains=1)
    exact = fit.reference().quantile([0.025, 0.5, 0.975], ["theta"])["theta"].to_numpy()
    difference = np.abs(lecture_quantiles(fit, (0.025, 0.5, 0.975)) - exact).max()
    assert 0.004 < difference < 0.007


def test_a_meta_analysis_of_six_studies_is_the_published_one():
    """Log odds ratios; of the study without an event with ½ added to each of its four counts."""
    table = np.array(list(CRINS.values()), dtype=float)
    cells = np.column_stack(
        [table[:, 0], table[:, 1] - table[:, 0], table[:, 2], table[:, 3] - table[:, 2]]
    )
    cells[(cells == 0).any(axis=1)] += 0.5
    a, b, c, d = cells.T
    data = pd.DataFrame(
        {"study": list(CRINS), "y": np.log(a * d / (b * c)), "se": np.sqrt((1 / cells).sum(axis=1))}
    )
    priors = {"tau": hm.HalfNormal(0.5), "mu": hm.Normal(0, 4)}
    exact = hm.reference(data, outcome="y", groups="study", se="se", priors=priors)
    found = {
        "median": float(exact.quantile(0.5, ["tau"])["tau"].item()),
        "mean": float(exact.mean["tau"]),
        "sd": float(exact.sd["tau"]),
        "above 1": 1 - float(exact.cdf("tau", 1.0)),
    }
    for name, published in CRINS_TAU.items():  # seven digits
        assert found[name] == pytest.approx(published, abs=1.2e-7), name


def test_three_studies_have_no_sd_of_their_mean_under_a_flat_sd():
    """With k studies ``p(τ) ~ τ^(1 − k)`` at infinity, so that three leave no mean either."""
    ratio, low, high = np.array(list(HINKS.values())).T
    error = np.log(high / low) / (2 * stats.norm.ppf(0.975))
    data = pd.DataFrame({"study": list(HINKS), "y": np.log(ratio), "se": error})
    fit = hm.fit(data, outcome="y", groups="study", se="se", priors={"tau": hm.FlatSD()})
    for table in (fit.summary(kind="stats"), fit.reference().summary()):
        assert table.loc[["mu", "tau"], ["mean", "sd"]].isna().all(axis=None)
        assert np.isfinite(table.loc[["mu", "tau"], "median"]).all()
        assert "3 'study' groups are too few for a mean of mu, tau (needs 4)" in repr(table)
