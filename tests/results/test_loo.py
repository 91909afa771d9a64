"""Exact cross-validation, against fits without each unit and against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm, t

import hiermodels as hm
from tests.oracles.published_estimates import bcg

BCG_PRIORS = {"tau": hm.HalfNormal(0.5), "mu": hm.Normal(-0.5, 1)}
SCHOOLS = {"outcome": "y", "groups": "school", "se": "sigma"}
PASTES = {"outcome": "strength", "groups": ["batch", "cask"]}


def fit_bcg(**options):
    return hm.fit(bcg(), groups="trial", outcome="y", se="se", priors=BCG_PRIORS, **options)


def refitted(data, units, roles, some):
    """``log p(y) − log p(the rest)`` from two fits, for some of the units."""
    whole = hm.reference(data, **roles).log_marginal_likelihood
    return [
        whole - hm.reference(data[units != unit], **roles).log_marginal_likelihood for unit in some
    ]


def three_levels(seed=3):
    rng = np.random.default_rng(seed)
    school, room = np.repeat(range(5), 4), np.repeat(range(10), 2)
    data = pd.DataFrame({"school": [f"s{i}" for i in school], "room": [f"r{i}" for i in room]})
    data["x"], data["w"] = rng.normal(size=20), rng.normal(size=10)[room]
    data["se"] = rng.uniform(0.3, 0.8, 20)
    values = rng.normal(size=5)[school] + 0.7 * rng.normal(size=10)[room]
    data["y"] = 1 + 2 * data["x"] - data["w"] + values + data["se"] * rng.normal(size=20)
    return data


def test_cross_validation_holds_where_groups_have_one_row():
    """Importance sampling from each row's own group gives −7.92 here, most Pareto k being bad."""
    fit = fit_bcg(draws=10, random_seed=1)
    found = fit.loo()
    assert found.elpd == pytest.approx(-14.34323, abs=1e-5)
    data = bcg()
    roles = {"groups": "trial", "outcome": "y", "se": "se", "priors": BCG_PRIORS}
    expected = refitted(data, data["trial"], roles, data["trial"][:13:4])
    np.testing.assert_allclose(found.elpd_i[::4], expected, rtol=0, atol=1e-8)
    by_group = fit.loo("group")
    np.testing.assert_allclose(by_group.elpd_i, found.elpd_i, rtol=0, atol=1e-10)
    assert by_group.elpd_i.coords["trial"].to_numpy().tolist() == data["trial"].tolist()
    assert found.elpd_i.coords["trial"].dims == ("row",)
    assert found.certificate < 1e-8


def marginal_density(tau, y, se):
    """``p(y | tau)`` of eight schools, mu integrated over a flat prior, by hand."""
    variance = tau**2 + se**2
    weight = 1 / variance
    centre = weight @ y / weight.sum()
    log = norm.logpdf(y, centre, np.sqrt(variance)).sum() + 0.5 * np.log(2 * np.pi / weight.sum())
    return np.exp(log)


