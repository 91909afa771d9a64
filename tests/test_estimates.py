"""Estimates of the groups, against closed forms, dense algebra and published figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm


def fit(data, *arguments, **options):
    return hm.fit(data, *arguments, draws=1, chains=1, **options)


@pytest.fixture(scope="module")
def players():
    data = hm.datasets.load_baseball()
    return data, fit(data, outcome="y", groups="player", se="sigma")


def test_errors_of_the_baseball_estimates(players):
    """The lecture: raw 0.0754, empirical Bayes 0.0217, closer for 16 of 18 players."""
    data, exact = players
    errors = exact.estimates(truth=data["ability"]).errors
    assert errors.loc["raw", "sse"] == pytest.approx(0.0754, abs=5e-5)
    assert errors.loc["eb", "sse"] == pytest.approx(0.0217, abs=5e-5)
    assert errors.loc["eb", "closer"] == 16
    assert errors.loc["raw", "closer"] == 0
    assert (errors["groups"] == 18).all()
    away = exact.reference().mean["theta"].to_numpy() - data["ability"].to_numpy()
    assert errors.loc["posterior mean", "rmse"] == pytest.approx(np.sqrt((away**2).mean()))


def test_equal_standard_errors_give_the_formula_of_the_lecture(players):
    """``τ̂² = s² − σ²``, ``B = σ²/s²`` and ``ȳ + (1 − B)(y − ȳ)``."""
    data, exact = players
    found = exact.estimates()
    y, s2 = data["y"].to_numpy(), data["y"].var()
    assert found.sds["tau"] ** 2 == pytest.approx(s2 - 0.06**2, rel=1e-8)
    shrink = 0.06**2 / s2
    np.testing.assert_allclose(found.table["shrinkage_eb"], shrink, rtol=1e-8)
    np.testing.assert_allclose(found.table["eb"], y.mean() + (1 - shrink) * (y - y.mean()), 1e-9)
    np.testing.assert_allclose(found.table["raw"], y)
    np.testing.assert_allclose(found.table["raw_se"], 0.06)
    np.testing.assert_allclose(found.table["pooled"], y.mean())
    assert found.errors is None


def test_mean_shrinkage_is_an_integral_in_closed_form(players):
    """``B = σ²/V`` with ``V ~ IG((k − 3)/2, (k − 1)s²/2)`` truncated to V > σ²."""
    data, exact = players
    law = stats.invgamma(7.5, scale=17 * data["y"].var() / 2)
    moment = integrate.quad(lambda v: 0.06**2 / v * law.pdf(v), 0.06**2, 1, epsabs=0)[0]
    expected = moment / law.sf(0.06**2)
    np.testing.assert_allclose(exact.estimates().table["shrinkage"], expected, rtol=1e-8)


PUBLISHED = {
    # REML of R's lme4, for its data sets Dyestuff and Pastes
    "dyestuff": (hm.datasets.load_dyestuff, {}, {"tau": 42.001, "sigma": 49.510}),
    "pastes": (
        hm.datasets.load_pastes,
        {"groups": ["batch", "cask"]},
        {"tau": 2.904, "kappa": 1.287, "sigma": 0.823},
    ),
    # REML of R's metafor for the data of Konstantopoulos (2011): variances 0.0651 and 0.0327
    "school calendar": (
        lambda: hm.datasets.load_school_calendar().drop(columns="year"),
        {},
        {"kappa": 0.2551, "tau": 0.1809},
    ),
    "eight schools": (hm.datasets.load_eight_schools, {}, {"tau": 0.0}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_restricted_maximum_likelihood_is_the_published_one(name):
    load, options, expected = PUBLISHED[name]
    found = fit(load(), **options).estimates().sds
    for sd, value in expected.items():
        digits = 5e-4 if value > 0.3 else 5e-5
        assert found[sd] == pytest.approx(value, abs=digits)


def test_balanced_groups_give_the_analysis_of_variance():
    data = hm.datasets.load_dyestuff()
    groups = data.groupby("batch")["yield_"]
    within, between = groups.var().mean(), 5 * groups.mean().var()
    found = fit(data).estimates()
    assert found.sds["sigma"] ** 2 == pytest.approx(within, rel=1e-8)
    assert found.sds["tau"] ** 2 == pytest.approx((between - within) / 5, rel=1e-8)
    np.testing.assert_allclose(found.table["raw"], groups.mean())
    np.testing.assert_allclose(found.table["raw_se"], np.sqrt(within / 5), rtol=1e-8)


def test_an_estimate_of_zero_pools_completely(schools):
    found = fit(schools).estimates()
    assert found.sds["tau"] == 0.0
    weight = schools["sigma"] ** -2.0
    mean = (weight * schools["y"]).sum() / weight.sum()
    np.testing.assert_allclose(found.table["eb"], mean, rtol=1e-9)
    np.testing.assert_allclose(found.table["pooled"], mean, rtol=1e-9)
    assert (found.table["shrinkage_eb"] == 1).all()
    assert (found.table["shrinkage"] < 1).all()


def three_levels(seed):
    """Unbalanced pupils in classrooms in schools, with a covariate."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(12):
        mu = rng.normal(10, 2)
        for c in range(rng.integers(1, 4)):
            theta = rng.normal(mu, 1)
            for _ in range(rng.integers(1, 5)):
                x = rng.normal(s / 10)
                rows.append((f"s{s}", f"c{c}", x, rng.normal(theta + 0.8 * x, 1.5)))
    return pd.DataFrame(rows, columns=["school", "class_", "x", "y"])


