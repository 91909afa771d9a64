"""Plots show the data that they are said to show, on every back end."""

from __future__ import annotations

import contextlib
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.data.covariates import locate
from hiermodels.exact.replicates import replicated_means
from hiermodels.plots.alternatives import hyperparameters, plot_sensitivity
from hiermodels.plots.layout import shortened
from hiermodels.plots.shrinkage import raw_means
from hiermodels.plots.trace import MIN_GAP, spread_out
from hiermodels.results.checks import check

mpl.use("Agg")
BACKENDS = ["matplotlib", "plotly", "bokeh"]
FOREST, RANK = {"column": "forest"}, {"column": "rank"}


@pytest.fixture(autouse=True)
def closed():
    """Close the figures of a test when it is over."""
    yield
    mpl.pyplot.close("all")


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def fitted(data, *args, **options):
    with contextlib.redirect_stdout(None):
        return hm.fit(data, *args, random_seed=1, **options)


@pytest.fixture(scope="module")
def fit(schools):
    return fitted(schools)


@pytest.fixture(scope="module")
def calendar():
    return fitted(hm.datasets.load_school_calendar())


@pytest.fixture(scope="module")
def pupils():
    frame = hm.datasets.simulate_classrooms(6, classrooms=3, pupils=(2, 9), random_seed=2)
    return fitted(frame, "score ~ (1 | school/classroom)")


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(1)
    names = [f"group {i}" for i in range(300)]
    return fitted(pd.DataFrame({"g": names, "y": rng.normal(size=300), "se": 0.5}))


@pytest.fixture(scope="module")
def references(schools):
    priors = {"flat variance": hm.FlatVariance(), "flat sd": hm.FlatSD(), "cut": hm.Uniform(3)}
    with contextlib.redirect_stdout(None):
        return {name: hm.reference(schools, priors={"tau": p}) for name, p in priors.items()}


def xy(artist):
    """Coordinates of what was drawn, from the artists of any back end."""
    if hasattr(artist, "get_offsets"):
        return np.asarray(artist.get_offsets()).T
    if hasattr(artist, "get_xdata"):
        return np.array([artist.get_xdata(), artist.get_ydata()], dtype=float)
    if hasattr(artist, "data_source"):
        return np.array([artist.data_source.data["x"], artist.data_source.data["y"]], dtype=float)
    return np.array([artist.x, artist.y], dtype=float)


def layer(plot, name, variable="theta", panel=None):
    """Coordinates (2, n) of a layer."""
    found = plot.get_viz(name, variable, panel)
    return xy(found.item() if hasattr(found, "item") else found)


def lines(plot, name, variable="theta", panel=None):
    """Ends of horizontal lines: (n, 2) in x, (n,) in height."""
    x, y = (v.reshape(-1, 3) for v in layer(plot, name, variable, panel))
    assert np.isnan(x[:, 2]).all()
    assert np.array_equal(y[:, 0], y[:, 1])
    return x[:, :2], y[:, 0]


def location(plot, variable=None, panel=None):
    """Where the only vertical line of a panel stands."""
    target = plot.get_target(variable, panel)
    if plot.backend == "matplotlib":
        (line,) = [line for line in target.lines if len(set(line.get_xdata())) == 1]
        return line.get_xdata()[0]
    if plot.backend == "bokeh":
        return next(line.location for line in target.center if hasattr(line, "location"))
    figure = plot.get_viz("figure")
    axis = figure.get_subplot(target.row, target.col).xaxis.plotly_name.replace("axis", "")
    (line,) = [shape for shape in figure.layout.shapes if shape.xref == axis]
    return line.x0


def posterior_means(fit, name="theta"):
    return fit.datatree["posterior"][name].mean(["chain", "draw"]).to_numpy()


def interval(draws, prob=0.89):
    return draws.quantile([(1 - prob) / 2, (1 + prob) / 2], ["chain", "draw"]).to_numpy().T


