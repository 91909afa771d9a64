"""Draws of slopes and of three grouping columns against the exact posterior."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import hiermodels as hm
from tests.exact.test_block_left_out import PRIORS, SLOPES, few_subjects, four_levels

PRIORS_OF_SLOPES = {**PRIORS, "rho": hm.LKJ(2)}
HYPER = ["mu", "beta", "tau", "rho", "sigma"]


@pytest.fixture(scope="module")
def slopes():
    return hm.fit(few_subjects(), SLOPES, priors=PRIORS_OF_SLOPES, random_seed=1)


def drawn_with(**changed):
    priors = PRIORS_OF_SLOPES | changed
    fit = hm.fit(few_subjects(), SLOPES, priors=priors, draws=4000, random_seed=2)
    return xr.DataTree.from_dict({"posterior": fit.datatree["posterior"].to_dataset()})


def test_right_draws_pass_in_every_member(slopes):
    found = hm.compare(slopes, slopes.reference())
    assert found.passed
    quantities = found.table.index.get_level_values("quantity").unique().tolist()
    assert len(quantities) == 3 + 2 + 1 + 16
    assert {"tau[Days]", "rho", "theta[308, Days]", "theta[334, Intercept]"} <= set(quantities)
    reference = slopes.reference()
    at = found.table.loc["theta[308, Days]", "exact"]
    expected = reference.mean["theta"].sel(Subject="308", effect="Days")
    assert at["mean"] == pytest.approx(float(expected), abs=1e-12)
    below = found.pit["theta"].sel(Subject="308", effect="Days")
    draws = slopes.datatree["posterior"]["theta"].sel(Subject="308", effect="Days")
    sorted_pit = below.to_numpy().ravel()[np.argsort(draws.to_numpy().ravel())]
    assert (np.diff(sorted_pit) >= 0).all()


def test_effects_that_change_places_are_seen(slopes):
    tree = slopes.datatree.copy()
    posterior = tree["posterior"].to_dataset()
    swapped = posterior["theta"].copy(data=posterior["theta"].to_numpy()[..., ::-1])
    tree["posterior"] = xr.DataTree(posterior.assign(theta=swapped))
    assert not hm.compare(tree, slopes, var_names="theta").passed


@pytest.mark.parametrize("name", ["sign of rho", "LKJ(1)", "variance"])
def test_wrong_samplers_are_caught(slopes, name):
    """Each samples exactly, but another posterior."""
    if name == "sign of rho":
        tree = drawn_with()
        posterior = tree["posterior"].to_dataset()
        tree["posterior"] = xr.DataTree(posterior.assign(rho=-posterior["rho"]))
    elif name == "LKJ(1)":
        tree = drawn_with(rho=hm.LKJ(1))
    else:
        tree = drawn_with(**{"tau[Days]": hm.FlatVariance(), "tau": hm.FlatVariance()})
    found = hm.compare(tree, slopes, var_names=HYPER)
    assert not found.passed
    worst = found.judged["p"].idxmin()[0]
    assert worst.startswith("tau" if name == "variance" else "rho")


@pytest.mark.slow
def test_right_draws_fail_at_the_stated_rate(slopes):
    """60 comparisons at 20 %: between 4 and 21 alarms but for 1 in 1,000."""
    reference = slopes.reference()
    many = (
        hm.fit(few_subjects(), SLOPES, priors=PRIORS_OF_SLOPES, draws=60 * 250, random_seed=5)
        .datatree["posterior"]
        .to_dataset()[HYPER]
    )
    alarms = 0
    for first in range(0, 60 * 250, 250):
        part = many.isel(draw=slice(first, first + 250))
        tree = xr.DataTree.from_dict({"posterior": part})
        alarms += not hm.compare(tree, reference, 0.2, var_names=HYPER).passed
    assert 4 <= alarms <= 21


def test_draws_from_elsewhere_are_put_together(slopes):
    """A variable for each effect, a matrix of correlations, groups and effects in other orders."""
    own = slopes.datatree["posterior"].to_dataset()
    rho = own["rho"].to_numpy()
    matrix = np.stack([np.stack([1 + 0 * rho, rho], -1), np.stack([rho, 1 + 0 * rho], -1)], -1)
    samples = ("chain", "draw")
    theta = own["theta"].isel(Subject=slice(None, None, -1)).rename(Subject="who")
    foreign = xr.Dataset(
        {
            "Intercept": own["mu"],
            "Days": own["beta"].isel(coef=0, drop=True),
            "1|Subject_sigma": own["tau"].sel(effect="Intercept", drop=True),
            "Days|Subject_sigma": own["tau"].sel(effect="Days", drop=True),
            "chol_corr": ((*samples, "i", "j"), matrix),
            "values": theta.isel(effect=slice(None, None, -1)),
            "sd": own["sigma"],
        }
    )
    tree = xr.DataTree.from_dict({"posterior": foreign})
    rename = {
        "Intercept": "mu",
        "Days": "beta[Days]",
        "1|Subject_sigma": "tau[Intercept]",
        "Days|Subject_sigma": "tau[Days]",
        "chol_corr": "rho",
        "values": "theta",
        "who": "Subject",
        "sd": "sigma",
    }
    found = hm.compare(tree, slopes, rename=rename)
    expected = hm.compare(slopes, slopes)
    np.testing.assert_allclose(found.table["z"], expected.table["z"], atol=1e-9)


def test_models_that_differ_in_what_varies_are_not_compared(slopes):
    priors = {name: prior for name, prior in PRIORS_OF_SLOPES.items() if name != "rho"}
    formula = "Reaction ~ Days + (1 + Days || Subject)"
    other = hm.fit(few_subjects(), formula, priors=priors, draws=50, random_seed=1)
    with pytest.raises(hm.SpecError, match="different models: what varies is"):
        hm.compare(other, slopes)


def test_three_grouping_columns_are_compared():
    priors = {f"tau_{name}": hm.HalfNormal(1) for name in "abc"}
    fit = hm.fit(
        four_levels(), "y ~ x + (1 | a/b/c)", se="se", priors=priors, draws=500, random_seed=3
    )
    found = hm.compare(fit, fit)
    assert found.passed
    quantities = found.table.index.get_level_values("quantity").unique()
    assert len(quantities) == 5 + 5 + 10 + 20
