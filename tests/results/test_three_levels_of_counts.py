"""Counts of groups within outer groups, through all that can be asked of a posterior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit, logsumexp
from scipy.stats import binom, norm

import hiermodels as hm
from hiermodels.exact.given_sd import moments_given_sd
from tests.oracles.count_figures import FIGURES

ROLES = {"outcome": "deaths", "trials": "cases", "groups": ["region", "hospital"]}
PRIORS = {"lam": hm.Normal(-1, 1), "kappa": hm.HalfNormal(1), "tau": hm.HalfNormal(1)}
PROBABILITIES = np.array([0.055, 0.25, 0.5, 0.75, 0.945])


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two rows in each of three hospitals in each of three regions, of which one has no death."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "region": np.repeat(["north", "south", "west"], 6),
            "hospital": np.repeat([f"h{i}" for i in range(9)], 2),
            "cases": rng.integers(3, 30, 18),
        }
    )
    frame["deaths"] = rng.binomial(frame["cases"], 0.2)
    frame.loc[:1, "deaths"] = 0
    return frame


@pytest.fixture(scope="module")
def fit(rows):
    return hm.fit(rows, **ROLES, priors=PRIORS, random_seed=1)


@pytest.fixture(scope="module")
def exact(fit):
    return fit.reference()


def log_marginal_likelihood(rows):
    return hm.reference(rows, **ROLES, priors=PRIORS).log_marginal_likelihood


def test_published_figures():
    """The synthetic data of 20 regions with 5 hospitals each, by another code."""
    known = FIGURES["three_level_synthetic_half_normal1"]
    data = known["data"]
    frame = pd.DataFrame({"deaths": data["r"], "cases": data["n"], "region": data["outer"]})
    frame["hospital"] = np.arange(len(frame))
    priors = {"kappa": hm.HalfNormal(1), "tau": hm.HalfNormal(1)}
    exact = hm.reference(frame, **ROLES, priors=priors)
    for name in ("tau", "kappa", "lam", "mu", "theta", "p"):
        mean, sd = np.array(known[name]["mean"]), np.array(known[name]["sd"])
        some = known["groups"] if name in ("theta", "p") else ...
        found = exact.mean[name].to_numpy()[some], exact.sd[name].to_numpy()[some]
        np.testing.assert_allclose((found[0] - mean) / sd, 0, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(found[1] / sd, 1, atol=1e-8, err_msg=name)
    for name in ("tau", "kappa", "lam"):
        quantile = known[name]["quantile"]
        found = exact.quantile(list(map(float, quantile)), name)[name]
        np.testing.assert_allclose(found, list(quantile.values()), atol=1e-6 * known[name]["sd"])


def test_draws_have_the_exact_distribution_functions(fit, exact):
    """Of sorted probabilities below draws, each should be near its place: 6 in 10,000 are not."""
    draws, size = fit.datatree["posterior"].isel(draw=slice(None, None, 4)), 1000
    for name in ("lam", "kappa", "tau", "mu", "theta", "p"):
        values = draws[name].stack(all_=("chain", "draw")).transpose("all_", ...).to_numpy()
        below = np.sort(exact.cdf(name, values).reshape(size, -1), axis=0)
        place = (np.arange(size)[:, None] + 0.5) / size
        assert np.abs(below - place).max() < 2.0 / np.sqrt(size), name


@pytest.mark.parametrize(("unit", "column"), [("group", "hospital"), ("outer", "region")])
def test_groups_left_out_are_differences_of_marginal_likelihoods(fit, rows, exact, unit, column):
    elpd = fit.loo(unit).elpd_i
    label = "h4" if column == "hospital" else "north"
    known = exact.log_marginal_likelihood - log_marginal_likelihood(rows[rows[column] != label])
    assert float(elpd.sel({column: label})) == pytest.approx(known, abs=1e-8)


def test_rows_left_out_are_differences_of_marginal_likelihoods(fit, rows, exact):
    elpd = fit.loo().elpd_i.to_numpy()
    known = exact.log_marginal_likelihood - log_marginal_likelihood(rows.drop(index=0))
    assert elpd[0] == pytest.approx(known, abs=1e-8)


@pytest.mark.parametrize(
    ("region", "hospital"), [("north", "h0"), ("south", "new"), ("new", "newer")]
)
def test_probabilities_of_counts_are_ratios_of_marginal_likelihoods(
    fit, rows, exact, region, hospital
):
    """Of a known hospital, a new one in a known region, and one in a new region."""
    new = pd.DataFrame({"region": [region], "hospital": [hospital], "cases": [12]})
    prediction = fit.predict(new, random_seed=2)
    pmf = prediction.pmf(np.arange(13)[:, None])[:, 0]
    assert pmf.sum() == pytest.approx(1, abs=1e-9)
    more = log_marginal_likelihood(pd.concat([rows, new.assign(deaths=2)]))
    assert np.log(pmf[2]) == pytest.approx(more - exact.log_marginal_likelihood, abs=1e-8)
    assert prediction.cdf("deaths", 2)[0] == pytest.approx(pmf[:3].sum(), abs=1e-9)
    assert float(prediction.mean["deaths"][0]) == pytest.approx(np.arange(13) @ pmf, abs=1e-8)


def test_shares_of_the_variance_are_those_of_draws(fit):
    table = fit.variance_components()
    draws = fit.datatree["posterior"]
    kappa2, tau2 = (draws[name].to_numpy().ravel() ** 2 for name in ("kappa", "tau"))
    total = kappa2 + tau2 + np.pi**2 / 3
    shares = {
        "share[region]": kappa2 / total,
        "share[hospital]": tau2 / total,
        "icc[hospital]": (kappa2 + tau2) / total,
    }
    for name, share in shares.items():
        row = table.loc[name]
        assert abs(share.mean() - row["mean"]) < 4 * share.std() / np.sqrt(len(share)), name
        assert share.std() == pytest.approx(row["sd"], rel=0.1)
        for column, probability in (("eti89_lb", 0.055), ("median", 0.5), ("eti89_ub", 0.945)):
            error = np.sqrt(probability * (1 - probability) / len(share))
            assert abs((share <= row[column]).mean() - probability) < 4 * error, (name, column)


def test_densities_of_outer_groups_are_products_of_integrals(rows):
    """``log p(rows of a region | lam, kappa, tau)`` by a product of two trapezoid rules."""
    said = {"priors": PRIORS, "draws": 3, "chains": 1, "random_seed": 1}
    marginal = hm.fit(rows, **ROLES, **said, log_likelihood="marginal")
    log_likelihood = marginal.datatree["log_likelihood"]["deaths"].isel(chain=0)
    z = np.linspace(-9, 9, 301)
    log_weight = norm.logpdf(z) + np.log(z[1] - z[0])
    for draw in range(3):
        at = marginal.datatree["posterior"].isel(chain=0, draw=draw)
        mu = float(at["lam"]) + float(at["kappa"]) * z
        p = expit(mu[:, None] + float(at["tau"]) * z)
        for region, own in rows.groupby("region"):
            total = log_weight.copy()
            for _, hospital in own.groupby("hospital"):
                each = [binom.logpmf(r.deaths, r.cases, p) for r in hospital.itertuples()]
                total += logsumexp(sum(each) + log_weight, axis=1)
            found = float(log_likelihood.sel(region=region).isel(draw=draw))
            assert found == pytest.approx(logsumexp(total), abs=1e-8)


@pytest.mark.parametrize("sd", ["kappa", "tau"])
def test_effects_given_an_sd_average_to_the_posterior(fit, exact, sd):
    """Over draws whose sd is between the ends of what is computed, to their Monte Carlo error."""
    given = moments_given_sd(exact.spec, exact.data, sd, "theta")
    at, draws = given["at"].to_numpy(), fit.datatree["posterior"].to_dataset()
    draws = draws.stack(all_=("chain", "draw"))
    weight = exact.density(sd, at) * np.gradient(at)
    mean = weight @ given["mean"].to_numpy() / weight.sum()
    own = draws[sd].to_numpy()
    theta = draws["theta"].to_numpy()[:, (own > at[0]) & (own < at[-1])]
    error = theta.std(axis=1) / np.sqrt(theta.shape[1])
    assert np.abs((theta.mean(axis=1) - mean) / error).max() < 4


def test_draws_on_demand_are_those_that_would_be_kept(rows):
    said = {"priors": PRIORS, "draws": 50, "random_seed": 5}
    kept = hm.fit(rows, **ROLES, **said)
    less = hm.fit(rows, **ROLES, **said, memory_budget=1000)
    some = less.draws(groups=["h3", "h8"])
    assert "theta" not in less.datatree["posterior"]
    whole = kept.datatree["posterior"]["theta"].sel(hospital=["h3", "h8"])
    np.testing.assert_array_equal(some.to_numpy(), whole.transpose(*some.dims).to_numpy())


def test_files_keep_all_of_it(fit, tmp_path):
    path = tmp_path / "fit.nc"
    fit.to_netcdf(path)
    again = hm.load(path)
    assert again.spec == fit.spec
    for name in ("lam", "kappa", "mu", "tau", "theta", "p"):
        np.testing.assert_array_equal(
            again.datatree["posterior"][name], fit.datatree["posterior"][name]
        )
    np.testing.assert_allclose(again.reference().mean["mu"], fit.reference().mean["mu"])


def test_zarr_and_parquet_keep_all_of_it(fit, tmp_path):
    with xr.open_datatree(fit.to_zarr(tmp_path / "fit.zarr"), engine="zarr") as tree:
        again = tree.load()
    assert set(again.groups) == set(fit.datatree.groups)
    for name in fit.datatree.children:
        expected = fit.datatree[name].to_dataset()
        xr.testing.assert_identical(again[name].to_dataset(), expected)
    for level in ("region", "hospital", "p"):
        table = pd.read_parquet(fit.to_parquet(tmp_path / "x.parquet", level, ci_prob=0.5))
        expected = fit.reference().summary(fit.spec.effect_of(level), ci_prob=0.5)
        found = table[list(expected.columns)]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
        assert table["region"].nunique() == 3


def test_levels_are_left_out_by_any_of_their_names(fit):
    for names in (("group", "hospital", "theta"), ("outer", "region", "mu")):
        first, *others = (fit.loo(name) for name in names)
        for other in others:
            xr.testing.assert_identical(first.elpd_i, other.elpd_i)
    with pytest.raises(
        hm.SpecError, match=r"'row', 'group' .hospital., 'outer' .region.; found 'ward'"
    ):
        fit.loo("ward")


def test_the_two_engines_agree(rows, fit):
    nuts = hm.fit(rows, **ROLES, priors=PRIORS, engine="nuts", random_seed=3, progressbar=False)
    comparison = hm.compare(nuts, fit)
    assert comparison.passed, comparison


def test_priors_confused_are_caught(rows, fit):
    other = hm.fit(rows, **ROLES, priors=PRIORS | {"tau": hm.HalfNormal(0.3)}, random_seed=4)
    assert not hm.compare(other.datatree, fit.reference()).passed


def test_ranks_of_both_levels(fit):
    for level, size in (("region", 3), ("hospital", 9), ("p", 9)):
        table = fit.rank(level).table
        assert len(table) == size
        assert table["p_best"].sum() == pytest.approx(1, abs=1e-12)


def test_what_takes_two_levels_says_so(rows):
    names = ["beds", "nurses", "doctors"]
    more = rows.assign(
        **{name: np.repeat(np.arange(9.0) ** n, 2) for n, name in enumerate(names, 1)}
    )
    with pytest.raises(hm.SpecError, match="three levels is not summed up"):
        hm.reference(more, **ROLES, covariates=names, priors=PRIORS)
    t = more.assign(y=rows["deaths"].astype(float), se=1.0)
    with pytest.raises(hm.SpecError, match=r"log-concave.*engine='nuts'"):
        hm.reference(
            t,
            outcome="y",
            se="se",
            groups=ROLES["groups"],
            covariates="beds",
            family=hm.StudentT(4),
            priors=PRIORS,
        )
