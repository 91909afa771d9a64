"""Covariates: integrated exactly, whatever their coding, scale and level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm


def trials(k=9, seed=0):
    """Estimates with known se and two covariates of each trial, one far from zero."""
    rng = np.random.default_rng(seed)
    year = rng.integers(1990, 2010, k).astype(float)
    dose = rng.normal(size=k)
    sigma = rng.uniform(0.4, 1.2, k)
    y = 0.1 * (year - 2000) - 0.5 * dose + rng.normal(0, 0.6, k) + rng.normal(0, sigma)
    names = [f"t{i}" for i in range(k)]
    return pd.DataFrame({"trial": names, "y": y, "year": year, "dose": dose, "sigma": sigma})


def pupils(seed=0, n_schools=7):
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(n_schools):
        mu, size = rng.normal(), rng.uniform(1, 3)
        for r in range(rng.integers(1, 4)):
            theta = rng.normal(mu, 0.5)
            for _ in range(rng.integers(2, 6)):
                ses, sex = rng.normal(), rng.choice(["f", "m"])
                score = theta + 0.8 * ses + 0.3 * (sex == "m") + 0.5 * size + rng.normal()
                rows.append((f"s{s}", f"s{s}r{r}", size, ses, sex, score))
    return pd.DataFrame(rows, columns=["school", "room", "size", "ses", "sex", "score"])


PRIORS = {
    "flat": ({"mu": hm.Flat(), "beta": hm.Flat()}, 0.0, np.zeros(2), np.zeros(2)),
    "normal": (
        {"mu": hm.Normal(1.0, 3.0), "beta": hm.Normal(0.2, 0.5)},
        1 / 9,
        np.full(2, 0.2),
        np.full(2, 4.0),
    ),
    "mixed": (
        {"mu": hm.Flat(), "beta[year]": hm.Normal(0.0, 0.05)},
        0.0,
        np.zeros(2),
        np.array([400.0, 0.0]),
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_meta_regression_by_brute_force(name):
    """Generalised least squares given τ, adaptive quadrature over τ."""
    given, mu_precision, beta_mean, beta_precision = PRIORS[name]
    data = trials()
    tau_prior = hm.HalfNormal(1.0)
    exact = hm.reference(data, "y ~ year + dose + (1 | trial)", priors=given | {"tau": tau_prior})
    x = np.column_stack([data[["year", "dose"]], np.ones(len(data))])
    y, sigma = data["y"].to_numpy(), data["sigma"].to_numpy()
    precision = np.diag(np.append(beta_precision, mu_precision))
    location = np.append(beta_mean, 1.0 if mu_precision else 0.0)
    proper = np.diag(precision)[np.diag(precision) > 0]

    def solve(tau):
        w = 1 / (sigma**2 + tau**2)
        total = (x.T * w) @ x + precision
        low = np.linalg.cholesky(total)
        b = np.linalg.solve(total, (x.T * w) @ y + precision @ location)
        squares = (w * (y - x @ b) ** 2).sum() + (b - location) @ precision @ (b - location)
        log_density = 0.5 * np.log(w).sum() - np.log(np.diag(low)).sum() - 0.5 * squares
        log_density += 0.5 * np.log(proper).sum()
        log_density -= 0.5 * (len(y) + len(proper) - 3) * np.log(2 * np.pi)
        return np.exp(log_density + tau_prior.log_density(tau)), b, np.linalg.inv(total)

    def integral(f):
        parts = [(1e-12, 0.3), (0.3, 1), (1, 3), (3, 9)]
        return sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-10)[0] for a, b in parts)

    mass = integral(lambda tau: solve(tau)[0])
    for j, (variable, labels) in enumerate([("beta", "year"), ("beta", "dose"), ("mu", None)]):
        mean = integral(lambda tau, j=j: solve(tau)[1][j] * solve(tau)[0]) / mass
        second = integral(
            lambda tau, j=j, m=mean: (
                ((solve(tau)[1][j] - m) ** 2 + solve(tau)[2][j, j]) * solve(tau)[0]
            )
        )
        at = {"coef": labels} if labels else {}
        sd = np.sqrt(second / mass)
        assert float(exact.mean[variable].sel(at)) == pytest.approx(mean, abs=1e-6 * sd)
        assert float(exact.sd[variable].sel(at)) == pytest.approx(sd, rel=1e-6)
    assert exact.lattice.log_integral == pytest.approx(np.log(mass), abs=1e-7)


FORMULA = "score ~ ses + sex + size + (1 | school/room)"


def test_draws_agree_with_the_reference():
    fit = hm.fit(pupils(), FORMULA, random_seed=1)
    exact, draws = fit.reference(), fit.datatree["posterior"].to_dataset()
    assert list(draws["coef"].values) == ["ses", "sex[m]", "size"]
    assert draws["beta"].dims == ("chain", "draw", "coef")
    z = (draws.mean(["chain", "draw"]) - exact.mean) / (exact.sd / np.sqrt(4000))
    assert float(np.abs(z).to_array("v").max()) < 4.5
    pit = exact.cdf("beta", draws["beta"].to_numpy().reshape(-1, 3)[::20])
    assert min(stats.kstest(column, stats.uniform.cdf).pvalue for column in pit.T) > 1e-3


def test_arguments_say_what_the_formula_says():
    data = pupils()
    formula = hm.reference(data, FORMULA)
    arguments = hm.reference(
        data, outcome="score", groups=["school", "room"], covariates=["ses", "sex", "size"]
    )
    assert formula.mean.equals(arguments.mean)


def test_shifting_and_scaling_covariates_changes_what_it_should():
    data = pupils()
    plain = hm.reference(data, FORMULA)
    changed = hm.reference(data.assign(ses=1000 + 5 * data["ses"]), FORMULA)
    beta = plain.mean["beta"].to_numpy()
    np.testing.assert_allclose(changed.mean["beta"], beta / [5, 1, 1], rtol=1e-8)
    np.testing.assert_allclose(changed.sd["beta"], plain.sd["beta"] / [5, 1, 1], rtol=1e-8)
    for name in ("tau", "kappa", "sigma"):
        assert float(changed.mean[name]) == pytest.approx(float(plain.mean[name]), rel=1e-8)
    expected = plain.mean["theta"].to_numpy() - 1000 * beta[0] / 5
    np.testing.assert_allclose(changed.mean["theta"], expected, rtol=1e-8)


def test_the_reference_level_only_moves_the_intercept():
    data = pupils()
    plain = hm.reference(data, FORMULA)
    turned = data.assign(sex=pd.Categorical(data["sex"], categories=["m", "f"]))
    other = hm.reference(turned, FORMULA)
    assert float(other.mean["beta"].sel(coef="sex[f]")) == pytest.approx(
        -float(plain.mean["beta"].sel(coef="sex[m]")), rel=1e-8
    )
    moved = float(plain.mean["lam"] + plain.mean["beta"].sel(coef="sex[m]"))
    assert float(other.mean["lam"]) == pytest.approx(moved, rel=1e-8)


def test_nearly_parallel_covariates_are_told_apart():
    """Columns that differ by 1e-6 of their size: their sum and difference are what they were."""
    data = pupils()
    rng = np.random.default_rng(1)
    data = data.assign(other=rng.normal(size=len(data)))
    apart = hm.reference(data, "score ~ ses + other + (1 | room)")
    near = hm.reference(
        data.assign(near=data["ses"] + 1e-6 * data["other"]), "score ~ ses + near + (1 | room)"
    )
    beta, close = apart.mean["beta"].to_numpy(), near.mean["beta"].to_numpy()
    np.testing.assert_allclose(close[1] * 1e-6, beta[1], rtol=1e-6)
    np.testing.assert_allclose(close.sum(), beta[0], rtol=1e-4)
    assert float(near.mean["tau"]) == pytest.approx(float(apart.mean["tau"]), rel=1e-7)


def test_a_covariate_of_schools_spends_a_school():
    """Five schools, an intercept and a covariate between schools: three contrasts, as needed."""
    data = pupils(n_schools=5)
    assert np.isfinite(hm.reference(data, FORMULA).quantile(0.9, ["kappa"])["kappa"])
    four, tau = pupils(n_schools=4), {"tau": hm.HalfNormal(1.0)}
    message = "4 'school' groups less 2 flat coefficients leave 2 contrasts"
    with pytest.raises(hm.ImproperPosteriorError, match=message):
        hm.reference(four, FORMULA, priors=tau)
    within = hm.reference(four, "score ~ ses + sex + (1 | school/room)", priors=tau)
    assert np.isfinite(within.quantile(0.9, ["kappa"])["kappa"])
    proper = hm.reference(four, FORMULA, priors=tau | {"beta[size]": hm.Normal(0, 5)})
    assert np.isfinite(proper.quantile(0.9, ["kappa"])["kappa"])


def test_moments_of_coefficients_that_do_not_exist():
    """With five schools and a covariate of schools: E β needs E κ, which needs four contrasts."""
    exact = hm.reference(pupils(n_schools=5), FORMULA)
    assert np.isnan(exact.mean["kappa"])
    assert np.isnan(exact.mean["beta"]).all()
    assert np.isfinite(exact.quantile(0.5, ["beta"])["beta"]).all()


REFUSED = {
    "constant": ("score ~ ses + one + (1 | room)", "column 'one' is constant"),
    "collinear": ("score ~ ses + double + (1 | room)", "'double'.*'ses'"),
    "gap": ("score ~ gap + (1 | room)", "column 'gap': 1 missing value, in row 3"),
    "unknown": ("score ~ height + (1 | room)", "there is no column 'height'"),
    "twice": ("score ~ room + (1 | room)", "'room' was given more than one role"),
}


@pytest.mark.parametrize(("formula", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(formula, message):
    data = pupils().assign(one=2.0, double=lambda d: 2 * d["ses"] + 1, gap=lambda d: d["ses"])
    data.loc[3, "gap"] = np.nan
    with pytest.raises(hm.DataError, match=message):
        hm.reference(data, formula)


def test_rows_with_gaps_in_covariates_may_be_dropped():
    data = pupils()
    data.loc[3, "ses"] = np.nan
    dropped = hm.fit(data, FORMULA, missing="drop", draws=10).data
    assert (dropped.dropped, len(dropped.y)) == (1, len(data) - 1)


def test_a_formula_and_arguments_that_say_the_same_thing_twice():
    with pytest.raises(hm.SpecError, match="the formula says what groups is; leave out groups="):
        hm.fit(pupils(), FORMULA, groups="room")


def test_covariates_that_explain_everything_within_groups():
    data = pd.DataFrame(
        {"g": list("aabbccddee"), "x": np.arange(10.0), "y": np.repeat([3.0, 1, 4, 1, 5], 2)}
    )
    data["y"] += 2 * data["x"]
    with pytest.raises(
        hm.ImproperPosteriorError, match="explained by the covariates without a rem"
    ):
        hm.reference(data, "y ~ x + (1 | g)")
