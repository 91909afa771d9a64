"""Rates of new groups in known outer groups: when they have a mean, and which it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

ROWS = pd.DataFrame(
    {"region": list("aaabbb"), "clinic": list("klmnop"), "events": [3, 0, 5, 2, 7, 1], "hours": 2.0}
)
ROLES = {"outcome": "events", "exposure": "hours", "groups": ["region", "clinic"]}
NEW = pd.DataFrame({"region": ["a", "b", "c"], "clinic": "new", "hours": [2.0, 2.0, 2.0]})


def fit_with(sd, **options):
    priors = {"kappa": hm.Fixed(0.3), "tau": hm.HalfNormal(sd)}
    return hm.fit(ROWS, **ROLES, priors=priors, random_seed=1, **options)


def test_priors_that_fall_too_slowly_leave_them_without_a_mean():
    """A flat lam adds a sixth of tau² for six clinics, and 1/(2s²) has to be more than 7/12."""
    for sd, exists in ((1.0, False), (0.5, True)):
        mean = fit_with(sd, draws=10).predict(NEW, random_seed=1).mean
        for name in ("rate", "events"):
            assert (np.isfinite(mean[name]) == exists).all()


def test_the_mean_is_that_of_draws():
    fit = fit_with(0.3, draws=250)
    mean = fit.predict(NEW[:2], random_seed=1).mean
    posterior = fit.datatree["posterior"]
    tau2 = posterior["tau"].to_numpy() ** 2
    for row, region in enumerate("ab"):
        mu = posterior["mu"].sel(region=region).to_numpy()
        rate = np.exp(mu + tau2 / 2)  # of a new clinic, given both
        found = float(mean["rate"][row])
        assert abs(rate.mean() - found) < 4 * rate.std() / np.sqrt(rate.size)
        assert float(mean["events"][row]) == pytest.approx(2 * found, rel=1e-9)
