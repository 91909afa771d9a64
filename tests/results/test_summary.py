"""Tables of a posterior: what they say of themselves, and the shares of variance they hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize

import hiermodels as hm
from hiermodels.exact import variance_shares
from hiermodels.exact.variance_shares import typical_se
from hiermodels.posterior.tables import shown, unsigned
from hiermodels.results import summary
from hiermodels.results import variance_components as components


def frame(y, sigma):
    return pd.DataFrame({"group": [f"g{i}" for i in range(len(y))], "y": y, "sigma": sigma})


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


def test_every_table_states_model_priors_and_intervals(fit):
    tables = [
        fit.summary(),
        fit.reference().summary(),
        fit.variance_components(),
        fit.rank().table,
    ]
    for table in tables:
        for text in (repr(table), table._repr_html_()):
            assert "y ~ Normal(theta[school], sigma) with known sigma" in text
            assert "tau ~ HalfCauchy(beta=5), on the sd tau" in text
            assert "intervals: 89 % equal-tailed" in text


def test_zero_has_no_sign():
    assert shown(-0.0) == "0"
    table = unsigned(pd.DataFrame({"a": [-0.0, -1.0], "b": ["-0.00", "-0.01"], "c": ["-0", 2]}))
    assert table.to_dict("list") == {"a": [0.0, -1.0], "b": ["0.00", "-0.01"], "c": ["0", 2]}
    assert not np.signbit(table["a"][0])
    priors = {"tau_plate": hm.Fixed(0.0), "tau_sample": hm.HalfNormal(4)}
    formula = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    fit = hm.fit(
        hm.datasets.load_penicillin(), formula, priors=priors, draws=20, chains=2, random_seed=1
    )
    assert "-0 " not in f"{fit.summary()!r} "


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"ci_kind": "hdi", "ci_prob": 0.5}, "intervals: 50 % highest-density"),
        ({"kind": "stats_median"}, "intervals: 89 % equal-tailed"),
        ({"ci_prob": 0.975}, "intervals: 97.5 % equal-tailed"),
    ],
)
def test_the_interval_is_the_one_that_was_asked_for(fit, options, note):
    assert note in repr(fit.summary(**options))


def test_a_table_without_intervals_states_none(fit):
    assert "intervals" not in repr(fit.summary(kind="diagnostics"))


def test_what_is_no_table_is_refused(fit):
    with pytest.raises(hm.SpecError, match="a summary is a table"):
        fit.summary(fmt="xarray")


def test_variables_that_are_not_there_are_refused(fit):
    with pytest.raises(hm.SpecError, match=r"var_names: .*'rho'.*; the draws have mu, tau, theta"):
        fit.summary(var_names=["tau", "rho"])
    assert list(fit.summary(var_names="~theta").index) == ["mu", "tau"]


def test_very_many_groups_are_left_out_with_a_note(monkeypatch):
    monkeypatch.setattr(summary, "MAX_SCALARS", 30)
    data = frame(np.random.default_rng(1).normal(size=31), 0.7)
    fit = hm.fit(data, draws=50, random_seed=1)
    assert list(fit.summary().index) == ["mu", "tau"]
    assert "left out: theta of 31 group, for which .summary(var_names=['theta'])" in repr(
        fit.summary()
    )
    assert len(fit.summary(var_names="theta")) == 31
    assert len(fit.reference().summary()) == 33
    made = hm.fit(data, draws=50, random_seed=1, memory_budget=0)
    assert list(made.summary().index) == ["mu", "tau"]
    assert ".draws(groups=[…])" in repr(made.summary())
    with pytest.raises(hm.SpecError, match=r"draws of theta were not kept; .*\.draws\(groups="):
        made.summary(var_names=["tau", "theta"])
    whole = hm.fit(data.head(30), draws=50, random_seed=1)
    assert len(whole.summary()) == 32


def test_long_tables_are_cut_in_the_middle():
    exact = hm.reference(frame(np.random.default_rng(1).normal(size=200), 0.7))
    lines = repr(exact.summary()).splitlines()
    assert len(lines) < 40
    assert lines[-1].startswith("theta[g199]")
    assert any(line.startswith("theta[g0]") for line in lines)


def test_a_moment_that_does_not_exist_is_explained(schools):
    exact = hm.reference(schools.head(4))
    assert "nan: this moment does not exist" in repr(exact.summary())
    assert "nan: this moment does not exist" not in repr(exact.summary(["theta"]))


def one_way(data):
    """Posterior of λ = τ²/σ² for balanced groups, σ² integrated out, under π(σ², τ²) = 1/σ².

    With k groups of n rows and sums of squares W within and B between them,
    ``p(λ) ∝ (1 + nλ)^{−(k − 1)/2} (W + B/(1 + nλ))^{−(kn − 1)/2 + 1}``.
    """
    groups = data.groupby("batch")["yield_"]
    k, n = groups.ngroups, 5
    within = ((data["yield_"] - groups.transform("mean")) ** 2).sum()
    between = n * ((groups.mean() - data["yield_"].mean()) ** 2).sum()

    def density(ratio):
        total = 1 + n * ratio
        squares = (within + between / total) / within
        return total ** (-(k - 1) / 2) * squares ** (1 - (k * n - 1) / 2)

    return density


def test_shares_of_balanced_groups_are_one_integral():
    data = hm.datasets.load_dyestuff()
    density = one_way(data)

    def integral(f, top=1.0):
        """Over the share ρ = λ/(1 + λ)."""
        return integrate.quad(
            lambda r: f(r) * density(r / (1 - r)) / (1 - r) ** 2, 0, top, epsabs=0, epsrel=1e-11
        )[0]

    mass = integral(lambda r: 1.0)
    mean = integral(lambda r: r) / mass
    sd = np.sqrt(integral(lambda r: (r - mean) ** 2) / mass)
    fit = hm.fit(data, draws=1, chains=1)
    row = fit.variance_components(ci_prob=0.9).loc["share[batch]"]
    assert row["mean"] == pytest.approx(mean, abs=1e-8)
    assert row["sd"] == pytest.approx(sd, abs=1e-8)
    for name, q in {"eti90_lb": 0.05, "median": 0.5, "eti90_ub": 0.95}.items():
        quantile = optimize.brentq(
            lambda top, q=q: integral(lambda r: 1.0, top) / mass - q, 0.01, 0.999
        )
        assert row[name] == pytest.approx(quantile, abs=1e-7)
    rest = fit.variance_components(ci_prob=0.9).loc["share[residual]"]
    assert rest["mean"] == pytest.approx(1 - mean, abs=1e-8)
    assert rest["eti90_lb"] == pytest.approx(1 - row["eti90_ub"], abs=1e-7)


def test_variances_are_squares_of_sds():
    exact = hm.reference(hm.datasets.load_school_calendar().drop(columns="year"))
    table = components.variance_components(exact)
    assert list(table.index[:4]) == ["kappa", "tau", "kappa²", "tau²"]
    for name in ("kappa", "tau"):
        sd, variance = table.loc[name], table.loc[f"{name}²"]
        assert variance["mean"] == pytest.approx(sd["mean"] ** 2 + sd["sd"] ** 2, rel=1e-8)
        assert variance["median"] == pytest.approx(sd["median"] ** 2)
        assert variance["eti89_ub"] == pytest.approx(sd["eti89_ub"] ** 2)


def test_the_sd_of_a_variance_by_adaptive_quadrature():
    y = np.random.default_rng(2).normal(0, 2, 12)
    exact = hm.reference(frame(y, 1.0))
    squares = ((y - y.mean()) ** 2).sum()

    def moment(m):
        def density(v):
            return v**m * (1 + v) ** (-5.5) * np.exp(-squares / 2 / (1 + v))

        return sum(
            integrate.quad(density, a, b, epsabs=0, epsrel=1e-11)[0]
            for a, b in [(0, 5), (5, 100), (100, np.inf)]
        )

    mean, second = moment(1) / moment(0), moment(2) / moment(0)
    row = components.variance_components(exact).loc["tau²"]
    assert row["mean"] == pytest.approx(mean, rel=1e-8)
    assert row["sd"] == pytest.approx(np.sqrt(second - mean**2), rel=1e-7)


def test_moments_of_variances_that_do_not_exist_are_nan(schools):
    table = components.variance_components(hm.reference(schools.head(6)))
    assert np.isfinite(table.loc["tau²", "mean"])
    assert np.isnan(table.loc["tau²", "sd"])
    assert "nan: this moment does not exist" in repr(table)


def test_shares_of_known_errors_are_i_squared(schools):
    """With one unknown variance a share is a growing function of it."""
    exact = hm.reference(schools)
    table = components.variance_components(exact)
    weight = schools["sigma"] ** -2.0
    typical = 7 * weight.sum() / (weight.sum() ** 2 - (weight**2).sum())
    for column in ("eti89_lb", "median", "eti89_ub"):
        tau2 = table.loc["tau", column] ** 2
        expected = tau2 / (tau2 + typical)
        assert table.loc["share[school]", column] == pytest.approx(expected, abs=1e-8)
    assert "a typical row's sampling variance, 11.663²" in repr(table)


def test_a_typical_error_of_equal_ones_is_theirs(baseball):
    exact = hm.reference(baseball)
    assert typical_se(exact.data) == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (hm.datasets.load_pastes, {"groups": ["batch", "cask"]}),
        (hm.datasets.load_pastes, {"groups": ["batch", "cask"], "priors": {"kappa": hm.FlatSD()}}),
        (lambda: hm.datasets.load_school_calendar().drop(columns="year"), {}),
    ],
    ids=["unknown sigma", "kappa near 0", "known se"],
)
def test_shares_of_three_levels_against_independent_draws(load, options):
    fit = hm.fit(load(), draws=25_000, random_seed=4, **options)
    table = fit.variance_components(ci_prob=0.9)
    draws = fit.datatree["posterior"].to_dataset()
    known = fit.spec.se is not None
    residual = typical_se(fit.data) ** 2 if known else draws["sigma"] ** 2
    kappa2, tau2 = draws["kappa"] ** 2, draws["tau"] ** 2
    total = kappa2 + tau2 + residual
    outer, inner = fit.spec.groups
    parts = {
        f"share[{outer}]": kappa2 / total,
        f"share[{inner}]": tau2 / total,
        "share[residual]": residual / total,
        f"icc[{inner}]": (kappa2 + tau2) / total,
    }
    assert table.loc[list(parts)[:3], "mean"].sum() == pytest.approx(1, abs=1e-12)
    n = total.size
    for name, share in parts.items():
        row = table.loc[name]
        assert float(share.mean()) == pytest.approx(row["mean"], abs=4 * row["sd"] / np.sqrt(n))
        for column, q in {"eti90_lb": 0.05, "median": 0.5, "eti90_ub": 0.95}.items():
            below = float((share <= row[column]).mean())
            assert below == pytest.approx(q, abs=4 * np.sqrt(q * (1 - q) / n))


def test_quantiles_of_shares_hardly_depend_on_the_spacing(monkeypatch):
    exact = hm.reference(hm.datasets.load_pastes(), groups=["batch", "cask"])
    table = components.variance_components(exact)
    monkeypatch.setattr(variance_shares, "SPACING", {2: 0.25})
    finer = components.variance_components(exact)
    np.testing.assert_allclose(finer, table, rtol=0, atol=1e-4)


def test_one_population_has_no_components():
    exact = hm.reference(pd.DataFrame({"y": [1.0, 2.0, 4.0]}), groups=[], outcome="y")
    with pytest.raises(hm.SpecError, match="one variance only"):
        components.variance_components(exact)
