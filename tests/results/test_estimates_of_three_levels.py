"""Estimates of counts with three levels: maximum likelihood, and effects given it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_expit, logsumexp
from scipy.stats import norm

import hiermodels as hm
from tests.oracles.count_likelihoods import log_binomial
from tests.oracles.maxima import newton_step

FORMULA = "cured | trials(patients) ~ 1 + (1 | region/clinic)"
PRIORS = {"kappa": hm.HalfNormal(1), "tau": hm.HalfNormal(1)}
Z = np.linspace(-8.5, 8.5, 131)
LOG_WEIGHT = norm.logpdf(Z) + np.log(Z[1] - Z[0])


def clinics(cured, patients):
    """Rows of regions (S, m)."""
    region = np.repeat(np.arange(len(cured)), len(cured[0]))
    return pd.DataFrame(
        {
            "region": [f"r{i}" for i in region],
            "clinic": [f"c{i}" for i in range(len(region))],
            "cured": np.ravel(cured),
            "patients": np.ravel(patients),
        }
    )


DIFFER = clinics([[15, 28, 3, 19], [8, 12, 5, 6], [2, 5, 0, 1]], [[40, 39, 20, 30]] * 3)


def estimates(rows, formula=FORMULA, **said):
    return hm.fit(rows, formula, draws=2, random_seed=1, **{"priors": PRIORS, **said}).estimates()


def log_likelihood(rows, kappa, tau, lam):
    """By even places of both effects; and the log density of each region's effect at its places."""
    theta = lam + kappa * Z[:, None] + tau * Z
    log_p, log_q = log_expit(theta), log_expit(-theta)
    regions = []
    for _, own in rows.groupby("region"):
        each = [
            log_binomial(c.patients, c.cured)
            + logsumexp(c.cured * log_p + (c.patients - c.cured) * log_q + LOG_WEIGHT, axis=1)
            for c in own.itertuples()
        ]
        regions.append(LOG_WEIGHT + sum(each))
    return logsumexp(regions, axis=1).sum(), np.array(regions)


@pytest.fixture(scope="module")
def fit():
    return hm.fit(DIFFER, FORMULA, draws=2, random_seed=1, priors=PRIORS)


@pytest.fixture(scope="module")
def found(fit):
    return fit.estimates()


def test_the_maximum_is_that_of_brute_force(found):
    kappa, tau = found.sds["kappa"], found.sds["tau"]
    lam, se = found.coefficients.loc["lam", ["estimate", "se"]]

    def value(x):
        return log_likelihood(DIFFER, *np.exp(x[:2]), x[2])[0]

    step, covariance = newton_step(value, [np.log(kappa), np.log(tau), lam])
    np.testing.assert_allclose(step, 0, atol=1e-6)
    assert se == pytest.approx(np.sqrt(covariance[2, 2]), rel=1e-4)
    _, regions = log_likelihood(DIFFER, kappa, tau, lam)
    share = np.exp(regions - logsumexp(regions, axis=1)[:, None])
    mu = lam + kappa * Z
    mean = share @ mu
    np.testing.assert_allclose(found.outer["eb"], mean, atol=1e-5)
    sd = np.sqrt(share @ mu**2 - mean**2)
    np.testing.assert_allclose(found.outer["eb_sd"], sd, atol=1e-5)


def test_raw_and_pooled_values(found):
    raw = DIFFER["cured"] / DIFFER["patients"]
    np.testing.assert_allclose(found.table["raw"], raw, rtol=1e-10)
    together = DIFFER["cured"].sum() / DIFFER["patients"].sum()
    np.testing.assert_allclose(found.table["pooled"], together, rtol=1e-9)
    of_regions = DIFFER.groupby("region")[["cured", "patients"]].sum()
    share = (of_regions["cured"] / of_regions["patients"]).to_numpy()
    np.testing.assert_allclose(found.outer["raw"], np.log(share / (1 - share)), rtol=1e-9)
    np.testing.assert_array_equal(list(found.table), ["raw", "raw_se", "pooled", "eb", "eb_sd",
                                                      "mean", "sd"])  # fmt: skip


