"""Pictures of crossed groups, by column."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from hiermodels.plots import layout
from hiermodels.plots.effects import ShownEffects
from hiermodels.plots.shrinkage import raw_points

FORMULA = "diameter ~ 1 + (1 | plate) + (1 | sample)"


@pytest.fixture(scope="module")
def penicillin():
    frame = hm.datasets.load_penicillin()
    priors = {"tau": hm.HalfNormal(4.0)}
    return hm.fit(frame, FORMULA, priors=priors, random_seed=1, draws=400)


def test_raw_deviations_are_what_other_effects_leave(penicillin):
    """Of balanced rows: the mean of the plate's rows less ``mu`` and the mean sample effect."""
    frame = hm.datasets.load_penicillin()
    draws = penicillin.datatree["posterior"].to_dataset().mean(["chain", "draw"])
    shown = ShownEffects.of(penicillin.posterior, "plate", "auto")
    found = raw_points(penicillin.posterior, shown).value
    expected = frame.groupby("plate")["diameter"].mean() - float(
        draws["mu"] + draws["theta_sample"].mean()
    )
    np.testing.assert_allclose(found, expected.loc[found["plate"].to_numpy()], rtol=1e-10)


def test_deviations_stand_around_0(penicillin):
    shown = ShownEffects.of(penicillin.posterior, "plate", "auto")
    assert (shown.grand, shown.dashed, shown.words) == (0.0, "0", "")
    assert ShownEffects.of(penicillin.posterior, None, "auto").name == "theta_sample"


@pytest.mark.parametrize(
    ("picture", "options", "label"),
    [
        ("plot_shrinkage", {"level": "plate"}, "mean without other effects"),
        ("plot_caterpillar", {"level": "sample"}, "theta_sample"),
        ("plot_ppc", {"kind": "group", "replicate": "plate"}, "mean of diameter by plate"),
    ],
)
def test_a_picture_of_each_column(penicillin, picture, options, label):
    plot = getattr(penicillin, picture)(**options, backend="matplotlib")
    figure = plot.viz["figure"].item()
    assert any(label in axes.get_xlabel() for axes in figure.axes)


def test_deviations_over_their_sd(penicillin):
    plot = penicillin.plot_trace_tau(level="sample", backend="matplotlib")
    above, below = plot.viz["figure"].item().axes
    assert above.get_ylabel() == "mean of theta_sample given tau_sample"
    assert (below.get_xlabel(), below.get_ylabel()) == ("tau_sample", "density")


def test_what_is_of_nested_groups(penicillin):
    with pytest.raises(hm.SpecError, match="plot_lines: expected nested groups"):
        penicillin.plot_lines()


def test_words_stay_in_their_panels():
    """Long names are broken, and medians near 0 are written beside it."""
    names = {"plate": "boîte_de_Petri_du_laboratoire_de_l’hôpital", "sample": "échantillon " * 4}
    frame = hm.datasets.load_penicillin().rename(columns=names)
    frame["diameter"] = np.random.default_rng(1).normal(size=len(frame))
    groups = " + ".join(f"(1 | `{name}`)" for name in names.values())
    fit = hm.fit(frame, f"diameter ~ 1 + {groups}", priors="weak", random_seed=1, draws=200)
    plot = fit.plot_variance(backend="matplotlib")
    draws = fit.datatree["posterior"].to_dataset()
    squares = {sd: draws[sd] ** 2 for sd in fit.spec.sds}
    own = fit.spec.levels[1].sd
    share = squares[own] / sum(squares.values())
    x, density = plot.viz["dist"][f"share_{own}"].item().get_data()
    assert x[-1] == pytest.approx(4 * float(share.quantile(0.945)))
    assert x[-1] < 0.7 * float(share.max())
    assert np.trapezoid(density, x) == pytest.approx(1, abs=0.02)
    figure = plot.viz["figure"].item()
    figure.canvas.draw()
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert len(shown) == 6
    titles = [axes.title.get_window_extent() for axes in shown]
    for k in (0, 3):
        assert titles[k].x1 < titles[k + 1].x0 < titles[k + 1].x1 < titles[k + 2].x0
    for axes in shown:
        (median,) = axes.texts
        inside, panel = median.get_window_extent(), axes.get_window_extent()
        assert panel.x0 - 2 <= inside.x0 < inside.x1 <= panel.x1 + 2


def test_texts_are_broken_where_words_end():
    text = "mean of theta_boîte_de_Petri given tau_boîte_de_Petri"
    assert layout.broken(text, 26).split("\n") == [
        "mean of theta_boîte_de_",
        "Petri given tau_boîte_de_",
        "Petri",
    ]
    assert layout.broken("x" * 60, 26).split("\n") == ["x" * 25, "x" * 25, "x" * 10]
    assert layout.broken("short", 26) == "short"
    assert layout.placed("a text", "", 4) == "a\ntext"
