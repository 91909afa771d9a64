"""Pictures of groups with several effects show what they are said to show, on every back end."""

from __future__ import annotations

import contextlib

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.plots.pairs import _with_room
from tests.plots.test_plots import BACKENDS, layer, location, posterior_means

mpl.use("Agg")
PAIR, FOREST = {"column": "pair"}, {"column": "forest"}
FORMULA = "Reaction ~ Days + (1 + Days | Subject)"


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of a test when it is over."""
    yield
    mpl.pyplot.close("all")


@pytest.fixture(scope="module")
def sleep():
    with contextlib.redirect_stdout(None):
        return hm.fit(hm.datasets.load_sleepstudy(), FORMULA, random_seed=1)


@pytest.fixture(scope="module")
def least_squares():
    """Intercept and slope of each subject by itself; (2, 18)."""
    groups = hm.datasets.load_sleepstudy().groupby("Subject")
    return np.array([np.polyfit(own["Days"], own["Reaction"], 1)[::-1] for _, own in groups]).T


@pytest.fixture(scope="module")
def levels():
    rng = np.random.default_rng(1)
    rows = [(f"a{i}", f"b{j}", f"c{k}") for i in range(6) for j in range(3) for k in range(2)] * 3
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    effects = [rng.normal(size=6).tolist(), rng.normal(size=(6, 3)).tolist()]
    outer = [
        effects[0][int(a[1])] + effects[1][int(a[1])][int(b[1])]
        for a, b in frame[["a", "b"]].values
    ]
    frame["x"] = rng.normal(size=len(frame))
    frame["y"] = np.array(outer) + frame["x"] + rng.normal(size=len(frame))
    with contextlib.redirect_stdout(None):
        return hm.fit(frame, "y ~ x + (1 | a/b/c)", random_seed=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pair_of_effects_is_pulled_from_least_squares_to_the_posterior(
    sleep, least_squares, backend
):
    plot = sleep.plot_shrinkage(backend=backend)
    raw, pooled = layer(plot, "raw", panel=PAIR), layer(plot, "point_estimate", panel=PAIR)
    np.testing.assert_allclose(raw, least_squares, rtol=1e-9)
    means = posterior_means(sleep).T
    np.testing.assert_allclose(pooled, means, rtol=1e-12)
    drawn = layer(plot, "shrinkage", panel=PAIR).reshape(2, -1, 3)
    np.testing.assert_allclose(drawn[:, :, 0], least_squares, rtol=1e-9)
    np.testing.assert_allclose(drawn[:, :, 1], means, rtol=1e-12)
    assert np.isnan(drawn[:, :, 2]).all()
    assert location(plot, "theta", PAIR) == pytest.approx(posterior_means(sleep, "mu"))


def test_effects_of_a_pair_come_in_the_order_that_is_asked_for(sleep, least_squares):
    plot = sleep.plot_shrinkage(effect=("Days", "Intercept"))
    np.testing.assert_allclose(layer(plot, "raw", panel=PAIR), least_squares[::-1], rtol=1e-9)


def test_a_pair_at_other_covariates_moves_intercepts_alone(sleep, least_squares):
    plot = sleep.plot_shrinkage(at={"Days": 9})
    intercept, slope = least_squares
    raw = layer(plot, "raw", panel=PAIR)
    np.testing.assert_allclose(raw, [intercept + 9 * slope, slope], rtol=1e-9)
    means = posterior_means(sleep).T
    pooled = layer(plot, "point_estimate", panel=PAIR)
    np.testing.assert_allclose(pooled, [means[0] + 9 * means[1], means[1]], rtol=1e-12)
    top = posterior_means(sleep, "mu") + 9 * posterior_means(sleep, "beta")[0]
    assert location(plot, "theta", PAIR) == pytest.approx(top)
    with pytest.raises(KeyError):
        plot.get_viz("population")


def test_the_ellipse_holds_its_share_of_the_population(sleep):
    """Squared distances of its points are the quantile of a chi-squared with two df."""
    plot = sleep.plot_shrinkage(ci_prob=0.7)
    draws = sleep.datatree["posterior"].to_dataset()
    tau, rho = draws["tau"].median(["chain", "draw"]).to_numpy(), float(draws["rho"].mean())
    t = np.outer(tau, tau) * np.array([[1, rho], [rho, 1]])
    centre = [float(draws["mu"].mean()), float(draws["beta"].mean())]
    away = layer(plot, "population", panel=PAIR).T - centre
    distance = np.einsum("ij,jk,ik->i", away, np.linalg.inv(t), away)
    np.testing.assert_allclose(distance, stats.chi2(2).ppf(0.7), rtol=1e-9)


def test_one_effect_has_the_picture_of_intercepts(sleep, least_squares):
    plot = sleep.plot_shrinkage(effect="Days")
    order = np.argsort(-least_squares[1])
    np.testing.assert_allclose(
        layer(plot, "raw", panel=FOREST)[0], least_squares[1][order], rtol=1e-9
    )
    means = posterior_means(sleep)[order, 1]
    np.testing.assert_allclose(layer(plot, "point_estimate", panel=FOREST)[0], means, rtol=1e-12)
    assert location(plot, "theta", FOREST) == pytest.approx(posterior_means(sleep, "beta")[0])


@pytest.mark.parametrize(("effect", "place"), [(None, 0), ("Intercept", 0), ("Days", 1)])
def test_caterpillars_are_of_the_effect_that_is_asked_for(sleep, effect, place):
    plot = sleep.plot_caterpillar(effect=effect)
    means = np.sort(posterior_means(sleep)[:, place])[::-1]
    np.testing.assert_allclose(layer(plot, "point_estimate", panel=FOREST)[0], means, rtol=1e-12)
    name = "beta" if place else "mu"
    expected = float(posterior_means(sleep, name).ravel()[0])
    assert location(plot, "theta", FOREST) == pytest.approx(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lines_in_panels_are_those_of_each_group(sleep, least_squares, backend):
    plot = sleep.plot_lines(backend=backend)
    frame, means = hm.datasets.load_sleepstudy(), posterior_means(sleep)
    mu, beta = posterior_means(sleep, "mu"), posterior_means(sleep, "beta")[0]
    for i, (label, own) in enumerate(frame.groupby("Subject")):
        panel = {"Subject": label}
        x, y = layer(plot, "raw", panel=panel)
        np.testing.assert_allclose(x[:2], [0, 9])
        np.testing.assert_allclose(
            y[:2], least_squares[0, i] + least_squares[1, i] * x[:2], rtol=1e-9
        )
        x, y = layer(plot, "lines", panel=panel)
        np.testing.assert_allclose(y[:2], means[i, 0] + means[i, 1] * x[:2], rtol=1e-12)
        x, y = layer(plot, "population", panel=panel)
        np.testing.assert_allclose(y[:2], mu + beta * x[:2], rtol=1e-12)
        rows = layer(plot, "rows", panel=panel)
        np.testing.assert_allclose(rows, own[["Days", "Reaction"]].to_numpy(float).T, rtol=1e-12)


def test_intervals_of_lines_are_quantiles_of_draws(sleep):
    from hiermodels.plots.raw_lines import GroupLines

    lines = GroupLines.of(sleep.posterior, None, None, None)
    x, low, high = lines.interval(0.8, 4)
    np.testing.assert_allclose(x, [0, 3, 6, 9])
    draws = sleep.datatree["posterior"]["theta"].sel(Subject="335")
    at = draws.sel(effect="Intercept") + 6 * draws.sel(effect="Days")
    expected = at.quantile([0.1, 0.9]).to_numpy()
    found = [float(own.sel(Subject="335")[2]) for own in (low, high)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_lines_together_are_the_same(sleep, least_squares):
    plot = sleep.plot_lines(together=True)
    x, y = layer(plot, "raw", panel={"column": "least squares"}).reshape(2, -1, 3)
    np.testing.assert_allclose(x[:, :2], np.tile([0, 9], (18, 1)))
    expected = least_squares[0] + least_squares[1] * 9
    np.testing.assert_allclose(y[:, 1], expected, rtol=1e-9)
    _, y = layer(plot, "lines", panel={"column": "posterior"}).reshape(2, -1, 3)
    np.testing.assert_allclose(y[:, 1], posterior_means(sleep) @ [1, 9], rtol=1e-12)
    for panel in ("least squares", "posterior"):
        _, y = layer(plot, "population", panel={"column": panel})
        top = posterior_means(sleep, "mu") + 9 * posterior_means(sleep, "beta")[0]
        assert y[1] == pytest.approx(top)


def test_other_covariates_are_held_and_rows_are_moved_there():
    rng = np.random.default_rng(3)
    g, x, z = np.repeat(np.arange(8), 6), rng.uniform(0, 2, 48), rng.normal(size=48)
    theta = rng.normal(size=(8, 2))
    y = theta[g, 0] + theta[g, 1] * x + 3 * z + 1e-9 * rng.normal(size=48)
    frame = pd.DataFrame({"y": y, "x": x, "z": z, "g": g.astype(str), "se": 0.01})
    with contextlib.redirect_stdout(None):
        fit = hm.fit(frame, "y ~ x + z + (1 + x | g)", se="se", random_seed=1)
    plot = fit.plot_lines(at={"z": 2}, visuals={"interval": False})
    for i in range(8):
        for name in ("rows", "raw", "lines"):
            xs, ys = layer(plot, name, panel={"g": str(i)})
            known = ~np.isnan(xs)
            expected = theta[i, 0] + theta[i, 1] * xs[known] + 6
            np.testing.assert_allclose(ys[known], expected, atol=0.03)


def test_lines_of_some_groups(sleep):
    plot = sleep.plot_lines(units=["335", "308"])
    assert plot.data["Subject"].values.tolist() == ["335", "308"]
    x, y = layer(plot, "lines", panel={"Subject": "335"})
    means = posterior_means(sleep)[sleep.data.labels[-1] == "335"][0]
    np.testing.assert_allclose(y[:2], means[0] + means[1] * x[:2], rtol=1e-12)


def test_parallel_lines_of_outer_groups(levels):
    plot = levels.plot_lines(x="x", level="a")
    beta = posterior_means(levels, "beta")[0]
    for i in range(6):
        x, y = layer(plot, "lines", "theta_a", {"a": f"a{i}"})
        expected = posterior_means(levels, "theta_a")[i] + beta * x[:2]
        np.testing.assert_allclose(y[:2], expected, rtol=1e-12)


def test_a_group_of_one_row_has_no_line_of_its_own():
    frame = hm.datasets.load_sleepstudy()
    alone = frame.iloc[[3]].assign(Subject="alone")
    with contextlib.redirect_stdout(None):
        fit = hm.fit(pd.concat([frame, alone]), FORMULA, draws=200, random_seed=1)
    raw = layer(fit.plot_shrinkage(), "raw", panel=PAIR)
    assert np.isnan(raw[:, -1]).all()
    assert np.isfinite(raw[:, :-1]).all()
    plot = fit.plot_lines()
    assert np.isnan(layer(plot, "raw", panel={"Subject": "alone"})[1]).all()
    assert np.isfinite(layer(plot, "lines", panel={"Subject": "alone"})[1][:2]).all()


def test_densities_of_sds_and_the_correlation_are_without_error(sleep):
    plot = sleep.plot_variance()
    exact = sleep.reference()
    drawn = {name: xy for name in plot.viz["dist"].data_vars for xy in [layer(plot, "dist", name)]}
    assert list(drawn) == ["tau[Intercept]", "tau[Days]", "sigma", "rho"]
    for name, (x, y) in drawn.items():
        some = slice(1, None, 60)
        if name.startswith("tau"):
            place = int(name == "tau[Days]")
            expected = exact.density("tau", x[some, None])[:, place]
        else:
            expected = exact.density(name, x[some])
        np.testing.assert_allclose(y[some], expected, rtol=1e-8, atol=1e-12)
        assert np.trapezoid(y, x) == pytest.approx(1, abs=0.01)


def test_shares_of_four_levels_add_up_to_the_whole(levels):
    plot = levels.plot_variance()
    names = set(plot.viz["dist"].data_vars)
    sds = {"tau_a", "tau_b", "tau_c", "sigma"}
    assert names == sds | {f"share_{name}" for name in sds}


def test_an_sd_that_is_fixed_has_no_density():
    with contextlib.redirect_stdout(None):
        fit = hm.fit(
            hm.datasets.load_sleepstudy(),
            FORMULA,
            priors={"tau[Days]": hm.Fixed(6)},
            draws=100,
            random_seed=1,
        )
    drawn = fit.plot_variance().viz["dist"].data_vars
    assert list(drawn) == ["tau[Intercept]", "sigma", "rho"]


def test_pictures_of_four_levels_show_means(levels):
    for name in ("theta_a", "theta_b", "theta_c"):
        plot = levels.plot_caterpillar(level=name, at="zero")
        means = np.sort(posterior_means(levels, name))[::-1]
        found = layer(plot, "point_estimate", name, FOREST)[0]
        np.testing.assert_allclose(found, means, rtol=1e-12)
        assert layer(levels.plot_shrinkage(level=name), "raw", name, FOREST).shape == (
            2,
            len(means),
        )


def test_estimates_over_an_sd_are_of_the_effect_that_is_asked_for(sleep):
    plot = sleep.plot_trace_tau(effect="Days", units=["308", "335"])
    for label, slope in (("308", 21.765), ("335", -2.881)):
        x, y = layer(plot, "lines", panel={"panel": "value", "Subject": label})
        known = ~np.isnan(x)
        assert abs(y[known][-1] - slope) < abs(y[known][0] - slope)


def test_labels_that_overlap_are_left_out():
    x, y, before = np.array([0.0, 0.05, 0.05, 0.5]), np.zeros(4), np.zeros(4, dtype=bool)
    assert _with_room(["a" * 8] * 4, x, y, before).tolist() == [True, False, False, True]
    assert _with_room(["a" * 8] * 4, x, np.arange(4.0), before).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: fit.plot_shrinkage(effect="Hours"), "effect: expected one of 'Intercept'"),
        (lambda fit: fit.plot_shrinkage(effect=["Days"]), "or two of them; found"),
        (lambda fit: fit.plot_shrinkage(effect=["Days", "Days"]), "or two of them; found"),
        (lambda fit: fit.plot_caterpillar(effect="Hours"), "effect: expected one of"),
        (lambda fit: fit.plot_lines(x="Hours"), "x: expected a column of numbers"),
        (lambda fit: fit.plot_lines(at={"Days": 3}), "runs along x"),
        (lambda fit: fit.plot_lines(units=[]), "units: expected labels"),
        (lambda fit: fit.plot_lines(units=["nobody"]), "there is no Subject 'nobody'"),
        (lambda fit: fit.plot_lines(visuals={"bars": {}}), "visuals: expected interval"),
    ],
)
def test_what_cannot_be_shown_is_said(sleep, call, message):
    with pytest.raises(hm.SpecError, match=message):
        call(sleep)


def test_lines_need_a_slope_or_a_column_and_normal_rows(levels):
    with pytest.raises(hm.SpecError, match="there is no slope that varies at this level"):
        levels.plot_lines()
    with contextlib.redirect_stdout(None):
        counts = hm.fit(
            hm.datasets.load_surgical(), outcome="deaths", trials="cases", groups="hospital"
        )
    with pytest.raises(hm.SpecError, match="expected normal rows"):
        counts.plot_lines()
