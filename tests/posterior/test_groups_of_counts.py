"""What ``fit`` adds to ``datatree`` for counts, against SciPy and quadrature."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import hiermodels as hm

PRIORS = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1), "beta": hm.Normal(0, 1)}
ADDED = {"log_prior": True, "posterior_predictive": True, "prior": True}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(4)
    n, group = rng.integers(1, 30, 9), np.arange(9) // 2
    x = np.array([0.0, 1, 0, 1, 3])[group]
    names = [f"g{i}" for i in group]
    return pd.DataFrame({"g": names, "n": n, "y": rng.binomial(n, 0.3), "x": x})


def fitted(frame, **options):
    given = {"family": "binomial", "priors": PRIORS, "draws": 50, "chains": 2, "random_seed": 1}
    with contextlib.redirect_stdout(None):
        return hm.fit(frame, "y | trials(n) ~ x + (1 | g)", **given, **options)


@pytest.fixture(scope="module")
def fit(frame):
    return fitted(frame, log_likelihood=True, **ADDED)


def predictors(tree, group, frame):
    """Linear predictors of the rows at draws of a group of a datatree; (chain, draw, row)."""
    draws = tree[group].to_dataset()
    beta = draws["beta"].to_numpy()[..., 0][..., None]
    return draws["theta"].sel(g=frame["g"].to_numpy()).to_numpy() + beta * frame["x"].to_numpy()


def test_the_datatree_has_effects_on_both_scales(fit, frame):
    draws = fit.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["mu", "tau", "theta", "beta", "p"]
    own = frame.groupby("g", sort=False)["x"].first().to_numpy()
    expected = special.expit(draws["theta"] + draws["beta"].to_numpy() * own)
    np.testing.assert_allclose(draws["p"], expected, rtol=1e-12)
    assert draws["p"].dims == ("chain", "draw", "g")
    np.testing.assert_array_equal(fit.datatree["observed_data"]["y"], frame["y"])
    np.testing.assert_array_equal(fit.datatree["constant_data"]["n"], frame["n"])


def test_log_likelihoods_of_rows_are_scipys(fit, frame):
    eta = predictors(fit.datatree, "posterior", frame)
    expected = stats.binom.logpmf(frame["y"], frame["n"], special.expit(eta))
    np.testing.assert_allclose(fit.datatree["log_likelihood"]["y"], expected, rtol=1e-10)


def test_log_likelihoods_of_groups_are_integrals(frame):
    """``log ∫ Π_i Bin(y_i; n_i, θ + x'β) N(θ; mu, tau²) dθ`` by a dense trapezoid rule."""
    fit = fitted(frame, log_likelihood="marginal")
    draws = fit.datatree["posterior"].to_dataset().isel(draw=slice(0, 5))
    z = np.linspace(-10, 10, 4001)
    mu, tau = (draws[name].to_numpy()[..., None, None] for name in ("mu", "tau"))
    eta = mu + tau * z + draws["beta"].to_numpy()[..., 0][..., None, None] * frame[["x"]].to_numpy()
    rows = stats.binom.logpmf(frame[["y"]].to_numpy(), frame[["n"]].to_numpy(), special.expit(eta))
    _, group = np.unique(frame["g"], return_inverse=True)
    each = np.stack([rows[..., group == g, :].sum(axis=-2) for g in range(5)], axis=-2)
    expected = special.logsumexp(each + stats.norm.logpdf(z), axis=-1) + np.log(z[1] - z[0])
    found = fit.datatree["log_likelihood"]["y"].isel(draw=slice(0, 5))
    assert found.dims == ("chain", "draw", "g")
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_outcomes_and_priors_are_drawn_from_their_laws(fit, frame):
    eta = predictors(fit.datatree, "posterior", frame)
    drawn = fit.datatree["posterior_predictive"]["y"].to_numpy()
    p, n = special.expit(eta), frame["n"].to_numpy()
    z = (drawn - n * p).sum() / np.sqrt((n * p * (1 - p)).sum())
    assert abs(z) < 4
    assert ((drawn >= 0) & (drawn <= n)).all()
    prior = fit.datatree["prior"].to_dataset()
    assert list(prior.data_vars) == ["mu", "tau", "theta", "beta", "p"]
    eta = predictors(fit.datatree, "prior", frame)
    p, drawn = special.expit(eta), fit.datatree["prior_predictive"]["y"].to_numpy()
    assert abs((drawn - n * p).sum() / np.sqrt((n * p * (1 - p)).sum())) < 4


def test_prior_densities_are_scipys(fit):
    draws = fit.datatree["posterior"].to_dataset()
    found = fit.datatree["log_prior"].to_dataset()
    np.testing.assert_allclose(found["mu"], stats.norm.logpdf(draws["mu"], 0, 2))
    np.testing.assert_allclose(found["tau"], stats.halfnorm.logpdf(draws["tau"]))
    np.testing.assert_allclose(found["beta"], stats.norm.logpdf(draws["beta"]))
    assert set(found.data_vars) == {"mu", "tau", "beta"}


def test_lp_is_the_sum_of_all_densities(fit):
    draws = fit.datatree["posterior"].to_dataset()
    rows = fit.datatree["log_likelihood"]["y"].sum("row").to_numpy()
    priors = fit.datatree["log_prior"].to_dataset()
    expected = rows + priors["mu"] + priors["tau"] + priors["beta"].sum("coef")
    theta, mu, tau = (draws[name].to_numpy() for name in ("theta", "mu", "tau"))
    effects = stats.norm.logpdf(theta, mu[..., None], tau[..., None]).sum(axis=-1)
    np.testing.assert_allclose(fit.datatree["sample_stats"]["lp"], expected + effects, rtol=1e-10)


def test_tables_and_text_name_the_family_and_both_scales(fit):
    table = fit.summary()
    assert {"mu", "tau", "theta[g0]", "beta[x]", "p[g0]"} <= set(table.index)
    assert "Binomial(n, logistic(theta[g] + x'beta))" in repr(table)
    for text in (repr(fit), fit._repr_html_(), repr(fit.reference())):
        assert "Binomial(n, logistic(theta[g] + x" in text
    assert "trials = n" in repr(fit)
