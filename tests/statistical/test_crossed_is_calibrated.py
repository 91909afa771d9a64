"""Draws of crossed groups are ranked uniformly among parameters drawn from the priors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

PRIORS = {
    "tau": hm.HalfNormal(1.5),
    "sigma": hm.HalfNormal(1.0),
    "mu": hm.Normal(2.0, 3.0),
    "beta": hm.Normal(0.0, 1.0),
}


@pytest.mark.slow
def test_exact_draws_of_crossed_groups_are_calibrated():
    rng = np.random.default_rng(1)
    n = 24
    a, b = (rng.permutation(np.resize(np.arange(size), n)) for size in (5, 4))
    data = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "a": a, "b": b})
    found = hm.calibrate(
        data,
        "y ~ x + (1 | a) + (1 | b)",
        priors=PRIORS,
        simulations=60,
        draws=25,
        random_seed=1,
        progressbar=False,
    )
    assert found.passed, found.verdict
