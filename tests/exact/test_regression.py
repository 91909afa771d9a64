"""Regression without groups against dense algebra, SciPy's distributions and published tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm

# Bennett & Franklin (1954), Statistical Analysis in Chemistry; R's data set Formaldehyde.
FORMALDEHYDE = pd.DataFrame(
    {"carb": [0.1, 0.3, 0.5, 0.6, 0.7, 0.9], "optden": [0.086, 0.269, 0.446, 0.538, 0.626, 0.782]}
)
LAW = {"alpha": 3.0, "beta": 2.0}
CONJUGATE = {
    "mu": hm.NormalInverseGamma(m=1.0, s=5.0, **LAW),
    "beta": hm.NormalInverseGamma(m=0.5, s=2.0, **LAW),
}
NORMAL = {"mu": hm.Normal(1.0, 5.0), "beta": hm.Normal(0.5, 2.0)}
FORMULA = "y ~ x + f"
FLAT_MEAN = {"beta": CONJUGATE["beta"]}


def frame(n=12):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"x": rng.normal(size=n) + 5, "f": np.resize(list("abc"), n)})
    return data.assign(y=1 + 2 * data["x"] + rng.normal(size=n), se=rng.uniform(0.3, 2, n))


def matrix(data):
    """Columns 1, x, f[b] and f[c]."""
    labels = [(data["f"] == level).to_numpy(float) for level in "bc"]
    return np.column_stack([np.ones(len(data)), data["x"], *labels])


def coefficients(dataset):
    return np.append(float(dataset["mu"]), dataset["beta"])


def test_published_regression():
    """Estimates and standard errors of ``lm(optden ~ carb)``: example(Formaldehyde) in R."""
    exact = hm.reference(FORMALDEHYDE, "optden ~ carb")
    law = stats.t(4)
    scale = (exact.quantile([0.975]) - exact.quantile([0.5]).squeeze("quantile")) / law.ppf(0.975)
    np.testing.assert_allclose(coefficients(exact.mean), [0.005086, 0.876286], atol=5e-7)
    np.testing.assert_allclose(
        coefficients(scale.squeeze("quantile")), [0.007834, 0.013535], atol=5e-7
    )
    # residual standard error 0.008649 on 4 degrees of freedom
    sigma2 = stats.invgamma(2, scale=2 * 0.008649**2)
    q = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(exact.quantile(q)["sigma"], np.sqrt(sigma2.ppf(q)), rtol=2e-4)


def test_flat_priors_give_the_classical_table():
    data = frame().drop(columns="se")
    x, y = matrix(data), data["y"].to_numpy()
    estimate = np.linalg.solve(x.T @ x, x.T @ y)
    df = len(y) - 4
    s2 = ((y - x @ estimate) ** 2).sum() / df
    scale = np.sqrt(s2 * np.diag(np.linalg.inv(x.T @ x)))
    exact = hm.reference(data, FORMULA)
    q = np.array([0.001, 0.5, 0.975])
    expected = stats.t(df, estimate, scale).ppf(q[:, None])
    found = exact.quantile(q)
    np.testing.assert_allclose(found["mu"], expected[:, 0], rtol=1e-9)
    np.testing.assert_allclose(found["beta"], expected[:, 1:], rtol=1e-9)
    np.testing.assert_allclose(exact.cdf("beta", found["beta"]), np.tile(q[:, None], 3), rtol=1e-9)
    points = found["beta"].to_numpy()
    density = stats.t(df, estimate[1:], scale[1:]).pdf(points)
    np.testing.assert_allclose(exact.density("beta", points), density, rtol=1e-9)


def test_conjugate_prior_against_the_dense_multivariate_t():
    """y ~ t with 2α degrees of freedom, location Xm and shape β/α (I + X diag(s²) X')."""
    data = frame().drop(columns="se")
    x, y = matrix(data), data["y"].to_numpy()
    m, s2 = np.array([1.0, 0.5, 0.5, 0.5]), np.diag([25.0, 4, 4, 4])
    shape = np.eye(len(y)) + x @ s2 @ x.T
    evidence = stats.multivariate_t(x @ m, 2 / 3 * shape, df=6).logpdf(y)
    exact = hm.reference(data, FORMULA, priors=CONJUGATE)
    assert exact.log_marginal_likelihood == pytest.approx(evidence, abs=1e-9)
    gain = s2 @ x.T @ np.linalg.inv(shape)
    mean, covariance = m + gain @ (y - x @ m), s2 - gain @ x @ s2
    alpha = 3 + len(y) / 2
    beta = 2 + (y - x @ m) @ np.linalg.solve(shape, y - x @ m) / 2
    np.testing.assert_allclose(coefficients(exact.mean), mean, rtol=1e-9)
    sd = np.sqrt(beta / (alpha - 1) * np.diag(covariance))
    np.testing.assert_allclose(coefficients(exact.sd), sd, rtol=1e-9)
    sigma2 = stats.invgamma(alpha, scale=beta)
    q = np.array([0.01, 0.5, 0.99])
    np.testing.assert_allclose(exact.quantile(q)["sigma"], np.sqrt(sigma2.ppf(q)), rtol=1e-9)
    new = data.assign(x=data["x"] + 3)
    fit = hm.fit(data, FORMULA, priors=CONJUGATE, draws=10, random_seed=1)
    z = matrix(new)
    spread = np.sqrt(beta / alpha * (1 + np.einsum("ri,ij,rj->r", z, covariance, z)))
    expected = stats.t(2 * alpha, z @ mean, spread).ppf(q[:, None])
    np.testing.assert_allclose(fit.predict(new).quantile(q)["y"], expected, rtol=1e-9)


def test_a_flat_intercept_beside_a_conjugate_slope_is_the_limit_of_a_wide_one():
    data = frame().drop(columns="se")
    flat = hm.reference(data, FORMULA, priors=FLAT_MEAN)
    # a normal density with sd s·σ is a flat one times 1/σ where s is large: one half more of α
    wide = FLAT_MEAN | {"mu": hm.NormalInverseGamma(m=0.0, s=1e7, **LAW)}
    limit = hm.reference(data, FORMULA, priors=wide)
    np.testing.assert_allclose(coefficients(flat.mean), coefficients(limit.mean), rtol=1e-9)
    assert limit.alpha - flat.alpha == 0.5
    assert limit.beta == pytest.approx(flat.beta, rel=1e-9)


@pytest.mark.parametrize("priors", [NORMAL, {}, {"beta": hm.Normal(0.5, 2.0)}])
def test_known_standard_errors_against_dense_algebra(priors):
    data = frame()
    x, y, se = matrix(data), data["y"].to_numpy(), data["se"].to_numpy()
    given = [priors.get("mu"), *[priors.get("beta")] * 3]
    precision = np.diag([0.0 if prior is None else prior.sd**-2 for prior in given])
    m = np.array([0.0 if prior is None else prior.mean for prior in given])
    covariance = np.linalg.inv(x.T @ (x / se[:, None] ** 2) + precision)
    mean = covariance @ (x.T @ (y / se**2) + precision @ m)
    exact = hm.reference(data, FORMULA, se="se", priors=priors)
    np.testing.assert_allclose(coefficients(exact.mean), mean, rtol=1e-9)
    np.testing.assert_allclose(coefficients(exact.sd), np.sqrt(np.diag(covariance)), rtol=1e-9)
    assert exact.spec.variables == ("mu", "beta")
    if priors == NORMAL:
        total = np.diag(se**2) + x @ np.diag([25.0, 4, 4, 4]) @ x.T
        evidence = stats.multivariate_normal(x @ m, total).logpdf(y)
        assert exact.log_marginal_likelihood == pytest.approx(evidence, abs=1e-9)


def test_the_common_effect_of_studies_is_their_weighted_mean():
    """Without covariates: a meta-analysis with tau = 0; the mixed model's limit."""
    schools = hm.datasets.load_eight_schools()
    exact = hm.reference(schools, outcome="y", groups=[], se="sigma")
    weight = schools["sigma"].to_numpy() ** -2.0
    assert float(exact.mean["mu"]) == pytest.approx(np.average(schools["y"], weights=weight))
    assert float(exact.sd["mu"]) == pytest.approx(weight.sum() ** -0.5)
    none = hm.reference(schools, priors={"tau": hm.HalfNormal(1e-5)})
    assert float(none.mean["mu"]) == pytest.approx(float(exact.mean["mu"]), rel=1e-8)


@pytest.mark.parametrize(
    ("priors", "se"),
    [(CONJUGATE, None), (FLAT_MEAN, None), ({}, None), (NORMAL, "se"), ({}, "se")],
)
def test_draws(priors, se):
    data = frame() if se else frame().drop(columns="se")
    fit = hm.fit(data, FORMULA, se=se, priors=priors, draws=3000, random_seed=2)
    assert hm.compare(fit, fit).passed
    predicted = fit.predict(data, random_seed=1)
    draws = predicted.datatree["predictions"]["y"]
    pit = predicted.cdf("y", draws.to_numpy().reshape(-1, len(data)))
    assert min(stats.kstest(column, stats.uniform.cdf).pvalue for column in pit.T) > 1e-4


@pytest.mark.parametrize("observed", ["means", "rows"])
@pytest.mark.parametrize(
    ("priors", "se"), [(CONJUGATE, None), (FLAT_MEAN, None), ({}, None), (NORMAL, "se")]
)
def test_the_model_of_pymc_is_the_joint_density(priors, se, observed):
    data = frame() if se else frame().drop(columns="se")
    fit = hm.fit(data, FORMULA, se=se, priors=priors, draws=2, random_seed=1)
    model = hm.build_model(fit.spec, fit.data, observed=observed)
    given = [priors.get("mu"), *[priors.get("beta")] * 3]
    rng, found = np.random.default_rng(3), []
    for _ in range(2):
        point = {
            name: value + 0.1 * rng.normal(size=value.shape)
            for name, value in model.initial_point().items()
        }
        names = [name for name in fit.spec.variables if name != "sigma"]
        outputs = [model[name] for name in (*names, *([] if se else ["sigma"]))]
        values = model.replace_rvs_by_values(outputs)
        mu, beta, *sigma = model.compile_fn(values, mode="FAST_COMPILE")(point)
        sd = data["se"] if se else float(sigma[0])
        expected = stats.norm(mu + matrix(data)[:, 1:] @ beta, sd).logpdf(data["y"]).sum()
        for value, prior in zip([mu, *beta], given, strict=True):
            if isinstance(prior, hm.NormalInverseGamma):
                expected += stats.norm(prior.m, prior.s * sd).logpdf(value)
            elif prior is not None:
                expected += stats.norm(prior.mean, prior.sd).logpdf(value)
        if not se:
            log_sd = np.log(sd)
            law = stats.invgamma(3.0, scale=2.0).logpdf(sd**2) if priors else -2 * log_sd
            expected += law + np.log(2) + log_sd
        logp = model.compile_logp(jacobian=False, mode="FAST_COMPILE")(point)
        found.append(float(logp) - expected)
    np.testing.assert_allclose(found, 0, atol=1e-8)


def test_posteriors_that_do_not_exist_are_refused():
    data = frame().drop(columns="se")
    with pytest.raises(hm.ImproperPosteriorError, match="4 rows less 4 flat coefficients"):
        hm.reference(data[:4].assign(z=[0.0, 1, 3, 7]), "y ~ f + z")
    with pytest.raises(hm.ImproperPosteriorError, match="explain all rows without a remainder"):
        hm.reference(data.assign(y=3 * data["x"] + 1e6), "y ~ x")
    few = data[:3].assign(z=[0.0, 1, 3])
    law = hm.NormalInverseGamma(m=0, s=1, **LAW)
    exact = hm.reference(few, "y ~ x + f + z", priors={"mu": law, "beta": law})  # five of three
    assert np.isfinite(exact.log_marginal_likelihood)


@pytest.mark.parametrize(
    "priors",
    [
        {"beta": hm.Normal(0, 1)},
        {"sigma": hm.HalfNormal(1)},
        CONJUGATE | {"sigma": hm.Jeffreys()},
        {"mu": CONJUGATE["mu"], "beta": hm.NormalInverseGamma(0, 1, 1, 1)},
    ],
)
def test_priors_without_a_closed_form_are_refused(priors):
    with pytest.raises(hm.SpecError, match=r"a regression without groups .* takes Flat"):
        hm.reference(frame().drop(columns="se"), FORMULA, priors=priors)


def test_what_needs_groups_says_so(tmp_path: Path):
    fit = hm.fit(frame().drop(columns="se"), FORMULA, priors=CONJUGATE, draws=20, random_seed=1)
    verbs = ("rank", "estimates", "sensitivity", "check", "draws", "variance_components")
    pictures = ("caterpillar", "shrinkage", "trace_tau", "variance", "ppc")
    for verb in (*verbs, *(f"plot_{name}" for name in pictures)):
        with pytest.raises(hm.SpecError, match="groups"):
            getattr(fit, verb)()
    with pytest.raises(hm.SpecError, match="this picture needs groups, and this model has none"):
        fit.plot_variance()
    with pytest.raises(hm.SpecError, match="fit the rows"):
        hm.SufficientStatistics.of(frame(), FORMULA)
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert again.datatree.identical(fit.datatree)
    assert again.spec == fit.spec
    page = fit.report(tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "'y ~ x + f'" in page or "y ~ x + f" in page


def left_out_by_refits(data, priors, se, some):
    """Densities of rows given fits of all others, from their predictions' own quantiles."""
    found = []
    for i in some:
        fit = hm.fit(data.drop(index=i), FORMULA, se=se, priors=priors, draws=2, random_seed=1)
        predicted = fit.predict(data.loc[[i]], random_seed=1)
        exact, y = fit.reference(), data.loc[i, "y"]
        middle, high = predicted.quantile([0.5, 0.9])["y"].to_numpy().ravel()
        law = stats.norm() if se else stats.t(2 * exact.alpha)
        scale = (high - middle) / law.ppf(0.9)
        found.append(law.logpdf((y - middle) / scale) - np.log(scale))
    return found


@pytest.mark.parametrize(
    ("priors", "se"),
    [(CONJUGATE, None), (FLAT_MEAN, None), ({}, None), (NORMAL, "se"), ({}, "se")],
)
def test_left_out_rows_are_fits_without_them(priors, se):
    data = frame() if se else frame().drop(columns="se")
    data.loc[4, "y"] += 40.0  # most of the sum of squares
    data.loc[7, "x"] += 1e4  # most of what is known of the slope
    fit = hm.fit(data, FORMULA, se=se, priors=priors, draws=2, random_seed=1)
    found = fit.loo()
    expected = left_out_by_refits(data, priors, se, data.index)
    np.testing.assert_allclose(found.elpd_i, expected, rtol=1e-9, atol=1e-9)
    assert found.certificate == 0
    if priors in (CONJUGATE, NORMAL):
        rest = hm.reference(data.drop(index=2), FORMULA, se=se, priors=priors)
        difference = fit.reference().log_marginal_likelihood - rest.log_marginal_likelihood
        assert found.elpd_i[2].item() == pytest.approx(difference, abs=1e-8)


def test_a_row_that_has_nearly_all_of_the_sum_of_squares_keeps_its_digits():
    data = frame().drop(columns="se")
    data.loc[4, "y"] += 1e6
    found = hm.fit(data, FORMULA, draws=2, random_seed=1).loo()
    expected = left_out_by_refits(data, {}, None, [4])
    assert found.n_refits == 1
    assert found.elpd_i[4].item() == pytest.approx(expected[0], rel=1e-10)


def test_arviz_compares_regressions_by_left_out_rows():
    from arviz_stats import compare

    data = frame().drop(columns="se")
    fits = {
        formula: hm.fit(data, formula, draws=2, random_seed=1).loo()
        for formula in ("y ~ x", "y ~ f")
    }
    table = compare(fits, round_to="none")
    assert table.index[0] == "y ~ x"
    difference = fits["y ~ x"].elpd - fits["y ~ f"].elpd
    assert abs(table["elpd_diff"]).max() == pytest.approx(difference, abs=1e-9)
    assert 0 < fits["y ~ x"].p < 4
    with pytest.raises(
        hm.SpecError, match=r"expected 'row' \(this model has no groups\); found 'group'"
    ):
        hm.fit(data, "y ~ x", draws=2, random_seed=1).loo("group")


def test_rows_that_cannot_be_left_out_have_no_number():
    data = frame().drop(columns="se").assign(only=1.0 * (np.arange(12) == 3))
    fit = hm.fit(data, "y ~ x + only", draws=2, random_seed=1)
    with pytest.warns(UserWarning, match=r"'3' cannot be left out.*not identified"):
        found = fit.loo()
    assert np.isnan(found.elpd)
    assert list(found.reasons) == ["3"]
    known = hm.fit(data, "y ~ x + only", draws=2, random_seed=1, priors=CONJUGATE).loo()
    assert np.isfinite(known.elpd)
    few = hm.fit(data[:3], "y ~ x", draws=2, random_seed=1)
    with pytest.raises(
        hm.ImproperPosteriorError, match=r"none of the 3 units .*2 rows less 2 flat"
    ):
        few.loo()
    one = data[:1].assign(se=1.0)
    with pytest.raises(hm.ImproperPosteriorError, match=r"none of the 1 units .*not identified"):
        hm.fit(one, outcome="y", groups=[], se="se", draws=2, random_seed=1).loo()
    prior = {"mu": hm.Normal(0, 100)}
    found = hm.fit(one, outcome="y", groups=[], se="se", priors=prior, draws=2, random_seed=1).loo()
    expected = stats.norm(0, np.sqrt(1 + 1e4)).logpdf(one["y"].item())
    assert found.elpd == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("priors", "se"), [(CONJUGATE, None), (NORMAL, "se")])
def test_the_priors_are_what_they_say(priors, se):
    """Calibrated: draws from the priors have uniform ranks among those from the posterior."""
    data = frame() if se else frame().drop(columns="se")
    found = hm.calibrate(data, FORMULA, se=se, priors=priors, simulations=100, random_seed=1)
    assert found.passed
