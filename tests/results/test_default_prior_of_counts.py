"""The warning of a default prior that drives the answer, of counts."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact import leaf_prior_moves
from hiermodels.exact.grid import LeafGrid, grid_of
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.prior_move import other_weights

BASKETS = {"outcome": "responders", "trials": "patients", "groups": "subtype"}


def warned(data, **options):
    """The one warning of a fit, which points to the line that called it."""
    with pytest.warns(hm.PriorWarning) as caught:
        fit = hm.fit(data, draws=10, random_seed=1, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    return fit, str(caught[0].message)


def three_figures(value):
    return f"{float(f'{float(value):.3g}'):g}"


def of_both(data, **said):
    """The posterior as it is, and that under the other flat prior."""
    said = {**said, "priors": {**said.get("priors", {}), "tau": hm.FlatVariance()}}
    other = {**said["priors"], "tau": hm.FlatSD()}
    return hm.reference(data, **said), hm.reference(data, **{**said, "priors": other})


def test_the_figures_are_those_of_both_posteriors():
    data = hm.datasets.load_sarcoma_baskets()
    _, text = warned(data, **BASKETS)
    old, new = of_both(data, **BASKETS)
    assert text.startswith(
        "8 informative of 10 'subtype' groups say little of tau: its default prior matters."
    )
    moves = np.abs(new.mean["p"] - old.mean["p"]) / old.sd["p"]
    worst = str(moves["subtype"][int(np.argmax(moves.to_numpy()))].item())
    of_p = [three_figures(one.mean["p"].sel(subtype=worst)) for one in (new, old)]
    of_tau = [three_figures(one.mean["tau"]) for one in (new, old)]
    spread = [
        three_figures(np.sqrt(one.mean["tau"] ** 2 + one.sd["tau"] ** 2 + one.sd["mu"] ** 2))
        for one in (new, old)
    ]
    away = float(np.abs(new.mean["tau"] - old.mean["tau"]) / old.sd["tau"])
    assert (
        f"the posterior mean of tau is {of_tau[0]} in place of {of_tau[1]} ({away:.2f} posterior "
        f"sd away), the posterior mean of p[{worst}] is {of_p[0]} in place of {of_p[1]} "
        f"({float(moves.max()):.2f} posterior sd away), the sd of a new subtype on the scale of "
        f"the link is {spread[0]} in place of {spread[1]} ("
    ) in text
    assert text.endswith(
        "such as priors={'tau': hm.HalfNormal(1)} or priors='weak'; .sensitivity() compares them."
    )


def test_medians_stand_for_means_that_do_not_exist():
    """Four informative groups: neither τ nor μ has a mean."""
    data = pd.DataFrame({"g": list("abcde"), "y": [1, 3, 4, 8, 0], "n": 10})
    said = {"outcome": "y", "trials": "n", "groups": "g"}
    _, text = warned(data, **said)
    assert "4 informative of 5 'g' groups say little of tau" in text
    assert "a mean of" in text
    assert "mu, tau" in text
    medians = [
        three_figures(one.quantile(0.5, "tau")["tau"].item()) for one in of_both(data, **said)
    ]
    found = text.split("posterior median of tau is ")[1].split(" (")[0].split(" in place of ")
    np.testing.assert_allclose([float(x) for x in found], [float(m) for m in medians[::-1]], 2e-2)
    assert "sd of a new" not in text


def test_effects_that_have_the_link_s_scale_only():
    data = hm.datasets.load_eight_schools()
    said = {"outcome": "y", "se": "sigma", "groups": "school", "family": hm.StudentT(4.0)}
    _, text = warned(data, **said)
    old, new = of_both(data, **said)
    pair = [three_figures(one.mean["theta"].sel(school="A")) for one in (new, old)]
    assert f"the posterior mean of theta[A] is {pair[0]} in place of {pair[1]}" in text
    assert "the sd of a new school is" in text
    assert text.startswith("8 'school' groups say little of tau")


def test_coefficients_under_both_priors():
    rows = pd.DataFrame({"g": list("abcdefghijkl"), "y": [1, 1, 2, 1, 2, 2, 3, 1, 2, 1, 2, 9]})
    rows = rows.assign(n=10, x=np.repeat([0.0, 1.0], 6))
    said = {"outcome": "y", "trials": "n", "groups": "g", "covariates": ["x"]}
    spec, data = prepare(rows, **said)
    grid = LeafGrid(spec, data)
    posterior = LeafPosterior(grid.marginal, grid.lattice)
    both, _ = other_weights(posterior.lattice.weights, np.log(posterior.tau))
    look = leaf_prior_moves._Look(spec, data, posterior, grid.moments, both)
    moves = {move.what.split(" at ")[0]: move for move in look.coefficients()}
    old, new = (one.at("means") for one in of_both(rows, **said))
    for name, variable in (("mu", "mu"), ("beta[x]", "beta")):
        move = moves[f"posterior mean of {name}"]
        means = [float(one.mean[variable].item()) for one in (old, new)]
        sd = float(old.sd[variable].item())
        np.testing.assert_allclose([move.old, move.new], means, atol=2e-3 * sd)
        assert move.size == pytest.approx(abs(means[1] - means[0]) / sd, abs=4e-3)


@pytest.mark.parametrize(
    "said",
    [
        {**BASKETS, "priors": {"tau": hm.FlatVariance()}},
        {**BASKETS, "priors": "weak"},
        {**BASKETS, "priors": {"tau": hm.Fixed(0.3)}},
    ],
)
def test_no_warning_of_priors_that_are_stated(said):
    with warnings.catch_warnings():
        warnings.simplefilter("error", hm.PriorWarning)
        hm.fit(hm.datasets.load_sarcoma_baskets(), draws=10, random_seed=1, **said)


def test_no_warning_where_groups_say_enough():
    rats = hm.datasets.load_rat_tumors()
    said = {"outcome": "tumors", "trials": "rats", "groups": "experiment"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", hm.PriorWarning)
        hm.fit(rats, draws=10, random_seed=1, **said)
    old, new = of_both(rats, **said)
    assert float(np.abs(new.mean["tau"] - old.mean["tau"]) / old.sd["tau"]) < 0.25


def test_models_that_only_nuts_takes_have_no_grid():
    rows = pd.DataFrame({"g": list("aabb"), "y": [1, 2, 3, 4], "x": [0.0, 1, 0, 1]})
    family = hm.NegativeBinomial(size=2)
    spec, data = prepare(rows, outcome="y", groups="g", covariates=["x"], family=family)
    grid = grid_of(spec, data)
    assert isinstance(grid, LeafGrid)
    assert not grid.is_laid


def test_a_report_has_the_warning(tmp_path):
    data = hm.datasets.load_sarcoma_baskets()
    page = hm.fit(data, draws=50, random_seed=1, **BASKETS).report(tmp_path / "a.html")
    assert "its default prior matters" in page.read_text(encoding="utf-8")
    stated = {**BASKETS, "priors": {"tau": hm.HalfNormal(1)}}
    page = hm.fit(data, draws=50, random_seed=1, **stated).report(tmp_path / "b.html")
    assert "its default prior matters" not in page.read_text(encoding="utf-8")
