"""Posteriors that do not exist are refused; those that do are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.priors import Jeffreys


def frame(k):
    y = np.linspace(-1, 2, k)
    return pd.DataFrame({"group": [f"g{i}" for i in range(k)], "y": y, "sigma": 0.5})


NEEDED = [
    (hm.FlatVariance(), hm.Flat(), 4),
    (hm.FlatVariance(), hm.Normal(0, 1), 3),
    (hm.FlatSD(), hm.Flat(), 3),
    (hm.FlatSD(), hm.Normal(0, 1), 2),
    (hm.HalfCauchy(1), hm.Flat(), 2),
    (hm.HalfNormal(1), hm.Flat(), 2),
]


@pytest.mark.parametrize(("tau", "mu", "needed"), NEEDED, ids=str)
def test_number_of_groups_that_is_needed(tau, mu, needed):
    fit = hm.fit(frame(needed), priors={"tau": tau, "mu": mu}, random_seed=1)
    assert np.isfinite(fit.datatree["posterior"]["theta"]).all()
    if needed > 2:
        with pytest.raises(hm.ImproperPosteriorError, match=f"so {needed} 'group' groups"):
            hm.fit(frame(needed - 1), priors={"tau": tau, "mu": mu})


def test_the_message_has_count_and_remedy():
    with pytest.raises(hm.ImproperPosteriorError) as caught:
        hm.fit(frame(3))
    assert str(caught.value) == (
        "the posterior does not exist: 3 'group' groups less 1 flat coefficient leave 2 contrasts, "
        "and FlatVariance() on tau needs at least 3, so 4 'group' groups. Give tau a proper prior, "
        "such as priors={'tau': …} with FlatSD() (which needs 3 groups), HalfNormal(sd=…) or "
        "HalfCauchy(beta=…), or add data."
    )


def test_the_remedy_works():
    fit = hm.fit(frame(3), priors={"tau": hm.FlatSD()}, random_seed=1)
    assert np.isfinite(fit.reference().quantile([0.05, 0.95]).to_array()).all()


def test_one_over_the_variance_is_never_proper():
    with pytest.raises(hm.ImproperPosteriorError, match="infinite mass at tau = 0"):
        hm.fit(frame(50), priors={"tau": Jeffreys()})


def test_every_engine_refuses():
    with pytest.raises(hm.ImproperPosteriorError):
        hm.fit(frame(3), engine="nuts")
    with pytest.raises(hm.ImproperPosteriorError):
        hm.reference(frame(3))