def test_regions_that_are_alike_have_the_estimates_of_two_levels():
    rows = clinics([[15, 4, 9, 3], [9, 4, 3, 15], [4, 15, 3, 9]], np.full((3, 4), 30))
    found = estimates(rows)
    two = estimates(
        rows, "cured | trials(patients) ~ 1 + (1 | clinic)", priors={"tau": PRIORS["tau"]}
    )
    assert found.sds["kappa"] == 0
    assert found.sds["tau"] == pytest.approx(two.sds["tau"], rel=1e-9)
    np.testing.assert_allclose(found.table["eb"], two.table["eb"], rtol=1e-8)
    np.testing.assert_allclose(found.table["eb_sd"], two.table["eb_sd"], rtol=1e-7)
    lam, mu = found.coefficients.loc["lam"], two.coefficients.loc["mu"]
    np.testing.assert_allclose(lam.to_numpy(), mu.to_numpy(), rtol=1e-8)


def test_clinics_that_are_alike_have_the_estimates_of_their_regions():
    rows = clinics([[10, 10, 10], [5, 5, 5], [1, 1, 1], [7, 7, 7]], np.full((4, 3), 30))
    pooled = rows.groupby("region", as_index=False)[["cured", "patients"]].sum()
    found = estimates(rows)
    two = estimates(
        pooled, "cured | trials(patients) ~ 1 + (1 | region)", priors={"tau": PRIORS["tau"]}
    )
    assert found.sds["tau"] == 0
    assert found.sds["kappa"] == pytest.approx(two.sds["tau"], rel=1e-9)
    np.testing.assert_allclose(found.outer["eb"], two.on_link["eb"], rtol=1e-7)
    np.testing.assert_allclose(found.table["eb"], np.repeat(two.table["eb"], 3), rtol=1e-7)


def test_one_clinic_in_each_region_tells_the_sum_of_the_variances():
    rows = clinics([[15], [8], [1], [7], [20]], np.full((5, 1), 30))
    found = estimates(rows)
    two = estimates(
        rows, "cured | trials(patients) ~ 1 + (1 | clinic)", priors={"tau": PRIORS["tau"]}
    )
    assert np.isnan(list(found.sds.values())).all()
    assert found.sums == {"kappa² + tau²": pytest.approx(two.sds["tau"] ** 2, rel=1e-9)}
    np.testing.assert_allclose(found.table["eb"], two.table["eb"], rtol=1e-8)
    assert found.outer["eb"].isna().all()
    assert "only the sum is estimated" in repr(found)


def test_a_likelihood_that_rises_for_ever_has_no_estimates():
    rows = clinics([[0, 0], [5, 5], [0, 5]], np.full((3, 2), 5))
    found = estimates(rows, priors={**PRIORS, "lam": hm.Normal(0, 2)})
    assert np.isnan(list(found.sds.values())).all()
    assert found.table["eb"].isna().all()
    assert found.table["mean"].notna().all()


def test_without_an_intercept():
    found = estimates(DIFFER, "cured | trials(patients) ~ 0 + (1 | region/clinic)")
    place = np.log([found.sds["kappa"], found.sds["tau"]])
    step, _ = newton_step(lambda x: log_likelihood(DIFFER, *np.exp(x), 0.0)[0], place)
    np.testing.assert_array_less(np.abs(step), [1e-6, 1e-5])
    assert len(found.coefficients) == 0


def test_an_sd_that_is_fixed_is_known():
    found = estimates(DIFFER, priors={**PRIORS, "tau": hm.Fixed(0.5)})
    assert found.sds["tau"] == 0.5
    place = [np.log(found.sds["kappa"]), found.coefficients.loc["lam", "estimate"]]
    step, _ = newton_step(lambda x: log_likelihood(DIFFER, np.exp(x[0]), 0.5, x[1])[0], place)
    np.testing.assert_allclose(step, 0, atol=1e-6)
    assert "tau = 0.5: fixed, not estimated" in repr(found)


def test_other_methods_are_refused(fit):
    with pytest.raises(hm.SpecError, match="maximum likelihood"):
        fit.estimates(method="reml")
