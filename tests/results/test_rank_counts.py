"""Ranks of groups of counts on the outcome's scale."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import hiermodels as hm
from tests.oracles.count_figures import model

HOSPITALS = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
PUMPS = {"outcome": "failures", "exposure": "hours", "groups": "pump"}
HALF = {"tau": hm.HalfNormal(1)}
CASES = {
    "p": (hm.datasets.load_surgical, HOSPITALS, 0.08, special.logit(0.08)),
    "rate": (hm.datasets.load_pumps, PUMPS, 0.5, np.log(0.5)),
}


@pytest.mark.parametrize("budget", [2**31, 1])
@pytest.mark.parametrize("name", CASES)
def test_ranks_are_those_of_the_effects_and_thresholds_of_the_outcome(name, budget):
    """Also where draws of the groups are not kept, but made on demand."""
    load, said, threshold, on_link = CASES[name]
    fit = hm.fit(load(), **said, priors=HALF, draws=100, random_seed=1, memory_budget=budget)
    league, other = fit.rank(name, threshold=threshold, top=3), fit.rank("theta", threshold=on_link)
    np.testing.assert_array_equal(league.ranks, other.ranks)
    np.testing.assert_allclose(
        league.table[f"p_above_{threshold:g}"], other.table[f"p_above_{on_link:g}"], atol=1e-12
    )
    exact = fit.reference().mean[name].to_series()
    np.testing.assert_allclose(league.table["mean"], exact[league.table.index])
    assert f"rank 1: highest {name}" in league.table.attrs["notes"]
    lowest = fit.rank(name, highest_first=False)
    assert lowest.table.index[0] == league.table.index[-1]
    first, last = league.table.index[[0, -1]]
    assert league.prob_greater(first, last) == lowest.prob_greater(first, last) > 0.9


def test_probabilities_are_at_each_group_s_own_covariates():
    """So that they may rank in another order than the effects at one place."""
    data, said = model("seeds_half_normal1")
    fit = hm.fit(data, **said, draws=100, random_seed=1)
    ours = fit.rank("p")
    own = fit.rank("theta", at="own")
    np.testing.assert_array_equal(ours.ranks, own.ranks)
    assert (ours.ranks.to_numpy() != fit.rank("theta", at="means").ranks.to_numpy()).any()


def test_the_other_family_s_scale_is_not_known():
    fit = hm.fit(hm.datasets.load_pumps(), **PUMPS, priors=HALF, draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match="expected 'theta' or 'pump', 'rate'; found 'p'"):
        fit.rank("p")
