"""Draws from the priors of groups with slopes and of four levels, and the priors' densities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.results.simulation import draw_variables

SIZE = 4000
RARE = 1e-4
PRIORS = {
    "mu": hm.Normal(1.0, 2.0),
    "beta": hm.Normal(-1.0, 0.5),
    "sigma": hm.HalfNormal(0.3),
    "rho": hm.LKJ(1.5),
    "tau": hm.HalfNormal(2.0),
    "tau[x]": hm.Fixed(0.25),
}


def frame():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(6), 4)
    covariates = {name: rng.normal(size=len(g)) for name in "xw"}
    return pd.DataFrame({"y": rng.normal(size=len(g)), **covariates, "g": g, "b": g // 2})


def drawn(formula, priors):
    spec, data = prepare(frame(), formula, priors=priors)
    return draw_variables(spec, data, SIZE, np.random.default_rng(5))


def require_standard_normal(values):
    assert stats.kstest(values.ravel(), stats.norm.cdf).pvalue > RARE


def test_deviations_from_the_means_are_correlated_as_rho_says():
    """In units of the sds, an effect less ρ times the other one is independent of that one."""
    found = drawn("y ~ x + w + (1 + x | g)", PRIORS)
    away = found["theta"] - np.stack([found["mu"], found["beta"][:, 0]], axis=1)[:, None]
    first, second = np.moveaxis(away / found["tau"][:, None], -1, 0)
    rho = found["rho"][:, None]
    rest = (second - rho * first) / np.sqrt(1 - rho**2)
    for values in (first, rest, (first + rest) / np.sqrt(2)):
        require_standard_normal(values)
    require_standard_normal((found["mu"] - 1) / 2)
    assert stats.kstest(found["rho"], stats.beta(1.5, 1.5, -1, 2).cdf).pvalue > RARE
    assert stats.kstest(found["tau"][:, 0], stats.halfnorm(0, 2).cdf).pvalue > RARE
    assert (found["tau"][:, 1] == 0.25).all()


def test_three_effects_have_three_correlations():
    priors = {name: prior for name, prior in PRIORS.items() if name != "tau[x]"}
    found = drawn("y ~ x + w + (1 + x + w | g)", priors)
    tops = np.column_stack([found["mu"], found["beta"]])
    away = (found["theta"] - tops[:, None]) / found["tau"][:, None]
    pairs = [(1, 0), (2, 0), (2, 1)]
    for column, (i, j) in zip(found["rho"].T, pairs, strict=True):
        error = (away[..., i] * away[..., j]).mean(axis=1) - column
        assert abs(error.mean()) < 5 * error.std() / np.sqrt(SIZE)


def test_slopes_at_the_inner_level_lie_around_those_above_them():
    given = {"tau_b": hm.HalfNormal(1.0), "tau_g": hm.HalfNormal(0.5), "rho_g": hm.LKJ(2.0)}
    given |= {name: PRIORS[name] for name in ("mu", "beta", "sigma")}
    found = drawn("y ~ x + (1 | b) + (1 + x | b:g)", given)
    parent = np.repeat(np.arange(3), 2)
    away = found["theta_g"][..., 0] - found["theta_b"][:, parent]
    require_standard_normal(away / found["tau_g"][:, :1])
    require_standard_normal((found["theta_g"][..., 1] - found["beta"]) / found["tau_g"][:, 1:])
    require_standard_normal((found["theta_b"] - found["mu"][:, None]) / found["tau_b"][:, None])


def test_log_prior_is_that_of_the_proper_priors():
    priors = {name: PRIORS[name] for name in ("mu", "rho", "sigma", "tau[x]")}
    priors |= {"tau[Intercept]": hm.HalfNormal(2.0), "beta[w]": hm.Normal(0.0, 3.0)}
    fit = hm.fit(
        frame(), "y ~ x + w + (1 + x | g)", priors=priors, log_prior=True, draws=20, random_seed=1
    )
    draws, found = (fit.datatree[name].to_dataset() for name in ("posterior", "log_prior"))
    assert set(found.data_vars) == {"mu", "tau", "rho", "beta", "sigma"}
    assert found["tau"].coords["effect"].to_numpy().tolist() == ["Intercept"]
    assert found["beta"].coords["coef"].to_numpy().tolist() == ["w"]
    laws = {
        "mu": (stats.norm(1, 2), draws["mu"]),
        "rho": (stats.beta(1.5, 1.5, -1, 2), draws["rho"]),
        "sigma": (stats.halfnorm(0, 0.3), draws["sigma"]),
        "tau": (stats.halfnorm(0, 2), draws["tau"].sel(effect=["Intercept"])),
        "beta": (stats.norm(0, 3), draws["beta"].sel(coef=["w"])),
    }
    for name, (law, values) in laws.items():
        np.testing.assert_allclose(found[name], law.logpdf(values), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("formula", "sizes"),
    [
        ("y ~ x + w + (1 + x + w || g)", {"g": 6, "effect": 3, "coef": 2}),
        ("y ~ x + (0 + x | g)", {"g": 6, "effect": 1, "coef": 1}),
    ],
)
def test_prior_draws_are_laid_out_as_those_of_the_posterior(formula, sizes):
    priors = {name: prior for name, prior in PRIORS.items() if name not in ("rho", "tau[x]")}
    fit = hm.fit(frame(), formula, priors=priors, prior=True, draws=50, random_seed=1)
    tree = fit.datatree
    assert dict(tree["prior"].sizes) == {"chain": 1, "draw": tree["prior"].sizes["draw"], **sizes}
    for name, values in tree["posterior"].data_vars.items():
        assert tree["prior"][name].dims == values.dims
        for dim in values.dims[2:]:
            assert tree["prior"][name][dim].equals(values[dim])
    assert tree["prior_predictive"]["y"].sizes["row"] == 24
