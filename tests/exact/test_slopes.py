"""Slopes that vary between groups, from a data frame to the posterior."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm
from hiermodels.exact.joint import log_joint
from tests.oracles.slopes import CAKES_MEANS, PROBABILITIES, SLEEP, cakes

SLEEPING = "Reaction ~ Days + (1 + Days | Subject)"
PRIORS = {
    "sleepstudy_flat_sd_lkj1": {},
    "sleepstudy_half_normal_lkj2": {
        "tau": hm.HalfNormal(50),
        "tau[Days]": hm.HalfNormal(20),
        "rho": hm.LKJ(2),
        "sigma": hm.HalfNormal(50),
    },
}


@cache
def sleeping(name):
    return hm.reference(hm.datasets.load_sleepstudy(), SLEEPING, priors=PRIORS[name])


def known_figures(name, what):
    """Means or sds, with the shapes of the posterior's variables."""
    known = SLEEP[name]
    hyper = {key: known["hyper"][key][what] for key in ("tau0", "tau1", "rho", "sigma")}
    return {
        "mu": known["coefficients"][what][0],
        "beta": known["coefficients"][what][1:],
        "tau": [hyper["tau0"], hyper["tau1"]],
        "rho": hyper["rho"],
        "sigma": hyper["sigma"],
        "theta": np.transpose(known["effects"][what]),
    }


@pytest.mark.parametrize("name", PRIORS)
def test_the_sleep_study(name):
    exact, mean, sd = sleeping(name), known_figures(name, "mean"), known_figures(name, "sd")
    assert exact.certificate < 1e-8
    assert set(exact.spec.variables) == set(mean)
    for variable in exact.spec.variables:
        error = (exact.mean[variable] - mean[variable]) / sd[variable]
        assert np.abs(error).max() < 1e-8, variable
        assert np.abs(exact.sd[variable] / sd[variable] - 1).max() < 1e-8, variable
    subjects = exact.mean["theta"]["Subject"]
    assert subjects[0] == "308"
    assert list(exact.mean["tau"]["effect"].to_numpy()) == ["Intercept", "Days"]


@pytest.mark.parametrize("name", PRIORS)
def test_quantiles_of_the_sleep_study(name):
    hyper = SLEEP[name]["hyper"]
    found = sleeping(name).quantile(PROBABILITIES, ["tau", "rho", "sigma"])
    for key, own in (
        ("tau0", found["tau"].sel(effect="Intercept")),
        ("tau1", found["tau"].sel(effect="Days")),
        ("rho", found["rho"]),
        ("sigma", found["sigma"]),
    ):
        error = (own.to_numpy() - hyper[key]["quantiles"]) / hyper[key]["sd"]
        assert np.abs(error).max() < 1e-5, key


def test_distribution_functions_undo_quantiles():
    exact = sleeping("sleepstudy_flat_sd_lkj1")
    q = exact.quantile([0.1, 0.8])
    for variable in ("mu", "beta", "tau", "rho", "sigma"):
        at = q[variable].to_numpy()
        p = np.array([0.1, 0.8]).reshape(2, *(1,) * (at.ndim - 1))
        np.testing.assert_allclose(exact.cdf(variable, at) - p, 0, atol=2e-7)
        step = 1e-4 * exact.sd[variable].to_numpy()
        slope = (exact.cdf(variable, at + step) - exact.cdf(variable, at - step)) / (2 * step)
        np.testing.assert_allclose(exact.density(variable, at) / slope, 1, atol=1e-4)
    theta = q["theta"].to_numpy()
    np.testing.assert_allclose(exact.cdf("theta", theta[1]), 0.8, atol=2e-7)


def test_intercepts_elsewhere():
    """At x a subject's intercept is the value of its line there, exactly."""
    fit = hm.fit(hm.datasets.load_sleepstudy(), SLEEPING, random_seed=1, draws=500)
    exact = sleeping("sleepstudy_flat_sd_lkj1")
    moved = exact.at({"Days": 5})
    theta = fit.datatree["posterior"]["theta"]
    line = theta.sel(effect="Intercept") + 5 * theta.sel(effect="Days")
    error = (line.mean(("chain", "draw")) - moved.mean["theta"].sel(effect="Intercept")) / (
        moved.sd["theta"].sel(effect="Intercept") / np.sqrt(2000)
    )
    assert np.abs(error).max() < 4
    expected = exact.mean["mu"] + 5 * exact.mean["beta"].item()
    assert moved.mean["mu"].item() == pytest.approx(expected.item(), rel=1e-12)
    both = exact.mean["theta"].sel(effect="Intercept") + 5 * exact.mean["theta"].sel(effect="Days")
    error = (both - moved.mean["theta"].sel(effect="Intercept")) / moved.sd["theta"].sel(
        effect="Intercept"
    )
    assert np.abs(error).max() < 1e-7
    xr.testing.assert_equal(
        moved.mean["theta"].sel(effect="Days"), exact.mean["theta"].sel(effect="Days")
    )
    at_five = fit.summary(["mu"], at={"Days": 5})
    assert at_five.loc["mu", "mean"] == pytest.approx(expected.item(), abs=1)
    assert "at Days = 5" in repr(at_five)
    assert "mu at x = 0" in repr(fit.summary(["mu"]))


