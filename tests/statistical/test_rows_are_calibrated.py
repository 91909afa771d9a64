"""Draws of counts with covariates within groups are ranked uniformly among the priors' own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm

PRIORS = {"mu": hm.Normal(0, 0.7), "tau": hm.HalfNormal(0.7), "beta": hm.Normal(0, 0.4)}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "p", "n"), [("binomial", 1, 60), ("poisson", 5, 200)])
def test_exact_draws_of_rows_of_counts_are_calibrated(family, p, n):
    rng = np.random.default_rng(p)
    data = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(p)})
    data = data.assign(y=np.arange(n) % 2, room=rng.permutation(np.resize(np.arange(n // 6), n)))
    found = hm.calibrate(
        data,
        f"y ~ {' + '.join(f'x{i}' for i in range(p))} + (1 | room)",
        family=family,
        priors=PRIORS,
        simulations=60,
        draws=25,
        random_seed=1,
        progressbar=False,
    )
    assert found.passed, found.verdict