# Shrinkage


def test_shrinkage_shows_raw_and_posterior_means(fit, schools, backend):
    plot = fit.plot_shrinkage(backend=backend, ci_prob=0.5)
    assert plot.backend == backend
    order = np.argsort(-schools["y"].to_numpy(), kind="stable")
    y, means = schools["y"].to_numpy()[order], posterior_means(fit)[order]
    heights = np.arange(8)[::-1]
    np.testing.assert_allclose(layer(plot, "raw", panel=FOREST), [y, heights])
    np.testing.assert_allclose(layer(plot, "point_estimate", panel=FOREST), [means, heights])
    ends, height = lines(plot, "shrinkage", panel=FOREST)
    np.testing.assert_allclose(ends, np.column_stack([y, means]))
    np.testing.assert_array_equal(height, heights)
    ends, height = lines(plot, "interval", panel=FOREST)
    expected = interval(fit.datatree["posterior"]["theta"], 0.5)[order]
    np.testing.assert_allclose(ends, expected)
    np.testing.assert_array_equal(height, heights)


@pytest.mark.parametrize("method", ["plot_shrinkage", "plot_caterpillar", "plot_trace_tau"])
def test_long_labels_leave_the_panels_room(schools, method):
    """They are cut in the middle, and what is written below the panels does not overlap."""
    name = "The Royal Infirmary of Edinburgh and Associated Hospitals, Ward {}"
    data = schools.assign(school=[name.format(i) for i in schools["school"]])
    figure = getattr(fitted(data), method)().get_viz("figure")
    figure.canvas.draw()
    ticks = figure.axes[0].get_yticklabels()
    texts = figure.axes[0].texts if method == "plot_trace_tau" else ticks
    expected = {f"The Royal Infir…ospitals, Ward {i}" for i in "ABCDEFGH"}
    assert {text.get_text().strip() for text in texts} == expected
    titles = [axes.xaxis.label for axes in figure.axes if axes.xaxis.label.get_text()]
    boxes = sorted((title.get_window_extent() for title in titles), key=lambda box: box.x0)
    edges = [0, *itertools.chain.from_iterable((box.x0, box.x1) for box in boxes)]
    assert sorted([*edges, figure.bbox.width]) == [*edges, figure.bbox.width]


def test_labels_that_would_read_the_same_are_not_cut():
    labels = [f"a name that is rather long, {i} of the many in this place" for i in "AB"]
    assert shortened(labels) == labels
    assert shortened([labels[0], "B"]) == ["a name that is…ny in this place", "B"]


@pytest.mark.parametrize("method", ["plot_shrinkage", "plot_caterpillar"])
def test_the_grand_mean_is_marked(fit, backend, method):
    plot = getattr(fit, method)(backend=backend)
    mean = float(fit.datatree["posterior"]["mu"].mean())
    assert location(plot, panel=FOREST) == pytest.approx(mean)


def test_rows_are_labelled_in_their_order(fit, schools):
    axes = fit.plot_shrinkage().get_target(None, FOREST)
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == schools.sort_values("y", ascending=False)["school"].tolist()
    np.testing.assert_array_equal(axes.get_yticks(), np.arange(8)[::-1])
    in_order = fit.plot_shrinkage(order="data").get_target(None, FOREST)
    assert [tick.get_text() for tick in in_order.get_yticklabels()] == list("ABCDEFGH")
    with pytest.raises(hm.SpecError, match="order: expected 'raw' or 'data'"):
        fit.plot_shrinkage(order="size")


def test_raw_means_of_outer_units_are_what_their_groups_say(calendar):
    """The mean of the schools' effects, each weighted by 1/(τ² + se²)."""
    data = hm.datasets.load_school_calendar()
    tau = float(calendar.datatree["posterior"]["tau"].median())
    weight = 1 / (tau**2 + data["se"] ** 2)
    sums = pd.DataFrame({"d": data["district"], "w": weight, "wy": weight * data["y"]})
    sums = sums.groupby("d", sort=False).sum()
    found = raw_means(calendar.posterior, "mu", locate(calendar.data))
    np.testing.assert_allclose(found, sums["wy"] / sums["w"], rtol=1e-10)
    assert found["district"].values.tolist() == sums.index.tolist()


