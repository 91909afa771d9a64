"""League tables: ranks are counted within draws, and their probabilities are the known ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.posterior import record as posterior
from hiermodels.results import ranking as rank


def frame(y, sigma):
    return pd.DataFrame({"group": [f"g{i}" for i in range(len(y))], "y": y, "sigma": sigma})


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


@pytest.fixture(scope="module")
def pastes():
    return hm.fit(hm.datasets.load_pastes(), groups=["batch", "cask"], random_seed=1)


def test_two_groups_are_compared_as_the_integral_says():
    """``θ₁ − θ₂ | τ, y ~ N((1 − B)d, 2(1 − B)σ²)`` with ``d = y₁ − y₂ ~ N(0, 2(σ² + τ²))``."""
    y, sigma, prior = np.array([1.3, -0.4]), 0.9, hm.HalfNormal(1.5)
    fit = hm.fit(frame(y, sigma), priors={"tau": prior}, draws=20_000, random_seed=2)
    distance = y[0] - y[1]

    def density(tau):
        total = sigma**2 + tau**2
        return stats.norm.pdf(distance, 0, np.sqrt(2 * total)) * np.exp(prior.log_density(tau))

    def greater(tau):
        keep = tau**2 / (sigma**2 + tau**2)
        z = keep * distance / np.sqrt(2 * keep * sigma**2) if tau > 0 else 0.0
        return stats.norm.cdf(z) * density(tau)

    mass = integrate.quad(density, 0, 15)[0]
    expected = integrate.quad(greater, 0, 15)[0] / mass
    assert 0.6 < expected < 0.9
    ranking = fit.rank()
    error = np.sqrt(expected * (1 - expected) / 80_000)
    assert ranking.prob_greater("g0", "g1") == pytest.approx(expected, abs=4 * error)
    assert ranking.table.loc["g0", "p_best"] == ranking.prob_greater("g0", "g1")


def test_unshrunk_groups_win_with_the_probability_of_independent_normals():
    """Where tau is large each θ is N(y, σ²), and ``P(best) = ∫ φ_i Π_{j≠i} Φ_j``."""
    y = np.array([1e4, 1e4 + 0.5, 1e4 + 1.2, -1e4, 0.0, 3e3, -4e3])
    fit = hm.fit(frame(y, 1.0), draws=20_000, random_seed=3)
    table = fit.rank(top=2).table
    for i in range(3):
        others = [j for j in range(3) if j != i]

        def winning(x, i=i, others=others):
            return (
                stats.norm.pdf(x, y[i])
                * stats.norm.cdf(x, y[others][0])
                * stats.norm.cdf(x, y[others][1])
            )

        expected = integrate.quad(winning, 1e4 - 9, 1e4 + 10, points=[1e4])[0]
        assert table.loc[f"g{i}", "p_best"] == pytest.approx(expected, abs=0.008)
    assert (table.loc[["g3", "g4", "g6"], "p_top2"] == 0).all()


@pytest.mark.parametrize("highest_first", [True, False])
@pytest.mark.parametrize(("level", "variable"), [("batch", "mu"), ("theta", "theta")])
def test_ranks_are_those_of_each_draw(pastes, level, variable, highest_first):
    ranking = pastes.rank(level, highest_first=highest_first)
    draws = pastes.datatree["posterior"][variable].to_numpy()
    expected = stats.rankdata(-draws if highest_first else draws, axis=-1)
    np.testing.assert_array_equal(ranking.ranks, expected)
    name = ranking.ranks.dims[-1]
    np.testing.assert_array_equal(ranking.ranks[name], pastes.data.coords[name])


def test_the_table_counts_what_the_ranks_say(fit):
    ranking = fit.rank(top=3, ci_prob=0.5)
    table = ranking.table
    k = len(table)
    assert table["p_best"].sum() == pytest.approx(1, abs=1e-12)
    assert table["p_top3"].sum() == pytest.approx(3, abs=1e-12)
    assert table["rank_mean"].sum() == pytest.approx(k * (k + 1) / 2, rel=1e-12)
    assert table["rank_mean"].is_monotonic_increasing
    ranks = ranking.ranks.sel(school="G").to_numpy().ravel()
    row = table.loc["G"]
    assert row["rank_mean"] == pytest.approx(ranks.mean())
    assert row["rank_sd"] == pytest.approx(ranks.std())
    for name, q in {"eti50_lb": 0.25, "median": 0.5, "eti50_ub": 0.75}.items():
        value = row[f"rank_{name}"]
        assert (ranks <= value).mean() >= q > (ranks <= value - 1).mean()
    np.testing.assert_allclose(table["mean"], fit.reference().mean["theta"].sel(school=table.index))
    np.testing.assert_allclose(table["sd"], fit.reference().sd["theta"].sel(school=table.index))


def test_a_share_at_the_top_is_a_number_of_units(fit):
    assert "p_top2" in fit.rank(top=0.25).table
    assert "p_top1" in fit.rank(top=0.01).table
    assert (fit.rank(top=8).table["p_top8"] == 1).all()


def test_exceeding_a_threshold_has_no_monte_carlo_error(fit):
    table = fit.rank(threshold=5.0).table
    expected = 1 - fit.reference().cdf("theta", 5.0)
    np.testing.assert_allclose(table.loc[list("ABCDEFGH"), "p_above_5"], expected, atol=1e-12)
    share = (fit.datatree["posterior"]["theta"] > 5).mean(["chain", "draw"])
    np.testing.assert_allclose(table.loc[list("ABCDEFGH"), "p_above_5"], share, atol=0.03)


@pytest.mark.parametrize("highest_first", [True, False])
def test_pairs_are_compared_within_draws(fit, highest_first):
    ranking = fit.rank(highest_first=highest_first)
    theta = fit.datatree["posterior"]["theta"]
    matrix = ranking.prob_greater_matrix(["C", "A", "H"])
    for i in "CAH":
        for j in "CAH":
            if i != j:
                share = float((theta.sel(school=i) > theta.sel(school=j)).mean())
                assert matrix.loc[i, j] == ranking.prob_greater(i, j) == pytest.approx(share)
    assert np.isnan(np.diag(matrix)).all()
    everything = ranking.prob_greater_matrix()
    better = everything.sum(axis=0 if highest_first else 1)
    pd.testing.assert_series_equal(1 + better, ranking.table["rank_mean"], check_names=False)


def test_draws_that_were_not_kept_are_ranked_too(schools, monkeypatch):
    data = frame(np.random.default_rng(1).normal(size=60), 0.7)
    kept = hm.fit(data, draws=200, random_seed=5).rank(top=5)
    monkeypatch.setattr(posterior, "GROUPS_AT_A_TIME", 16)
    made = hm.fit(data, draws=200, random_seed=5, memory_budget=0)
    assert "theta" not in made.datatree["posterior"]
    pd.testing.assert_frame_equal(made.rank(top=5).table, kept.table)
    monkeypatch.setattr(rank, "MEMORY_BUDGET", 60 * 4 * rank.BYTES * 50)
    few = made.rank()
    assert few.ranks.sizes["draw"] == 50
    assert "over 200 joint draws" in repr(few)
    np.testing.assert_array_equal(few.ranks, kept.ranks[:, :50])


def test_arviz_reads_the_ranks(fit):
    from arviz_stats import summary

    table = summary(fit.rank().datatree, kind="stats", round_to="none")
    assert table.loc["rank[A]", "mean"] == pytest.approx(fit.rank().table.loc["A", "rank_mean"])


def test_long_tables_are_cut_and_say_what_they_are():
    y = np.random.default_rng(1).normal(size=2000)
    ranking = hm.fit(frame(y, 1.0), draws=20, random_seed=1).rank(highest_first=False)
    text = repr(ranking)
    assert len(text.splitlines()) < 60
    assert "rank 1: lowest theta" in text
    assert "intervals: 89 % equal-tailed" in text
    assert text.startswith("y ~ Normal(theta[group], sigma)")
    assert "<table" in ranking._repr_html_()
    with pytest.raises(hm.SpecError, match="at most 500 groups; there are 2,000"):
        ranking.prob_greater_matrix()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "district"}, "level: expected 'theta' or 'school'; found 'district'"),
        ({"top": 0}, "top: expected a count from 1 to 8, or a share"),
        ({"top": 9}, "top: expected a count from 1 to 8, or a share"),
        ({"top": 2.5}, "top: expected a count from 1 to 8, or a share"),
        ({"ci_prob": 89}, "ci_prob: expected a probability"),
    ],
)
def test_wrong_options_are_refused(fit, options, message):
    with pytest.raises(hm.SpecError, match=message):
        fit.rank(**options)


def test_unknown_units_are_refused(fit):
    with pytest.raises(hm.DataError, match="there is no school 'Z'"):
        fit.rank().prob_greater("A", "Z")


def test_one_population_has_no_ranks():
    data = pd.DataFrame({"y": [1.0, 2.0, 4.0]})
    with pytest.raises(hm.SpecError, match="needs groups"):
        hm.fit(data, groups=[], outcome="y", draws=10).rank()


def test_equal_groups_share_their_ranks():
    """Within a batch all casks are equal where their sd is 0; and so are all of crossed ones."""
    frame = hm.datasets.load_pastes()
    zero = {"tau": hm.Fixed(0), "kappa": hm.HalfNormal(3), "sigma": hm.HalfNormal(3)}
    nested = hm.fit(frame, groups=["batch", "cask"], priors=zero, random_seed=1, draws=500).rank()
    assert nested.prob_greater("A/a", "A/b") == nested.prob_greater("A/b", "A/a") == 0.5
    by_batch = nested.table.groupby(nested.table.index.str[0])
    assert by_batch["rank_mean"].std().max() < 0.05
    assert by_batch["p_best"].std().max() < 0.01
    assert "tau is fixed at 0: equal groups share their ranks" in nested.table.attrs["notes"]
    plates, formula = hm.datasets.load_penicillin(), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    priors = {"tau": hm.HalfNormal(4), "tau_plate": hm.Fixed(0)}
    crossed = hm.fit(plates, formula, priors=priors, random_seed=1, draws=500).rank("plate")
    assert sorted(crossed.ranks[2, 7].to_numpy()) == list(range(1, 25))
    np.testing.assert_allclose(crossed.table["rank_mean"], 12.5, atol=0.05)
    np.testing.assert_allclose(crossed.table["p_best"], 1 / 24, atol=0.005)
    pairs = crossed.prob_greater_matrix().to_numpy()
    assert (pairs[~np.eye(24, dtype=bool)] == 0.5).all()
