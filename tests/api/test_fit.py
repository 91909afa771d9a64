"""The face of a fit: what it shows."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.exact.joint import log_joint


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


def test_repr_states_model_priors_sizes_engine_and_certificate(fit):
    text = repr(fit)
    for part in (
        "y ~ Normal(theta[school], sigma) with known sigma",
        "theta[school] ~ Normal(mu, tau)",
        "mu ~ Flat()",
        "tau ~ HalfCauchy(beta=5), on the sd tau",
        "8 rows in 8 school",
        "exact, 4 chains × 1000 draws",
    ):
        assert part in text
    assert re.search(
        r"largest ratio: 1\.\d+ of density to interpolant; at most 1\.\d+ is exact", text
    )
    assert "draws: exact and independent, by rejection" in text
    assert "spacings" not in text  # of the lattice of the draws, which are exact on any
    assert 0 < fit.datatree["posterior"].attrs["certificate"] < 1e-3


def test_html_says_the_same_and_escapes_labels(fit, schools):
    assert "HalfCauchy(beta=5), on the sd tau" in fit._repr_html_()
    evil = schools.rename(columns={"school": "<script>"})
    assert "<script>" not in hm.fit(evil, draws=10)._repr_html_()


def test_summary_is_arviz_below_model_and_priors(fit):
    table = fit.summary(round_to="none")
    assert isinstance(table, pd.DataFrame)
    assert list(table.index[:3]) == ["mu", "tau", "theta[A]"]
    assert {"mean", "sd", "eti89_lb", "eti89_ub", "ess_bulk", "r_hat", "mcse_mean"} <= set(
        table.columns
    )
    assert repr(table).startswith("y ~ Normal(theta[school], sigma) with known sigma\n")
    assert "  tau ~ HalfCauchy(beta=5), on the sd tau\n" in repr(table)
    assert "on the sd tau" in table._repr_html_()
    assert type(table.loc[["mu"]]) is pd.DataFrame


def test_summary_passes_options_on(fit):
    table = fit.summary(var_names=["tau"], ci_prob=0.5, ci_kind="hdi")
    assert list(table.index) == ["tau"]
    assert "hdi50_lb" in table.columns


def test_reference_is_computed_once(fit):
    assert fit.reference() is fit.reference()


def test_reference_says_what_it_is(fit):
    text = repr(fit.reference())
    assert "no Monte Carlo error" in text
    found = re.search(r"precision: (\d+) digits; two spacings differ by (.*) posterior sd", text)
    assert int(found[1]) == int(-math.log10(float(found[2]))) >= 8


def test_labels_with_markup_and_spaces(schools):
    names = ["a b", "<b>", "ü/ñ", "x:y", "'", '"', "nan", "1e5"]
    fit = hm.fit(schools.assign(school=names), random_seed=1)
    assert fit.datatree["posterior"]["school"].values.tolist() == names
    assert list(fit.reference().summary().index[2:]) == [f"theta[{name}]" for name in names]


@pytest.mark.parametrize("seed", [-1, "1", 1.5])
def test_what_is_no_seed_is_refused(fit, schools, seed):
    for use in (
        lambda: hm.fit(schools, random_seed=seed),
        lambda: fit.check(random_seed=seed),
        lambda: fit.predict(random_seed=seed),
    ):
        with pytest.raises(hm.SpecError, match="random_seed: expected a non-negative integer"):
            use()


def test_prior_predictives_have_a_number_of_draws(fit):
    with pytest.raises(hm.SpecError, match="draws: expected a positive integer; found 0"):
        fit.prior_predictive(draws=0)


def test_draws_of_one_group_by_its_label(fit):
    assert fit.draws("B").identical(fit.draws(["B"]))
    with pytest.raises(hm.DataError, match="there is no school 'Z'"):
        fit.draws("Z")


# sample_stats.lp: log p(y, all variables as they are stored).


def summed_by_hand(fit, df):
    """Log densities of rows, values and parameters, each from SciPy, in a loop over the draws."""
    spec, draws = fit.spec, fit.datatree["posterior"].to_dataset().stack(sample=("chain", "draw"))
    units = [
        pd.factorize(df[list(spec.groups[: i + 1])].astype(str).agg("/".join, axis=1))[0]
        for i in range(len(spec.groups))
    ]  # numbered as they appear, as in the posterior
    x = fit.data.design.matrix
    found = []
    for i in range(draws.sizes["sample"]):
        at = draws.isel(sample=i, drop=True)
        theta, sd = at["theta"], df[spec.se] if spec.se else float(at["sigma"])
        mean = theta.to_numpy()[units[-1]] if units else theta.to_numpy()
        mean = mean + (x @ at["beta"].to_numpy() if spec.covariates else 0)
        total = stats.norm(mean, sd).logpdf(df[spec.outcome]).sum()
        if len(spec.groups) == 2:
            outer = units[0][np.unique(units[1], return_index=True)[1]]
            parents = at["mu"].to_numpy()[outer]
            total += stats.norm(parents, at["tau"]).logpdf(theta).sum()
            total += stats.norm(at["lam"], at["kappa"]).logpdf(at["mu"]).sum()
        elif spec.groups:
            total += stats.norm(at["mu"], at["tau"]).logpdf(theta).sum()
        found.append(total + sum(PRIOR_DENSITIES[str(p)](at, k) for k, p in spec.priors.items()))
    return np.array(found)


def value(at, name):
    return float(at["beta"].sel(coef=name[5:-1]) if name.startswith("beta") else at[name])


# of the variable that is stored: of an sd, where the prior is stated on the variance
PRIOR_DENSITIES = {
    "Flat()": lambda at, name: 0.0,
    "FlatSD()": lambda at, name: 0.0,
    "FlatVariance()": lambda at, name: np.log(2 * value(at, name)),
    "Jeffreys()": lambda at, name: np.log(2 / value(at, name)),
    "HalfCauchy(beta=5)": lambda at, name: stats.halfcauchy(scale=5).logpdf(value(at, name)),
    "Normal(mean=1, sd=3)": lambda at, name: stats.norm(1, 3).logpdf(value(at, name)),
    "InverseGamma(alpha=2, beta=3)": lambda at, name: (
        stats.invgamma(2, scale=3).logpdf(value(at, name) ** 2) + np.log(2 * value(at, name))
    ),
    "NormalInverseGamma(m=0, s=10, alpha=2, beta=3)": lambda at, name: (
        stats.norm(0, 10 * value(at, "sigma")).logpdf(value(at, "theta"))
        + stats.invgamma(2, scale=3).logpdf(value(at, "sigma") ** 2)
        + np.log(2 * value(at, "sigma"))
    ),
}
CLASSES = hm.datasets.simulate_classrooms(5, 2, 4, beta=0.5, random_seed=1).assign(
    age=np.random.default_rng(1).normal(60, 1, size=40)
)
ONE = {"groups": [], "se": None}
JOINT = {
    "known errors": ("schools", {"priors": {"tau": hm.HalfCauchy(5), "mu": hm.Normal(1, 3)}}),
    "flat": ("schools", {"priors": {"tau": hm.FlatVariance()}}),
    "unknown errors": ("rail", {"priors": {"tau": hm.FlatSD()}}),
    "covariates": ("classes", {"formula": "score ~ ses + age + (1 | classroom)"}),
    "three levels": (
        "classes",
        {
            "formula": "score ~ age + (1 | school/classroom)",
            "priors": {"beta": hm.Normal(1, 3), "kappa": hm.InverseGamma(2, 3)},
        },
    ),
    "population": ("one", ONE),
    "conjugate": ("one", ONE | {"priors": {"theta": hm.NormalInverseGamma(0, 10, 2, 3)}}),
}


@pytest.fixture(params=JOINT)
def joint(request, schools):
    name, options = JOINT[request.param]
    frames = {
        "schools": schools,
        "one": schools[["y"]],
        "classes": CLASSES.assign(classroom=CLASSES["classroom"].astype(str)),
        "rail": CLASSES.rename(columns={"score": "y"})[["y", "school"]],
    }
    df = frames[name]
    return hm.fit(df, draws=5, chains=2, random_seed=1, **options), df


def test_lp_is_the_joint_log_density_of_outcome_and_stored_variables(joint):
    fit, df = joint
    lp = fit.datatree["sample_stats"]["lp"]
    assert lp.dims == ("chain", "draw")
    np.testing.assert_allclose(lp.to_numpy().ravel(), summed_by_hand(fit, df), rtol=1e-11)


def test_lp_of_many_groups_and_of_their_statistics():
    """More groups than are worked on at a time; rows, and what rows were reduced to."""
    rng = np.random.default_rng(3)
    group = np.repeat([f"g{i}" for i in range(300)], 3)
    df = pd.DataFrame({"g": group, "x": rng.normal(9, 1, 900), "y": rng.normal(size=900)})
    roles = {"outcome": "y", "groups": ["g"], "covariates": ["x"]}
    fit = hm.fit(df, **roles, draws=500, random_seed=1)
    draws, lp = fit.datatree["posterior"].to_dataset(), fit.datatree["sample_stats"]["lp"]
    some = [draws[name].to_numpy()[:, ::50] for name in ("mu", "tau", "sigma", "theta", "beta")]
    mu, tau, sigma, theta, beta = (v if v.ndim > 2 else v[..., None] for v in some)
    mean = theta.repeat(3, axis=-1) + beta * df["x"].to_numpy()
    expected = stats.norm(mean, sigma).logpdf(df["y"]).sum(-1)
    expected += stats.norm(mu, tau).logpdf(theta).sum(-1)
    expected += np.log(2 * tau[..., 0]) + np.log(2 / sigma[..., 0])
    np.testing.assert_allclose(lp[:, ::50], expected, rtol=1e-11)
    again = hm.fit(hm.SufficientStatistics.of(df, **roles), draws=500, random_seed=1)
    shift = again.datatree["sample_stats"]["lp"] - log_joint_of(again, fit.data)
    np.testing.assert_allclose(shift, 0, atol=1e-7)


def log_joint_of(fit, data):
    draws = fit.datatree["posterior"].to_dataset()
    return log_joint(fit.spec, data, {name: v.to_numpy() for name, v in draws.data_vars.items()})


def test_lp_where_no_degree_of_freedom_is_left():
    """The residual sum of squares is 0 exactly: no rounding error is divided by σ²."""
    rng = np.random.default_rng(11)
    df = pd.DataFrame({"x": rng.normal(size=11), "g": [f"s{i}" for i in [0, *range(10)]]})
    df["y"] = 2 + rng.normal(size=11)
    priors = {"tau": hm.HalfCauchy(5), "sigma": hm.HalfCauchy(5)}
    fit = hm.fit(df, "y ~ x + (1 | g)", priors=priors, draws=10, chains=2, random_seed=1)
    lp = fit.datatree["sample_stats"]["lp"].to_numpy().ravel()
    np.testing.assert_allclose(lp, summed_by_hand(fit, df), rtol=1e-9)


def test_lp_is_left_out_with_the_values_of_the_groups(schools):
    fit = hm.fit(schools, random_seed=1, memory_budget=0)
    assert "lp" not in fit.datatree["sample_stats"]
    assert "lp, the joint log density" in repr(fit)