def test_draws_are_from_the_posterior():
    fit = hm.fit(hm.datasets.load_sleepstudy(), SLEEPING, random_seed=2)
    exact, draws = sleeping("sleepstudy_flat_sd_lkj1"), fit.datatree["posterior"]
    p_values = []
    for variable in ("mu", "beta", "tau", "rho", "sigma"):
        drawn = draws[variable].to_numpy()[:, ::4].reshape(1000, *draws[variable].shape[2:])
        columns = exact.cdf(variable, drawn).reshape(1000, -1).T
        p_values += [stats.kstest(column, "uniform").pvalue for column in columns]
    assert min(p_values) > 1e-3
    z = (draws["theta"].mean(("chain", "draw")) - exact.mean["theta"]) / exact.sd["theta"]
    assert np.abs(z * np.sqrt(4000)).max() < 4
    assert np.abs(draws["theta"].std(("chain", "draw")) / exact.sd["theta"] - 1).max() < 0.05
    assert draws["theta"].dims == ("chain", "draw", "Subject", "effect")
    again = hm.fit(hm.datasets.load_sleepstudy(), SLEEPING, random_seed=2)
    for variable in fit.spec.variables:
        xr.testing.assert_equal(again.datatree["posterior"][variable], draws[variable])


def test_the_joint_density_is_that_of_its_parts():
    """Against SciPy's densities, at draws."""
    frame = hm.datasets.load_sleepstudy()
    fit = hm.fit(
        frame, SLEEPING, priors=PRIORS["sleepstudy_half_normal_lkj2"], random_seed=3, draws=3
    )
    draws = fit.datatree["posterior"].to_dataset()
    for chain, draw in ((0, 0), (3, 2)):
        one = draws.isel(chain=chain, draw=draw)
        tau, rho, sigma = one["tau"].to_numpy(), float(one["rho"]), float(one["sigma"])
        theta = one["theta"].sel(Subject=frame["Subject"].to_numpy()).to_numpy()
        line = theta[:, 0] + theta[:, 1] * frame["Days"]
        total = stats.norm(line, sigma).logpdf(frame["Reaction"]).sum()
        cov = np.outer(tau, tau) * np.array([[1, rho], [rho, 1]])
        top = [float(one["mu"]), float(one["beta"][0])]
        total += stats.multivariate_normal(top, cov).logpdf(one["theta"].to_numpy()).sum()
        total += stats.halfnorm(scale=[50, 20]).logpdf(tau).sum()
        total += stats.halfnorm(scale=50).logpdf(sigma)
        total += stats.beta(2, 2, loc=-1, scale=2).logpdf(rho)
        found = fit.datatree["sample_stats"]["lp"].isel(chain=chain, draw=draw)
        assert float(found) == pytest.approx(total, rel=1e-12)


def test_cakes():
    """lme4 calls this fit singular; the posterior is ordinary."""
    angle, temperature, recipe, batch = cakes()
    frame = pd.DataFrame({"angle": angle, "t": temperature, "recipe": recipe, "batch": batch})
    exact = hm.reference(frame.astype({"batch": str}), "angle ~ t + C(recipe) + (t | batch)")
    assert exact.mean["tau"].to_numpy() == pytest.approx(CAKES_MEANS["tau"], abs=5e-5)
    assert exact.mean["rho"].item() == pytest.approx(CAKES_MEANS["rho"], abs=5e-5)
    assert exact.mean["sigma"].item() == pytest.approx(CAKES_MEANS["sigma"], abs=5e-5)


def few(seed=1, groups=8, rows=6):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    x, w = rng.normal(size=(2, len(g)))
    y = 1 + x + w + rng.normal(size=groups)[g] + 0.7 * rng.normal(size=groups)[g] * x
    return pd.DataFrame({"y": y + rng.normal(size=len(g)), "x": x, "w": w, "g": g.astype(str)})


PROPER = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + w + (1 + x || g)",
        "y ~ x + w + (0 + x | g)",
        "y ~ 0 + x + w + (x | g)",
        "y ~ w + x + (1 + x | g)",
        "y ~ 0 + x + w + (0 + x | g)",
    ],
)
def test_the_marginal_density_is_that_of_dense_algebra(formula):
    """``log p(y)`` by brute force over sds and correlations of a coarse grid of Gauss nodes."""
    frame = few(groups=4, rows=4)
    priors = {**PROPER, "beta": hm.Normal(0, 2)}
    if not formula.startswith("y ~ 0"):
        priors["mu"] = hm.Normal(0, 2)
    exact = hm.reference(frame, formula, priors=priors)
    assert exact.log_marginal_likelihood == pytest.approx(brute_force(frame, exact), abs=2e-6)


def half_normal_nodes(size):
    """Nodes of Gauss's rule up to 6, beyond which HalfNormal(1) has 2e-9 of its mass."""
    u, weight = np.polynomial.legendre.leggauss(size)
    sd = 3.0 * (u + 1)
    return sd, 3.0 * weight * stats.halfnorm.pdf(sd)