@pytest.mark.parametrize("level", ["mu", "district"])
def test_shrinkage_of_outer_units(calendar, level):
    plot = calendar.plot_shrinkage(level=level)
    raw = raw_means(calendar.posterior, "mu", locate(calendar.data)).to_numpy()
    pooled = posterior_means(calendar, "mu")
    order = np.argsort(-raw, kind="stable")
    np.testing.assert_allclose(layer(plot, "raw", "mu", FOREST)[0], raw[order])
    np.testing.assert_allclose(layer(plot, "point_estimate", "mu", FOREST)[0], pooled[order])


def test_raw_means_are_adjusted_for_covariates():
    """ȳ − (x̄ − x)'β, which theta at x is to be compared with."""
    frame = hm.datasets.simulate_classrooms(6, 2, 5, beta=2.0, random_seed=4)
    frame["ses"] += 10
    fit = fitted(frame, "score ~ ses + (1 | school/classroom)")
    beta = float(fit.datatree["posterior"]["beta"].mean())
    where = locate(fit.data, {"ses": 9.5})
    away = frame["ses"] - 9.5
    adjusted = (frame["score"] - beta * away).groupby(frame["classroom"], sort=False).mean()
    np.testing.assert_allclose(raw_means(fit.posterior, "theta", where), adjusted, rtol=1e-9)
    tau, sigma = (float(fit.datatree["posterior"][name].median()) for name in ("tau", "sigma"))
    assert tau > 0 < sigma  # equal sizes: the schools' weights are equal
    schools = adjusted.groupby(adjusted.index.str.split("/").str[0], sort=False).mean()
    np.testing.assert_allclose(raw_means(fit.posterior, "mu", where), schools, rtol=1e-9)
    points = layer(fit.plot_shrinkage(at={"ses": 9.5}, order="data"), "raw", "theta", FOREST)[0]
    np.testing.assert_allclose(points, adjusted, rtol=1e-9)
    own = layer(fit.plot_shrinkage(at="own", order="data"), "raw", "theta", FOREST)[0]
    plain = frame["score"].groupby(frame["classroom"], sort=False).mean()
    np.testing.assert_allclose(own, plain, rtol=1e-9)


@pytest.mark.parametrize("method", ["plot_shrinkage", "plot_caterpillar", "plot_trace_tau"])
def test_pictures_say_where_effects_are_shown(method, fit):
    frame = hm.datasets.load_school_calendar()
    moved = fitted(frame, "y ~ year + (1 | district)", se="se", priors={"tau": hm.HalfNormal(1)})
    panel, axis = ({"panel": "value"}, "y") if "trace" in method else (FOREST, "x")
    axes = getattr(moved, method)().get_target(None, panel)
    assert axes.get_ylabel().endswith("\nat the covariates' means: year = 1989.6") or axis == "x"
    assert axes.get_xlabel().endswith("\nat the covariates' means: year = 1989.6") or axis == "y"
    low, high = getattr(axes, f"get_{'y' if axis == 'y' else 'x'}lim")()
    assert -2 < low < high < 3  # not thousands of years away
    plain = getattr(fit, method)().get_target(None, panel)
    assert "\n" not in plain.get_xlabel() + plain.get_ylabel()


def test_parts_may_be_left_out_and_changed(fit):
    plot = fit.plot_shrinkage(
        visuals={"shrinkage": False, "grand_mean": False, "raw": {"edgecolor": "red"}}
    )
    axes = plot.get_target(None, FOREST)
    assert not any(line.get_linestyle() == "--" for line in axes.lines)
    assert len(axes.lines) == 1
    red = mpl.colors.to_rgba("red")
    assert any(np.allclose(points.get_edgecolors()[0], red) for points in axes.collections)
    with pytest.raises(hm.SpecError, match=r"visuals: expected shrinkage, .*; found 'arrows'"):
        fit.plot_shrinkage(visuals={"arrows": {}})


