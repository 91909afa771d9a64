"""Values given one sd, and densities, against formulas and other quadratures."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.exact.given_sd import ENDS, moments_given_sd
from hiermodels.exact.kernels.tree.tree import Coefficients, Variances
from tests.oracles.dense import Design, conditional, log_likelihood


def prepared(data, **roles):
    with contextlib.redirect_stdout(None):
        fit = hm.fit(data, draws=1, chains=1, random_seed=1, **roles)
    return fit.spec, fit.data


def test_eight_schools_given_tau_are_the_book_s_formulas(schools):
    """Gelman et al. (2013), equations 5.17 and 5.20, with the intercept's mean integrated out."""
    found = moments_given_sd(*prepared(schools), "tau", "theta")
    y, variance = schools["y"].to_numpy(), schools["sigma"].to_numpy() ** 2
    tau2 = found["at"].to_numpy()[:, None] ** 2
    weight = 1 / (variance + tau2)
    precision = weight.sum(axis=1, keepdims=True)
    mu = (weight * y).sum(axis=1, keepdims=True) / precision
    shrink = variance / (variance + tau2)
    np.testing.assert_allclose(found["mean"], shrink * mu + (1 - shrink) * y, rtol=0, atol=1e-10)
    expected = np.sqrt((1 - shrink) * variance + shrink**2 / precision)
    np.testing.assert_allclose(found["sd"], expected, rtol=1e-10)


@pytest.mark.parametrize("priors", [{}, {"tau": hm.HalfNormal(5)}], ids=["flat", "light tail"])
def test_tau_runs_over_its_posterior(schools, priors):
    """Beyond the light tail of a prior nothing is left in a layer, not even in rounding."""
    found = moments_given_sd(*prepared(schools, priors=priors), "tau", "theta")
    with contextlib.redirect_stdout(None):
        below = hm.reference(schools, priors=priors).cdf("tau", found["at"].to_numpy())
    assert (np.diff(below) > 0).all()
    assert below[0] == pytest.approx(ENDS[0], abs=1e-3)
    assert below[-1] == pytest.approx(ENDS[1], abs=2e-3)


@pytest.mark.parametrize(("sd", "value"), [("tau", "theta"), ("kappa", "mu"), ("kappa", "theta")])
def test_the_other_sd_is_integrated_out(sd, value):
    """Dense normal distributions, and the trapezoid rule over the logarithm of the other sd."""
    data = hm.datasets.load_school_calendar()
    spec, grouped = prepared(data, priors={"lam": hm.Normal(0, 1)})
    found = moments_given_sd(spec, grouped, sd, value)
    design = Design(
        np.empty((56, 0)), grouped.y, grouped.se**-2.0, np.arange(56), grouped.parents[0]
    )
    prior = Coefficients(np.zeros(1), 1.0, np.empty(0), np.empty((0, 0)))
    rows = {"mu": slice(1, 12), "theta": slice(12, 68)}[value]
    for place in (5, 30, -5):
        at = float(found["at"][place])
        logs, means, squares = [], [], []
        for other in np.exp(np.arange(-7, 1.5, 0.1)):
            tau, kappa = (at, other) if sd == "tau" else (other, at)
            variances = Variances((np.array([kappa**2]), np.array([tau**2])), np.ones(1))
            mean, covariance = conditional(design, variances, prior)
            flat_on_variance = 2 * np.log(other)
            logs.append(log_likelihood(design, variances, prior) + flat_on_variance)
            means.append(mean[rows])
            squares.append(np.diag(covariance)[rows] + mean[rows] ** 2)
        weight = np.exp(np.array(logs) - max(logs))
        weight /= weight.sum()
        mean, square = weight @ np.array(means), weight @ np.array(squares)
        np.testing.assert_allclose(found["mean"][place], mean, rtol=0, atol=1e-7)
        np.testing.assert_allclose(found["sd"][place], np.sqrt(square - mean**2), rtol=1e-6)


def test_density_of_tau_is_the_closed_form(baseball):
    """With equal σ and a flat τ², ``σ² + τ²`` is inverse gamma, cut off at σ²."""
    with contextlib.redirect_stdout(None):
        exact = hm.reference(baseball)
    k, sigma2 = len(baseball), 0.06**2
    law = stats.invgamma((k - 3) / 2, scale=(k - 1) * baseball["y"].var() / 2)
    tau = np.array([0.0, 1e-4, 0.01, 0.03, 0.05, 0.1, 0.3])
    expected = 2 * tau * law.pdf(sigma2 + tau**2) / law.sf(sigma2)
    np.testing.assert_allclose(exact.density("tau", tau), expected, rtol=1e-7, atol=1e-9)
    assert (exact.density("tau", [-1.0, 0.0]) == 0).all()


@pytest.mark.parametrize("name", ["theta", "mu", "kappa", "lam"])
def test_densities_are_the_slopes_of_distribution_functions(name):
    with contextlib.redirect_stdout(None):
        exact = hm.reference(hm.datasets.load_school_calendar())
    x = exact.quantile([0.05, 0.4, 0.97], [name])[name].to_numpy()
    step = 1e-5
    slope = (exact.cdf(name, x + step) - exact.cdf(name, x - step)) / (2 * step)
    np.testing.assert_allclose(exact.density(name, x), slope, rtol=1e-6)


def test_densities_of_one_population_are_student_and_inverse_gamma():
    y = np.array([1.0, 3.0, 4.5, 2.0, 0.5])
    with contextlib.redirect_stdout(None):
        exact = hm.reference(pd.DataFrame({"y": y}), outcome="y", groups=[])
    n, s2 = len(y), y.var(ddof=1)
    x = np.linspace(-2, 6, 9)
    expected = stats.t(n - 1, y.mean(), np.sqrt(s2 / n)).pdf(x)
    np.testing.assert_allclose(exact.density("theta", x), expected, rtol=1e-12)
    sigma = np.array([0.3, 1.0, 2.0, 7.0])
    law = stats.invgamma((n - 1) / 2, scale=(n - 1) * s2 / 2)
    expected = law.pdf(sigma**2) * 2 * sigma
    np.testing.assert_allclose(exact.density("sigma", sigma), expected, rtol=1e-12)
    assert exact.density("sigma", 0.0) == 0


def test_the_lattice_of_a_sd_that_is_well_known_ends():
    """With 312 classrooms tau's density falls over hundreds of fine steps before it ends."""
    pupils = hm.datasets.simulate_classrooms(26, 12, 5, random_seed=1)
    fit = hm.fit(pupils, "score ~ (1 | school/classroom)", draws=1, chains=1)
    found = moments_given_sd(fit.spec, fit.data, "tau", "theta")
    low, high = fit.reference().quantile([1e-3, 0.99], ["tau"])["tau"].to_numpy()
    assert found["at"][0] == pytest.approx(low, rel=0.02)
    assert found["at"][-1] == pytest.approx(high, rel=0.02)
    middle = found.sel(at=float(fit.reference().mean["tau"]), method="nearest")
    away = (middle["mean"] - fit.reference().mean["theta"]) / fit.reference().sd["theta"]
    assert float(np.abs(away).max()) < 0.05
