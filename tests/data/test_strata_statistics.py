"""Strata of rows in statistics of groups and in lazy frames: the same posteriors as of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import hiermodels as hm
from hiermodels.data.statistics import SufficientStatistics

FIXED = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1), "mu": hm.Normal(0, 9)}
CASES = {
    "of groups": ("y ~ x + (1 | g)", {"residual_by": "kind"}, {}),
    "within groups": ("y ~ x + (1 | g)", {"residual_by": "by"}, FIXED | {"beta": hm.Normal(0, 9)}),
    "three levels": ("y ~ 1 + (1 | s/g)", {"residual_by": "kind"}, {"kappa": hm.HalfNormal(1)}),
    "slopes, weights": ("y ~ x + (0 + x | g)", {"residual_by": "by", "weights": "w"}, {}),
}


def rows() -> pd.DataFrame:
    """Rows of two strata, within groups and between them; one group has rows of one stratum."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(9), [3, 4, 2, 6, 5, 4, 7, 3, 5])
    frame = pd.DataFrame({"s": g // 3, "g": g, "x": 5 + rng.normal(size=len(g))})
    frame["by"] = np.where((rng.random(len(g)) < 0.4) & (g != 4), "u", "v")
    frame["kind"], frame["w"] = 10 + g % 2, rng.uniform(0.5, 2, len(g))
    sd = np.where(frame["by"] == "u", 0.3, 1.0)
    own = rng.normal(size=9)[g]
    frame["y"] = 3 + own + (0.5 + 0.4 * own) * frame["x"] + sd * rng.normal(size=len(g))
    return frame.sample(frac=1, random_state=1, ignore_index=True).astype({"s": str, "g": str})


def assert_same(found, expected):
    assert found.spec.strata == expected.spec.strata
    for name in expected.spec.variables:
        sd = expected.sd[name]
        apart = np.abs((found.mean[name] - expected.mean[name]) / sd)
        assert apart.size == expected.mean[name].size
        assert float(apart.max()) < 1e-11, name
        assert float(np.abs(found.sd[name] / sd - 1).max()) < 1e-11, name


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Formula, columns, priors, and the posterior of the rows."""
    formula, columns, priors = CASES[request.param]
    frame = rows().sort_values(columns["residual_by"], ignore_index=True)
    return frame, formula, columns, priors, hm.reference(frame, formula, priors=priors, **columns)


def test_statistics_say_what_rows_say(case):
    frame, formula, columns, priors, expected = case
    assert_same(
        hm.reference(SufficientStatistics.of(frame, formula, **columns), priors=priors), expected
    )


def test_lazy_frames_say_what_rows_say(case):
    frame, formula, columns, priors, expected = case
    lazy = pl.from_pandas(frame).lazy()
    found = hm.reference(lazy, formula, priors=priors, **columns)
    assert_same(found, expected)
    if "mu" in priors:
        evidence = expected.log_marginal_likelihood
        assert found.log_marginal_likelihood == pytest.approx(evidence, abs=1e-10)


def test_parts_add_up(case, tmp_path):
    """Parts of which one has a single stratum, or a group that the other has too."""
    frame, formula, columns, priors, expected = case
    one = frame[columns["residual_by"]] == frame[columns["residual_by"]].iloc[0]
    one &= frame.index != frame.index[one][-1]
    parts = [SufficientStatistics.of(frame[some], formula, **columns) for some in (one, ~one)]
    both = hm.load_statistics((parts[0] + parts[1]).to_netcdf(tmp_path / "both.nc"))
    assert both.rows_of_strata.sum() == len(frame)
    assert_same(hm.reference(both, priors=priors), expected)


def test_fits_of_statistics_predict_for_strata():
    frame = rows()
    how = {"residual_by": "by", "priors": FIXED, "random_seed": 1, "draws": 100}
    fit = hm.fit(frame, "y ~ 1 + (1 | g)", **how)
    statistics = SufficientStatistics.of(frame, "y ~ 1 + (1 | g)", residual_by="by")
    other = hm.fit(statistics, priors=FIXED, random_seed=1, draws=100)
    new = pd.DataFrame({"g": ["1", "new"], "by": ["u", "v"]})
    lp = (own.datatree["sample_stats"]["lp"] for own in (fit, other))
    np.testing.assert_allclose(*lp, rtol=1e-8)
    one, two = (own.predict(new).to_frame() for own in (fit, other))
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)
    assert fit.estimates().sds == pytest.approx(other.estimates().sds, rel=1e-6)
    shares = fit.variance_components(), other.variance_components()
    np.testing.assert_allclose(*shares, rtol=1e-8)


def test_strata_that_teach_nothing_are_refused_once_all_rows_are_there():
    frame = rows()
    one = SufficientStatistics.of(frame[frame["by"] == "u"], "y ~ 1 + (1 | g)", residual_by="by")
    with pytest.raises(hm.DataError, match="the one label u of 'by'"):
        hm.fit(one)
    single = frame[(frame["by"] == "u") | (frame.index == frame.index[frame["by"] == "v"][0])]
    few = SufficientStatistics.of(single, "y ~ 1 + (1 | g)", residual_by="by")
    with pytest.raises(hm.DataError, match=r"two rows or more in each stratum of 'by'.*one of 'v'"):
        hm.fit(few)
    with pytest.raises(hm.DataError, match="two rows or more in each stratum"):
        hm.fit(pl.from_pandas(single).lazy(), "y ~ 1 + (1 | g)", residual_by="by")


def test_gaps_in_strata_are_refused_or_dropped():
    frame = pl.from_pandas(rows()).with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("by")).alias("by")
    )
    how = {"residual_by": "by", "priors": FIXED}
    with pytest.raises(hm.DataError, match="'by'"):
        hm.reference(frame.lazy(), "y ~ 1 + (1 | g)", **how)
    found = hm.reference(frame.lazy(), "y ~ 1 + (1 | g)", missing="drop", **how)
    assert found.data.dropped == 1
    assert found.data.n_rows == len(frame) - 1
