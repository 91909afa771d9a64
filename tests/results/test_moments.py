"""Means and sds that do not exist are not shown; those that exist are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.covariates import locate
from hiermodels.exact.moments import moments_of
from hiermodels.plots import layout
from hiermodels.posterior.moments import NO_MOMENT
from hiermodels.posterior.record import group_draws

MOMENTS = ("mean", "sd", "mcse_mean", "mcse_sd", "ess_mean", "min_ss", "mcmc")


def batches(count):
    data = hm.datasets.load_dyestuff()
    return data[data["batch"].isin(list("ABCDEF")[:count])].reset_index(drop=True)


def one_way(groups, seed=0):
    y = np.random.default_rng(seed).normal(size=groups)
    return pd.DataFrame({"g": [f"g{i}" for i in range(groups)], "y": y, "se": 0.5})


def lacking(table, rows=None):
    """Cells of means and sds that are nan, (row, column), where each of the others is a number."""
    labels = table.index if rows is None else table[rows]
    columns = [c for c in table.columns if c in MOMENTS or c.endswith("_sd")]
    return {
        (label, column)
        for column in columns
        for label, value in zip(labels, table[column], strict=True)
        if np.isnan(value)
    }


def product(rows, columns):
    return {(row, column) for row in rows for column in columns}


def verbs(fit):
    """Every public table that shows a mean or an sd: what it lacks, the table, and what it says."""
    exact, predicted = fit.reference(), fit.predict()
    compared = hm.compare(fit, exact)
    table = compared.table.reset_index()
    moments = table[table["statistic"].isin(["mean", "sd"])]
    pairs = moments["quantity"] + " " + moments["statistic"]
    checked = fit.check(random_seed=1)
    for kind in ("all", "stats", "diagnostics", "mc_diagnostics"):
        found = fit.summary(kind=kind)
        yield f"summary {kind}", lacking(found), found, repr(found)
    found = exact.summary()
    yield "reference", lacking(found), found, repr(found)
    both = pd.DataFrame(
        {
            name: {v: float(np.max(moment[v])) for v in fit.spec.variables}
            for name, moment in {"mean": exact.mean, "sd": exact.sd}.items()
        }
    )
    notes = [v.attrs.get("note", "") for v in (*exact.mean.values(), *exact.sd.values())]
    yield "datasets", lacking(both), both, "\n".join(notes)
    found = fit.variance_components()
    yield "variance", lacking(found), found, repr(found)
    found = fit.rank().table
    yield "rank", lacking(found), found, repr(found)
    found = fit.estimates()
    yield "estimates", lacking(found.table), found.table, repr(found)
    yield "check", lacking(checked), checked, repr(checked)
    found = predicted.to_frame()
    yield "predict", lacking(found, "kind"), found, repr(predicted)
    yield "compare", lacking(moments.assign(q=pairs), "q"), moments, repr(compared)


@pytest.fixture(scope="module")
def four():
    return hm.fit(batches(4), outcome="yield_", groups="batch", draws=200, random_seed=1)


def test_no_verb_shows_a_mean_that_does_not_exist(four):
    """With 4 batches and a flat variance neither E τ nor E μ exists, nor what is made of them."""
    heavy = ("mu", "tau")
    extremes = ("largest batch mean", "smallest batch mean", "sd of batch means")
    expected = {
        "summary all": product(heavy, ["mean", "sd", "mcse_mean", "mcse_sd"]),
        "summary stats": product(heavy, ["mean", "sd"]),
        "summary diagnostics": product(heavy, ["mcse_mean", "mcse_sd"]),
        "summary mc_diagnostics": product(heavy, ["mcse_mean", "ess_mean", "min_ss"]),
        "reference": product(heavy, ["mean", "sd"]),
        "datasets": product(heavy, ["mean", "sd"]),
        "variance": product(["tau", "tau²"], ["mean", "sd"]),
        "rank": set(),
        "estimates": set(),
        "check": product(extremes, ["mean", "sd"]),
        "predict": product(["new batch"], ["mean", "sd", "yield__sd"]),
        "compare": product(["mu mean", "tau mean", "mu sd", "tau sd"], ["mcmc"]),
    }
    for verb, found, table, said in verbs(four):
        assert found == expected[verb], verb
        assert (NO_MOMENT in said) == bool(found), verb
        if found:
            assert "4 'batch' groups are too few" in said, verb
            if {"mean", "sd"} & set(table.columns) and verb != "datasets":
                assert np.isfinite(table["median"]).all(), verb
    (text,) = [said for verb, _, _, said in verbs(four) if verb == "reference"]
    assert "a mean of mu, tau (needs 5), an sd of mu, tau (needs 6). Medians exist" in text


def test_where_moments_exist_every_verb_shows_them():
    """With 6 batches only E τ⁴ is missing, which the sd of τ² needs and the error of that of τ."""
    fit = hm.fit(batches(6), outcome="yield_", groups="batch", draws=200, random_seed=1)
    for verb, found, _, said in verbs(fit):
        expected = set()
        if verb in ("summary all", "summary diagnostics"):
            expected = product(["mu", "tau"], ["mcse_sd"])
        if verb == "variance":
            expected = {("tau²", "sd")}
        assert found == expected, verb
        assert (NO_MOMENT in said) == bool(found), verb
    assert "median" not in fit.summary()


def test_of_statistics_in_rows_the_moments_are_left_out_too(four):
    long = four.summary(fmt="long")
    assert long.loc[["mean", "sd"], ["mu", "tau"]].isna().all(axis=None)
    assert np.isfinite(long.loc[["mean", "sd"], ["theta", "sigma"]]).all(axis=None)
    assert NO_MOMENT in repr(long)


@pytest.mark.parametrize(
    ("prior", "tail"),
    [
        (hm.FlatVariance(), 1.0),
        (hm.FlatSD(), 0.0),
        (hm.HalfCauchy(1.0), -2.0),
        (hm.HalfStudentT(3.0, 1.0), -4.0),
        (hm.HalfNormal(1.0), -np.inf),
    ],
    ids=str,
)
def test_the_number_of_groups_that_a_moment_needs(prior, tail):
    """With equal errors ``p(τ) ~ τ^(a − k + 1)`` at infinity, the prior's being ``τ^a``.

    So the m-th moment exists where ``a − k + 1 + m < −1``: k groups more than ``a + m + 2``.
    """
    least = 4 if tail > 0 else 3 if tail == 0 else 2
    spec_of = {}
    for k in (least, least + 1, 9):
        exact = hm.reference(one_way(k), outcome="y", groups="g", priors={"tau": prior})
        spec_of[k] = exact.moments
    for k, moments in spec_of.items():
        for order in (1, 2, 4):
            lack = moments.shortage("tau", order)
            assert (lack is None) == (k > tail + order + 2)
            if lack:
                assert (lack.size, lack.needed) == (k, int(tail + order + 2) + 1)
            assert moments.exist(["mu"], order) == (lack is None)
            assert moments.exist(["theta"], order)


def test_one_population_needs_rows():
    """``θ`` has a Student-t distribution with n − 1 degrees of freedom."""
    data = pd.DataFrame({"y": [1.0, 2.0]})
    fit = hm.fit(data, outcome="y", groups=[], draws=200, random_seed=1)
    assert lacking(fit.summary(kind="stats")) == product(["theta", "sigma"], ["mean", "sd"])
    assert "2 rows are too few for a mean of theta, sigma (needs 3)" in repr(fit.summary())
    frame = fit.predict().to_frame()
    assert np.isnan(frame["mean"]).all()
    assert frame["median"].to_numpy() == pytest.approx([1.5])
    known = moments_of(fit.spec, fit.data)
    assert [known.exist(["sigma"], order) for order in (1, 2)] == [False, False]
    more = hm.fit(pd.DataFrame({"y": [1.0, 2.0, 4.0]}), outcome="y", groups=[], draws=200)
    assert lacking(more.summary(kind="stats")) == product(["theta", "sigma"], ["sd"])


@pytest.fixture(scope="module")
def five_with_covariate(schools):
    data = schools.head(5).assign(x=[0.3, -1.0, 0.5, 2.0, 1.1])
    return hm.fit(data, "y ~ x + (1 | school)", se="sigma", draws=200, random_seed=1)


def test_five_schools_with_a_covariate_have_medians_only(five_with_covariate):
    fit = five_with_covariate
    table = fit.summary(kind="stats")
    assert table[["mean", "sd"]].isna().all(axis=None)
    assert np.isfinite(table["median"]).all()
    exact = fit.reference().at("means").quantile(0.5, ["theta"])["theta"].to_numpy()[0]
    np.testing.assert_allclose(fit.rank().table["median"].sort_index(), exact, rtol=1e-10)
    found = fit.estimates(truth=np.arange(5.0))
    np.testing.assert_allclose(found.table["median"], exact, rtol=1e-10)
    assert list(found.errors.index) == ["raw", "pooled", "eb", "posterior median"]
    squares = ((exact - np.arange(5.0)) ** 2).sum()
    assert found.errors.loc["posterior median", "sse"] == pytest.approx(squares, rel=1e-8)


def test_pictures_show_medians_where_there_are_no_means(five_with_covariate, four):
    for fit, word, dashed in (
        (five_with_covariate, "median", "median of mu"),
        (four, "mean", "median of mu"),
    ):
        draws = group_draws(fit.posterior)
        middle, found = layout.centre(fit.posterior, draws)
        expected = getattr(draws, word)(["chain", "draw"])
        np.testing.assert_allclose(middle, expected)
        assert found == word
        place, text = layout.centre_line(fit.posterior, locate(fit.posterior.data, "zero"))
        assert place == float(fit.datatree["posterior"]["mu"].median())
        assert text == dashed
    axes = five_with_covariate.plot_caterpillar(ranks=False, backend="matplotlib")
    label = axes.get_target(None, {"column": "forest"}).get_xlabel()
    assert label.startswith("theta: posterior median, 89% interval; dashed: median of mu\nat the")


def test_three_levels_count_the_units_of_the_level_that_is_short():
    """Four schools with three classrooms each: κ and λ lack schools, τ and θ nothing."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame(
        {"s": np.repeat(list("abcd"), 3), "c": [f"c{i}" for i in range(12)], "se": 0.4}
    )
    data["y"] = rng.normal(size=4)[np.repeat(range(4), 3)] + rng.normal(size=12)
    fit = hm.fit(data, outcome="y", groups=["s", "c"], draws=200, random_seed=1)
    table = fit.summary(kind="stats")
    assert lacking(table) == product(["lam", "kappa"], ["mean", "sd"])
    assert "4 's' groups are too few for a mean of lam, kappa (needs 5)" in repr(table)
    frame = fit.predict().to_frame()
    assert lacking(frame, "kind") == product(["new s"], ["mean", "sd", "y_sd"])
    checked = fit.check(random_seed=1)
    unseen = {"sd of c means within s"}
    assert lacking(checked) == product(set(checked.index) - unseen, ["mean", "sd"])
    assert lacking(fit.check(replicate="rows", random_seed=1)) == set()
    assert lacking(fit.check(replicate="c", random_seed=1)) == set()


def test_the_command_line_says_why_a_mean_is_missing(tmp_path, capsys):
    path = tmp_path / "dye.csv"
    batches(4).to_csv(path, index=False)
    assert main(["fit", str(path), "--formula", "yield_ ~ (1 | batch)", "--draws", "200"]) == 0
    printed = capsys.readouterr().out
    assert f"{NO_MOMENT}; under these priors 4 'batch' groups are too few" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("tau ") and "NaN" in line]
    assert row.split()[1:3] == ["NaN", "NaN"]
