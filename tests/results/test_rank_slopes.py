"""Ranks of groups where slopes vary, and with three columns of groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import hiermodels as hm


@pytest.fixture(scope="module")
def sleep():
    """The sleep study."""
    frame = hm.datasets.load_sleepstudy()
    return hm.fit(frame, "Reaction ~ Days + (1 + Days | Subject)", random_seed=1)


def _ranks(draws):
    """Rank 1 is the highest; draws (…, groups)."""
    return stats.rankdata(-draws.reshape(-1, draws.shape[-1]), axis=1)


@pytest.mark.parametrize(
    ("options", "weights"),
    [({}, (1, 0)), ({"effect": "Days"}, (0, 1)), ({"at": {"Days": 5}}, (1, 5))],
)
def test_ranks_are_those_of_the_draws(sleep, options, weights):
    """Of intercepts, of slopes, and of the groups' values at five days: counted by hand."""
    draws = sleep.datatree["posterior"]["theta"].to_numpy() @ np.array(weights)
    ranks = _ranks(draws)
    labels = sleep.data.labels[-1]
    found = sleep.rank(threshold=20.0, top=3, **options).table.loc[list(labels)]
    np.testing.assert_allclose(found["rank_mean"], ranks.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found["p_top3"], (ranks <= 3).mean(axis=0), atol=1e-12)
    flat, n = draws.reshape(-1, len(labels)), ranks.shape[0]
    error = flat.std(axis=0) / np.sqrt(n)
    assert np.abs((found["mean"] - flat.mean(axis=0)) / error).max() < 4.5
    assert np.abs(found["sd"] / flat.std(axis=0) - 1).max() < 4.5 / np.sqrt(n)
    share = (flat > 20).mean(axis=0)
    error = np.sqrt(np.maximum(share * (1 - share), 1 / n) / n)
    assert np.abs((found["p_above_20"] - share) / error).max() < 4.5


def test_tables_say_what_is_ranked(sleep):
    """The value at five days, or the slope, which is the same at all x."""
    assert "theta[Intercept] at Days = 5" in repr(sleep.rank(at={"Days": 5}))
    slopes = repr(sleep.rank(effect="Days", at={"Days": 5}))
    assert "rank 1: highest theta[Days]" in slopes
    assert "Days = 5" not in slopes


def test_effects_that_do_not_vary_are_refused(sleep):
    """The message names those that do."""
    with pytest.raises(hm.SpecError, match=r"effect: expected 'Intercept' or 'Days'.*'Day'"):
        sleep.rank(effect="Day")
    schools = hm.fit(hm.datasets.load_eight_schools(), random_seed=1, draws=100)
    with pytest.raises(hm.SpecError, match="effect: expected 'Intercept'"):
        schools.rank(effect="slope")


def test_slopes_alone_are_ranked_by_default():
    """Where no intercept varies."""
    frame = hm.datasets.load_sleepstudy()
    fit = hm.fit(frame, "Reaction ~ Days + (0 + Days | Subject)", random_seed=1, draws=500)
    ranks = _ranks(fit.datatree["posterior"]["theta"].to_numpy()[..., 0])
    found = fit.rank().table.loc[list(fit.data.labels[-1])]
    np.testing.assert_allclose(found["rank_mean"], ranks.mean(axis=0), rtol=1e-12)


def test_intercepts_at_the_groups_own_covariates():
    """``at="own"``: the group's line at the mean of its own rows, in draws and by quadrature."""
    frame = hm.datasets.load_sleepstudy()
    frame = frame[~((frame["Subject"] == frame["Subject"].iloc[0]) & (frame["Days"] > 4))]
    fit = hm.fit(frame, "Reaction ~ Days + (1 + Days | Subject)", random_seed=1)
    own = frame.groupby("Subject")["Days"].mean().to_numpy()
    theta = fit.datatree["posterior"]["theta"].to_numpy()
    shown = (theta[..., 0] + theta[..., 1] * own).reshape(-1, len(own))
    exact = fit.reference().at("own")
    error = shown.std(axis=0) / np.sqrt(len(shown))
    difference = exact.mean["theta"].sel(effect="Intercept").to_numpy() - shown.mean(axis=0)
    assert np.abs(difference / error).max() < 4.5
    table = fit.summary(["theta"], at="own")
    rows = [f"theta[{label}, Intercept]" for label in fit.data.labels[-1]]
    np.testing.assert_allclose(table.loc[rows, "mean"].astype(float), shown.mean(axis=0), rtol=1e-6)
    assert "each at its own covariates" in repr(table)