def test_an_aesthetic_may_be_mapped_to_the_units(fit):
    plot = fit.plot_shrinkage(aes={"color": ["school"]})
    drawn = plot.get_viz("point_estimate", "theta", FOREST)
    colors = {tuple(points.item().get_facecolors()[0]) for points in drawn}
    assert len(colors) == 8


# Rows of units


@pytest.mark.parametrize(
    "draw",
    [
        lambda fit: fit.plot_shrinkage(),
        lambda fit: fit.plot_caterpillar(),
        lambda fit: fit.plot_ppc("group", random_seed=1),
    ],
)
class TestRows:
    def test_no_label_overlaps_another(self, draw, calendar):
        figure = draw(calendar).get_viz("figure")
        figure.canvas.draw()
        ticks = figure.axes[0].get_yticklabels()
        boxes = sorted((tick.get_window_extent() for tick in ticks), key=lambda box: box.y0)
        assert len(boxes) == 56
        assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))

    def test_the_text_below_fits(self, draw, fit):
        figure = draw(fit).get_viz("figure")
        figure.canvas.draw()
        for axes in figure.axes:
            box = axes.xaxis.label.get_window_extent()
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1

    def test_many_units_are_drawn_without_labels(self, draw, many):
        plot = draw(many)
        figure = plot.get_viz("figure")
        assert not any(tick.get_text() for axes in figure.axes for tick in axes.get_yticklabels())
        assert figure.axes[0].get_ylabel() == "g (300)"
        assert figure.get_size_inches()[1] <= 10
        assert len(figure.axes[0].lines) <= 4  # a layer is one artist


def test_a_figure_may_have_another_size(fit):
    figure = fit.plot_shrinkage(figure_kwargs={"figsize": (5, 4)}).get_viz("figure")
    assert figure.get_size_inches().tolist() == [5, 4]


def test_panels_have_their_ratios_on_bokeh(fit):
    plot = fit.plot_caterpillar(backend="bokeh")
    widths = [plot.get_target(None, panel).width for panel in (FOREST, RANK)]
    assert sum(widths) == pytest.approx(800, abs=2)
    assert widths[0] == pytest.approx(1.6 * widths[1], abs=2)
    plot = fit.plot_trace_tau(
        backend="bokeh", figure_kwargs={"figsize": (600, 400), "figsize_units": "dots"}
    )
    heights = [plot.get_target(None, {"panel": panel}).height for panel in ("value", "density")]
    assert heights == [300, 100]


@pytest.mark.parametrize("method", ["plot_shrinkage", "plot_caterpillar", "plot_trace_tau"])
def test_levels_that_do_not_exist_are_refused(fit, method):
    with pytest.raises(hm.SpecError, match="level: expected 'theta' or 'school'; found 'mu'"):
        getattr(fit, method)(level="mu")
    one = fitted(pd.DataFrame({"y": [1.0, 2.0, 4.0]}), outcome="y", groups=[])
    with pytest.raises(hm.SpecError, match="needs groups"):
        getattr(one, method)()


@pytest.mark.parametrize("method", ["plot_shrinkage", "plot_caterpillar", "plot_variance"])
def test_probabilities_are_checked(fit, method):
    with pytest.raises(
        hm.SpecError, match=r"ci_prob: expected a probability between 0 and 1; found 89"
    ):
        getattr(fit, method)(ci_prob=89)


# Caterpillar


