"""What is done with fits of rows whose known errors are correlated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import hiermodels as hm
from hiermodels.results.report.recipe import command, snippet
from tests.exact.test_sampling_covariances import berkey
from tests.oracles.correlated import indicators, studies

NESTED = "y ~ x + (1 | study/effect)"
PRIORS = {"tau": hm.HalfNormal(1), "kappa": hm.HalfNormal(1)}


@pytest.fixture(scope="module")
def nested():
    """A fit of effects of studies and of their rows, and V."""
    frame, v = studies(3, (3, 2, 3, 1, 2, 3, 1, 2, 3, 2))
    return hm.fit(frame, NESTED, covariance=v, priors=PRIORS, draws=1000, random_seed=1), v


# metafor's rma.mv(yi, V, mods = ~ outcome - 1, random = ~ outcome | trial, struct = "UN"), to the
# digits that it prints: Viechtbauer, https://www.metafor-project.org/doku.php/analyses:berkey1998
PUBLISHED = {
    "reml": ((0.0327, 0.0117), 0.6088, (-0.3392, 0.3534), (0.0879, 0.0588)),
    "ml": ((0.0261, 0.0070), 0.6992, (-0.3379, 0.3448), (0.0798, 0.0495)),
}


@pytest.mark.parametrize("method", PUBLISHED)
def test_estimates_of_several_outcomes_are_those_of_metafor(method):
    frame, v = berkey()
    formula = "yi ~ 0 + outcome + (0 + outcome | trial)"
    priors = {"tau": hm.HalfNormal(0.5)}
    fit = hm.fit(frame, formula, covariance=v, priors=priors, draws=5, random_seed=1)
    estimates = fit.estimates(method=method)
    variances, rho, coefficients, errors = PUBLISHED[method]
    *sds, found = estimates.sds.values()
    np.testing.assert_allclose(np.square(sds), variances, atol=6e-5)
    assert found == pytest.approx(rho, abs=6e-5)
    np.testing.assert_allclose(estimates.coefficients["estimate"], coefficients, atol=6e-5)
    np.testing.assert_allclose(estimates.coefficients["se"], errors, atol=6e-5)


def test_estimates_of_effects_are_those_of_dense_algebra(nested):
    """Restricted likelihood, its maximum by another search, and the effects given the sds."""
    fit, v = nested
    y, x = fit.data.y, np.column_stack([np.ones(len(v)), fit.data.design.matrix])
    inner, outer = fit.data.levels[::-1]
    z = indicators(inner.parent[fit.data.group], np.arange(len(outer)))

    def parts(sds):
        total = v + sds[0] ** 2 * z @ z.T + sds[1] ** 2 * np.eye(len(v))
        information = x.T @ np.linalg.solve(total, x)
        beta = np.linalg.solve(information, x.T @ np.linalg.solve(total, y))
        return total, information, beta

    def deviance(sds):
        total, information, beta = parts(sds)
        left = y - x @ beta
        log_dets = np.linalg.slogdet(total)[1] + np.linalg.slogdet(information)[1]
        return log_dets + left @ np.linalg.solve(total, left)

    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 2000}
    best = minimize(deviance, [1.0, 1.0], method="Nelder-Mead", options=options).x
    estimates = fit.estimates(method="reml")
    found = [estimates.sds["kappa"], estimates.sds["tau"]]
    np.testing.assert_allclose(found, np.abs(best), atol=1e-6)
    total, _, beta = parts(found)
    gain = np.linalg.solve(total, y - x @ beta)
    theta = x @ beta + found[0] ** 2 * z @ (z.T @ gain) + found[1] ** 2 * gain
    here = fit.estimates(method="reml", at="own").table
    place = {label: i for i, label in enumerate(inner.labels[fit.data.group])}
    rows = [place[label] for label in here.index]
    np.testing.assert_allclose(here["eb"], theta[rows], rtol=1e-8)
    np.testing.assert_allclose(here["raw"], y[rows], rtol=1e-12)
    np.testing.assert_allclose(here["raw_se"], np.sqrt(np.diag(v))[rows], rtol=1e-12)
    assert "shrinkage" not in here


def test_replicated_rows_have_the_errors_of_v(nested):
    fit, v = nested
    again = hm.fit(
        fit_frame(fit),
        NESTED,
        covariance=v,
        priors=PRIORS,
        draws=2500,
        random_seed=1,
        posterior_predictive=True,
    )
    draws = again.datatree["posterior"].to_dataset()
    beta = draws["beta"].to_numpy() @ again.data.design.matrix.T
    eta = draws["theta"].to_numpy()[..., again.data.group] + beta
    errors = (again.datatree["posterior_predictive"]["y"].to_numpy() - eta).reshape(-1, len(v))
    size, sd = len(errors), np.sqrt(np.diag(v))
    covariance = errors.T @ errors / size
    spread = np.sqrt(v**2 + sd[:, None] ** 2 * sd**2) / np.sqrt(size)
    assert np.abs((covariance - v) / spread).max() < 5
    assert "sd of effect means within study" in fit.check(random_seed=1).index


def fit_frame(fit):
    """The rows of a fit."""
    inner, outer = fit.data.levels[::-1]
    return pd.DataFrame(
        {
            "y": fit.data.y,
            "x": fit.data.design.matrix[:, 0],
            "study": outer.labels[inner.parent[fit.data.group]],
            "effect": inner.own_labels[fit.data.group],
        }
    )


def test_log_likelihoods_of_rows_are_given_the_others(nested):
    fit, v = nested
    again = hm.fit(
        fit_frame(fit),
        NESTED,
        covariance=v,
        priors=PRIORS,
        draws=3,
        random_seed=1,
        log_likelihood=True,
    )
    draws = again.datatree["posterior"].to_dataset().isel(chain=0, draw=1)
    beta = again.data.design.matrix @ draws["beta"].to_numpy()
    left = again.data.y - draws["theta"].to_numpy()[again.data.group] - beta
    found = again.datatree["log_likelihood"]["y"].isel(chain=0, draw=1)
    for i in range(len(v)):
        rest = np.delete(np.arange(len(v)), i)
        weights = np.linalg.solve(v[np.ix_(rest, rest)], v[rest, i])
        variance = v[i, i] - weights @ v[rest, i]
        deviation = left[i] - weights @ left[rest]
        expected = -0.5 * (np.log(2 * np.pi * variance) + deviation**2 / variance)
        assert float(found[i]) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_predictions_take_errors_of_their_own(nested):
    fit, _ = nested
    new = pd.DataFrame({"study": ["s0", "s0"], "effect": ["e1", "z"], "x": [0.0, 1.0]})
    with pytest.raises(hm.DataError, match="there is no column 'se'"):
        fit.predict(new)
    means = fit.predict(new, outcomes=False).to_frame()
    table = fit.predict(new.assign(se=[2.0, 3.0])).to_frame()
    np.testing.assert_allclose(table["y_sd"] ** 2, means["sd"] ** 2 + [4, 9], rtol=1e-8)


def test_recipes_say_how_errors_are_correlated(nested):
    fit, _ = nested
    assert "V = ...  # the covariance matrix of the rows' errors" in snippet(fit.posterior)
    assert "    covariance=V,\n" in snippet(fit.posterior)
    assert "--covariance V.csv" in command(fit.posterior)
    frame = fit_frame(fit).assign(vi=1.0)
    r = hm.fit(
        frame,
        NESTED,
        variance="vi",
        sampling_correlation=0.25,
        priors=PRIORS,
        draws=5,
        random_seed=1,
    )
    assert "    sampling_correlation=0.25,\n" in snippet(r.posterior)
    assert "--variance vi --sampling-correlation 0.25" in command(r.posterior)
    with pytest.raises(
        hm.SpecError, match=r"correlation of errors is 0\.25 for the draws, and matrix"
    ):
        hm.compare(r, fit.reference())
