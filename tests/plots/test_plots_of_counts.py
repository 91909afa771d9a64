"""Pictures of counts are on the outcome's scale, and show the data that they are said to show."""

from __future__ import annotations

import contextlib

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import special, stats

import hiermodels as hm
from hiermodels.exact.given_sd import moments_given_sd
from hiermodels.exact.replicates import Statistics, statistics_of
from hiermodels.plots.predictive import _histograms

mpl.use("Agg")
FOREST = {"column": "forest"}
PRIORS = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1), "beta": hm.Normal(0, 1)}


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of a test when it is over."""
    yield
    mpl.pyplot.close("all")


def fitted(data, *args, **options):
    with contextlib.redirect_stdout(None):
        return hm.fit(data, *args, random_seed=1, **options)


@pytest.fixture(scope="module")
def hospitals():
    return fitted(hm.datasets.load_surgical(), outcome="deaths", trials="cases", groups="hospital")


@pytest.fixture(scope="module")
def raw():
    data = hm.datasets.load_surgical()
    return (data["deaths"] / data["cases"]).to_numpy(), data["cases"].to_numpy()


@pytest.fixture(scope="module")
def baskets():
    """Rows of several offsets, a covariate of groups, and one group not yet opened."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(7), 2)
    n = np.where(group == 6, 0, rng.integers(2, 20, 14))
    x = np.repeat(rng.normal(size=7), 2)
    y = rng.binomial(n, special.expit(-1 + x))
    frame = pd.DataFrame({"g": [f"g{i}" for i in group], "n": n, "x": x, "y": y})
    return frame, fitted(frame, "y | trials(n) ~ x + (1 | g)", family="binomial", priors=PRIORS)


def layer(plot, name, variable="p"):
    """What was drawn: positions (2, n), and sizes of dots (n,)."""
    found = plot.get_viz(name, variable, FOREST)
    found = found.item() if hasattr(found, "item") else found
    if hasattr(found, "get_offsets"):
        return np.ma.filled(found.get_offsets(), np.nan).T, found.get_sizes()
    if hasattr(found, "data_source"):
        data = found.data_source.data
        return np.array([data["x"], data["y"]], dtype=float), np.asarray(data.get("size", 1.0)) ** 2
    return np.array([found.x, found.y], dtype=float), np.asarray(found.marker.size) ** 2


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_shrinkage_is_shown_from_raw_proportions_with_their_size(hospitals, raw, backend):
    plot = hospitals.plot_shrinkage(backend=backend)
    order = np.argsort(-raw[0], kind="stable")
    (x, y), areas = layer(plot, "raw")
    np.testing.assert_allclose(x, raw[0][order])
    np.testing.assert_array_equal(y, np.arange(12)[::-1])
    share = raw[1][order] / raw[1].max()
    np.testing.assert_allclose(areas / areas.max(), np.maximum(share, 0.3**2), rtol=1e-6)
    p = hospitals.datatree["posterior"]["p"].mean(["chain", "draw"]).to_numpy()
    np.testing.assert_allclose(layer(plot, "point_estimate")[0][0], p[order])


def test_the_line_is_a_group_at_the_intercept(hospitals):
    plot = hospitals.plot_shrinkage(backend="matplotlib")
    target = plot.get_target(None, FOREST)
    (line,) = [line for line in target.lines if len(set(line.get_xdata())) == 1]
    mu = float(hospitals.datatree["posterior"]["mu"].mean())
    assert line.get_xdata()[0] == pytest.approx(special.expit(mu))
    text = target.get_xlabel()
    assert "raw proportion (area: cases)" in text
    assert "dashed: p at mu" in text.replace("\n", " ")


def test_on_the_scale_of_the_link_half_an_event_is_added(hospitals):
    data = hm.datasets.load_surgical()
    plot = hospitals.plot_shrinkage(level="theta", order="data", backend="matplotlib")
    expected = np.log((data["deaths"] + 0.5) / (data["cases"] - data["deaths"] + 0.5))
    np.testing.assert_allclose(layer(plot, "raw", "theta")[0][0], expected)
    theta = hospitals.datatree["posterior"]["theta"].mean(["chain", "draw"])
    np.testing.assert_allclose(layer(plot, "point_estimate", "theta")[0][0], theta)