def test_caterpillar_shows_means_and_ranks(fit, backend):
    plot = fit.plot_caterpillar(backend=backend)
    draws = fit.datatree["posterior"]["theta"]
    means = posterior_means(fit)
    order = np.argsort(-means)
    heights = np.arange(8)[::-1]
    np.testing.assert_allclose(layer(plot, "point_estimate", panel=FOREST), [means[order], heights])
    ends, height = lines(plot, "interval", panel=FOREST)
    np.testing.assert_allclose(ends, interval(draws)[order])
    np.testing.assert_array_equal(height, heights)
    above = draws.to_numpy()[..., :, None] < draws.to_numpy()[..., None, :]
    ranks = draws.copy(data=1 + above.sum(axis=-1))
    expected = ranks.mean(["chain", "draw"]).to_numpy()[order]
    np.testing.assert_allclose(layer(plot, "rank", panel=RANK), [expected, heights])
    np.testing.assert_allclose(lines(plot, "rank_interval", panel=RANK)[0], interval(ranks)[order])


def test_caterpillar_without_ranks(calendar):
    plot = calendar.plot_caterpillar(level="district", ranks=False)
    assert len(plot.get_viz("figure").axes) == 1
    means = np.sort(posterior_means(calendar, "mu"))[::-1]
    np.testing.assert_allclose(layer(plot, "point_estimate", "mu", FOREST)[0], means)


# Estimates over tau


def curves(plot, labels, variable="theta"):
    """Points (2, n) of each unit's line."""
    drawn = plot.get_viz("lines", variable, {"panel": "value"})
    return {label: xy(drawn.sel(school=label).item())[:, :-1] for label in labels}


@pytest.mark.parametrize("moment", ["mean", "sd"])
def test_lines_are_the_book_s_formulas(fit, schools, backend, moment):
    """Gelman et al. (2013), equations 5.17 and 5.20."""
    plot = fit.plot_trace_tau(backend=backend, moment=moment)
    y, variance = schools["y"].to_numpy(), schools["sigma"].to_numpy() ** 2
    for j, (tau, found) in enumerate(curves(plot, schools["school"]).values()):
        weight = 1 / (variance + tau[:, None] ** 2)
        precision = weight.sum(axis=1)
        shrink = variance[j] / (variance[j] + tau**2)
        mean = shrink * (weight @ y) / precision + (1 - shrink) * y[j]
        sd = np.sqrt((1 - shrink) * variance[j] + shrink**2 / precision)
        np.testing.assert_allclose(found, mean if moment == "mean" else sd, rtol=0, atol=1e-9)


def test_the_density_of_tau_is_below(fit):
    axes = fit.plot_trace_tau().get_target(None, {"panel": "density"})
    corners = axes.collections[0].get_paths()[0].vertices
    top = corners[corners[:, 1] > 0]
    expected = fit.reference().density("tau", top[:, 0])
    np.testing.assert_allclose(top[:, 1], expected, rtol=1e-6)


def test_labels_stand_at_the_ends_of_lines_and_apart(fit):
    plot = fit.plot_trace_tau()
    axes = plot.get_target(None, {"panel": "value"})
    ends = {label: line[:, -1] for label, line in curves(plot, "ABCDEFGH").items()}
    gap = MIN_GAP * np.ptp([line[1] for line in curves(plot, "ABCDEFGH").values()])
    texts = {text.get_text().strip(): text.get_position() for text in axes.texts}
    assert set(texts) == set(ends)
    for label, (x, y) in texts.items():
        assert x == ends[label][0]
        assert abs(y - ends[label][1]) < 2 * gap
    assert np.diff(sorted(y for _, y in texts.values())).min() >= gap - 1e-9


def test_places_are_spread_out_as_little_as_possible():
    found = spread_out(np.array([1.0, 0.0, 1.1, 5.0]), 0.5)
    np.testing.assert_allclose(found, [0.8, 0.0, 1.3, 5.0])


