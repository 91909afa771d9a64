"""What draws take is estimated, and refused where it is too much, before any are made."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.exact import grid
from hiermodels.mcmc import sample as nuts
from hiermodels.posterior import memory

ROLES = {"groups": ["s", "c"], "outcome": "y"}


def many(schools: int, classes: int) -> hm.SufficientStatistics:
    """Statistics of two rows in each class."""
    import pandas as pd

    rng = np.random.default_rng(0)
    size = schools * classes
    frame = pd.DataFrame({"s": np.arange(size) // classes, "c": np.arange(size)})
    frame = pd.concat([frame, frame])
    frame["y"] = rng.normal(size=len(frame))
    return hm.SufficientStatistics.of(frame, **ROLES)


@pytest.fixture
def no_work(monkeypatch):
    """Make any work at all an error."""

    def fail(*args, **kwargs):
        raise AssertionError("work was begun")

    monkeypatch.setattr(grid, "standardize", fail)
    monkeypatch.setattr(grid.BlockMarginal, "of", fail)
    monkeypatch.setattr(nuts, "build_model", fail)
    monkeypatch.setattr(nuts, "choose", fail)


@pytest.mark.parametrize("options", [{}, {"log_prior": True}, {"chains": 1, "draws": 4000}])
def test_draws_of_outer_groups_are_refused_before_they_are_made(options, no_work):
    """100,000 schools × 4,000 draws × 8 bytes are 2.98 GiB."""
    data = many(100_000, 2)
    message = (
        r"4,000 draws need 3\.0 GiB \(mu 3\.0 GiB\).*memory_budget=2\.15e\+09 bytes \(2\.0 GiB"
    )
    with pytest.raises(hm.SpecError, match=message) as caught:
        hm.fit(data, **options)
    assert all(word in str(caught.value) for word in ("fewer draws", "memory_budget", "reference"))
    with pytest.raises(AssertionError, match="work was begun"):
        hm.fit(data, **(options | {"draws": 100}))


def test_nuts_is_refused_before_it_samples(no_work):
    data = many(10, 4000)
    with pytest.raises(hm.SpecError, match=r"8,000 draws need 2\.4 GiB \(theta 2\.4 GiB\).*exact"):
        hm.fit(data, engine="nuts", draws=2000)
    with pytest.raises(AssertionError, match="work was begun"):
        hm.fit(data, engine="nuts", draws=2000, memory_budget=3e9)


@pytest.mark.parametrize("name", ["log_likelihood", "posterior_predictive"])
@pytest.mark.parametrize("engine", ["exact", "nuts"])
def test_numbers_for_each_row_are_refused_before_they_are_made(name, engine, no_work):
    data = hm.datasets.simulate_classrooms(50, 4, 100, random_seed=1)
    roles = {"formula": "score ~ 1 + (1 | school/classroom)", "engine": engine, name: True}
    with pytest.raises(hm.SpecError, match=rf"16,000 draws need 2\.4 GiB \({name} 2\.4.*leave out"):
        hm.fit(data, draws=4000, **roles)
    with pytest.raises(AssertionError, match="work was begun"):
        hm.fit(data, draws=1000, **roles)


def test_all_that_is_kept_counts_for_the_budget():
    data = many(50, 2)
    needs = memory.of_variables(hm.fit(data, draws=5).spec, data, 40)
    assert needs == {
        "lam": 320,
        "kappa": 320,
        "mu": 16_000,
        "tau": 320,
        "theta": 32_000,
        "sigma": 320,
    }
    total = sum(needs.values())
    kept = hm.fit(data, draws=10, memory_budget=total, random_seed=1).datatree["posterior"]
    lean = hm.fit(data, draws=10, memory_budget=total - 1, random_seed=1)
    assert sum(values.nbytes for values in kept.data_vars.values()) == total
    assert "theta" not in lean.datatree["posterior"]
    np.testing.assert_array_equal(lean.draws(), kept["theta"])
    assert "100 groups × 40 draws need 0.031 MiB" in repr(lean)


def test_large_draws_are_told_of(monkeypatch):
    fit = hm.fit(many(50, 2), draws=10, random_seed=1)
    assert "memory" not in fit.posterior.certificate
    monkeypatch.setattr(memory, "WORTH_TELLING", 1000)
    fit = hm.fit(many(50, 2), draws=10, random_seed=1)
    told = "draws that are kept take 0.047 MiB (theta 0.031 MiB, mu 0.015 MiB)"
    assert fit.posterior.certificate["memory"] == told
    assert told in repr(fit)


def test_draws_on_demand_and_from_the_priors_have_a_budget_too():
    data = hm.datasets.load_eight_schools()
    priors = {"mu": hm.Normal(0, 10), "tau": hm.HalfNormal(5)}
    fit = hm.fit(data, priors=priors, draws=1000, memory_budget=0, random_seed=1)
    with pytest.raises(hm.SpecError, match=r"prior_predictive .* more than memory_budget"):
        fit.prior_predictive(draws=1000, memory_budget=1e5)
    assert fit.prior_predictive(draws=10, memory_budget=1e5)["prior"].sizes["draw"] == 10
    assert fit.draws(memory_budget=0).shape == (4, 1000, 8)  # 64 MiB are always allowed
    with pytest.raises(hm.SpecError, match=r"Name fewer groups at a time"):
        hm.fit(many(10, 4000), draws=1000, memory_budget=0).draws(memory_budget=1e9)


@pytest.mark.parametrize("budget", [None, "much", np.nan])
def test_a_budget_that_is_no_number_is_refused_by_every_use(budget):
    """Engine "nuts", ``draws`` and ``prior_predictive`` failed in a comparison, or took nan."""
    schools = hm.datasets.load_eight_schools()
    priors = {"tau": hm.HalfNormal(5), "mu": hm.Normal(0, 20)}
    fit = hm.fit(schools, priors=priors, draws=5, memory_budget=0, random_seed=1)
    for use in (
        lambda: hm.fit(schools, memory_budget=budget),
        lambda: hm.fit(schools, engine="nuts", memory_budget=budget),
        lambda: fit.draws(memory_budget=budget),
        lambda: fit.prior_predictive(memory_budget=budget),
        lambda: fit.predict(memory_budget=budget),
    ):
        with pytest.raises(hm.SpecError, match=r"^memory_budget: expected numbers"):
            use()