def test_covariates_move_raw_values_on_the_scale_of_the_link(baskets):
    frame, fit = baskets
    counts = frame.groupby("g").agg({"y": "sum", "n": "sum", "x": "first"})
    own = np.log((counts["y"] + 0.5) / (counts["n"] - counts["y"] + 0.5))
    beta = float(fit.datatree["posterior"]["beta"].mean())
    opened = counts["n"] > 0
    for at, x in (("own", counts["x"]), ("zero", 0.0), ("means", frame["x"].mean())):
        plot = fit.plot_shrinkage(level="theta", at=at, order="data", backend="matplotlib")
        expected = (own - beta * (counts["x"] - x)).where(opened)
        np.testing.assert_allclose(layer(plot, "raw", "theta")[0][0], expected, rtol=1e-9)
    plot = fit.plot_shrinkage(order="data", backend="matplotlib")
    expected = (counts["y"] / counts["n"]).to_numpy()
    np.testing.assert_allclose(layer(plot, "raw")[0][0], expected)
    assert "own covariates" in plot.get_target(None, FOREST).get_xlabel()
    assert np.isfinite(layer(plot, "point_estimate")[0]).all()


def test_the_caterpillar_shows_probabilities_or_effects(hospitals):
    p = hospitals.datatree["posterior"]["p"].mean(["chain", "draw"]).to_numpy()
    plot = hospitals.plot_caterpillar(backend="matplotlib")
    np.testing.assert_allclose(layer(plot, "point_estimate")[0][0], np.sort(p)[::-1])
    assert hospitals.plot_caterpillar(level="theta", backend="none").data["theta"].size
    with pytest.raises(hm.SpecError, match="'theta' or 'hospital', 'p'; found 'rate'"):
        hospitals.plot_caterpillar(level="rate")


def test_draws_that_were_not_kept_give_the_same_picture(hospitals):
    data = hm.datasets.load_surgical()
    options = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    lazily = fitted(data, memory_budget=0, **options)
    for name in ("plot_caterpillar", "plot_shrinkage"):
        plots = [getattr(fit, name)(backend="matplotlib") for fit in (hospitals, lazily)]
        mine, theirs = (layer(plot, "point_estimate")[0] for plot in plots)
        np.testing.assert_array_equal(mine, theirs)


def test_rates_are_events_by_exposure():
    pumps = hm.datasets.load_pumps()
    fit = fitted(pumps, outcome="failures", exposure="hours", groups="pump")
    plot = fit.plot_shrinkage(order="data", backend="matplotlib")
    rate = (pumps["failures"] / pumps["hours"]).to_numpy()
    np.testing.assert_allclose(layer(plot, "raw", "rate")[0][0], rate)
    plot = fit.plot_ppc("group", backend="matplotlib")
    np.testing.assert_allclose(np.sort(layer(plot, "observed", "failures")[0][0]), np.sort(rate))


