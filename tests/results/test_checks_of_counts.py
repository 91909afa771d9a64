"""Predictive checks of counts against formulas, plain pandas and the laws of their rows."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import hiermodels as hm
from hiermodels.exact.replicates import replicated_means, statistics_of, with_replicates
from hiermodels.posterior.record import thin

ERROR = 4 * np.sqrt(0.25 / 4000)  # of a probability from 4,000 draws, at the most
LEAST = 1e-3  # p-value below which two distributions differ
Z, W = np.polynomial.hermite_e.hermegauss(60)


def fitted(data, *args, **options):
    with contextlib.redirect_stdout(None):
        return hm.fit(data, *args, random_seed=1, **options)


@pytest.fixture(scope="module")
def hospitals():
    return fitted(hm.datasets.load_surgical(), outcome="deaths", trials="cases", groups="hospital")


@pytest.fixture(scope="module")
def rows():
    """Several rows in each clinic, with a covariate of clinics, and one clinic not yet opened."""
    rng = np.random.default_rng(3)
    clinic = np.repeat(np.arange(9), 3)
    n = np.where(clinic == 8, 0, rng.integers(1, 12, 27))
    x = np.repeat(rng.normal(size=9), 3)
    y = rng.binomial(n, special.expit(-1 + 0.5 * x))
    y[:3] = 0
    return pd.DataFrame({"clinic": [f"c{i}" for i in clinic], "n": n, "x": x, "y": y})


@pytest.fixture(scope="module")
def clinics(rows):
    priors = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1), "beta": hm.Normal(0, 1)}
    return fitted(rows, "y | trials(n) ~ x + (1 | clinic)", family="binomial", priors=priors)


def by_hand(frame, y, n, word="proportion"):
    """The statistics of outcomes y (rows, draws) in plain pandas; a column for each."""
    counts = pd.DataFrame(y, index=frame.index).groupby(frame["clinic"], sort=False).sum()
    size = n.groupby(frame["clinic"], sort=False).sum()
    counts, size = counts[size > 0], size[size > 0]
    raw = counts.div(size, axis=0)
    return pd.DataFrame(
        {
            f"largest clinic {word}": raw.max(),
            f"smallest clinic {word}": raw.min(),
            f"sd of clinic {word}s": raw.std(),
            "total y": counts.sum(),
            "zero counts of clinic": (counts == 0).sum(),
            "full counts of clinic": counts.eq(size, axis=0).sum(),
        }
    )


def test_observed_statistics_are_those_of_the_rows(clinics, rows):
    table = clinics.check(random_seed=1)
    expected = by_hand(rows, rows[["y"]].to_numpy(), rows["n"])
    assert table.index.tolist() == list(expected)
    np.testing.assert_allclose(table["observed"], expected.iloc[0], rtol=1e-12)
    assert list(table) == ["observed", "median", "eti89_lb", "eti89_ub", "p"]
    assert table.loc["zero counts of clinic", "observed"] >= 1


@pytest.mark.parametrize("replicate", ["groups", "rows"])
def test_replicated_statistics_are_those_of_replicated_rows(clinics, rows, replicate):
    found = statistics_of(clinics.posterior, replicate=replicate, random_seed=1).replicated
    drawn = with_replicates(thin(clinics.posterior, 800), replicate, random_seed=2)
    outcomes = drawn.datatree["posterior_predictive"]["y"].to_numpy().reshape(-1, len(rows))
    table = by_hand(rows, outcomes.T, rows["n"])
    for name in found:
        p = stats.ks_2samp(found[name].to_numpy().ravel(), table[name]).pvalue
        assert p > LEAST, (name, p)


def none_of_new(fit, n):
    """Probability at each draw of μ and τ that a new group of n has no event; (draws, groups)."""
    draws = fit.datatree["posterior"].to_dataset()
    mu, tau = (draws[name].to_numpy().ravel()[:, None] for name in ("mu", "tau"))
    survives = special.expit(-(mu + tau * Z))[:, None, :] ** n[:, None]
    return survives @ (W / W.sum())


def test_the_tail_probability_of_zeros_of_new_groups_is_the_formula(hospitals):
    """Given μ and τ new hospitals are independent, and each has no deaths with probability E qⁿ."""
    table = hospitals.check(random_seed=1)
    none = none_of_new(hospitals, hm.datasets.load_surgical()["cases"].to_numpy())
    no_zero = (1 - none).prod(axis=1)
    one_zero = no_zero * (none / (1 - none)).sum(axis=1)
    assert table.loc["zero counts of hospital", "observed"] == 1
    expected = (1 - no_zero - one_zero / 2).mean()
    assert table.loc["zero counts of hospital", "p"] == pytest.approx(expected, abs=ERROR / 3)
    expected = (no_zero + (1 - no_zero) / 2).mean()  # the smallest is 0, with ties
    assert table.loc["smallest hospital proportion", "p"] == pytest.approx(expected, abs=ERROR)


def test_the_tail_probability_of_the_same_groups_is_the_formula(hospitals):
    data = hm.datasets.load_surgical()
    table = hospitals.check(replicate="rows", random_seed=1)
    p = hospitals.datatree["posterior"]["p"].to_numpy().reshape(-1, 12)
    largest = (data["deaths"] / data["cases"]).max()
    limit = np.floor(largest * data["cases"] * (1 - 1e-12)).to_numpy()
    at_most = stats.binom.cdf(np.floor(largest * data["cases"] * (1 + 1e-12)), data["cases"], p)
    below = np.where(limit / data["cases"] < largest, 1.0, 0.0) * stats.binom.cdf(
        limit, data["cases"], p
    )
    expected = 1 - (at_most.prod(axis=1) + below.prod(axis=1)) / 2
    found = table.loc["largest hospital proportion", "p"]
    assert found == pytest.approx(expected.mean(), abs=ERROR)


def test_rates_are_events_in_their_exposure():
    frame = pd.DataFrame(
        {
            "clinic": list("aabbccd"),
            "y": [0, 0, 4, 1, 9, 2, 5],
            "E": [1.0, 2, 3, 0.5, 4, 1, 2],
            "o": [0.0, 0.3, -0.2, 0.1, 0, 0, 1],
        }
    )
    options = {"exposure": "E", "offset": "o", "groups": "clinic", "outcome": "y"}
    priors = {"tau": hm.HalfNormal(1)}
    fit = fitted(frame, priors=priors, **options)
    table = fit.check(random_seed=1)
    expected = by_hand(frame, frame[["y"]].to_numpy(), frame["E"] * np.exp(frame["o"]), "rate")
    expected = expected.drop(columns="full counts of clinic")
    assert table.index.tolist() == list(expected)
    np.testing.assert_allclose(table["observed"], expected.iloc[0], rtol=1e-12)
    observed, replicated = replicated_means(fit.posterior, replicate="rows", random_seed=1)
    np.testing.assert_allclose(
        observed,
        [0, 5, 11, 5]
        / np.array([1 + 2 * np.exp(0.3), 3 * np.exp(-0.2) + 0.5 * np.exp(0.1), 5, 2 * np.e]),
    )
    rate = fit.datatree["posterior"]["rate"]
    away = (replicated - rate).mean(["chain", "draw"]) / rate.mean(["chain", "draw"])
    assert (np.abs(away) < 0.1).all()


def test_errors_with_wide_tails_are_measured_in_standard_errors():
    frame = pd.DataFrame({"g": list("aabbb"), "y": [1.0, 2, 5, 3, 4], "s": [0.5, 1, 1, 2, 1]})
    priors = {"tau": hm.HalfNormal(2)}
    fit = fitted(frame, "y ~ (1 | g)", se="s", family=hm.StudentT(nu=4), priors=priors)
    table, w = fit.check(random_seed=1), frame["s"] ** -2.0
    means = (frame["y"] * w).groupby(frame["g"]).sum() / w.groupby(frame["g"]).sum()
    away = (frame["y"] - frame["g"].map(means)) * np.sqrt(w)
    expected = [means.max(), means.min(), means.std(), np.sqrt((away**2).sum() / 3)]
    np.testing.assert_allclose(table["observed"], expected, rtol=1e-12)
    names = ["largest g mean", "smallest g mean", "sd of g means", "sd of rows within g, in se"]
    assert table.index.tolist() == names


def test_tables_of_trials_have_log_odds_ratios():
    frame = pd.DataFrame(
        {"trial": list("abcd"), "y": [3, 0, 7, 1], "n": [20, 12, 30, 15]}
        | {"c": [6, 4, 4, 0], "m": [22, 11, 28, 0]}
    )
    family = hm.OddsRatio(control_events="c", control_trials="m")
    priors = {"tau": hm.HalfNormal(1), "mu": hm.Normal(0, 2)}
    fit = fitted(frame, outcome="y", groups="trial", trials="n", family=family, priors=priors)
    a, b = frame["y"] + 0.5, frame["n"] - frame["y"] + 0.5
    c, d = frame["c"] + 0.5, frame["m"] - frame["c"] + 0.5
    log_ratio = np.log(a * d / b / c)[:3]  # the last has no control arm
    table = fit.check(random_seed=1)["observed"]
    assert table["largest trial log odds ratio"] == pytest.approx(log_ratio.max())
    assert table["sd of trial log odds ratios"] == pytest.approx(log_ratio.std())
    assert table["zero counts of trial"] == 1
    assert table["full counts of trial"] == 0


def test_statistics_of_groups_are_checked_as_their_rows(hospitals):
    data = hm.datasets.load_surgical()
    with contextlib.redirect_stdout(None):
        counts = hm.SufficientStatistics.of(
            data, outcome="deaths", trials="cases", groups="hospital"
        )
    fit = fitted(counts)
    pd.testing.assert_frame_equal(
        pd.DataFrame(fit.check(random_seed=1)),
        pd.DataFrame(hospitals.check(random_seed=1)),
        rtol=1e-12,
    )
