"""Rows and groups left out of models with slopes or many levels: dense algebra, and refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.block_data import block_model
from hiermodels.exact.block_left_out import left_out_at
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.block_rows import BlockRows
from hiermodels.exact.blocks import left_out
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.propriety import check
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.leave_out import (
    CoefficientsGiven,
    SingleRows,
    Unit,
    changes_by_row,
    changes_by_unit,
)
from hiermodels.exact.kernels.blocks.upward import evaluate
from tests.oracles.dense_blocks import random_nested

PRIORS = {
    "mu": hm.Normal(250, 50),
    "beta": hm.Normal(0, 20),
    "tau": hm.HalfNormal(50),
    "tau[Days]": hm.HalfNormal(20),
    "sigma": hm.HalfNormal(50),
}
SLOPES = "Reaction ~ Days + (1 + Days | Subject)"


def a_design(levels, p, q, seed):
    """Random rows under proper priors, with sds of moderate size."""
    rng = np.random.default_rng(seed)
    own = random_nested(rng, levels, p, q, proper=True)
    factors = [np.tril(rng.normal(size=(p, p))) for _ in range(levels)]
    factors[-1][:, -1] = 0.0
    return replace(own, factors=factors, precision=rng.uniform(0.05, 1, len(own.precision)))


def blocks_of(own, rows=None, fixed=None):
    rows = np.arange(len(own.y)) if rows is None else rows
    present, group = np.unique(own.group[rows], return_inverse=True)
    parents = []
    for parent in reversed(own.parents):
        present, above = np.unique(parent[present], return_inverse=True)
        parents.insert(0, above)
    columns = own.z[rows], own.x[rows], own.y[rows]
    return Blocks.of(
        columns, group, tuple(parents), own.weight[rows], own.fixed if fixed is None else fixed
    )


def found(own, level):
    """Log densities of units left out, and of new ones like them; (u,) each."""
    sigma, blocks = np.array([own.sigma]), blocks_of(own)
    factors = [factor[:, :, None] for factor in own.factors]
    root = evaluate(blocks, factors).with_prior(own.mean, own.precision, sigma)
    law = CoefficientsGiven(root.mean, root.covariance, 1)
    if level == len(factors):
        index, every = np.arange(len(own.y)), np.column_stack([own.z, own.x, own.y])
        rows = SingleRows((np.sqrt(own.weight)[:, None] * every).T, own.group)
        changes = changes_by_row(blocks, factors, rows, law)
    else:
        index = own.member[level]
        units = []
        for u in range(index.max() + 1):
            tree = _tree(own, np.flatnonzero(index == u), level)
            units.append(Unit(tree, int(blocks.parent(level)[u])))
        changes = changes_by_unit(blocks, factors, level, units, law)
    k = np.bincount(index)
    constant = np.bincount(index, np.log(own.weight / (2 * np.pi * own.sigma**2))) / 2
    out, more = np.empty(len(k)), np.empty(len(k))
    for _, part, change in changes:
        (scale, square), (scale_more, square_more) = change.less[..., 0], change.more[..., 0]
        out[part] = constant[part] - scale + square / (2 * own.sigma**2)
        more[part] = constant[part] + scale_more - square_more / (2 * own.sigma**2)
    return index, out, more


def _tree(own, rows, level):
    """The rows of one member, from its level downwards."""
    return blocks_of(
        replace(own, parents=own.parents[level:]), rows, np.ones(own.z.shape[1], dtype=bool)
    )


def some_rows(own, rows):
    """The same with these rows only, or with some of them again."""
    parts = {name: getattr(own, name)[rows] for name in ("z", "x", "y", "weight", "group")}
    return replace(own, **parts)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("levels", "p", "q"), [(1, 1, 0), (1, 2, 1), (2, 2, 0), (3, 1, 2)])
def test_units_left_out_are_the_dense_ones(levels, p, q, seed):
    own = a_design(levels, p, q, 10 * levels + seed)
    whole = own.log_likelihood()
    for level in range(levels + 1):
        index, left_out, _ = found(own, level)
        for u in {0, index.max()}:
            expected = whole - some_rows(own, np.flatnonzero(index != u)).log_likelihood()
            assert left_out[u] == pytest.approx(expected, abs=1e-9), (level, u)


@pytest.mark.parametrize(("levels", "p", "q"), [(1, 2, 1), (2, 1, 0)])
def test_new_units_with_the_same_outcomes_are_the_dense_ones(levels, p, q):
    own = a_design(levels, p, q, 5)
    whole, n = own.log_likelihood(), len(own.y)
    for level in (levels - 1, levels):
        index, _, more = found(own, level)
        for u in {0, index.max()}:
            some = np.flatnonzero(index == u)
            again = some_rows(own, np.concatenate([np.arange(n), some]))
            if level < levels:
                new = again.group.max() + 1
                again.group[n:] = new
                parents = [*own.parents[:-1]]
                if own.parents:
                    parents.append(np.append(own.parents[-1], own.parents[-1][u]))
                again = replace(again, parents=tuple(parents))
            expected = again.log_likelihood() - whole
            assert more[u] == pytest.approx(expected, abs=1e-9), (level, u)


def few_subjects():
    every = hm.datasets.load_sleepstudy()
    some = every["Subject"].isin(every["Subject"].unique()[:8]) & (every["Days"] % 2 == 0)
    return every[some].reset_index(drop=True)


def are_refits(frame, formula, unit, index, *, tol=1e-8, some=(0, 3), **roles):
    """Whether densities are ratios of integrals with all rows and without the unit's."""
    fit = hm.fit(frame, formula, **roles, draws=10, random_seed=1)
    loo = fit.loo(unit)
    labels = loo.elpd_i.coords[loo.elpd_i.dims[0]].to_numpy()
    for u in some:
        rest = frame[np.asarray(index) != labels[u]]
        without = hm.fit(rest, formula, **roles, draws=10, random_seed=1).reference()
        assert isinstance(without, BlockReference)
        expected = fit.reference().posterior.log_integral - without.posterior.log_integral
        assert float(loo.elpd_i[u]) == pytest.approx(expected, abs=tol), (unit, u)
    assert loo.certificate < 2e-8
    return loo


