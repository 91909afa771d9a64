"""Rows of counts for tests, and what SciPy says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

import hiermodels as hm

HOSPITALS = 9
FORMULAS = {
    "trials": "deaths | trials(cases) ~ size + C(kind) + (1 | hospital)",
    "shifted trials": "deaths | trials(cases) ~ center(size) + offset(shift) + (1 | hospital)",
    "rows of 0 and 1": "died ~ 0 + size + size:kind + (1 | region/ward)",
    "exposure": "events | rate(hours) ~ size + (1 | hospital)",
    "events": "events ~ 1 + (1 | region/ward)",
    "shifted events": "events ~ offset(own) + (1 | hospital)",
    "exposure and shift": "events ~ offset(own) + offset(log(hours)) + kind + (1 | hospital)",
    "rows": "events ~ offset(own) + offset(log(hours)) + size + (1 | visit)",
}
FAMILIES = {
    "rows of 0 and 1": hm.Binomial(),
    "events": hm.Poisson(),
    "shifted events": hm.Poisson(),
    "rows": hm.NegativeBinomial(2.5),
}


def said(case: str) -> dict:
    """Arguments that say which model it is."""
    return {"formula": FORMULAS[case], "family": FAMILIES.get(case)}


def rows(seed: int = 1, size: int = 400) -> pd.DataFrame:
    """Rows of hospitals, and of wards that are numbered anew in each region."""
    rng = np.random.default_rng(seed)
    hospital = rng.integers(HOSPITALS, size=size)
    cases, hours = rng.integers(0, 30, size=size), rng.gamma(2.0, 40.0, size=size)
    shift = np.linspace(-0.5, 0.5, HOSPITALS)[hospital]
    return pd.DataFrame(
        {
            "visit": np.arange(size),
            "hospital": [f"h{i}" for i in hospital],
            "region": [f"r{i}" for i in hospital // 3],
            "ward": hospital % 3,
            "size": np.geomspace(0.1, 3.0, HOSPITALS)[hospital],
            "kind": np.array(["a", "b", "c"])[hospital % 3],
            "shift": shift,
            "own": rng.normal(scale=2.0, size=size),
            "hours": hours,
            "cases": cases,
            "deaths": rng.binomial(cases, 0.3),
            "died": rng.random(size) < 0.3,
            "events": rng.poisson(hours / 20),
        }
    )


def log_probabilities(case: str, frame: pd.DataFrame, eta: np.ndarray) -> np.ndarray:
    """Log probability of each row, (n, rows), in SciPy, where linear predictors have no offset."""
    formula, family = FORMULAS[case], FAMILIES.get(case)
    eta = eta + sum(frame[name].to_numpy() for name in ("shift", "own") if f"({name})" in formula)
    if "events" not in formula:
        p = 1 / (1 + np.exp(-eta))
        trials, count = (1, "died") if family else (frame["cases"].to_numpy(), "deaths")
        return stats.binom.logpmf(frame[count].to_numpy(dtype=int), trials, p)
    mean = np.exp(eta) * (frame["hours"].to_numpy() if "hours" in formula else 1.0)
    if isinstance(family, hm.NegativeBinomial):
        return stats.nbinom.logpmf(frame["events"].to_numpy(), 2.5, 2.5 / (2.5 + mean))
    return stats.poisson.logpmf(frame["events"].to_numpy(), mean)
