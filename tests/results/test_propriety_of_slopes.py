"""Posteriors of slopes that do not exist: which prior, how many groups, and what would do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

FLAT, LKJ = hm.FlatSD(), hm.LKJ(1)
SLOPES = "y ~ x + (1 + x | g)"


def rows(groups, each=4, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"g": np.repeat(range(groups), each), "x": rng.normal(size=groups * each)})
    frame["y"] = rng.normal(size=len(frame)) + frame["x"]
    return frame.assign(g="g" + frame["g"].astype(str))


def refusal(groups, priors, formula=SLOPES):
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        hm.fit(rows(groups), formula, priors=priors, draws=10, random_seed=1)
    return str(caught.value)


def exists(groups, priors, formula=SLOPES):
    fit = hm.fit(rows(groups), formula, priors=priors, draws=10, random_seed=1)
    return len(fit.datatree["posterior"]["sigma"]) > 0


def test_a_flat_covariance_of_two_effects_needs_six_groups():
    said = refusal(5, {"tau": hm.FlatCovariance()})
    assert "tau[Intercept] and tau[x] may grow without end, all in one direction" in said
    assert "The 5 'g' groups say of them as much as 4 independent contrasts" in said
    assert "the prior FlatCovariance() needs at least 5, which takes 6 groups" in said
    assert said.endswith("Give them proper priors, such as HalfNormal(…), or use 6 groups")
    assert "takes 6 groups" in refusal(2, {"tau": hm.FlatCovariance()})
    assert exists(6, {"tau": hm.FlatCovariance()})


def test_flat_sds_need_three_groups():
    priors = {"tau": FLAT, "tau[x]": FLAT, "rho": LKJ}
    said = refusal(2, priors)
    assert "the prior FlatSD() needs at least" in said
    assert "which takes 3 groups" in said
    assert exists(3, {"tau": FLAT, "tau[x]": FLAT}, "y ~ x + (1 + x || g)")


def test_a_flat_variance_needs_four_groups_and_is_named():
    formula = "y ~ x + (1 + x || g)"
    priors = {"tau": hm.HalfNormal(1), "tau[x]": hm.FlatVariance()}
    said = refusal(3, priors, formula)
    assert "does not exist: tau[x] may grow without end. The 3 'g' groups say of it" in said
    assert "the prior FlatVariance() needs at least 3, which takes 4 groups" in said
    assert exists(4, priors, formula)


def test_groups_in_which_x_does_not_vary_do_not_count():
    """Of six groups x varies in two: no number of groups like these is promised."""
    frame = rows(6)
    constant = frame["g"] > "g1"
    frame.loc[constant, "x"] = frame.loc[constant, "g"].str[1:].astype(float)
    priors = {"tau": hm.HalfNormal(1), "tau[x]": hm.FlatVariance(), "rho": hm.LKJ(2)}
    frame["x"] = np.where(constant, 0.0, frame["x"])
    with pytest.raises(hm.ImproperPosteriorError, match=r"as 1 independent contrasts.*more groups"):
        hm.fit(frame, SLOPES, priors=priors, draws=10, random_seed=1)


def test_the_level_is_named_among_three_grouping_columns():
    rng = np.random.default_rng(2)
    a, b, c = np.indices((3, 2, 2, 2)).reshape(4, -1)[:3]
    frame = pd.DataFrame({"a": a, "b": 2 * a + b, "c": 4 * a + 2 * b + c}).astype(str)
    frame["y"] = rng.normal(size=len(frame))
    with pytest.raises(hm.ImproperPosteriorError, match=r"tau_a may .*The 3 'a' groups.*4 groups"):
        hm.fit(frame, "y ~ 1 + (1 | a/b/c)", draws=10, random_seed=1)


def test_rows_that_effects_fit_exactly_leave_sigma_open():
    priors = {"tau": hm.HalfNormal(1), "tau[x]": hm.HalfNormal(1)}
    with pytest.raises(hm.ImproperPosteriorError, match=r"fit all 12 rows exactly.*fewer effects"):
        hm.fit(rows(6, each=2), SLOPES, priors=priors, draws=10, random_seed=1)