@pytest.mark.parametrize(
    ("prior", "density"),
    [(hm.HalfCauchy(5), lambda tau: 1 / (1 + (tau / 5) ** 2)), (hm.FlatSD(), lambda tau: 1.0)],
    ids=["half-Cauchy", "flat"],
)
def test_eight_schools_by_adaptive_quadrature(prior, density):
    """Improper priors as well: their constants cancel."""
    schools = hm.datasets.load_eight_schools()
    y, se = schools["y"].to_numpy(float), schools["sigma"].to_numpy(float)
    found = hm.fit(schools, **SCHOOLS, priors={"tau": prior}, draws=10, random_seed=1).loo()

    def integral(some):
        parts = [(0, 10), (10, 100), (100, 10_000), (10_000, np.inf)]
        some = (y[some], se[some])
        return sum(
            quad(lambda s: density(s) * marginal_density(s, *some), *p, epsabs=0, epsrel=1e-11)[0]
            for p in parts
        )

    whole = integral(np.arange(8))
    expected = [np.log(whole / integral(np.delete(np.arange(8), i))) for i in range(8)]
    np.testing.assert_allclose(found.elpd_i, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("unit", ["row", "group", "outer"])
def test_three_levels_with_covariates_are_fits_without_the_unit(unit):
    data = three_levels()
    priors = {name: hm.HalfNormal(2) for name in ("tau", "kappa")}
    priors |= {"lam": hm.Normal(0, 3), "beta": hm.Normal(0, 2)}
    roles = {"formula": "y ~ x + w + (1 | school/room)", "se": "se", "priors": priors}
    found = hm.fit(data, **roles, draws=10, random_seed=1).loo(unit)
    units = {"row": data.index, "group": data["room"], "outer": data["school"]}[unit]
    labels = found.elpd_i.coords[found.unit].to_numpy()
    np.testing.assert_allclose(
        found.elpd_i[[0, 3]], refitted(data, units, roles, labels[[0, 3]]), rtol=0, atol=1e-7
    )
    assert len(found.elpd_i) == len(set(units))


@pytest.fixture(scope="module")
def pastes():
    priors = {name: hm.HalfNormal(3) for name in ("tau", "kappa", "sigma")}
    roles = PASTES | {"priors": priors | {"lam": hm.Normal(60, 5)}}
    data = hm.datasets.load_pastes()
    return data, roles, hm.fit(data, **roles, draws=10, random_seed=1)


@pytest.mark.parametrize("unit", ["row", "group", "outer"])
def test_pastes_are_fits_without_the_unit(pastes, unit):
    """Three unknown sds, by log marginal likelihoods."""
    data, roles, fit = pastes
    found = fit.loo(unit)
    casks = data["batch"] + "/" + data["cask"]
    units = {"row": data.index, "group": casks, "outer": data["batch"]}[unit]
    label = found.elpd_i.coords[found.unit].to_numpy()[-1]
    expected = refitted(data, units, roles, [label])
    np.testing.assert_allclose(found.elpd_i[-1:], expected, rtol=0, atol=1e-7)


def test_an_outlier_is_left_out_by_a_fit_of_its_own():
    data = bcg()
    data.loc[3, "y"] = 20.0
    roles = {"groups": "trial", "outcome": "y", "se": "se", "priors": BCG_PRIORS}
    found = hm.fit(data, **roles, draws=10, random_seed=1).loo()
    assert found.n_refits >= 1
    expected = refitted(data, data["trial"], roles, ["t4"])
    np.testing.assert_allclose(found.elpd_i[[3]], expected, rtol=0, atol=1e-8)


def test_a_row_that_dominates_the_others_keeps_its_digits():
    data = bcg()
    data.loc[3, "se"] = 1e-7
    roles = {"groups": "trial", "outcome": "y", "se": "se", "priors": BCG_PRIORS}
    found = hm.fit(data, **roles, draws=10, random_seed=1).loo()
    expected = refitted(data, data["trial"], roles, data["trial"][2:4])
    np.testing.assert_allclose(found.elpd_i[2:4], expected, rtol=0, atol=1e-7)


def test_arviz_compares_models_by_it():
    from arviz_stats import compare
    from arviz_stats.utils import ELPDData

    fits = {"pooled": bcg().assign(x=1.0 * (np.arange(13) % 2)), "plain": bcg()}
    formulas = {"pooled": "y ~ x + (1 | trial)", "plain": "y ~ 1 + (1 | trial)"}
    priors = {"tau": hm.HalfNormal(0.5)}
    found = {
        name: hm.fit(
            fits[name], formulas[name], se="se", priors=priors, draws=10, random_seed=1
        ).loo()
        for name in fits
    }
    one = found["plain"]
    assert isinstance(one, ELPDData)
    assert (one.kind, one.scale, one.n_data_points, one.warning) == ("loo", "log", 13, False)
    assert one.elpd == pytest.approx(one.elpd_i.sum().item(), abs=1e-12)
    assert one.p == pytest.approx(one.p_loo_i.sum().item(), abs=1e-12)
    assert one.se == pytest.approx(np.sqrt(13 * np.var(one.elpd_i.to_numpy())), abs=1e-12)
    assert "no Monte Carlo error" in str(one)
    table = compare(found, round_to="none")
    difference = found["pooled"].elpd - one.elpd
    assert abs(table["elpd_diff"]).max() == pytest.approx(abs(difference), abs=1e-9)


def test_units_without_which_the_posterior_does_not_exist_have_no_number():
    dyes = hm.datasets.load_dyestuff()
    four = dyes[dyes["batch"].isin(dyes["batch"].unique()[:4])]
    fit = hm.fit(four, groups="batch", outcome="yield_", draws=10, random_seed=1)
    with pytest.raises(hm.ImproperPosteriorError, match=r"none of the 4 units.*3 'batch' groups"):
        fit.loo("group")
    data = bcg().assign(only=1.0 * (np.arange(13) == 2))
    options = {"se": "se", "priors": {"tau": hm.HalfNormal(1)}, "draws": 10, "random_seed": 1}
    fit = hm.fit(data, "y ~ only + (1 | trial)", **options)
    with pytest.warns(UserWarning, match="t3.*coefficient of the covariates is not identified"):
        found = fit.loo("group")
    assert np.isnan(found.elpd)
    assert found.warning
    assert list(found.reasons) == ["t3"]
    assert np.isnan(found.elpd_i.to_numpy()).nonzero()[0].tolist() == [2]


@pytest.mark.parametrize("prior", [None, hm.NormalInverseGamma(m=1.0, s=2.0, alpha=2.0, beta=3.0)])
def test_one_population_is_a_student_t(prior):
    y = np.append(np.random.default_rng(4).normal(size=6), 30.0)
    priors = {} if prior is None else {"theta": prior}
    frame = pd.DataFrame({"y": y})
    fit = hm.fit(frame, outcome="y", groups=[], priors=priors, draws=10, random_seed=1)
    expected = []
    for i in range(7):
        rest = hm.reference(frame.drop(index=i), outcome="y", groups=[], priors=priors).law
        scale = np.sqrt(rest.beta / rest.alpha * (1 + 1 / rest.kappa))
        expected.append(t.logpdf(y[i], 2 * rest.alpha, rest.mean, scale))
    found = fit.loo()
    np.testing.assert_allclose(found.elpd_i, expected, rtol=1e-11, atol=0)
    if prior is not None:
        rest = hm.reference(frame[1:], outcome="y", groups=[], priors=priors)
        difference = fit.reference().log_marginal_likelihood - rest.log_marginal_likelihood
        assert found.elpd_i[0] == pytest.approx(difference, abs=1e-10)


def test_without_the_only_group_there_is_the_prior():
    data = pd.DataFrame({"g": ["a"] * 4, "y": [1.0, 2.0, 4.0, 3.0]})
    priors = {"tau": hm.HalfNormal(1), "mu": hm.Normal(0, 2), "sigma": hm.HalfNormal(1)}
    roles = {"outcome": "y", "groups": "g", "draws": 5, "random_seed": 1}
    fit = hm.fit(data, priors=priors, **roles)
    evidence = fit.reference().log_marginal_likelihood
    assert fit.loo("group").elpd == pytest.approx(evidence, abs=1e-12)
    flat = hm.fit(data, priors=priors | {"mu": hm.Flat()}, **roles)
    with pytest.raises(hm.ImproperPosteriorError, match=r"none of the 1 units.*mu ~ Flat"):
        flat.loo("group")


def test_what_cannot_be_left_out_is_refused():
    fit = fit_bcg(draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match=r"unit: expected 'row', 'group' .trial.; found 'outer'"):
        fit.loo("outer")
    statistics = hm.SufficientStatistics.of(bcg(), groups="trial", outcome="y", se="se")
    same = hm.fit(statistics, priors=BCG_PRIORS, draws=10, random_seed=1)
    np.testing.assert_allclose(same.loo("group").elpd_i, fit.loo().elpd_i, rtol=0, atol=1e-9)
    with pytest.raises(hm.SpecError, match="needs rows"):
        same.loo()
    pastes = hm.SufficientStatistics.of(hm.datasets.load_pastes(), **PASTES)
    with pytest.raises(hm.SpecError, match="scatter of the rows within each group"):
        hm.fit(pastes, draws=10, random_seed=1).loo("group")


def test_what_would_take_long_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr("hiermodels.exact.left_out.MAX_WORK", 100)
    with pytest.raises(hm.SpecError, match=r"densities of 13 units \(row\) at \d+ points"):
        fit_bcg(draws=10, random_seed=1).loo()


def test_marginal_log_likelihood_integrates_the_values_of_groups_out():
    fit = fit_bcg(draws=5, random_seed=1, log_likelihood="marginal")
    draws, data = fit.datatree["posterior"], bcg()
    found = fit.datatree["log_likelihood"]["y"]
    assert found.dims == ("chain", "draw", "trial")
    sd = np.sqrt(draws["tau"].to_numpy()[..., None] ** 2 + data["se"].to_numpy() ** 2)
    expected = norm.logpdf(data["y"].to_numpy(), draws["mu"].to_numpy()[..., None], sd)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_marginal_log_likelihood_of_three_levels_is_that_of_outer_groups():
    data = three_levels()
    options = {"log_likelihood": "marginal", "draws": 3, "chains": 2, "random_seed": 1}
    fit = hm.fit(data, "y ~ x + w + (1 | school/room)", **options)
    found = fit.datatree["log_likelihood"]["y"]
    assert found.dims == ("chain", "draw", "school")
    draws = fit.datatree["posterior"].to_dataset().isel(chain=1, draw=2)
    own = data["school"] == "s1"
    some, beta = data[own], draws["beta"].to_numpy()
    covariance = draws["kappa"].item() ** 2 + np.diag(some["se"] ** 2)
    covariance += draws["tau"].item() ** 2 * np.equal.outer(
        some["room"].to_numpy(), some["room"].to_numpy()
    )
    away = some["y"] - draws["lam"].item() - some[["x", "w"]].to_numpy() @ beta
    square = away.to_numpy() @ np.linalg.solve(covariance, away.to_numpy())
    expected = -0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + square)
    assert found.sel(school="s1").isel(chain=1, draw=2).item() == pytest.approx(expected, abs=1e-9)


def test_log_likelihood_takes_known_words_only():
    with pytest.raises(hm.SpecError, match="log_likelihood: expected True or 'conditional'"):
        fit_bcg(draws=5, random_seed=1, log_likelihood="both")
    one = pd.DataFrame({"y": [1.0, 2.0, 4.0]})
    with pytest.raises(hm.SpecError, match="no groups"):
        hm.fit(one, outcome="y", groups=[], log_likelihood="marginal", random_seed=1)


def test_with_fixed_sds_it_is_plain_normal_algebra():
    schools = hm.datasets.load_eight_schools()
    y, variance = schools["y"].to_numpy(float), schools["sigma"].to_numpy(float) ** 2 + 25
    fit = hm.fit(schools, **SCHOOLS, priors={"tau": hm.Fixed(5.0)}, draws=5, random_seed=1)
    for i, found in enumerate(fit.loo().elpd_i.to_numpy()):
        weight = np.delete(1 / variance, i)
        mean = weight @ np.delete(y, i) / weight.sum()
        expected = norm.logpdf(y[i], mean, np.sqrt(variance[i] + 1 / weight.sum()))
        assert found == pytest.approx(expected, abs=1e-12)