def test_some_units_over_tau(calendar):
    plot = calendar.plot_trace_tau(units=["33", "48"])
    assert set(curves(plot, ["33", "48"])) == {"33", "48"}
    assert len(plot.get_target(None, {"panel": "value"}).lines) == 2
    with pytest.raises(hm.SpecError, match="units: there is no school '99'"):
        calendar.plot_trace_tau(units=["33", "99"])
    with pytest.raises(hm.SpecError, match="moment: expected 'mean' or 'sd'"):
        calendar.plot_trace_tau(moment="median")


def test_many_lines_are_one_artist_without_labels(many):
    plot = many.plot_trace_tau()
    axes = plot.get_target(None, {"panel": "value"})
    (line,) = axes.lines
    assert not axes.texts
    assert np.isnan(line.get_xdata().astype(float)).sum() == 300


def test_outer_units_over_kappa(calendar):
    plot = calendar.plot_trace_tau(level="district")
    assert plot.get_target(None, {"panel": "density"}).get_xlabel() == "kappa"


# Predictive checks


@pytest.mark.parametrize("replicate", ["groups", "rows"])
def test_statistics_stand_where_they_should(pupils, backend, replicate):
    plot = pupils.plot_ppc("stat", replicate=replicate, random_seed=1, backend=backend)
    table = check(pupils.posterior, replicate=replicate, random_seed=1)
    for name, row in table.iterrows():
        assert location(plot, name) == pytest.approx(row["observed"])
        x, density = layer(plot, "dist", name)
        mass = np.trapezoid(density, x)
        assert mass == pytest.approx(1, abs=0.03)  # of a long tail, which the curve ends in
        mean = np.trapezoid(x * density, x) / mass
        assert mean == pytest.approx(row["mean"], abs=0.1 * row["sd"])


def test_tail_probabilities_are_in_the_titles(fit):
    plot = fit.plot_ppc(random_seed=1)
    for name, p in fit.check(random_seed=1)["p"].items():
        title = plot.get_target(name, {}).get_title()
        assert title == f"{name}\np = {p:.3f}"


def test_group_means_over_their_replicates(fit, schools, backend):
    plot = fit.plot_ppc("group", random_seed=3, backend=backend, ci_prob=0.8)
    y = np.sort(schools["y"])[::-1]
    order = np.argsort(-schools["y"].to_numpy(), kind="stable")
    heights = np.arange(8)[::-1]
    np.testing.assert_allclose(layer(plot, "observed", "y", FOREST), [y, heights])
    _, means = replicated_means(fit.posterior, random_seed=3)
    ends, height = lines(plot, "interval", "y", FOREST)
    np.testing.assert_allclose(ends, interval(means, 0.8)[order])
    np.testing.assert_array_equal(height, heights)


def test_the_text_counts_those_inside(many):
    text = many.plot_ppc("group", random_seed=1).get_target(None, FOREST).get_xlabel()
    count = int(text.split(":")[1].split(" of ")[0])
    assert stats.binomtest(count, 300, 0.89).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["dist", "ecdf"])
def test_distributions_of_rows(pupils, backend, kind):
    plot = pupils.plot_ppc(kind, random_seed=1, backend=backend)
    x, height = layer(plot, "observed_dist", "score")
    y = pupils.data.y
    if kind == "ecdf":
        expected = np.searchsorted(np.sort(y), x, side="right") / len(y)
        np.testing.assert_allclose(height, expected, atol=1.5 / len(y))
    else:
        assert np.trapezoid(x * height, x) == pytest.approx(y.mean(), abs=0.1 * y.std())
    assert plot.get_viz("predictive_dist", "score").size == 100


def test_leave_one_out_probabilities(pupils, backend):
    plot = pupils.plot_ppc("loo_pit", random_seed=1, backend=backend)
    assert plot.backend == backend
    x, away = layer(plot, "ecdf_lines", "score")
    assert np.nanmin(x) >= 0
    assert np.nanmax(x) <= 1
    assert np.nanmax(np.abs(away)) < 0.2  # the model is right