def dense(data, exact, sds):
    """Restricted log likelihood, GLS coefficients and BLUPs of the groups by plain algebra."""
    y = data["y"].to_numpy()
    group = exact.data.group
    z = np.eye(group.max() + 1)[group]
    w = np.eye(exact.data.parents[0].max() + 1)[exact.data.parents[0][group]]
    x = np.column_stack([np.ones(len(y)), data["x"]])
    upper = sds["tau"] ** 2 * z @ z.T + sds["kappa"] ** 2 * w @ w.T
    total = np.linalg.inv(upper + sds["sigma"] ** 2 * np.eye(len(y)))
    information = x.T @ total @ x
    beta = np.linalg.solve(information, x.T @ total @ y)
    away = y - x @ beta
    log_density = 0.5 * (np.linalg.slogdet(total)[1] - np.linalg.slogdet(information)[1])
    log_density -= 0.5 * away @ total @ away
    above = exact.data.parents[0]
    cross = sds["tau"] ** 2 * z.T + sds["kappa"] ** 2 * (above[:, None] == above[group])
    return log_density, beta, beta[0] + cross @ total @ away


def test_three_levels_and_a_covariate_by_dense_algebra():
    data = three_levels(5)
    exact = fit(data, "y ~ x + (1 | school/class_)")
    found = exact.estimates()
    best, beta, blup = dense(data, exact, found.sds)
    for name, sd in found.sds.items():
        for factor in (0.99, 1.01):
            assert dense(data, exact, {**found.sds, name: factor * sd})[0] < best
    np.testing.assert_allclose(found.table["eb"], blup, rtol=1e-9)
    corrected = (data["y"] - beta[1] * data["x"]).groupby(exact.data.group).mean()
    np.testing.assert_allclose(found.table["raw"], corrected, rtol=1e-9)
    np.testing.assert_allclose(
        found.table["raw_se"] ** 2, found.sds["sigma"] ** 2 / np.bincount(exact.data.group)
    )
    ordinary = np.linalg.lstsq(np.column_stack([np.ones(len(data)), data["x"]]), data["y"])[0]
    np.testing.assert_allclose(found.table["pooled"], ordinary[0], rtol=1e-9)
    np.testing.assert_array_equal(found.table["mean"], exact.reference().mean["theta"])
    np.testing.assert_array_equal(found.table["sd"], exact.reference().sd["theta"])


def test_truth_is_matched_by_label_or_taken_in_order(players):
    data, exact = players
    by_label = data.set_index("player")["ability"]
    expected = exact.estimates(truth=data["ability"].tolist()).table["truth"]
    for truth in (by_label.sample(frac=1, random_state=1), by_label.to_dict(), data["ability"]):
        pd.testing.assert_series_equal(exact.estimates(truth=truth).table["truth"], expected)
    np.testing.assert_array_equal(expected, data["ability"])


def test_truth_that_does_not_fit_is_refused(players):
    data, exact = players
    by_label = data.set_index("player")["ability"]
    refused = {
        "there is no value for player 'Clemente'": by_label.iloc[1:],
        "expected a value for each of 18 player; found shape": [0.1, 0.2],
        "expected finite numbers; 1 not": by_label.replace(0.346, np.nan),
        "expected a number for each player": ["a"] * 18,
        "several have 'Clemente'": pd.concat([by_label, by_label.iloc[:1]]),
    }
    for message, truth in refused.items():
        with pytest.raises(hm.DataError, match=message):
            exact.estimates(truth=truth)


def test_truth_in_an_order_that_is_not_the_rows_is_refused():
    data = three_levels(1).sample(frac=1, random_state=2)
    exact = fit(data, "y ~ x + (1 | school/class_)")
    size = exact.data.sizes[0]
    with pytest.raises(hm.DataError, match="the order of class_ is not that of the data's rows"):
        exact.estimates(truth=np.zeros(size))
    by_label = dict(zip(exact.data.labels[-1].tolist(), range(size), strict=True))
    np.testing.assert_array_equal(exact.estimates(truth=by_label).table["truth"], range(size))


def test_one_population_has_no_estimates():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0]})
    with pytest.raises(hm.SpecError, match="no estimates to compare"):
        hm.fit(data, groups=[], outcome="y", draws=10).estimates()


def test_the_display_has_both_tables_and_the_estimated_sds(players):
    data, exact = players
    found = exact.estimates(truth=data["ability"])
    assert "eb: given tau = 0.035405 (restricted maximum likelihood) as if known" in repr(found)
    assert "posterior mean" in repr(found)
    assert found._repr_html_().count("<table") == 2
