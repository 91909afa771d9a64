"""Sds that are fixed, against plain normal algebra and closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.model.priors.registry import parse_prior


def pupils(seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 9)
    cells = np.repeat(np.arange(9), sizes)
    data = pd.DataFrame(
        {"school": [f"s{c // 3}" for c in cells], "class_": [f"c{c}" for c in cells]}
    )
    data["x"] = rng.normal(size=len(data))
    data["y"] = 3 + data["x"] + rng.normal(size=9)[cells] + rng.normal(size=len(data))
    return data


def effects_by_algebra(data, tau, kappa, sigma):
    """Means and sds of theta, mu and the coefficients under flat priors of these, densely."""
    y = data["y"].to_numpy()
    classes, schools = (pd.factorize(data[c])[0] for c in ("class_", "school"))
    z, w = np.eye(classes.max() + 1)[classes], np.eye(schools.max() + 1)[schools]
    above = schools[np.unique(classes, return_index=True)[1]]
    design = np.column_stack([np.ones(len(y)), data["x"]])
    inverse = np.linalg.inv(tau**2 * z @ z.T + kappa**2 * w @ w.T + sigma**2 * np.eye(len(y)))
    covariance = np.linalg.inv(design.T @ inverse @ design)
    beta = covariance @ design.T @ inverse @ y
    found = {"beta": (beta, np.sqrt(np.diag(covariance)))}
    own = w[np.unique(classes, return_index=True)[1]]
    for name, cross, prior in (
        ("mu", kappa**2 * w.T, kappa**2 * np.eye(w.shape[1])),
        (
            "theta",
            tau**2 * z.T + kappa**2 * own @ w.T,
            tau**2 * np.eye(z.shape[1]) + kappa**2 * np.equal.outer(above, above),
        ),
    ):
        gain = cross @ inverse
        mean = beta[0] + gain @ (y - design @ beta)
        lift = np.column_stack([np.ones(len(gain)), np.zeros(len(gain))]) - gain @ design
        variance = prior - gain @ cross.T + lift @ covariance @ lift.T
        found[name] = (mean, np.sqrt(np.maximum(np.diag(variance), 0)))
    return found


FIXED = [(0.7, 0.4, 1.2), (0.0, 0.4, 1.2), (0.7, 0.0, 1.2), (0.0, 0.0, 1.2), (3.0, 1e-6, 0.3)]


@pytest.mark.parametrize(("tau", "kappa", "sigma"), FIXED)
def test_all_sds_fixed_is_plain_normal_algebra(tau, kappa, sigma):
    data = pupils()
    priors = {"tau": hm.Fixed(tau), "kappa": hm.Fixed(kappa), "sigma": hm.Fixed(sigma)}
    exact = hm.reference(data, "y ~ x + (1 | school/class_)", priors=priors)
    found = effects_by_algebra(data, tau, kappa, sigma)
    beta, errors = found.pop("beta")
    for name, mean, sd in (("lam", beta[0], errors[0]), ("beta", beta[1:], errors[1:])):
        np.testing.assert_allclose(exact.mean[name], mean, rtol=1e-8)
        np.testing.assert_allclose(exact.sd[name], sd, rtol=1e-8)
    for name, (mean, sd) in found.items():
        np.testing.assert_allclose(exact.mean[name], mean, rtol=1e-8)
        np.testing.assert_allclose(exact.sd[name], sd, rtol=1e-7)
    assert exact.certificate < 1e-12


def test_known_errors_and_a_fixed_tau_are_the_weighted_mean(schools):
    for tau in (0.0, 5.0):
        exact = hm.reference(schools, priors={"tau": hm.Fixed(tau)})
        w = 1 / (schools["sigma"] ** 2 + tau**2)
        mean = (w * schools["y"]).sum() / w.sum()
        assert float(exact.mean["mu"]) == pytest.approx(mean, rel=1e-12)
        assert float(exact.sd["mu"]) == pytest.approx(w.sum() ** -0.5, rel=1e-12)
        law = stats.norm(mean, w.sum() ** -0.5)
        np.testing.assert_allclose(exact.quantile([0.1, 0.9], ["mu"])["mu"], law.ppf([0.1, 0.9]))
    priors = {"tau": hm.Fixed(5.0), "mu": hm.Normal(1, 10)}
    exact = hm.reference(schools, priors=priors)
    total = np.diag(schools["sigma"] ** 2 + 25.0) + 100
    law = stats.multivariate_normal(np.ones(8), total)
    assert exact.log_marginal_likelihood == pytest.approx(law.logpdf(schools["y"]), rel=1e-12)


def test_a_fixed_sd_is_a_mass_at_one_place(schools):
    exact = hm.reference(schools, priors={"tau": hm.Fixed(5.0)})
    assert float(exact.mean["tau"]) == 5
    assert float(exact.sd["tau"]) == 0
    np.testing.assert_array_equal(exact.quantile([0.01, 0.99], ["tau"])["tau"], [5, 5])
    np.testing.assert_array_equal(exact.cdf("tau", [0.0, 4.999, 5.0, np.inf]), [0, 0, 1, 1])
    with pytest.raises(hm.SpecError, match="tau is fixed at 5: a mass at one place has no density"):
        exact.density("tau", [5.0])


def within(data):
    groups = [group.to_numpy() for _, group in data.groupby("g")["y"]]
    return groups, np.array([len(group) for group in groups])


def test_tau_fixed_and_sigma_free_by_quadrature():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(list("abcde"), [1, 2, 4, 3, 2]), "y": rng.normal(size=12)})
    priors = {"tau": hm.Fixed(0.8), "sigma": hm.HalfNormal(2), "mu": hm.Normal(0, 3)}
    exact = hm.reference(data, "y ~ (1 | g)", priors=priors)
    groups, sizes = within(data)

    def density(s):
        total = [np.eye(n) * s**2 + 0.64 for n in sizes]
        whole = np.zeros((12, 12))
        place = np.concatenate([[0], np.cumsum(sizes)])
        for start, end, block in zip(place[:-1], place[1:], total, strict=True):
            whole[start:end, start:end] = block
        law = stats.multivariate_normal(np.zeros(12), whole + 9)
        return np.exp(law.logpdf(np.concatenate(groups))) * stats.halfnorm.pdf(s, scale=2)

    moments = [
        integrate.quad(lambda s, k=k: s**k * density(s), 1e-3, 15, epsabs=0, limit=200)[0]
        for k in range(3)
    ]
    assert exact.log_marginal_likelihood == pytest.approx(np.log(moments[0]), rel=1e-8)
    mean = moments[1] / moments[0]
    assert float(exact.mean["sigma"]) == pytest.approx(mean, rel=1e-8)
    assert float(exact.sd["sigma"]) ** 2 == pytest.approx(
        moments[2] / moments[0] - mean**2, rel=1e-7
    )
    below = integrate.quad(density, 1e-3, 1.0, epsabs=0)[0] / moments[0]
    assert float(exact.cdf("sigma", 1.0)) == pytest.approx(below, rel=1e-7)


@pytest.mark.parametrize("rows", [1, 3])
def test_tau_of_0_is_one_population(rows):
    """Closed form: σ² ~ IG((n − 1)/2, S/2), mu a Student t; one row a group will do."""
    rng = np.random.default_rng(3)
    n = 9 * rows
    data = pd.DataFrame(
        {"g": np.repeat([f"g{i}" for i in range(9)], rows), "y": rng.normal(size=n)}
    )
    exact = hm.reference(data, "y ~ (1 | g)", priors={"tau": hm.Fixed(0)})
    s2 = data["y"].var()
    law = stats.t(n - 1, data["y"].mean(), np.sqrt(s2 / n))
    assert float(exact.mean["mu"]) == pytest.approx(law.mean(), rel=1e-9)
    assert float(exact.sd["mu"]) == pytest.approx(law.std(), rel=1e-8)
    variance = stats.invgamma((n - 1) / 2, scale=(n - 1) * s2 / 2)
    np.testing.assert_allclose(
        exact.quantile([0.1, 0.5], ["sigma"])["sigma"] ** 2, variance.ppf([0.1, 0.5]), rtol=1e-8
    )
    np.testing.assert_allclose(exact.mean["theta"], law.mean(), rtol=1e-8)


def test_draws_tables_and_comparison_of_a_fixed_sd(schools, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = hm.fit(schools, priors={"tau": hm.Fixed(5)}, random_seed=1)
        draws = fit.datatree["posterior"]
        assert (draws["tau"] == 5).all()
        table = fit.summary()
        shares = fit.variance_components()
        compared = hm.compare(fit, fit.reference())
    assert np.isnan(table.loc["tau", "r_hat"])
    assert draws["mu"].mean() == pytest.approx(float(fit.reference().mean["mu"]), abs=0.3)
    assert shares.loc["tau²", "median"] == 25
    assert shares.loc["share[school]", "sd"] == 0
    assert compared.passed
    assert not [row for row in compared.table.index if str(row).startswith("tau")]
    with pytest.raises(hm.SpecError, match="draws of tau are not 4, at which the model fixes it"):
        hm.compare(fit.datatree, hm.reference(schools, priors={"tau": hm.Fixed(4)}))
    with pytest.raises(hm.SpecError, match="tau is fixed at 5; there is nothing to compare"):
        hm.compare(fit, fit.reference(), var_names=["tau"])
    fit.to_netcdf(tmp_path / "fit.nc")
    assert hm.load(tmp_path / "fit.nc").spec == fit.spec
    assert fit.spec.priors["tau"] == parse_prior("Fixed(5)")
    found = fit.predict(pd.DataFrame({"school": ["A", "new"], "sigma": [15.0, 15.0]}))
    assert float(found.sd[found.names[0]][1]) ** 2 == pytest.approx(
        float(fit.reference().sd["mu"]) ** 2 + 25
    )


def test_estimates_take_a_fixed_sd_for_known():
    data = hm.datasets.load_pastes()
    formula = "strength ~ (1 | batch/cask)"
    sds = hm.fit(data, formula, draws=1).estimates().sds
    for name in ("tau", "kappa", "sigma"):
        fit = hm.fit(data, formula, priors={name: hm.Fixed(sds[name])}, draws=1)
        assert fit.estimates().sds == pytest.approx(sds, rel=1e-8)
    fixed = {name: hm.Fixed(sd) for name, sd in sds.items()}
    found = hm.fit(data, formula, priors=fixed, draws=1).estimates()
    assert found.sds == sds
    assert "fixed, not estimated" in repr(found)


def test_what_cannot_be_fixed_or_shown_is_refused(schools):
    for value in (-1, np.nan, np.inf):
        with pytest.raises(hm.SpecError, match="expected a finite number, at least 0"):
            hm.Fixed(value)
    data = pd.DataFrame({"g": list("aabbcc"), "y": [1.0, 2, 3, 5, 4, 4]})
    with pytest.raises(hm.SpecError, match=r"sigma = Fixed\(0\) leaves no density"):
        hm.reference(data, "y ~ (1 | g)", priors={"sigma": hm.Fixed(0)})
    fit = hm.fit(schools, priors={"tau": hm.Fixed(5)}, draws=1)
    for show in (fit.plot_trace_tau, fit.plot_variance, fit.sensitivity):
        with pytest.raises(hm.SpecError, match="fixed"):
            show()


def test_posteriors_that_exist_and_that_do_not_with_fixed_sds():
    one_each = pd.DataFrame({"g": list("abcd"), "y": [1.0, 2, 4, 3]})
    with pytest.raises(hm.ImproperPosteriorError, match="no degree of freedom for sigma"):
        hm.reference(one_each, "y ~ (1 | g)", priors={"tau": hm.Fixed(1)})
    exact = hm.reference(one_each, "y ~ (1 | g)", priors={"sigma": hm.Fixed(1), "tau": hm.FlatSD()})
    with_se = hm.reference(one_each.assign(se=1.0), priors={"tau": hm.FlatSD()}, groups="g")
    assert float(exact.quantile([0.5], ["tau"])["tau"][0]) == pytest.approx(
        float(with_se.quantile([0.5], ["tau"])["tau"][0]), rel=1e-9
    )
    alike = pd.DataFrame({"g": list("aabb"), "y": [1.0, 1, 1, 1]})
    priors = {"tau": hm.Fixed(0), "sigma": hm.HalfNormal(1)}
    with pytest.raises(hm.ImproperPosteriorError, match="explain all rows without a remainder"):
        hm.reference(alike, "y ~ (1 | g)", priors=priors)
    one_group = pd.DataFrame({"g": ["a"] * 3, "y": [1.0, 2, 4]})
    exact = hm.reference(
        one_group, "y ~ (1 | g)", priors={"tau": hm.Fixed(2), "sigma": hm.Fixed(1)}
    )
    assert float(exact.sd["mu"]) ** 2 == pytest.approx(4 + 1 / 3)


def test_sensitivity_leaves_out_what_is_fixed():
    data = hm.datasets.load_pastes()
    fit = hm.fit(data, "strength ~ (1 | batch/cask)", priors={"sigma": hm.Fixed(0.8)}, draws=1)
    found = fit.sensitivity(
        priors={"flat": {"kappa": hm.FlatSD()}, "known": {"tau": hm.Fixed(3)}}
    ).table
    assert "sigma" not in found.index.get_level_values("variable")
    row = found.loc["known", "tau"]
    below = float(fit.reference().cdf("tau", 3.0))
    assert row["kolmogorov"] == pytest.approx(max(below, 1 - below))
    assert row["sd_ratio"] == 0


def test_pymc_s_models_have_a_constant_for_a_fixed_sd(schools):
    priors = {"tau": hm.Fixed(5), "mu": hm.Normal(0, 10)}
    model = hm.two_level(schools, priors=priors, parameterization="centered")
    assert "tau" in model.named_vars
    assert [variable.name for variable in model.free_RVs] == ["mu", "theta"]
    theta = np.linspace(-3, 9, 8)
    expected = stats.norm(0, 10).logpdf(1.5) + stats.norm(1.5, 5).logpdf(theta).sum()
    expected += stats.norm(theta, schools["sigma"]).logpdf(schools["y"]).sum()
    point = model.initial_point()
    given = {"mu": 1.5, "theta": theta}
    for variable in model.free_RVs:
        value = model.rvs_to_values[variable]
        transform = model.rvs_to_transforms[variable]
        point[value.name] = np.asarray(transform.forward(given[variable.name]))
    assert model.compile_logp(jacobian=False, mode="FAST_COMPILE")(point) == pytest.approx(
        expected, rel=1e-10
    )
    with pytest.raises(hm.SpecError, match="tau is fixed at 0"):
        hm.two_level(schools, priors={"tau": hm.Fixed(0)}, parameterization="centered")
    with pytest.raises(hm.SpecError, match="all of them are fixed"):
        hm.two_level(schools, priors=priors, parameterization="marginal")
    assert hm.two_level(schools, priors={"tau": hm.Fixed(0)}).free_RVs