@pytest.mark.filterwarnings("error:num_samples", "error:Your data")
def test_few_draws_give_few_curves_and_no_leave_one_out_probabilities(schools):
    few = fitted(schools, draws=10, chains=2)
    assert few.plot_ppc("dist", random_seed=1).get_viz("predictive_dist", "y").size == 20
    with pytest.raises(hm.SpecError, match="'loo_pit' needs at least 25 draws in all chains; foun"):
        few.plot_ppc("loo_pit")
    with pytest.raises(hm.SpecError, match="'stat' needs at least 2 draws"):
        fitted(schools, draws=1, chains=1).plot_ppc("stat")


@pytest.mark.parametrize("kind", ["dist", "loo_pit"])
def test_replicates_that_are_there_already_are_shown(schools, kind):
    """Whatever the seed; and those of groups whose draws were not kept are drawn again."""
    with_own = fitted(schools, posterior_predictive=True)
    layers = {"dist": ("observed_dist", "predictive_dist"), "loo_pit": ("ecdf_lines",)}[kind]
    plots = [
        with_own.plot_ppc(kind),
        fitted(schools).plot_ppc(kind, random_seed=1),
        fitted(schools, memory_budget=10).plot_ppc(kind, random_seed=1),
    ]
    last = [layer(plot, layers[0], "y") for plot in plots]
    np.testing.assert_array_equal(last[0], last[2])
    np.testing.assert_array_equal(last[1], last[2])


def test_predictive_checks_refuse_what_they_do_not_know(fit):
    with pytest.raises(hm.SpecError, match=r"kind: expected 'stat', .*; found 'bar'"):
        fit.plot_ppc("bar")
    with pytest.raises(hm.SpecError, match=r"replicate: expected .*; found 'teams'"):
        fit.plot_ppc("group", replicate="teams")
    with pytest.raises(hm.SpecError, match="'loo_pit' is of the same groups"):
        fit.plot_ppc("loo_pit", replicate="groups")


# Variances


def test_densities_of_sds_are_without_noise(pupils, backend):
    plot = pupils.plot_variance(backend=backend, ci_prob=0.9)
    exact = pupils.reference()
    for name in ("tau", "kappa", "sigma"):
        x, density = layer(plot, "dist", name)
        np.testing.assert_allclose(density, exact.density(name, x), rtol=1e-9)
        assert np.trapezoid(density, x) == pytest.approx(0.995, abs=1e-3)
        low, middle, high = exact.quantile([0.05, 0.5, 0.95], [name])[name].to_numpy()
        np.testing.assert_allclose(layer(plot, "credible_interval", name)[0], [low, high])
        assert layer(plot, "point_estimate", name)[0] == pytest.approx(middle)


def test_shares_are_of_the_whole_variance(pupils, backend):
    plot = pupils.plot_variance(backend=backend)
    draws = pupils.datatree["posterior"].to_dataset()
    total = draws["tau"] ** 2 + draws["kappa"] ** 2 + draws["sigma"] ** 2
    for name in ("tau", "kappa", "sigma"):
        share = draws[name] ** 2 / total
        x, density = layer(plot, "dist", f"share_{name}")
        assert 0 <= x.min() < x.max() <= 1
        assert np.trapezoid(density, x) == pytest.approx(1, abs=0.02)
        mean = np.trapezoid(x * density, x)
        assert mean == pytest.approx(float(share.mean()), abs=0.1 * float(share.std()))
        ends = interval(share)
        np.testing.assert_allclose(layer(plot, "credible_interval", f"share_{name}")[0], ends)


def test_shares_where_errors_are_known(fit, calendar):
    assert [str(v) for v in fit.plot_variance().data.data_vars] == ["tau"]
    names = [str(v) for v in calendar.plot_variance().data.data_vars]
    assert names == ["tau", "kappa", "share_tau", "share_kappa"]
    assert [str(v) for v in calendar.plot_variance(shares=False).data.data_vars] == names[:2]