def brute_force(frame, exact):
    """Sum of dense normal densities over nodes of all sds, σ and ρ."""
    spec, y = exact.spec, frame["y"].to_numpy()
    columns = {"Intercept": np.ones(len(y)), **{name: frame[name].to_numpy() for name in "xw"}}
    (level,) = spec.levels
    z = [columns[term] for term in level.terms]
    top = ["Intercept"] if spec.has_intercept else []
    fixed = np.array([columns[name] for name in (*top, *spec.covariates)])
    base = 4.0 * fixed.T @ fixed
    same = frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()
    sd, prior = half_normal_nodes(36)
    sigma, sigma_prior = half_normal_nodes(160)
    u, weight = np.polynomial.legendre.leggauss(16)
    rho = u if level.correlation else np.zeros(1)
    rho_weight = weight / 2 if level.correlation else np.ones(1)
    products = np.array([[np.outer(a, b) * same for b in z] for a in z])
    share = np.where(np.eye(len(z), dtype=bool), 1.0, rho[:, None, None])
    total = []
    for index in np.ndindex(*[len(sd)] * len(z)):
        tau, own = sd[list(index)], np.prod(prior[list(index)])
        covariances = base + np.einsum("a,b,rab,abij->rij", tau, tau, share, products)
        values, axes = np.linalg.eigh(covariances)
        turned = np.einsum("rij,i->rj", axes, y)[:, :, None] ** 2
        spread = np.maximum(values, 0)[:, :, None] + sigma**2
        logs = -0.5 * (np.log(2 * np.pi * spread) + turned / spread).sum(axis=1)
        total.append(np.log(own * rho_weight @ np.exp(logs) @ sigma_prior))
    return float(np.logaddexp.reduce(total))


def test_a_prior_of_one_sd_overrides_that_of_all():
    spec = sleeping("sleepstudy_half_normal_lkj2").spec
    assert spec.priors["tau[Intercept]"] == hm.HalfNormal(50)
    assert spec.priors["tau[Days]"] == hm.HalfNormal(20)
    assert spec.priors["rho"] == hm.LKJ(2)


def test_a_flat_covariance_takes_the_correlation_with_it():
    frame = few(groups=20)
    exact = hm.reference(frame, "y ~ x + (x | g)", priors={"tau": hm.FlatCovariance()})
    assert set(exact.spec.priors) == {"mu", "tau", "beta[x]", "sigma"}
    with pytest.raises(hm.SpecError, match="leave out 'rho'"):
        hm.fit(frame, "y ~ x + (x | g)", priors={"tau": hm.FlatCovariance(), "rho": hm.LKJ(1)})
    with pytest.raises(hm.SpecError, match="two correlated effects or more"):
        hm.fit(frame, "y ~ x + (x || g)", priors={"tau": hm.FlatCovariance()})


def test_what_varies_needs_a_mean():
    frame = few()
    with pytest.raises(
        hm.SpecError, match="the effect of x varies between groups, and has no mean"
    ):
        hm.fit(frame, "y ~ w + (x | g)")
    frame["s"] = np.where(frame["w"] > 0, "a", "b")
    with pytest.raises(hm.SpecError, match="s is categorical, and its columns depend on the inter"):
        hm.fit(frame, "y ~ s + (0 + s | g)")


def test_slopes_of_levels_of_a_category():
    frame = few(groups=12)
    frame["s"] = np.where(np.arange(len(frame)) % 2, "a", "b")
    fit = hm.fit(frame, "y ~ 0 + s + (0 + s | g)", draws=10, random_seed=1)
    assert list(fit.datatree["posterior"]["effect"].to_numpy()) == ["s[a]", "s[b]"]
    assert "mu" not in fit.spec.variables


def test_the_density_of_draws_and_of_the_record_agree():
    fit = hm.fit(few(), "y ~ x + w + (1 + x || g)", random_seed=1, draws=4)
    draws = {name: fit.datatree["posterior"][name].to_numpy() for name in fit.spec.variables}
    found = log_joint(fit.spec, fit.data, draws)
    np.testing.assert_array_equal(found, fit.datatree["sample_stats"]["lp"].to_numpy())


def test_a_column_far_from_its_0_is_to_be_centered():
    formula = "Reaction ~ {0} + (1 + {0} | Subject)"
    sleep = hm.datasets.load_sleepstudy()
    far = sleep.assign(Days=sleep["Days"] + 40)
    words = r"0 of Days lies 15 of its sds .*writing center\(Days\) in place of Days throughout"
    with pytest.raises(hm.errors.PrecisionError, match=words):
        hm.fit(far, formula.format("Days"), random_seed=1)
    centered = formula.format("center(Days)")
    found, expected = (hm.reference(data, centered) for data in (far, sleep))
    for name in ("mu", "beta", "tau", "rho", "sigma", "theta"):
        assert np.allclose(found.mean[name], expected.mean[name], rtol=1e-9, atol=1e-9)
        assert np.allclose(found.sd[name], expected.sd[name], rtol=1e-8)
