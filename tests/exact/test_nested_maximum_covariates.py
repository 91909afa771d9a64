"""Maximum likelihood of three levels of counts with a covariate, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import norm

import hiermodels as hm
from hiermodels.data.covariates import AUTO, locate
from hiermodels.data.prepare import prepare
from hiermodels.exact.leaf_nested_plug_in import nested_plug_in
from hiermodels.exact.leaf_plug_in import leaf_plug_in
from tests.oracles.count_likelihoods import log_binomial
from tests.oracles.maxima import newton_step
from tests.results.test_estimates_of_three_levels import PRIORS, clinics

FORMULA = "cured | trials(patients) ~ 1 + x + (1 | region/clinic)"
Z = np.linspace(-8.5, 8.5, 131)
LOG_WEIGHT = norm.logpdf(Z) + np.log(Z[1] - Z[0])
ROWS = clinics([[15, 28, 3], [8, 12, 5], [2, 5, 0]], [[40, 39, 20]] * 3).assign(
    x=[0.3, -1.0, 0.5, 1.2, 0.0, 0.4, -0.7, -0.2, 1.0]
)


def estimated(rows, formula=FORMULA, priors=PRIORS, at=AUTO):
    spec, data = prepare(rows, formula, priors=priors)
    plug_in = nested_plug_in if len(spec.groups) == 2 else leaf_plug_in
    return plug_in(spec, data, "ml", locate(data, at))


def log_likelihood(rows, kappa, tau, lam, beta):
    """By even places of both effects, z; and each region's log density at its own."""
    regions = []
    for _, own in rows.groupby("region"):
        density = LOG_WEIGHT.copy()
        for c in own.itertuples():
            theta = lam + beta * c.x + kappa * Z[:, None] + tau * Z
            log_p = c.cured * log_expit(theta) + (c.patients - c.cured) * log_expit(-theta)
            density += log_binomial(c.patients, c.cured) + logsumexp(log_p + LOG_WEIGHT, axis=1)
        regions.append(density)
    return logsumexp(regions, axis=1).sum(), np.array(regions)


@pytest.fixture(scope="module")
def found():
    return estimated(ROWS, at="zero")


def test_the_maximum_is_that_of_brute_force(found):
    kappa, tau = found.sds.sds["kappa"], found.sds.sds["tau"]
    place = [np.log(kappa), np.log(tau), *found.coefficients]
    step, covariance = newton_step(lambda x: log_likelihood(ROWS, *np.exp(x[:2]), *x[2:])[0], place)
    np.testing.assert_allclose(step, 0, atol=1e-6)
    np.testing.assert_allclose(found.coefficient_ses, np.sqrt(np.diag(covariance))[2:], rtol=1e-4)
    _, regions = log_likelihood(ROWS, kappa, tau, *found.coefficients)
    share = np.exp(regions - logsumexp(regions, axis=1)[:, None])
    mu = found.coefficients[0] + kappa * Z  # at x = 0
    np.testing.assert_allclose(found.effects["mu"]["eb"], share @ mu, atol=1e-6)
    sd = np.sqrt(share @ mu**2 - (share @ mu) ** 2)
    np.testing.assert_allclose(found.effects["mu"]["eb_sd"], sd, atol=1e-6)


def test_effects_of_clinics_are_those_of_brute_force(found):
    kappa, tau = found.sds.sds["kappa"], found.sds.sds["tau"]
    lam, beta = found.coefficients
    _, regions = log_likelihood(ROWS, kappa, tau, lam, beta)
    share = np.exp(regions - logsumexp(regions, axis=1)[:, None])
    means = []
    for c, of_region in zip(ROWS.itertuples(), np.repeat(share, 3, axis=0), strict=True):
        theta = lam + beta * c.x + kappa * Z[:, None] + tau * Z
        log_p = c.cured * log_expit(theta) + (c.patients - c.cured) * log_expit(-theta)
        density = np.exp(log_p + LOG_WEIGHT)
        density /= density.sum(axis=1, keepdims=True)
        means.append([of_region @ (density * f).sum(axis=1) for f in (theta, expit(theta))])
    at_zero = np.array(means)[:, 0] - beta * ROWS["x"]
    np.testing.assert_allclose(found.effects["theta"]["eb"], at_zero, atol=1e-6)
    np.testing.assert_allclose(found.effects["p"]["eb"], np.array(means)[:, 1], atol=1e-6)


def test_units_of_the_covariate_are_all_the_same(found):
    moved = estimated(ROWS.assign(x=1000 * ROWS["x"] + 5000), at="means")
    assert moved.sds.sds == pytest.approx(found.sds.sds, rel=1e-7)
    assert moved.coefficients[1] == pytest.approx(found.coefficients[1] / 1000, rel=1e-7)


def test_regions_that_are_alike_have_the_estimates_of_two_levels():
    rows = clinics([[15, 4, 9], [9, 4, 15], [4, 15, 9]], np.full((3, 3), 30))
    rows = rows.assign(x=rows["cured"] % 4 - 1.0)
    found = estimated(rows, at="zero")
    two = estimated(rows, FORMULA.replace("region/", ""), priors={"tau": PRIORS["tau"]}, at="zero")
    assert found.sds.sds["kappa"] == 0
    assert found.sds.sds["tau"] == pytest.approx(two.sds.sds["tau"], rel=1e-9)
    np.testing.assert_allclose(found.coefficients, two.coefficients, rtol=1e-8)
    for column in ("raw", "pooled", "eb", "eb_sd"):
        np.testing.assert_allclose(
            found.effects["theta"][column], two.effects["theta"][column], rtol=1e-7
        )


def test_clinics_that_are_alike_but_for_a_covariate_have_no_variance():
    rows = clinics([[10, 12, 14], [4, 5, 6], [1, 1, 1]], np.full((3, 3), 30))
    rows = rows.assign(x=np.tile([-1.0, 0.0, 1.0], 3))
    found = estimated(rows, at="zero")
    assert found.sds.sds["tau"] == 0
    place = [np.log(found.sds.sds["kappa"]), *found.coefficients]
    step, _ = newton_step(lambda x: log_likelihood(rows, np.exp(x[0]), 0.0, *x[1:])[0], place)
    np.testing.assert_allclose(step, 0, atol=1e-6)


def test_a_fixed_sd_is_known():
    found = estimated(ROWS, priors={**PRIORS, "tau": hm.Fixed(0.5)}, at="zero")
    place = [np.log(found.sds.sds["kappa"]), *found.coefficients]
    step, _ = newton_step(lambda x: log_likelihood(ROWS, np.exp(x[0]), 0.5, *x[1:])[0], place)
    np.testing.assert_allclose(step, 0, atol=1e-6)
