"""Rows with t errors of groups within outer groups, left out."""

from __future__ import annotations

import pandas as pd
import pytest

import hiermodels as hm

ROLES = {"outcome": "y", "se": "se", "groups": ["lab", "sample"], "family": hm.StudentT(4)}
PRIORS = {"lam": hm.Normal(10, 2), "kappa": hm.Fixed(0.5), "tau": hm.HalfNormal(1)}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Six samples in three laboratories; one of them has two rows, of which one is far away."""
    return pd.DataFrame(
        {
            "lab": ["a", "a", "a", "b", "b", "c", "c"],
            "sample": ["1", "1", "2", "3", "4", "5", "6"],
            "y": [10.2, 17.0, 9.1, 11.4, 10.8, 8.9, 10.4],
            "se": [0.5, 0.7, 0.6, 0.4, 0.9, 0.8, 0.5],
        }
    )


def test_what_is_left_out_is_a_difference_of_marginal_likelihoods(rows):
    fit = hm.fit(rows, **ROLES, priors=PRIORS, draws=50, random_seed=1)
    whole = fit.reference().log_marginal_likelihood
    for unit, kept, at in (("row", rows.index != 1, 1), ("outer", rows["lab"] != "b", 1)):
        less = hm.reference(rows[kept], **ROLES, priors=PRIORS).log_marginal_likelihood
        found = fit.loo(unit).elpd_i.to_numpy()[at]
        assert found == pytest.approx(whole - less, abs=1e-8)
