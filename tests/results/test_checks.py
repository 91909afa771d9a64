"""Predictive checks against formulas, brute force and the distributions they are drawn from."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.exact.replicates import replicated_means, statistics_of, with_replicates
from hiermodels.posterior.record import thin
from hiermodels.results.checks import check

ERROR = 4 * np.sqrt(0.25 / 4000)  # of a probability from 4,000 draws, at the most
LEAST = 1e-3  # p-value below which two distributions differ


def fitted(data, *args, **options):
    with contextlib.redirect_stdout(None):
        return hm.fit(data, *args, random_seed=1, **options)


@pytest.fixture(scope="module")
def players(baseball):
    return fitted(baseball)


@pytest.fixture(scope="module")
def frame():
    """Unbalanced pupils, one covariate of theirs and one of their school."""
    data = hm.datasets.simulate_classrooms(
        12, classrooms=(1, 4), pupils=(2, 9), beta=1.3, random_seed=3
    )
    size = data["school"].map(dict(zip(data["school"].unique(), range(12), strict=True)))
    return data.assign(size=size.astype(float))


@pytest.fixture(scope="module")
def pupils(frame):
    return fitted(frame, "score ~ ses + size + (1 | school/classroom)")


def by_hand(frame, outcomes):
    """The statistics of outcomes (rows, n), in plain pandas; a column for each."""
    scores = pd.DataFrame(outcomes, index=frame.index)
    rooms = scores.groupby(frame["classroom"], sort=False).mean()
    schools = scores.groupby(frame["school"], sort=False).mean()
    parent = frame.groupby("classroom", sort=False)["school"].first()
    away = rooms - rooms.groupby(parent).transform("mean")
    within = scores - scores.groupby(frame["classroom"]).transform("mean")
    df = {"rooms": len(rooms) - len(schools), "rows": len(frame) - len(rooms)}
    found = {
        "largest classroom mean": rooms.max(),
        "smallest classroom mean": rooms.min(),
        "sd of classroom means within school": np.sqrt((away**2).sum() / df["rooms"]),
        "largest school mean": schools.max(),
        "smallest school mean": schools.min(),
        "sd of school means": schools.std(),
        "sd of rows within classroom": np.sqrt((within**2).sum() / df["rows"]),
    }
    return pd.DataFrame(found)


def test_observed_statistics_are_those_of_the_rows(pupils, frame):
    table = pupils.check(random_seed=1)
    expected = by_hand(frame, frame[["score"]].to_numpy())
    assert table.index.tolist() == list(expected)
    np.testing.assert_allclose(table["observed"], expected.iloc[0], rtol=1e-10)


def test_means_are_weighted_where_errors_are_known():
    data = hm.datasets.load_school_calendar()
    table = fitted(data).check(random_seed=1)
    weighted = data.assign(w=data["se"] ** -2, wy=data["y"] / data["se"] ** 2)
    sums = weighted.groupby("district", sort=False)[["w", "wy"]].sum()
    means = sums["wy"] / sums["w"]
    expected = [means.max(), means.min(), means.std()]
    names = ["largest district mean", "smallest district mean", "sd of district means"]
    np.testing.assert_allclose(table.loc[names, "observed"], expected, rtol=1e-10)
    assert not any("rows" in name for name in table.index)  # one row a school


@pytest.mark.parametrize("replicate", ["groups", "rows", "classroom"])
def test_replicated_statistics_are_those_of_replicated_rows(pupils, frame, replicate):
    """Means and scatter, drawn directly, have the law of rows drawn one by one."""
    found = statistics_of(pupils.posterior, replicate=replicate, random_seed=1).replicated
    drawn = with_replicates(thin(pupils.posterior, 800), replicate, random_seed=2)
    outcomes = drawn.datatree["posterior_predictive"]["score"].to_numpy().reshape(-1, len(frame))
    assert len(outcomes) == 800
    table = by_hand(frame, outcomes.T)
    for name in found:
        p = stats.ks_2samp(found[name].to_numpy().ravel(), table[name]).pvalue
        assert p > LEAST, (name, p)


def test_tail_probabilities_of_new_groups_are_the_formulas(players, baseball):
    """Given μ and τ, means of new groups are independent N(μ, σ² + τ²)."""
    table = check(players.posterior, random_seed=1)
    draws = players.datatree["posterior"].to_dataset()
    mu, variance = draws["mu"].to_numpy(), 0.06**2 + draws["tau"].to_numpy() ** 2
    y = baseball["y"].to_numpy()
    squares = ((y - y.mean()) ** 2).sum()
    expected = {
        "sd of player means": stats.chi2(17).sf(squares / variance),
        "largest player mean": 1 - stats.norm.cdf((y.max() - mu) / np.sqrt(variance)) ** 18,
        "smallest player mean": stats.norm.sf((y.min() - mu) / np.sqrt(variance)) ** 18,
    }
    for name, probabilities in expected.items():
        assert table.loc[name, "p"] == pytest.approx(probabilities.mean(), abs=ERROR)


def test_tail_probabilities_of_the_same_groups_are_the_formulas(schools):
    fit = fitted(schools)
    table = fit.check(replicate="rows", random_seed=1)
    theta = fit.datatree["posterior"]["theta"].to_numpy()
    below = stats.norm.cdf((28.0 - theta) / schools["sigma"].to_numpy()).prod(axis=-1)
    p = table.loc["largest school mean", "p"]
    assert p == pytest.approx(1 - below.mean(), abs=ERROR)
    assert "the same groups, new rows" in repr(table)


def test_ties_count_half(players):
    found = statistics_of(players.posterior, random_seed=1)
    tied = type(found)(found.observed * 0 + 1.0, found.replicated * 0 + 1.0)
    assert (tied.tail_probability.to_array() == 0.5).all()


def test_replicated_means_have_their_laws(pupils, frame):
    draws = pupils.datatree["posterior"].to_dataset()
    _, means = replicated_means(pupils.posterior, replicate="groups", random_seed=1)
    of_school = frame.groupby("school", sort=False)["classroom"].unique()
    first, second = next(rooms for rooms in of_school if len(rooms) > 1)[:2]
    rooms = frame.groupby("classroom")[["ses", "size"]].mean()
    counts = frame["classroom"].value_counts()
    shift = (draws["beta"] * (rooms.loc[first] - rooms.loc[second]).to_numpy()).sum("coef")
    noise = draws["sigma"] ** 2 * (1 / counts[first] + 1 / counts[second])
    apart = means.sel(classroom=first) - means.sel(classroom=second) - shift
    z = apart / np.sqrt(2 * draws["tau"] ** 2 + noise)  # the school's own mean cancels
    assert stats.kstest(z.to_numpy().ravel(), "norm").pvalue > LEAST
    away = means.sel(classroom=first) - draws["lam"]
    away = away - (draws["beta"] * rooms.loc[first].to_numpy()).sum("coef")
    own = draws["sigma"] ** 2 / counts[first]
    z = away / np.sqrt(draws["kappa"] ** 2 + draws["tau"] ** 2 + own)
    assert stats.kstest(z.to_numpy().ravel(), "norm").pvalue > LEAST


def test_new_inner_units_keep_their_outer_ones(pupils, frame):
    draws = pupils.datatree["posterior"].to_dataset()
    _, means = replicated_means(pupils.posterior, replicate="classroom", random_seed=1)
    room = frame["classroom"].iloc[0]
    rows = frame[frame["classroom"] == room]
    own = (draws["beta"] * rows[["ses", "size"]].mean().to_numpy()).sum("coef")
    away = means.sel(classroom=room) - draws["mu"].sel(school=rows["school"].iloc[0]) - own
    z = away / np.sqrt(draws["tau"] ** 2 + draws["sigma"] ** 2 / len(rows))
    assert stats.kstest(z.to_numpy().ravel(), "norm").pvalue > LEAST


def test_a_group_from_elsewhere_is_seen_by_new_groups_only(schools):
    """The reason for replicating groups: the same groups follow an outlier."""
    data = schools.assign(sigma=2.0)
    data.loc[0, "y"] = 60.0
    fit = fitted(data, priors={"tau": hm.HalfNormal(5)})
    new = fit.check(replicate="groups", random_seed=1).loc["largest school mean", "p"]
    same = fit.check(replicate="rows", random_seed=1).loc["largest school mean", "p"]
    assert new < 0.05 < same


def test_draws_of_groups_that_were_not_kept_are_drawn_again(schools):
    kept, not_kept = (fitted(schools, memory_budget=budget) for budget in (1e9, 10))
    outcomes = [
        with_replicates(thin(fit.posterior, 100), random_seed=1).datatree["posterior_predictive"]
        for fit in (kept, not_kept)
    ]
    assert outcomes[0]["y"].sizes == {"chain": 4, "draw": 25, "row": 8}
    np.testing.assert_array_equal(outcomes[0]["y"], outcomes[1]["y"])


def test_replicated_rows_that_are_there_already_are_kept(schools):
    fit = fitted(schools, posterior_predictive=True, log_likelihood=True)
    assert with_replicates(fit.posterior).datatree.identical(fit.datatree)
    some = thin(fit.posterior, 100).datatree
    for name in ("posterior", "sample_stats", "posterior_predictive", "log_likelihood"):
        every = fit.datatree[name].to_dataset().isel(draw=slice(None, None, 40))
        assert some[name].to_dataset().identical(every)
    anew = with_replicates(fit.posterior, "groups", random_seed=1).datatree
    assert anew["posterior"].identical(fit.datatree["posterior"])
    assert not anew["posterior_predictive"].equals(fit.datatree["posterior_predictive"])


def test_the_stream_is_apart_from_that_of_the_fit(schools):
    """A generator of the fit's seed would draw again what the fit has drawn."""
    fit = fitted(schools)
    own, other = (
        statistics_of(fit.posterior, random_seed=seed).replicated
        for seed in (1, np.random.default_rng(1))
    )
    assert not own.equals(other)


def test_the_same_seed_gives_the_same_bits(players):
    a, b = (players.check(random_seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(pd.DataFrame(a), pd.DataFrame(b))


def test_refusals(players):
    with pytest.raises(hm.SpecError, match=r"replicate: expected .*'rows'.*found 'team'"):
        players.check(replicate="team")
    one = fitted(pd.DataFrame({"y": [1.0, 2.0, 4.0]}), outcome="y", groups=[])
    with pytest.raises(hm.SpecError, match="these checks need groups"):
        one.check()