def test_effects_given_the_sd_are_those_of_a_dense_grid(hospitals):
    """``E(p_i | τ, y)`` by the trapezoid rule over μ and each θ_i."""
    data = hm.datasets.load_surgical()
    found = moments_given_sd(hospitals.spec, hospitals.data, "tau", "p")
    theta = moments_given_sd(hospitals.spec, hospitals.data, "tau", "theta")
    y, n = data["deaths"].to_numpy(), data["cases"].to_numpy()
    mu, z = np.linspace(-5, -0.5, 901), np.linspace(-9, 9, 181)
    for i in (0, len(found["at"]) // 2, -1):
        values = mu[:, None] + float(found["at"][i]) * z
        likelihood = stats.binom.pmf(y[:, None, None], n[:, None, None], special.expit(values))
        joint = likelihood * stats.norm.pdf(z)
        each = joint.sum(axis=2)
        weight = np.exp(np.log(each).sum(axis=0))
        weight /= weight.sum()
        for moments, function in ((found, special.expit(values)), (theta, values)):
            first = ((joint * function).sum(axis=2) / each) @ weight
            second = ((joint * function**2).sum(axis=2) / each) @ weight
            np.testing.assert_allclose(moments["mean"][i], first, rtol=1e-6)
            np.testing.assert_allclose(moments["sd"][i], np.sqrt(second - first**2), rtol=1e-4)


def test_the_trace_is_labelled_beside_its_lines(hospitals):
    plot = hospitals.plot_trace_tau(backend="matplotlib")
    target = plot.get_target(None, {"panel": "value"})
    low, high = target.get_ylim()
    assert target.get_ylabel() == "mean of p given tau"
    assert [text.get_text().strip() for text in target.texts] == list("ABCDEFGHIJKL")
    assert all(low < text.get_position()[1] < high for text in target.texts)


def test_statistics_of_counts_are_histograms(hospitals):
    """Each small whole number has a bar; a tail that is cut off is missing from their sum."""
    statistics = statistics_of(hospitals.posterior, random_seed=1)
    curves = _histograms(statistics)
    assert "full counts of hospital" not in curves  # 0 but for a few
    name = "zero counts of hospital"
    x, heights = curves[name].to_numpy()
    drawn = statistics.replicated[name].to_numpy()
    for value in range(2):
        inside = (x[:-1] < value) & (x[1:] > value)
        assert heights[:-1][inside] == pytest.approx((drawn == value).mean())
    for name in curves:
        x, heights = curves[name].to_numpy()
        assert 0.88 < (np.diff(x) * heights[:-1]).sum() <= 1 + 1e-9
        assert x[0] <= float(statistics.observed[name]) <= x.max()


@pytest.mark.parametrize("denominators", [[12], [500], [5, 6, 7, 8]])
def test_bars_are_no_finer_than_proportions(denominators):
    """Between those drawn there is no bar without any; of 500 trials each bar is several wide."""
    rng = np.random.default_rng(1)
    trials = rng.choice(denominators, 4000)
    drawn = xr.DataArray(rng.binomial(trials, 0.4) / trials).expand_dims("chain")
    curves = _histograms(Statistics(xr.Dataset({"largest": 0.5}), xr.Dataset({"largest": drawn})))
    x, heights = curves["largest"].to_numpy()
    assert np.diff(x).max() >= 1 / max(denominators) - 1e-9
    inside = (x[:-1] >= np.quantile(drawn, 0.1)) & (x[1:] <= np.quantile(drawn, 0.9))
    assert (heights[:-1][inside & (np.diff(x) > 0)] > 0).all()
    shown = (drawn.values > x[0]) & (drawn.values < x.max())
    assert (np.diff(x) * heights[:-1]).sum() == pytest.approx(shown.mean(), abs=1e-9)
    if denominators == [12]:  # each value in the middle of its bar
        middle = (x[:-1] + x[1:])[np.diff(x) > 0] / 2
        np.testing.assert_allclose(middle * 12, np.round(middle * 12), atol=1e-9)


def test_the_words_below_groups_fit_their_picture(hospitals):
    plot = hospitals.plot_ppc("group", backend="matplotlib", random_seed=1)
    words = plot.get_target(None, FOREST).get_xlabel()
    assert max(map(len, words.split("\n"))) <= 70
    assert words.endswith("interval of replicates")


def test_shares_are_those_of_the_variance_components(hospitals):
    """On the scale of the logit, on which a trial has the variance π²/3."""
    table = hospitals.variance_components(ci_prob=0.9)
    plot = hospitals.plot_variance(backend="matplotlib", ci_prob=0.9)
    assert [str(name) for name in plot.data.data_vars] == ["tau", "share_tau"]
    share = plot.data["share_tau"].to_numpy().ravel()
    error = share.std() / np.sqrt(share.size)
    assert share.mean() == pytest.approx(table.loc["share[hospital]", "mean"], abs=4 * error)
    titles = [target.get_title() for target in plot.viz["plot"]["share_tau"].values.ravel()]
    assert titles == ["tau² / (tau² + π²/3)"]


@pytest.mark.parametrize("kind", ["stat", "group", "dist", "ecdf", "loo_pit"])
def test_every_check_can_be_drawn(hospitals, kind):
    plot = hospitals.plot_ppc(kind, backend="matplotlib", random_seed=1)
    assert plot.viz is not None
