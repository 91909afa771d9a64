"""Estimates of the groups, against closed forms, dense algebra and published figures."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mpmath import mp, mpf
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact import point_estimates
from hiermodels.exact.kernels.tree.tree import Tree
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.standardize import standardize
from hiermodels.posterior.estimation import MOMENTS
from tests.oracles import published_estimates as published


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


def dense(data, exact, sds, is_restricted=True):
    """Log likelihood, GLS coefficients and BLUPs of the groups by plain algebra."""
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
    log_density = 0.5 * np.linalg.slogdet(total)[1]
    log_density -= 0.5 * np.linalg.slogdet(information)[1] if is_restricted else 0
    log_density -= 0.5 * away @ total @ away
    above = exact.data.parents[0]
    cross = sds["tau"] ** 2 * z.T + sds["kappa"] ** 2 * (above[:, None] == above[group])
    return log_density, beta, beta[0] + cross @ total @ away


@pytest.fixture(scope="module")
def classrooms():
    data = three_levels(5)
    return data, fit(data, "y ~ x + (1 | school/class_)")


def test_three_levels_and_a_covariate_by_dense_algebra(classrooms):
    data, exact = classrooms
    found = exact.estimates(at="zero")
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
    assert found._repr_html_().count("<table") == 3


def studies(y, variances, *covariates):
    names = [f"x{i}" for i in range(len(covariates))]
    columns = dict(zip(names, covariates, strict=True))
    labels = [f"s{i}" for i in range(len(y))]
    se = np.sqrt(variances)
    return pd.DataFrame({"study": labels, "y": y, "se": se, **columns}), "y ~ " + " + ".join(
        [*(names or ["1"]), "(1 | study)"]
    )


def meta_analysis(y, variances, *covariates, **options):
    """With priors under which any posterior exists: they play no part in the estimates."""
    data, formula = studies(y, variances, *covariates)
    return fit(data, formula, se="se", priors={"tau": hm.HalfNormal(1)}, **options)


def test_reml_was_not_reml_under_a_normal_prior_of_mu():
    """metafor's REML of Crins' data is 0.4670267; the normal prior of mu made it 0.735."""
    for priors in ({}, {"mu": hm.Normal(0, 0.5), "tau": hm.HalfNormal(0.5)}):
        found = fit(published.crins(), outcome="y", groups="study", se="se", priors=priors)
        found = found.estimates()
        assert found.sds["tau"] == pytest.approx(0.4670267, abs=5e-8)
        w = 1 / (published.crins()["se"] ** 2 + found.sds["tau"] ** 2)
        mean = (w * published.crins()["y"]).sum() / w.sum()
        row = found.coefficients.loc["mu"]
        assert row["estimate"] == pytest.approx(mean, rel=1e-9)
        assert row["se"] == pytest.approx(w.sum() ** -0.5, rel=1e-9)
        assert row["z"] == pytest.approx(mean * w.sum() ** 0.5, rel=1e-9)
        half = stats.norm.ppf(0.945) * w.sum() ** -0.5
        assert row["ci89_lb"] == pytest.approx(mean - half, rel=1e-9)
        assert row["ci89_ub"] == pytest.approx(mean + half, rel=1e-9)


@pytest.mark.parametrize("method", published.BCG_TAU2)
def test_metafor_s_estimates_of_tau2_for_the_vaccine_trials(method):
    data, expected = published.bcg(), published.BCG_TAU2[method]
    found = fit(data, outcome="y", groups="trial", se="se").estimates(method=method)
    digits = 1e-7 if method in ("reml", "ml") else 5e-5  # metafor stops at 1e-7
    assert found.sds["tau"] ** 2 == pytest.approx(expected, abs=digits)
    assert found.method == method
    if method == "reml":
        assert found.coefficients.loc["mu", "estimate"] == pytest.approx(-0.7145323, abs=5e-8)
        assert found.coefficients.loc["mu", "se"] == pytest.approx(0.1797815, abs=5e-8)


@pytest.mark.parametrize("example", published.VIECHTBAUER)
def test_viechtbauer_s_examples(example):
    y, variances, expected = example
    fitted = meta_analysis(y, variances)
    for method, tau2 in expected.items():
        assert fitted.estimates(method=method).sds["tau"] ** 2 == pytest.approx(tau2, abs=5e-4)


@pytest.mark.parametrize("name", published.PYMARE_DATA)
@pytest.mark.parametrize("q", range(3))
def test_metafor_s_estimates_with_covariates(name, q):
    rows = np.array(published.PYMARE_DATA[name])
    fitted = meta_analysis(rows[:, 0], rows[:, 1], *rows[:, 2 : 2 + q].T)
    for method, expected in published.PYMARE_TAU2[name].items():
        if expected[q] is None:
            continue
        found = fitted.estimates(at="zero", method=method, ci_prob=0.95)
        # metafor climbs likelihoods with a tolerance of its own
        digits = (
            {"rel": 3e-5, "abs": 1e-9} if method in ("ml", "reml") else {"rel": 1e-10, "abs": 1e-12}
        )
        assert found.sds["tau"] ** 2 == pytest.approx(expected[q], **digits), method
        if (name, q, method) in published.PYMARE_COEFFICIENTS:
            values, errors = published.PYMARE_COEFFICIENTS[name, q, method]
            np.testing.assert_allclose(found.coefficients["estimate"], values, rtol=1e-9)
            np.testing.assert_allclose(found.coefficients["se"], errors, rtol=1e-9)


def test_lme4_s_estimates_of_the_machines():
    data = published.machines()
    found = fit(data, "score ~ b + c + (1 | worker/cell)").estimates(at="zero")
    for name, sd in published.MACHINES_REML.items():
        assert found.sds[name] == pytest.approx(sd, rel=2e-6)
    means = [data["score"][data["b"] + data["c"] == 0].mean(), data["score"][data["b"] == 1].mean()]
    assert found.coefficients.loc["lam", "estimate"] == pytest.approx(means[0], rel=1e-10)
    assert found.coefficients.loc["beta[b]", "estimate"] == pytest.approx(np.diff(means)[0])


def test_lme4_s_estimates_of_the_pigs():
    found = fit(published.dietox(), "weight ~ time + (1 | pig)").estimates(at="zero")
    for name, variance in published.DIETOX_REML.items():
        assert found.sds[name] ** 2 == pytest.approx(variance, rel=2e-7)
    for column, values in published.DIETOX_COEFFICIENTS.items():
        np.testing.assert_allclose(found.coefficients[column], values, rtol=2e-6)


def information(data, exact, sds, restricted):
    """Slopes of the likelihood by the variances, and the information, to twenty digits.

    ``½(y'PVⱼPy − tr(PVⱼ))`` and ``½ tr(PVᵢPVⱼ)``; without restriction the traces have V⁻¹ for P.
    """
    group, known, n = exact.data.group, exact.spec.se, len(data)
    members = [group, *(parent[group] for parent in exact.data.parents)]
    parts = [mp.matrix(np.equal.outer(u, u).astype(int).tolist()) for u in members]
    parts += [] if known else [mp.eye(n)]
    v = mp.diag([mpf(s) ** 2 for s in data[known]]) if known else mp.zeros(n)
    for part, sd in zip(parts, sds.values(), strict=True):
        v += part * mpf(sd) ** 2
    columns = [np.ones(n), *(data[c] for c in exact.spec.covariates)]
    x, y = (
        mp.matrix(np.column_stack(columns).tolist()),
        mp.matrix(data[exact.spec.outcome].tolist()),
    )
    inverse = v**-1
    p = inverse - inverse * x * (x.T * inverse * x) ** -1 * x.T * inverse
    shares, products = p * y, [(p if restricted else inverse) * part for part in parts]

    def trace(m):
        return sum(m[i, i] for i in range(n))

    slopes = [
        ((shares.T * part * shares)[0] - trace(product)) / 2
        for part, product in zip(parts, products, strict=True)
    ]
    return mp.matrix(slopes), mp.matrix([[trace(a * b) / 2 for b in products] for a in products])


LIKELIHOODS = {
    "known errors": (lambda: published.bcg().drop(columns="ablat"), None),
    "a covariate": (published.bcg, "y ~ ablat + (1 | trial)"),
    "batches": (
        lambda: hm.datasets.load_dyestuff().iloc[[*range(7), *range(10, 23), 29]],
        "yield_ ~ (1 | batch)",
    ),
    "three levels": (lambda: three_levels(5).iloc[:26], "y ~ x + (1 | school/class_)"),
}


def marginal_of(data, formula, se=None, **priors):
    spec, grouped = prepare(data, formula, se=se, priors=priors)
    return grouped, Marginal.of(spec, standardize(grouped))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_slopes_of_the_likelihood_are_0_to_many_digits(name, method):
    """Ten digits: a scoring step in many digits from the estimate leads nowhere."""
    load, formula = LIKELIHOODS[name]
    data = load().reset_index(drop=True)
    priors = {"kappa": hm.HalfNormal(1)} if name == "three levels" else {}
    grouped, marginal = marginal_of(
        data,
        formula or "y ~ (1 | trial)",
        "se" if "se" in data else None,
        tau=hm.HalfNormal(1),
        **priors,
    )
    found = point_estimates.estimate_sds(marginal, method).sds
    assert min(found.values()) > 0
    exact = SimpleNamespace(data=grouped, spec=marginal.spec)
    slopes, matrix = information(data, exact, found, method == "reml")
    step = matrix**-1 * slopes
    for sd, away in zip(found.values(), step, strict=True):
        assert abs(away) < 1e-10 * sd**2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_the_highest_of_all_places_is_found_with_zeros_among_them(seed, method):
    """Of a grid, zeros included, none is higher: three levels, few groups, ragged."""
    rng = np.random.default_rng(seed)
    data = three_levels(seed + 20).iloc[: rng.integers(12, 25)].reset_index(drop=True)
    data["y"] = rng.normal(size=len(data)) * rng.choice([0.1, 1, 5], len(data))
    priors = dict.fromkeys(("tau", "kappa", "sigma"), hm.HalfCauchy(1))
    grouped, marginal = marginal_of(data, "y ~ x + (1 | school/class_)", **priors)
    found = point_estimates.estimate_sds(marginal, method).sds
    exact = SimpleNamespace(data=grouped)
    height = dense(data, exact, found, method == "reml")[0]
    levels = [np.append(0, np.geomspace(0.03, 20, 9))] * 2 + [np.geomspace(0.03, 20, 11)]
    for tau, kappa, sigma in product(*levels):
        near = {"tau": tau, "kappa": kappa, "sigma": sigma}
        assert dense(data, exact, near, method == "reml")[0] <= height + 1e-9
    for name, sd in found.items():
        for other in (0.99 * sd, 1.01 * sd, sd + 0.01):
            near = {**found, name: other}
            assert dense(data, exact, near, method == "reml")[0] <= height + 1e-9


def test_of_two_peaks_the_higher_is_the_estimate():
    """Three precise studies agree, two vague ones lie apart: τ² near 0, or large."""
    y, v = [0.0, 0.1, -0.1, 9.0, -8.0], np.array([0.01, 0.01, 0.01, 1.0, 1.0])
    places, several = np.append(0, np.geomspace(1e-4, 20, 4000)), 0
    for apart in (0.3, 0.45, 0.6, 1.0):
        values = np.array(y) * [1, 1, 1, apart, apart]
        _, marginal = marginal_of(*studies(values, v), "se", tau=hm.HalfNormal(1))
        found = point_estimates.estimate_sds(marginal).sds["tau"]
        heights = np.array([restricted(values, v + t**2) for t in places])
        rises = np.diff(heights) > 0
        several += int((np.r_[True, rises] & ~np.r_[rises, False]).sum() > 1)
        assert found == pytest.approx(places[np.argmax(heights)], rel=4e-3, abs=1e-4)
    assert several


def restricted(y, v):
    w = 1 / v
    mean = (w * y).sum() / w.sum()
    return -0.5 * (np.log(v).sum() + np.log(w.sum()) + (w * (y - mean) ** 2).sum())


def test_metafor_s_maximum_likelihood_of_0_is_no_maximum():
    """The one of its estimates for PyMARE's samples that is not ours."""
    y, v, x = np.array(published.PYMARE_DATA["extreme_k10"])[:, :3].T
    design = np.column_stack([np.ones(10), x])

    def log_likelihood(tau2):
        law = stats.norm(0, np.sqrt(v + tau2))
        w = 1 / (v + tau2)
        beta = np.linalg.solve(design.T @ (w[:, None] * design), design.T @ (w * y))
        return law.logpdf(y - design @ beta).sum()

    _, marginal = marginal_of(*studies(y, v, x), "se", tau=hm.HalfNormal(1))
    tau2 = point_estimates.estimate_sds(marginal, "ml").sds["tau"] ** 2
    assert log_likelihood(tau2) > log_likelihood(tau2 / 2) > log_likelihood(0)
    assert log_likelihood(tau2) > log_likelihood(2 * tau2)


PROPER = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_one_row_a_group_determines_only_the_sum_of_the_variances(method):
    """τ and σ were given as if they could be told apart: only τ² + σ² can."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": [f"g{i}" for i in range(9)], "x": rng.normal(size=9)})
    data["y"] = 3 + data["x"] + rng.normal(size=9)
    found = fit(data, "y ~ x + (1 | g)", priors=PROPER).estimates(at="zero", method=method)
    design = np.column_stack([np.ones(9), data["x"]])
    beta, square = np.linalg.lstsq(design, data["y"])[:2]
    total = square[0] / (7 if method == "reml" else 9)
    assert np.isnan([found.sds["tau"], found.sds["sigma"]]).all()
    assert found.sums == pytest.approx({"tau² + sigma²": total}, rel=1e-9)
    covariance = total * np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(found.coefficients["estimate"], beta, rtol=1e-9)
    np.testing.assert_allclose(found.coefficients["se"], np.sqrt(np.diag(covariance)), rtol=1e-9)
    columns = found.table[["raw_se", "eb", "eb_sd", "shrinkage_eb"]]
    assert columns.isna().all(axis=None)
    np.testing.assert_allclose(found.table["raw"], data["y"] - beta[1] * data["x"], rtol=1e-9)
    np.testing.assert_allclose(found.table["pooled"], beta[0], rtol=1e-9)
    assert "of tau and sigma the data determine only tau² + sigma² =" in repr(found)


def test_one_classroom_a_school_determines_only_the_sum_of_two_variances():
    rng = np.random.default_rng(5)
    school = np.repeat([f"s{i}" for i in range(6)], 4)
    data = pd.DataFrame({"school": school, "class_": "c", "y": rng.normal(size=24)})
    data["y"] += 2 * np.repeat(rng.normal(size=6), 4)
    two = fit(data, "y ~ (1 | school)").estimates()
    priors = {"tau": hm.HalfNormal(1), "kappa": hm.HalfNormal(1)}
    three = fit(data, "y ~ (1 | school/class_)", priors=priors).estimates()
    assert three.sums == pytest.approx({"tau² + kappa²": two.sds["tau"] ** 2}, rel=1e-9)
    assert three.sds["sigma"] == pytest.approx(two.sds["sigma"], rel=1e-9)
    np.testing.assert_allclose(three.table["eb"], two.table["eb"], rtol=1e-9)
    np.testing.assert_allclose(three.table["eb_sd"], two.table["eb_sd"], rtol=1e-9)
    assert three.outer["eb"].isna().all()
    np.testing.assert_allclose(
        three.coefficients.to_numpy(), two.coefficients.to_numpy(), rtol=1e-9
    )


def test_rows_without_degrees_of_freedom_within_leave_a_weighted_sum():
    """Two rows a group, told apart by a covariate: the contrasts have τ² + σ²/2 alone."""
    rng = np.random.default_rng(6)
    group, x = np.repeat([f"g{i}" for i in range(8)], 2), np.tile([0.0, 1.0], 8)
    data = pd.DataFrame({"g": group, "x": x, "y": rng.normal(size=16)})
    data["y"] += np.repeat(rng.normal(size=8), 2)
    found = fit(data, "y ~ x + (1 | g)", priors=PROPER).estimates()
    assert not found.sums  # differences between x = 0 and 1 are seen in each group
    half = data.groupby("g")["y"].mean()
    within = data.assign(y=data["y"] - data["g"].map(half))
    slope = within["y"][x == 1].mean() - within["y"][x == 0].mean()
    residual = within["y"] - slope * (x - 0.5)
    sigma2 = (residual**2).sum() / 7
    assert found.sds["sigma"] ** 2 == pytest.approx(sigma2, rel=1e-9)
    assert found.sds["tau"] ** 2 == pytest.approx(max(half.var() - sigma2 / 2, 0), rel=1e-9)


def test_one_group_says_nothing_of_tau():
    y = np.array([1.0, 2.0, 4.0])
    _, marginal = marginal_of(hm.datasets.load_dyestuff(), "yield_ ~ (1 | batch)")
    scatter = np.array([[((y - y.mean()) ** 2).sum()]])
    tree = Tree(np.zeros((1, 1)), np.array([3.0]), scatter, 3, 0.0)
    data = replace(marginal.data, tree=tree, location=y.mean(), scale=1.0)
    found = point_estimates.estimate_sds(replace(marginal, data=data))
    assert np.isnan(found.sds["tau"])
    assert found.sds["sigma"] == pytest.approx(np.std(y, ddof=1), rel=1e-10)
    assert found.notes == ("the data say nothing of tau: no estimate",)


def test_a_likelihood_without_a_maximum_has_no_estimate():
    """Maximum likelihood with as many coefficients as rows but one within the groups."""
    data = pd.DataFrame({"g": ["a", "a", "b", "b", "c", "c"], "y": [1.0, 1, 2, 2, 4, 4]})
    data["x"] = [0.0, 1, 0, 1, 0, 1]
    priors = {"tau": hm.HalfNormal(1), "sigma": hm.InverseGamma(3, 1)}
    found = fit(data, "y ~ x + (1 | g)", priors=priors).estimates(at="zero")
    assert np.isnan(list(found.sds.values())).all()
    assert not found.sums
    assert "has no maximum" in repr(found)
    np.testing.assert_allclose(found.table["raw"], [1, 2, 4], rtol=1e-9)
    assert found.table["eb"].isna().all()


def test_the_outer_level_has_rows_of_its_own(classrooms):
    data, exact = classrooms
    found = exact.estimates(at="zero")
    sds, outer = found.sds, found.outer
    beta = dense(data, exact, sds)[1]
    group, parent = exact.data.group, exact.data.parents[0]
    residual = (data["y"] - beta[1] * data["x"]).groupby(group).mean().to_numpy()
    w = 1 / (sds["tau"] ** 2 + sds["sigma"] ** 2 / np.bincount(group))
    error = 1 / np.bincount(parent, w)
    raw = np.bincount(parent, w * residual) * error
    share = error / (error + sds["kappa"] ** 2)
    np.testing.assert_allclose(outer["raw"], raw, rtol=1e-9)
    np.testing.assert_allclose(outer["raw_se"], np.sqrt(error), rtol=1e-9)
    np.testing.assert_allclose(outer["shrinkage_eb"], share, rtol=1e-9)
    np.testing.assert_allclose(outer["eb"], share * beta[0] + (1 - share) * raw, rtol=1e-9)
    np.testing.assert_array_equal(outer["mean"], exact.reference().mean["mu"])
    assert outer.index.name == "school"
    assert list(outer.columns) == list(found.table.columns)
    tree = IntegratedPosterior.of(exact.spec, exact.data)
    lattice, marginal = tree.lattice, tree.marginal
    tau2, kappa2, sigma2 = (marginal.sds(lattice.points) ** 2).T
    one = [
        1 / np.sum(1 / (t + s / np.bincount(group)[parent == 0]))
        for t, s in zip(tau2, sigma2, strict=True)
    ]
    expected = np.sum(lattice.weights * one / (one + kappa2))
    assert outer["shrinkage"].iloc[0] == pytest.approx(expected, rel=1e-9)


def test_negative_estimates_become_0_and_say_so(schools):
    exact = fit(schools)
    for method in ("dl", "he", "pm", "eb"):
        found = exact.estimates(method=method)
        assert found.sds["tau"] == 0
        assert "tau: " in repr(found)
    y, v = schools["y"].to_numpy(), schools["sigma"].to_numpy() ** 2.0
    negative = y.var(ddof=1) - v.mean()
    assert f"the estimate of tau² is {negative:.5g}, so 0" in repr(exact.estimates(method="he"))
    assert exact.estimates(method="sj").sds["tau"] > 0


def test_moments_of_pooled_rows_are_those_of_the_studies():
    """Two estimates of one study, of equal precision, are one with half the variance."""
    y, v, _ = published.VIECHTBAUER[0]
    data, formula = studies(np.array(y), np.array(v))
    twice = pd.concat([data.assign(y=data["y"] + a, se=data["se"] * 2**0.5) for a in (-0.3, 0.3)])
    priors = {"tau": hm.HalfNormal(1)}
    for method in MOMENTS:
        one, two = (
            fit(frame, formula, se="se", priors=priors).estimates(method=method).sds["tau"]
            for frame in (data, twice)
        )
        assert two == pytest.approx(one, rel=1e-10)


def test_methods_that_are_not_for_a_model_are_refused(schools):
    known = "'reml'.*'ml'.*'dl'.*'pm'.*'he'.*'eb'.*'sj'"
    exact = fit(schools)
    for method in ("REML", "hs", 1, ["dl"]):
        with pytest.raises(hm.SpecError, match=f"method: expected one of {known}"):
            exact.estimates(method=method)
    with pytest.raises(hm.SpecError, match="two levels with known standard errors; use 'reml'"):
        fit(hm.datasets.load_dyestuff()).estimates(method="dl")
    data, formula = studies(np.arange(4.0), np.ones(4), [0.0, 1, 0, 1], [0.0, 0, 1, 1])
    twice = pd.concat([data, data.assign(x0=-data["x0"])])
    priors = {"tau": hm.HalfNormal(1)}
    with pytest.raises(hm.SpecError, match="covariates differ between rows of one study"):
        fit(twice, formula, se="se", priors=priors).estimates(method="pm")
    priors |= {"beta": hm.Normal(0, 1)}
    with pytest.raises(hm.SpecError, match="there are 3, and 3 coefficients"):
        fit(data[:3], formula, se="se", priors=priors).estimates(method="he")
    with pytest.raises(hm.SpecError, match="ci_prob"):
        exact.estimates(ci_prob=1.5)