# Sensitivity


def test_hyperparameters_under_each_prior(references, backend):
    plot = plot_sensitivity(references, backend=backend, ci_prob=0.8)
    for name in ("mu", "tau"):
        quantiles = np.array(
            [r.quantile([0.1, 0.5, 0.9], [name])[name].to_numpy() for r in references.values()]
        )
        x, height = layer(plot, "point_estimate", name)
        np.testing.assert_allclose(x, quantiles[:, 1])
        np.testing.assert_array_equal(height, [2, 1, 0])
        np.testing.assert_allclose(lines(plot, "interval", name)[0], quantiles[:, [0, 2]])
        assert location(plot, name) == pytest.approx(quantiles[0, 1])


def test_more_hyperparameters_than_there_may_be_panels():
    """From 38 coefficients on there was an error of the library that draws, and no picture."""
    rng = np.random.default_rng(4)
    names = [f"x{j}" for j in range(45)]
    data = pd.DataFrame(rng.normal(size=(90, 45)), columns=names)
    data["g"] = [f"g{i}" for i in np.arange(90) % 9]
    data["y"] = rng.normal(size=90) + 3 * data["x0"]
    normal = {"beta[x0]": hm.Normal(0, 0.1), "tau": hm.HalfNormal(1)}
    references = {
        name: hm.reference(data, outcome="y", groups="g", covariates=names, priors=priors)
        for name, priors in {"flat": {}, "other": normal}.items()
    }
    found = hyperparameters(references, 0.89)
    middle = found.sel(end="median")
    moved = np.abs(middle.isel(prior=1) - middle.isel(prior=0))
    moved /= (found.sel(end="high") - found.sel(end="low")).isel(prior=0)
    plot = plot_sensitivity(references)
    shown = [str(name) for name in plot.data.data_vars]
    assert shown == [str(name) for name in found if str(name) in shown]
    assert len(shown) == 40 < len(found) == 48
    assert "beta[x0]" in shown
    left_out = [float(moved[name]) for name in found if str(name) not in shown]
    assert max(left_out) <= min(float(moved[name]) for name in shown)


def test_shifts_from_the_baseline(references, backend):
    plot = plot_sensitivity(references, level="school", backend=backend)
    base, *others = references.values()
    order = np.argsort(-base.mean["theta"].to_numpy())
    for label, other in zip(["flat sd", "cut"], others, strict=True):
        moved = ((other.mean["theta"] - base.mean["theta"]) / base.sd["theta"]).to_numpy()[order]
        x, height = xy(plot.get_viz("shift", "theta", FOREST | {"prior": label}))
        np.testing.assert_allclose(x, moved)
        np.testing.assert_array_equal(np.round(height), np.arange(8)[::-1])
    assert location(plot, panel=FOREST) == 0


def test_small_shifts_look_small(references):
    same = {"a": references["flat sd"], "b": references["flat sd"]}
    axes = plot_sensitivity(same, level="theta").get_target(None, FOREST)
    assert axes.get_xlim() == (-0.25, 0.25)


def test_sensitivity_refuses_what_is_no_comparison(references, calendar, schools):
    first = references["flat sd"]
    with pytest.raises(hm.SpecError, match="expected a baseline and at least one other; found 1"):
        plot_sensitivity({"a": first})
    with pytest.raises(hm.SpecError, match="'b' is of another model or of other data"):
        plot_sensitivity({"a": first, "b": calendar.reference()})
    few = pd.DataFrame({"g": list("aabc"), "y": [1.0, 2.0, 4.0, 7.0]})
    heavy, light = (
        hm.reference(few, outcome="y", groups="g", priors={"tau": prior})
        for prior in (hm.FlatSD(), hm.HalfCauchy(1))
    )
    with pytest.raises(hm.SpecError, match="mean or sd of theta does not exist"):
        plot_sensitivity({"a": heavy, "b": light}, level="theta")
