"""Files of groups with several effects and of many levels, and statistics of the latter."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm
from hiermodels.data.statistics import statistics_of
from hiermodels.exact.block_data import block_model
from hiermodels.exact.kernels.blocks.upward import evaluate


def nested(seed=1):
    """Rows of groups in groups in groups, whose labels repeat."""
    rng = np.random.default_rng(seed)
    cells = [
        (f"a{i}", f"b{j}", f"c{k}")
        for i in range(5)
        for j in range(2 + i % 2)
        for k in range(2 + (i + j) % 2)
        for _ in range(1 + (i + k) % 3)
    ]
    frame = pd.DataFrame(cells, columns=["a", "b", "c"])
    frame["x"], frame["z"] = rng.normal(size=(2, len(frame)))
    own = [rng.normal(size=frame.groupby(by).ngroups) for by in (["a"], ["a", "b"])]
    effects = [
        e[frame.groupby(by).ngroup()] for e, by in zip(own, (["a"], ["a", "b"]), strict=True)
    ]
    frame["y"] = sum(effects) + frame["x"] + rng.normal(size=len(frame))
    return frame


PROPER = {sd: hm.HalfNormal(1) for sd in ("tau_a", "tau_b", "tau_c")}
MODELS = {
    "slopes": "y ~ x + z + (1 + x | a)",
    "uncorrelated": "y ~ x + (1 + x || a)",
    "slopes alone": "y ~ x + (0 + x | a)",
    "slopes above": "y ~ x + (0 + x | a) + (1 | a:b)",
    "four levels": "y ~ x + (1 | a/b/c)",
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def fit(request):
    with contextlib.redirect_stdout(None):
        return hm.fit(nested(), request.param, draws=20, random_seed=1, priors="weak")


def test_a_saved_fit_is_the_same(fit, tmp_path):
    again = hm.load(fit.to_netcdf(tmp_path / "fit.nc"))
    assert again.spec == fit.spec
    for name, group in fit.datatree.children.items():
        xr.testing.assert_identical(again.datatree[name].to_dataset(), group.to_dataset())
    pd.testing.assert_frame_equal(pd.DataFrame(again.summary()), pd.DataFrame(fit.summary()))


def test_the_table_in_a_file_is_the_summary(fit, tmp_path):
    for level in fit.spec.levels[:2]:
        path = fit.to_parquet(tmp_path / "x.parquet", level.column, row_group_size=5)
        table, expected = pd.read_parquet(path), fit.reference().summary([level.effect])
        columns = list(expected.columns)
        np.testing.assert_allclose(table[columns], expected, rtol=1e-10, atol=1e-12)
        by = list(fit.spec.groups[: fit.spec.groups.index(level.column) + 1])
        frame = nested().groupby(by)["y"].agg(["size", "mean"]).reset_index()
        frame = frame.loc[frame.index.repeat(len(level.terms))]
        assert table[by].to_numpy().tolist() == frame[by].to_numpy().tolist()
        assert table["n"].tolist() == frame["size"].tolist()
        np.testing.assert_allclose(table["raw_mean"], frame["mean"], rtol=1e-12)
        if level.has_slopes:
            assert table["effect"].tolist() == list(level.terms) * (len(table) // len(level.terms))
        else:
            assert "effect" not in table


def test_a_column_of_groups_may_be_called_effect(tmp_path):
    frame = nested().rename(columns={"a": "effect"})
    with contextlib.redirect_stdout(None), pytest.raises(hm.HierModelsError, match="effect"):
        hm.fit(frame, "y ~ x + (1 + x | effect)", draws=10, random_seed=1)


def test_the_store_holds_all(fit, tmp_path):
    with xr.open_datatree(fit.to_zarr(tmp_path / "fit.zarr"), engine="zarr") as tree:
        found = tree.load()
    expected = fit.datatree["posterior"].to_dataset()
    for name in fit.spec.variables:
        xr.testing.assert_equal(found["posterior"][name], expected[name])


def test_every_level_has_its_parents(fit):
    constant, levels = fit.datatree["constant_data"], fit.data.levels
    for outer, inner in pairwise(levels):
        found = constant[f"{inner.column}_{outer.column}"]
        assert found.dims == (inner.column,)
        assert [label.split("/")[-2] for label in inner.labels.tolist()] == [
            label.split("/")[-1] for label in found.to_numpy().tolist()
        ]


def test_draws_name_all_that_a_group_is_in():
    with contextlib.redirect_stdout(None):
        fit = hm.fit(nested(), MODELS["four levels"], draws=10, random_seed=1)
    draws = fit.draws()
    labels = [label.split("/") for label in draws["c"].values.tolist()]
    assert draws["c_b"].values.tolist() == ["/".join(label[:2]) for label in labels]
    assert draws["c_a"].values.tolist() == [label[0] for label in labels]


@pytest.mark.parametrize("se", [None, "se"])
@pytest.mark.parametrize(
    "formula", ["y ~ (1 | a/b/c)", "y ~ x + z + (1 | a/b/c)", "y ~ 0 + x + (1 | a/b/c)"]
)
def test_statistics_of_four_levels_say_what_the_rows_say(formula, se):
    frame = nested(2)
    if se:
        frame["se"] = np.random.default_rng(3).uniform(0.5, 2, len(frame))
    with contextlib.redirect_stdout(None):
        rows = hm.reference(frame, formula, se=se, priors=PROPER)
        posteriors = [
            hm.reference(hm.SufficientStatistics.of(frame, formula, se=se), priors=PROPER),
            hm.reference(pl.from_pandas(frame).lazy(), formula, se=se, priors=PROPER),
        ]
    shapes = np.random.default_rng(1).uniform(0, 2, (3, 1, 1, 4))
    expected = evaluate(block_model(rows.spec, rows.data).blocks, shapes)
    for posterior in posteriors:
        assert not posterior.data.has_rows
        found = evaluate(block_model(posterior.spec, posterior.data).blocks, shapes)
        np.testing.assert_allclose(found.log_det, expected.log_det, rtol=1e-13)
        scale = abs(expected.triangle).max()
        np.testing.assert_allclose(abs(found.triangle), abs(expected.triangle), atol=1e-13 * scale)
        for name in rows.spec.variables:
            for moment in ("mean", "sd"):
                both = [getattr(one, moment)[name] for one in (posterior, rows)]
                away = ((both[0] - both[1]) / rows.sd[name]).to_numpy()
                np.testing.assert_allclose(away, 0, atol=1e-9)


def test_draws_from_statistics_are_those_from_rows():
    frame = nested(2)
    with contextlib.redirect_stdout(None):
        rows = hm.fit(frame, MODELS["four levels"], draws=50, random_seed=4)
        lazy = hm.fit(pl.from_pandas(frame).lazy(), MODELS["four levels"], draws=50, random_seed=4)
    for name in rows.spec.variables:
        drawn = [one.datatree["posterior"][name].to_numpy() for one in (rows, lazy)]
        np.testing.assert_allclose(*drawn, rtol=1e-6, atol=1e-8)
    lps = [one.datatree["sample_stats"]["lp"].to_numpy() for one in (rows, lazy)]
    np.testing.assert_allclose(*lps, rtol=1e-6)


def test_the_density_of_four_levels_is_that_of_all_normal_distributions():
    frame = nested(2)
    with contextlib.redirect_stdout(None):
        fit = hm.fit(frame, MODELS["four levels"], draws=3, chains=1, priors=PROPER)
    draws, data = fit.datatree["posterior"].to_dataset().isel(chain=0), fit.data
    expected = np.zeros(3)
    for i in range(3):
        one = {name: draws[name].to_numpy()[i] for name in fit.spec.variables}
        above = np.atleast_1d(one["mu"])
        for level in data.levels:
            name = level.column
            effects, sd = one[f"theta_{name}"], one[f"tau_{name}"]
            expected[i] += stats.norm(above[level.parent], sd).logpdf(effects).sum()
            expected[i] += stats.halfnorm(scale=1).logpdf(sd)
            above = effects
        mean = above[data.group] + one["beta"][0] * data.design.matrix[:, 0]
        expected[i] += stats.norm(mean, one["sigma"]).logpdf(data.y).sum() - np.log(one["sigma"])
    found = fit.datatree["sample_stats"]["lp"].to_numpy()[0]
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-9, atol=1e-9)


def test_merged_statistics_of_four_levels():
    frame = nested(2)
    halves = [frame.iloc[::2], frame.iloc[1::2]]
    with contextlib.redirect_stdout(None):
        parts = [hm.SufficientStatistics.of(half, MODELS["four levels"]) for half in halves]
        merged = hm.reference(sum(parts), priors=PROPER)
        whole = hm.reference(frame, MODELS["four levels"], priors=PROPER)
    for name in whole.spec.variables:
        if name.startswith("theta_"):
            dim = whole.spec.dims(name)[0]
            found = merged.mean[name].sel({dim: whole.mean[dim]})
        else:
            found = merged.mean[name]
        away = (found - whole.mean[name]) / whole.sd[name]
        assert float(abs(away).max()) < 1e-9
    assert statistics_of(merged.data).n_rows == len(frame)
