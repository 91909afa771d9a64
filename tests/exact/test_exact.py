"""Exact draws: independent, right, reproducible."""

from __future__ import annotations

from contextlib import nullcontext

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from scipy import stats

import hiermodels as hm
from hiermodels.core import blas
from hiermodels.core.threads import Shared

PRIORS = [hm.FlatVariance(), hm.FlatSD(), hm.HalfCauchy(5)]


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_means_lie_within_four_standard_errors(schools, prior):
    fit = hm.fit(schools, priors={"tau": prior}, random_seed=2)
    exact, draws = fit.reference(), fit.datatree["posterior"].to_dataset()
    z = (draws.mean(["chain", "draw"]) - exact.mean) / (exact.sd / np.sqrt(4000))
    assert float(np.abs(z).to_array().max()) < 4


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_each_variable_has_its_exact_distribution(schools, prior):
    fit = hm.fit(schools, priors={"tau": prior}, draws=5000, random_seed=3)
    exact, draws = fit.reference(), fit.datatree["posterior"].to_dataset()
    for name in ("mu", "tau"):
        pit = exact.cdf(name, draws[name].to_numpy().ravel())
        assert stats.kstest(pit, stats.uniform.cdf).pvalue > 1e-3
    theta = draws["theta"].to_numpy().reshape(-1, 8)[::10]
    pit = exact.cdf("theta", theta)
    assert min(stats.kstest(column, stats.uniform.cdf).pvalue for column in pit.T) > 1e-3


def test_draws_are_independent(baseball):
    ess = arviz_stats.ess(hm.fit(baseball, random_seed=4).datatree)
    values = np.concatenate([np.ravel(v) for v in ess.values()])
    assert values.min() > 3300  # of 4,000; the estimate itself varies by a few hundred
    assert 3800 < values.mean() < 4200


def test_the_joint_distribution_is_right(schools):
    """Cov(μ, τ-dependent θ): variance of θ_A − θ_C, which needs the joint draw."""
    fit = hm.fit(schools, draws=20_000, random_seed=5)
    draws = fit.datatree["posterior"].to_dataset()
    difference = draws["theta"].sel(school="A") - draws["theta"].sel(school="C")
    # E[θ_A − θ_C | τ] and its variance in closed form, averaged over the draws of τ
    tau2 = draws["tau"].to_numpy().ravel() ** 2
    y, v = schools["y"].to_numpy(), schools["sigma"].to_numpy() ** 2
    w = 1 / (v + tau2[:, None])
    mu, mu_var = (w * y).sum(1) / w.sum(1), 1 / w.sum(1)
    b = v * w
    mean = b[:, 0] * mu + (1 - b[:, 0]) * y[0] - b[:, 2] * mu - (1 - b[:, 2]) * y[2]
    variance = (b[:, 0] - b[:, 2]) ** 2 * mu_var + tau2 * (b[:, 0] + b[:, 2])
    total = variance.mean() + mean.var()
    assert float(difference.var()) == pytest.approx(total, rel=0.03)


def test_a_seed_gives_the_same_bits(baseball):
    first, second = (hm.fit(baseball, random_seed=7).datatree["posterior"] for _ in range(2))
    assert first.to_dataset().equals(second.to_dataset())
    other = hm.fit(baseball, random_seed=8).datatree["posterior"]
    assert not first.to_dataset().equals(other.to_dataset())


def test_threads_do_not_change_a_bit_of_many_groups():
    """None of these products is one that OpenBLAS rounds by its threads, today."""
    rng, k = np.random.default_rng(0), 20_000
    data = pd.DataFrame({"g": np.arange(k), "y": rng.normal(size=k), "se": rng.uniform(0.5, 2, k)})
    options = {"outcome": "y", "groups": "g", "se": "se", "draws": 20, "chains": 2}
    found = set()
    for threads in (1, 2, 4):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            fit = hm.fit(data, **options, random_seed=1)
            numbers = fit.datatree["posterior"]["theta"], fit.reference().sd["theta"]
            found.add(tuple(values.to_numpy().tobytes() for values in numbers))
    assert len(found) == 1


def test_threads_do_not_change_a_bit_of_many_rows(monkeypatch):
    """OpenBLAS splits a sum of 40,000 products among its threads, and would round it otherwise."""
    data = pd.DataFrame(np.random.default_rng(3).normal(size=(40_000, 4)), columns=list("yabc"))

    def bits():
        found = []
        for threads in (1, 2):
            with threadpoolctl.threadpool_limits(threads, user_api="blas"):
                draws = hm.fit(data, "y ~ a + b + c", draws=20, random_seed=1).datatree["posterior"]
                found.append([draws[name].to_numpy().tobytes() for name in draws.data_vars])
        return found

    one, two = bits()
    assert one == two
    monkeypatch.setattr(blas, "_ONE_THREAD", Shared(nullcontext))
    one, two = bits()
    if one == two:
        pytest.skip("the linear algebra of this machine rounds alike on two threads")


def test_a_generator_may_be_given(baseball):
    first = hm.fit(baseball, random_seed=np.random.default_rng(7)).datatree["posterior"]
    second = hm.fit(baseball, random_seed=7).datatree["posterior"]
    assert first.to_dataset().equals(second.to_dataset())


def test_layout(baseball):
    tree = hm.fit(baseball, draws=50, chains=3, random_seed=1).datatree
    posterior = tree["posterior"]
    assert list(posterior.data_vars) == ["mu", "tau", "theta"]
    assert posterior["theta"].dims == ("chain", "draw", "player")
    assert dict(posterior.sizes) == {"chain": 3, "draw": 50, "player": 18}
    assert posterior["player"].values.tolist() == baseball["player"].tolist()
    assert set(tree.children) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    assert tree["observed_data"]["y"].values.tolist() == baseball["y"].tolist()
    assert tree["constant_data"]["sigma"].values.tolist() == baseball["sigma"].tolist()
    assert posterior.attrs["largest_ratio"] <= posterior.attrs["ratio_bound"]


def test_the_datatree_can_be_saved(schools, tmp_path):
    import xarray as xr

    fit = hm.fit(schools, random_seed=1)
    fit.datatree.to_netcdf(tmp_path / "fit.nc")
    again = xr.open_datatree(tmp_path / "fit.nc")
    assert again["posterior"].to_dataset().equals(fit.datatree["posterior"].to_dataset())


def test_extremes_leave_no_trace_in_the_draws():
    """τ ≈ 0 for certain: no warnings, no infinities, all θ nearly equal."""
    k = 2000
    y = stats.norm.ppf((np.arange(k) + 0.5) / k) * np.sqrt(0.5)
    data = pd.DataFrame({"g": [f"g{i}" for i in range(k)], "y": y, "se": 1.0})
    draws = hm.fit(data, draws=100, random_seed=1).datatree["posterior"].to_dataset()
    assert all(np.isfinite(values).all() for values in draws.values())
    assert float(draws["tau"].max()) < 0.2


@pytest.mark.parametrize("draws", [0, -1, 2.5, True, "100"])
def test_numbers_of_draws(schools, draws):
    with pytest.raises(hm.SpecError, match="draws: expected a positive integer"):
        hm.fit(schools, draws=draws)


def test_options_are_refused(schools):
    with pytest.raises(hm.SpecError, match="engine 'exact' has no option 'tune'"):
        hm.fit(schools, tune=500)


def test_an_unknown_engine(schools):
    with pytest.raises(hm.SpecError, match="expected one of 'exact', 'importance', 'nuts'; found"):
        hm.fit(schools, engine="gibbs")
