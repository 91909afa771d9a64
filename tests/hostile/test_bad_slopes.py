"""Formulas and data that do not suit slopes: each its own message, through ``hm.fit``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.block_data import block_model
from hiermodels.exact.blocks.propriety import check


def rows(**more):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat([f"g{i}" for i in range(8)], 4)})
    frame["x"], frame["z"], frame["e"] = rng.normal(size=(3, 32))
    frame["y"] = frame["x"] + frame.pop("e")
    return frame.assign(**more)


def said(formula, frame=None, **roles):
    with pytest.raises(hm.HierModelsError) as caught:
        hm.fit(rows() if frame is None else frame, formula, draws=10, random_seed=1, **roles)
    return type(caught.value), str(caught.value)


def test_a_slope_on_a_constant_covariate():
    kind, text = said("y ~ k + (1 + k | g)", rows(k=1.0))
    assert kind is hm.DataError
    assert "column 'k' is constant: it is 1 in every row" in text


def test_a_slope_on_a_column_that_is_not_there():
    kind, text = said("y ~ q + (1 + q | g)")
    assert kind is hm.DataError
    assert text.startswith("there is no column 'q'; the data have 'g', 'x', 'z', 'y'")


@pytest.mark.parametrize("formula", ["y ~ 1 + (1 + x | g)", "y ~ z + (1 + x || g)"])
def test_a_slope_without_a_mean(formula):
    kind, text = said(formula)
    assert kind is hm.SpecError
    assert "the effect of x varies between groups, and has no mean. Add x" in text


@pytest.mark.parametrize("bar", ["|", "||"])
def test_collinear_slopes(bar):
    frame = rows()
    kind, text = said(f"y ~ x + w + (1 + x + w {bar} g)", frame.assign(w=2 * frame["x"] + 3))
    assert kind is hm.DataError
    assert "column 'w' is a linear combination of the intercept and 'x'" in text


def test_more_effects_than_rows_in_every_group():
    kind, text = said("y ~ x + z + (1 + x + z | g)", rows().groupby("g").head(2))
    assert kind is hm.ImproperPosteriorError
    assert "effects and coefficients fit all 16 rows exactly, 8 'g' groups having 3 effects" in text
    assert text.endswith("Give sigma a proper prior, or use fewer effects")


def test_more_unknowns_than_the_lattice_holds():
    priors = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(1)}
    kind, text = said("y ~ x + z + (1 + x + z | g)", priors=priors)
    assert kind is hm.SpecError
    assert "Use fewer effects or levels, uncorrelated ones, or engine='nuts'" in text


@pytest.mark.parametrize(
    ("formula", "priors", "text"),
    [
        ("y ~ x + (1 + x || g)", {"rho": hm.LKJ(2)}, "no parameter 'rho'; it has mu, tau"),
        ("y ~ x + (1 + x | g)", {"rho": hm.HalfNormal(2)}, "'rho' needs LKJ"),
        ("y ~ x + (1 + x || g)", {"tau": hm.FlatCovariance()}, "two correlated effects"),
    ],
)
def test_priors_that_do_not_suit_correlations(formula, priors, text):
    kind, found = said(formula, priors=priors)
    assert kind is hm.SpecError
    assert text in found


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_the_unit_of_a_covariate_does_not_matter(unit):
    """Nor does it for whether the posterior exists."""
    frame, formula = rows(), "y ~ x + (1 + x || g)"
    expected = hm.reference(frame, formula)
    found = hm.reference(frame.assign(x=frame["x"] * unit), formula)
    scale = np.array([1.0, 1 / unit])
    for name, size in (("theta", scale), ("tau", scale), ("sigma", 1.0)):
        for mine, theirs in ((found.mean, expected.mean), (found.sd, expected.sd)):
            shift = (mine[name] - theirs[name] * size) / (expected.sd[name] * size)
            assert float(np.abs(shift).max()) < 1e-7
    assert len(found.posterior.marginal.tails.rays) == len(expected.posterior.marginal.tails.rays)
    hm.fit(frame.assign(x=frame["x"] * unit), "y ~ x + (1 + x | g)", draws=10, random_seed=1)


NOISELESS = {
    "y ~ x + (1 + x | g)": {},
    "y ~ x + (1 | a/b/g)": {"tau_a": hm.HalfNormal(1), "tau_b": hm.HalfNormal(1)},
}


@pytest.mark.parametrize("formula", NOISELESS)
@pytest.mark.parametrize("sigma", [hm.Jeffreys(), hm.HalfNormal(1)])
def test_rows_without_noise(formula, sigma):
    """A prior that is proper, but not 0 at 0, does not help where the likelihood is infinite."""
    frame = rows()
    group = np.repeat(np.arange(8), 4)
    lines = np.random.default_rng(1).normal(size=(2, 8))[:, group]
    slope = lines[1] if "+ x |" in formula else 0.5
    frame = frame.assign(y=3 + lines[0] + slope * frame["x"], a=group // 4, b=group // 2)
    priors = NOISELESS[formula] | {"sigma": sigma}
    kind, text = said(formula, frame, priors=priors)
    assert kind is hm.ImproperPosteriorError
    assert "the 32 rows are explained by effects and coefficients without a remainder" in text
    almost = frame.assign(y=frame["y"] + 1e-5 * np.random.default_rng(2).normal(size=32))
    check(block_model(*prepare(almost, formula, priors=priors)))


def test_a_stratum_without_noise():
    frame = rows(by=["p", "p", "q", "q"] * 8)
    frame["y"] = frame["y"].where(frame["by"] == "q", 2.0)
    kind, text = said("y ~ x + (1 | g)", frame, residual_by="by")
    assert kind is hm.ImproperPosteriorError
    assert "the 16 rows that have sigma[p] are explained" in text


@pytest.mark.parametrize("formula", ["y ~ Intercept + (1 | g)", "y ~ Intercept + (1 + x | g) + x"])
def test_a_covariate_with_the_name_of_the_intercept(formula):
    kind, text = said(formula, rows(Intercept=np.arange(32.0)))
    assert kind is hm.SpecError
    assert "a column 'Intercept' cannot be told from the intercept" in text
