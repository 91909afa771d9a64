"""Crossed groups whose rows leave nothing, or next to nothing, to learn from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import hiermodels as hm

FORMULA = "y ~ 1 + (1 | a) + (1 | b)"
A, B = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
PROPER = {"tau": hm.HalfNormal(1), "sigma": hm.HalfNormal(2)}


def frame(y):
    return pd.DataFrame({"y": y, "a": A.astype(str), "b": B.astype(str)})


@pytest.mark.parametrize("priors", [None, PROPER])
@pytest.mark.parametrize(
    "y",
    [np.ones(48), np.zeros(48), 0.3 * A + 0.7 * B, 1e9 + 0.3 * A + 0.7 * B],
    ids=["all alike", "zeros", "sums", "sums far from 0"],
)
def test_rows_without_a_remainder_have_no_posterior(y, priors):
    with pytest.raises(hm.ImproperPosteriorError, match="without a remainder"):
        hm.reference(frame(y), FORMULA, priors=priors)


def test_rows_far_from_0_keep_their_digits():
    y = np.random.default_rng(1).normal(size=48) + 0.3 * A
    near, far = (hm.reference(frame(y + shift), FORMULA, priors=PROPER) for shift in (0, 2**30))
    for name in ("tau_a", "tau_b", "sigma"):
        assert_allclose(far.mean[name], near.mean[name], rtol=1e-6)
    assert far.mean["mu"] - 2**30 == pytest.approx(float(near.mean["mu"]), abs=1e-6)


def test_without_an_intercept_it_is_known_to_be_0():
    rows = frame(np.random.default_rng(1).normal(size=48) + 0.3 * A)
    without = hm.reference(rows, FORMULA.replace("1 +", "0 +"), priors=PROPER)
    known = hm.reference(rows, FORMULA, priors={**PROPER, "mu": hm.Normal(0, 1e-7)})
    for name in ("tau_a", "tau_b", "sigma", "theta_a", "theta_b"):
        assert_allclose(without.mean[name], known.mean[name], rtol=1e-8, atol=1e-8)
        assert_allclose(without.sd[name], known.sd[name], rtol=1e-8, atol=1e-8)


def test_rows_that_effects_can_fit_are_refused():
    some = frame(np.random.default_rng(1).normal(size=48)).iloc[:7]
    some = some.assign(a=list("aabbccd"), b=list("xyyzzww"))
    with pytest.raises(hm.ImproperPosteriorError, match="fit all 7 rows"):
        hm.reference(some, FORMULA, priors={"tau": hm.HalfNormal(1)})
    with pytest.raises(hm.SpecError, match=r"found 7 rows, 4 'a' groups and 4 'b' groups"):
        hm.reference(some, FORMULA, priors=PROPER)
