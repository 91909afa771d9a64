"""Raw effects: least squares of each group's own rows, found by other means."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact.block_raw import coefficients, raw_coefficients


def posterior_of(frame, formula, **options):
    with contextlib.redirect_stdout(None):
        fit = hm.fit(frame, formula, draws=200, chains=1, random_seed=1, **options)
    draws = fit.datatree["posterior"].to_dataset()
    return fit.posterior, {name: draws[name].mean(["chain", "draw"]).to_numpy() for name in draws}


def frame_of(seed, groups=7, rows=5):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rows)
    x, z = rng.uniform(1, 4, len(g)), rng.normal(size=len(g))
    theta = np.array([5.0, 1.0]) + rng.normal(size=(groups, 2))
    y = theta[g, 0] + theta[g, 1] * x + 2 * z + rng.normal(size=len(g))
    se = rng.uniform(0.5, 2, len(g))
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": [f"g{i}" for i in g], "se": se})


@pytest.mark.parametrize("se", [None, "se"])
def test_slopes_are_those_of_a_regression_of_each_group(se):
    frame = frame_of(1) if se else frame_of(1).drop(columns="se")
    posterior, known = posterior_of(frame, "y ~ x + z + (1 + x | g)", se=se)
    raw = raw_coefficients(posterior.spec, posterior.data, known, 0)
    for own, (_, rows) in zip(raw, frame.groupby("g"), strict=True):
        left = rows["y"] - known["beta"][1] * rows["z"]
        weight = None if se is None else 1 / rows["se"]
        slope, intercept = np.polyfit(rows["x"], left, 1, w=weight)
        np.testing.assert_allclose(own, [intercept, slope, known["beta"][1]], rtol=1e-9)


def test_an_effect_that_does_not_vary_is_held_at_the_population_s():
    frame = frame_of(2).drop(columns="se")
    posterior, known = posterior_of(frame, "y ~ x + z + (0 + x | g)")
    raw = raw_coefficients(posterior.spec, posterior.data, known, 0)
    for own, (_, rows) in zip(raw, frame.groupby("g"), strict=True):
        left = rows["y"] - known["mu"] - known["beta"][1] * rows["z"]
        slope = (rows["x"] * left).sum() / (rows["x"] ** 2).sum()
        np.testing.assert_allclose(own, [known["mu"], slope, known["beta"][1]], rtol=1e-9)


def test_rows_that_determine_nothing_give_nothing():
    frame = frame_of(3).drop(columns="se")
    alone = frame.iloc[:1].assign(g="z0")
    constant = frame.iloc[:3].assign(g="z1", x=2.5)
    posterior, known = posterior_of(pd.concat([frame, alone, constant]), "y ~ x + (1 + x | g)")
    raw = raw_coefficients(posterior.spec, posterior.data, known, 0)
    assert np.isfinite(raw[:-2]).all()
    assert np.isnan(raw[-2:]).all()


@pytest.mark.parametrize("formula", ["(1 + x | a) + (1 | a:b)", "(1 | a) + (1 + x | a:b)"])
def test_outer_groups_weight_inner_ones_by_their_variances(formula):
    """Generalised least squares with the dense covariance of a group's rows."""
    rng = np.random.default_rng(4)
    a, b = np.repeat(np.arange(5), 12), np.tile(np.repeat(np.arange(4), 3), 5)
    x = rng.normal(size=60)
    y = rng.normal(size=5)[a] + x + rng.normal(size=(5, 4))[a, b] + rng.normal(size=60)
    frame = pd.DataFrame({"y": y, "x": x, "a": a.astype(str), "b": b.astype(str)}).iloc[:-2]
    posterior, known = posterior_of(frame, f"y ~ x + {formula}")
    level = posterior.spec.levels[1]
    raw = raw_coefficients(posterior.spec, posterior.data, known, 0)
    t = np.diag(np.atleast_1d(known[level.sd]) ** 2)
    if level.correlation:
        t[0, 1] = t[1, 0] = known[level.correlation] * np.sqrt(t[0, 0] * t[1, 1])
    for own, (_, rows) in zip(raw, frame.groupby("a"), strict=True):
        z = np.column_stack([np.ones(len(rows)), rows["x"]])
        inner = z[:, : len(t)]
        same = rows["b"].to_numpy()[:, None] == rows["b"].to_numpy()
        v = (inner @ t @ inner.T) * same + known["sigma"] ** 2 * np.eye(len(rows))
        left, design = rows["y"].to_numpy(), z
        if not posterior.spec.levels[0].has_slopes:
            left, design = left - known["beta"][0] * rows["x"].to_numpy(), z[:, :1]
        weighted = np.linalg.solve(v, design)
        expected = np.linalg.solve(design.T @ weighted, weighted.T @ left)
        np.testing.assert_allclose(own[: len(expected)], expected, rtol=1e-8)


def test_four_levels_are_weighted_by_precision_upwards():
    """The mean of the means below, weighted by 1/(tau² + variance), level by level."""
    rng = np.random.default_rng(5)
    rows = [
        (f"a{i}", f"b{j}", f"c{k}")
        for i in range(4)
        for j in range(1 + i)
        for k in range(3 - j % 2)
        for _ in range(1 + (i + j + k) % 3)
    ]
    frame = pd.DataFrame(rows, columns=["a", "b", "c"]).assign(y=rng.normal(size=len(rows)))
    posterior, known = posterior_of(
        frame, "y ~ (1 | a/b/c)", priors={"tau_a": hm.HalfNormal(1), "tau_b": hm.HalfNormal(1)}
    )
    cells = frame.groupby(["a", "b", "c"])["y"].agg(["mean", "size"])
    cells["variance"] = known["sigma"] ** 2 / cells["size"]
    for level, (above, sd) in enumerate([(["a", "b"], "tau_c"), (["a"], "tau_b")]):
        cells["weight"] = 1 / (known[sd] ** 2 + cells["variance"])
        cells["sum"] = cells["weight"] * cells["mean"]
        sums = cells.groupby(above)[["weight", "sum"]].sum()
        cells = pd.DataFrame({"mean": sums["sum"] / sums["weight"], "variance": 1 / sums["weight"]})
        raw = raw_coefficients(posterior.spec, posterior.data, known, 1 - level)
        np.testing.assert_allclose(raw[:, 0], cells["mean"], rtol=1e-9)


def test_coefficients_come_from_the_nearest_level_at_which_they_vary():
    frame = frame_of(6).drop(columns="se")
    frame["c"] = [f"c{i % 2}" for i in range(len(frame))]
    posterior, known = posterior_of(frame, "y ~ x + z + (1 + x | g) + (1 | g:c)")
    table = coefficients(posterior.spec, posterior.data, known, 1)
    expected = np.column_stack(
        [
            known["theta_c"],
            known["theta_g"][np.repeat(np.arange(7), 2), 1],
            np.full(14, known["beta"][1]),
        ]
    )
    np.testing.assert_array_equal(table, expected)
