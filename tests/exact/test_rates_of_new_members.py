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


def test_priors_that_fall_too_slowly_leave_them_without_a_mean():
    """A flat lam adds a sixth of tau² for six clinics, and 1/(2s²) has to be more than 7/12."""
    for sd, exists in ((1.0, False), (0.5, True)):
        priors = {"kappa": hm.Fixed(0.3), "tau": hm.HalfNormal(sd)}
        exact = hm.fit(ROWS, **ROLES, priors=priors, draws=10, random_seed=1)
        table = exact.predict(NEW, random_seed=1).to_frame()
        for name in ("mean", "events_mean"):
            assert (np.isfinite(table[name]) == exists).all()


def test_the_mean_is_that_of_draws():
    priors = {"kappa": hm.Fixed(0.3), "tau": hm.HalfNormal(0.3)}
    fit = hm.fit(ROWS, **ROLES, priors=priors, random_seed=1)
    table = fit.predict(NEW, random_seed=1).to_frame()
    posterior = fit.datatree["posterior"]
    tau2 = posterior["tau"].to_numpy() ** 2
    for row, region in enumerate("ab"):
        mu = posterior["mu"].sel(region=region).to_numpy()
        rate = np.exp(mu + tau2 / 2)  # of a new clinic, given both
        assert abs(rate.mean() - table["mean"][row]) < 4 * rate.std() / np.sqrt(rate.size)
        assert table["events_mean"][row] == pytest.approx(2 * table["mean"][row], rel=1e-9)
