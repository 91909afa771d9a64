"""Draws of counts in nested groups, with covariates that vary within these."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.glmm.envelope import largest_reach, log_drop, reach
from hiermodels.exact.glmm.modes import find_mode
from hiermodels.exact.glmm.nested_model import NestedCountModel
from hiermodels.exact.glmm_effects import GlmmEffects
from hiermodels.exact.glmm_grid import GlmmGrid
from tests.exact.glmm.test_nested_integrals import rows
from tests.mcmc.test_rows_nuts import three_levels

PRIORS = {"tau": hm.HalfNormal(1), "kappa": hm.HalfNormal(1)}
FORMULA = "died ~ x + (1 | hospital/ward)"


def patients(n=60, hospitals=4, wards=3, seed=2):
    """Wards whose labels repeat, one of a single patient, with a covariate of each patient."""
    rng = np.random.default_rng(seed)
    ward = np.concatenate([np.arange(hospitals * wards), rng.integers(1, hospitals * wards, n)])
    hospital = ward // wards
    x = rng.normal(size=len(ward))
    eta = -0.5 + 0.7 * rng.normal(size=hospitals)[hospital] + 0.6 * x
    frame = pd.DataFrame({"hospital": [f"h{i}" for i in hospital], "ward": ward % wards, "x": x})
    return frame.assign(
        died=rng.random(len(ward)) < 1 / (1 + np.exp(-eta)),
        days=rng.uniform(0.5, 2, len(ward)),
        falls=rng.poisson(np.exp(eta)),
    )


@pytest.mark.parametrize("kind", ["binomial", "poisson"])
def test_no_density_is_above_its_bound(kind):
    """Along rays from the mode in many directions: the groups of the bound are the outer ones."""
    given, rng = rows(kind), np.random.default_rng(7)
    model = NestedCountModel(given.rows, np.zeros(3), np.diag([0.0, 0.1, 0.1]), nested=given)
    for sds in np.array([(0.0, 0.8), (0.8, 0.0), (0.5, 0.5), (2.0, 1.0)]):
        mode = find_mode(model, sds, np.zeros(3), None)
        factor = np.linalg.cholesky(mode.covariance)
        unit = rng.normal(size=(40, 3))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        away = unit @ factor.T
        k = np.einsum("ji,gik,jk->gj", away, mode.expansion.information, away)
        n = (k * reach(model.outermost, given.rows.x @ away.T)).sum(axis=0)
        r = np.abs(rng.normal(0, 2, 40)) + 0.05
        gamma = mode.gamma + r[:, None] * away
        value = [model.expand(sds, own, None).value for own in gamma] + model.log_prior(gamma)
        assert (value - mode.height + log_drop(n, r)).max() < 1e-8
        most = largest_reach(model.outermost, factor, mode.expansion.information)
        assert (n <= most + 1e-9).all()


def test_draws_against_figures_without_covariates():
    """Those of an integration of its own, right to 1e-10, as with NUTS."""
    spec, data = prepare(three_levels(), "p(r, n) ~ 1 + (1 | outer/inner)", priors=PRIORS)
    effects, drawn = GlmmEffects.draw(GlmmGrid(spec, data), 500, np.random.default_rng(1))
    assert -0.03 < drawn.largest <= 0
    found = effects.above_groups()
    found["p"] = 1 / (1 + np.exp(-effects.of_groups(np.array([0, 99]))))
    found["mu"] = found["mu"][[0, 19]]
    known = {
        "tau": 0.2522672825,
        "kappa": 0.5511451868,
        "lam": -1.2903701982,
        "p": [0.1980116267, 0.1714187735],
        "mu": [-1.3365979143, -1.5919686701],
    }
    for name, expected in known.items():
        z = (found[name].mean(axis=-1) - expected) / (found[name].std(axis=-1) / np.sqrt(500))
        assert np.abs(z).max() < 4.5, name


@pytest.fixture(scope="module")
def fit():
    return hm.fit(patients(), FORMULA, family="binomial", priors=PRIORS, draws=100, random_seed=3)


def test_what_a_fit_has(fit):
    draws = fit.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["lam", "kappa", "mu", "tau", "theta", "beta", "p"]
    assert draws["theta"].sizes["ward"] == 12
    assert "below a proven bound around the modes of" in str(fit)
    assert "kappa and tau" in str(fit)
    assert np.isfinite(draws["theta"]).all()
    assert "beta[x]" in str(fit.summary())


def test_predictions_are_draws(fit):
    new = pd.DataFrame({"hospital": ["h1", "h1", "new"], "ward": [2, 9, 0], "x": [0.0, 1.0, 0.0]})
    predicted = fit.predict(new, random_seed=1)
    draws = predicted.datatree["predictions"].to_dataset()
    posterior = fit.datatree["posterior"].to_dataset()
    known = 1 / (1 + np.exp(-posterior["theta"].sel(ward="h1/2")))
    np.testing.assert_allclose(draws["p"].isel(row=0), known)
    with pytest.raises(hm.SpecError, match="three levels is not summed up"):
        predicted.to_frame()


@pytest.mark.parametrize("verb", ["reference", "rank", "loo", "estimates", "plot_trace_tau"])
def test_what_needs_sums_says_so(fit, verb):
    with pytest.raises(hm.SpecError, match=r"Take the exact and independent draws"):
        getattr(fit, verb)()


def test_draws_are_compared_with_draws(fit):
    """Those of another seed agree, and those of a tau that is too large do not."""
    said = {"family": "binomial", "priors": PRIORS, "random_seed": 8}
    other = hm.fit(patients(), FORMULA, **said, draws=250)
    assert hm.compare(other, fit).passed
    other.datatree["posterior"]["tau"] = 1.5 * other.datatree["posterior"]["tau"]
    assert not hm.compare(other.datatree, fit).passed


def test_draws_on_demand_and_in_a_file(fit, tmp_path):
    said = {"family": "binomial", "priors": PRIORS, "draws": 100, "random_seed": 3}
    lean = hm.fit(patients(), FORMULA, **said, memory_budget=1)
    assert "theta" not in lean.datatree["posterior"]
    expected = fit.datatree["posterior"]["theta"].sel(ward=["h2/1"]).to_numpy()
    np.testing.assert_array_equal(lean.draws(["h2/1"]).to_numpy(), expected)
    path = lean.to_netcdf(tmp_path / "fit.nc")
    np.testing.assert_array_equal(hm.load(path).draws(["h2/1"]).to_numpy(), expected)


@pytest.mark.parametrize("fixed", [{"tau": 0.0}, {"kappa": 0.0}, {"tau": 0.4, "kappa": 0.3}])
def test_sds_that_are_fixed(fixed):
    priors = PRIORS | {name: hm.Fixed(value) for name, value in fixed.items()}
    said = {"family": "poisson", "exposure": "days", "draws": 50, "random_seed": 1}
    draws = hm.fit(patients(), "falls ~ x + (1 | hospital/ward)", priors=priors, **said)
    posterior = draws.datatree["posterior"].to_dataset()
    for name, value in fixed.items():
        assert (posterior[name] == value).all()
    hospital = [label.split("/")[0] for label in posterior["ward"].to_numpy()]
    away = posterior["theta"].to_numpy() - posterior["mu"].sel(hospital=hospital).to_numpy()
    if fixed.get("tau") == 0:
        np.testing.assert_allclose(away, 0, atol=1e-12)
    if fixed.get("kappa") == 0:
        np.testing.assert_allclose(posterior["mu"] - posterior["lam"], 0, atol=1e-12)


def test_what_separates_is_named():
    frame = patients().assign(died=lambda f: f["x"] > 0)
    with pytest.raises(hm.ImproperPosteriorError, match=r"beta\[x\]"):
        hm.fit(frame, FORMULA, family="binomial", priors=PRIORS)