@pytest.mark.parametrize("unit", ["row", "group"])
@pytest.mark.parametrize("coefficients", ["flat", "normal"])
def test_uncorrelated_slopes_are_fits_without_the_unit(unit, coefficients):
    """σ by its own integral, with and without priors of the coefficients."""
    frame = few_subjects()
    own = ("tau", "tau[Days]", "sigma") if coefficients == "flat" else tuple(PRIORS)
    roles = {"priors": {name: PRIORS[name] for name in own}}
    index = frame.index if unit == "row" else frame["Subject"]
    are_refits(frame, "Reaction ~ Days + (1 + Days || Subject)", unit, index, **roles)


@pytest.mark.parametrize("unit", ["row", "Subject"])
def test_correlated_slopes_are_fits_without_the_unit(unit):
    """σ in closed form; the constants of improper priors cancel."""
    frame = hm.datasets.load_sleepstudy()
    frame = frame[frame["Days"] % 3 == 0].reset_index(drop=True)
    index = frame.index if unit == "row" else frame["Subject"]
    priors = {"tau": hm.FlatSD(), "tau[Days]": hm.FlatSD(), "rho": hm.LKJ(2)}
    loo = are_refits(frame, SLOPES, unit, index, priors=priors, some=(1,))
    assert loo.unit == unit
    assert len(loo.elpd_i) == len(set(index))


def four_levels(seed=4):
    rng = np.random.default_rng(seed)
    a, b, c = np.indices((5, 2, 2, 2)).reshape(4, -1)[:3]
    frame = pd.DataFrame({"a": a, "b": 2 * a + b, "c": 4 * a + 2 * b + c})
    sizes = rng.normal(size=5), 0.7 * rng.normal(size=10), 0.5 * rng.normal(size=20)
    effects = sum(own[frame[name]] for own, name in zip(sizes, "abc", strict=True))
    frame["x"], frame["se"] = rng.normal(size=40), rng.uniform(0.3, 0.8, 40)
    frame["y"] = 1 + frame["x"] + effects + frame["se"] * rng.normal(size=40)
    for name in "abc":
        frame[name] = name + frame[name].astype(str)
    return frame


@pytest.mark.parametrize("unit", ["row", "group", "outer", "a"])
def test_three_grouping_columns_are_fits_without_the_unit(unit):
    """Known standard errors, and a covariate."""
    frame = four_levels()
    index = {"row": frame.index, "group": frame["c"], "outer": frame["b"], "a": frame["a"]}[unit]
    priors = {f"tau_{name}": hm.HalfNormal(2) for name in "abc"}
    are_refits(frame, "y ~ x + (1 | a/b/c)", unit, index, se="se", priors=priors, some=(2,))


def test_a_unit_without_which_the_posterior_does_not_exist_has_a_reason():
    """Flat on sds needs three groups."""
    frame = hm.datasets.load_sleepstudy()
    frame = frame[frame["Subject"].isin(frame["Subject"].unique()[:3])]
    priors = {"tau": hm.FlatSD(), "tau[Days]": hm.HalfNormal(20)}
    formula = "Reaction ~ Days + (1 + Days || Subject)"
    fit = hm.fit(frame, formula, priors=priors, draws=10, random_seed=1)
    said = r"none of the 3 units.*tau\[Intercept\] may grow"
    with pytest.raises(hm.ImproperPosteriorError, match=said):
        fit.loo("group")


def test_units_that_are_not_there_are_named():
    fit = hm.fit(
        four_levels(), "y ~ x + (1 | a/b/c)", se="se", priors="weak", draws=10, random_seed=1
    )
    with pytest.raises(hm.SpecError, match=r"'row', 'group' \(c\), 'outer' \(b\), 'a'; found 'd'"):
        fit.loo("d")


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_many_rows_share_sums_over_sigma(scale, monkeypatch):
    """Interpolated in what a row changes, where they are smooth in it, and else as they were."""
    priors = {"tau": hm.HalfNormal(50), "tau[Days]": hm.HalfNormal(20), "sigma": hm.HalfNormal(50)}
    data = hm.datasets.load_sleepstudy()
    data.loc[7, "Reaction"] *= scale
    spec, grouped = prepare(data, SLOPES, priors=priors)
    model = block_model(spec, grouped)
    marginal = BlockMarginal(model, check(model))
    points = marginal.lattice(2.0).points[::4]
    rows = BlockRows.of(spec, grouped, marginal.anchor)
    units = left_out.BlockUnits(1, rows.single(np.arange(180)), np.ones(180))
    found = np.empty((2, 2, 180, len(points)))
    for way, fewest in zip(found, (left_out.FEWEST, 10**9), strict=True):
        monkeypatch.setattr(left_out, "FEWEST", fewest)
        for nodes, part, at in left_out_at(marginal, units, points, np.arange(180)):
            way[0, part, nodes], way[1, part, nodes] = at.less, at.more
    assert (found[0] != found[1]).mean() > 0.1  # there are two ways
    np.testing.assert_allclose(*found, rtol=0, atol=1e-11)
