"""Plots show the data that they are said to show."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

mpl.use("Agg")
BACKENDS = ["matplotlib", "plotly", "bokeh"]


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, random_seed=1)


@pytest.fixture
def axes(fit):
    return fit.plot_shrinkage().get_target(None, {"column": "forest"})


def by_color(axes, color):
    """Offsets of the scattered points with this edge colour."""
    rgba = mpl.colors.to_rgba(color)
    return np.concatenate(
        [c.get_offsets() for c in axes.collections if np.allclose(c.get_edgecolors()[0], rgba)]
    )


def test_raw_and_posterior_means_stand_where_they_should(axes, fit, schools):
    raw, pooled = by_color(axes, "C1"), by_color(axes, "C0")
    np.testing.assert_allclose(np.sort(raw[:, 0]), np.sort(schools["y"]))
    means = fit.datatree["posterior"]["theta"].mean(["chain", "draw"]).to_numpy()
    np.testing.assert_allclose(np.sort(pooled[:, 0]), np.sort(means))
    # the same height for raw and pooled mean of one school
    by_height = dict(zip(raw[:, 1], raw[:, 0], strict=True))
    for x, height in pooled:
        school = np.argmin(np.abs(means - x))
        assert by_height[height] == schools["y"][school]


def test_lines_lead_from_raw_to_posterior_means(axes, fit, schools):
    ends = {
        tuple(np.round(line.get_xdata(), 9))
        for line in axes.lines
        if mpl.colors.to_rgba(line.get_color()) == mpl.colors.to_rgba("C1")
    }
    means = fit.datatree["posterior"]["theta"].mean(["chain", "draw"]).to_numpy()
    assert ends == {(round(y, 9), round(m, 9)) for y, m in zip(schools["y"], means, strict=True)}


def test_intervals_are_equal_tailed(axes, fit):
    lines = [line.get_xdata() for line in axes.lines if line.get_alpha() == 0.6]
    quantiles = fit.datatree["posterior"]["theta"].quantile([0.055, 0.945], ["chain", "draw"])
    np.testing.assert_allclose(np.sort(np.array(lines)[:, 0]), np.sort(quantiles[0]), rtol=0.02)
    np.testing.assert_allclose(np.sort(np.array(lines)[:, 1]), np.sort(quantiles[1]), rtol=0.02)


def test_the_grand_mean_is_marked(axes, fit):
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert line.get_xdata()[0] == pytest.approx(float(fit.datatree["posterior"]["mu"].mean()))


def test_groups_are_sorted_by_raw_mean(fit, schools):
    plot = fit.plot_shrinkage()
    heights = plot.get_aes_as_dataset("y")["theta"]
    order = [str(v) for v in heights["school"].values[np.argsort(-heights.values)]]
    assert order == schools.sort_values("y", ascending=False)["school"].tolist()


def test_groups_may_stay_in_the_order_of_the_data(fit):
    heights = fit.plot_shrinkage(order="data").get_aes_as_dataset("y")["theta"]
    assert (np.diff(heights.sel(school=list("ABCDEFGH")).values) < 0).all()
    with pytest.raises(hm.SpecError, match="order: expected 'raw' or 'data'"):
        fit.plot_shrinkage(order="size")


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend(fit, backend):
    plot = fit.plot_shrinkage(backend=backend)
    assert plot.backend == backend


def test_parts_may_be_left_out(fit):
    plot = fit.plot_shrinkage(visuals={"shrinkage": False, "raw": False, "grand_mean": False})
    axes = plot.get_target(None, {"column": "forest"})
    assert not any(line.get_linestyle() == "--" for line in axes.lines)
    assert not any(
        mpl.colors.to_rgba("C1") == mpl.colors.to_rgba(x.get_color()) for x in axes.lines
    )


def test_no_text_overlaps(fit):
    """Group labels are further apart than they are high."""
    figure = fit.plot_shrinkage().get_viz("figure")
    figure.canvas.draw()
    boxes = [
        text.get_window_extent() for axes in figure.axes for text in axes.texts if text.get_text()
    ]
    boxes.sort(key=lambda box: box.y0)
    assert len(boxes) == 8
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))


def test_many_groups_are_drawn_without_labels():
    rng = np.random.default_rng(1)
    names = [f"group {i}" for i in range(300)]
    data = pd.DataFrame({"g": names, "y": rng.normal(size=300), "se": 0.5})
    figure = hm.fit(data, random_seed=1).plot_shrinkage().get_viz("figure")
    assert not any(text.get_text() for axes in figure.axes for text in axes.texts)
    assert figure.get_size_inches()[1] <= 10
