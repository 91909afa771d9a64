"""Counts with covariates that vary within groups, in seconds of one thread's processor time.

draws       4,000 draws of everything, on rows from 1,934 to 50,000; the last two have rows in the
            ratio of 5 to 1, and tell how the time grows
reference   reference() with means and sds, which is right to three or four digits
nuts        effective draws per second against a non-centred PyMC model by hand, sampled by nutpie,
            compilation not counted
memory      the largest fit in a process of its own

Rows are single trials, simulated: deaths of patients given standardised covariates, in hospitals.
Each figure is of a second call with a new data set, so that nothing of the first is at hand.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from efficiency import Run, agreement, compare
from measure import (
    duration,
    exponent,
    goal,
    in_fresh_process,
    peak_memory,
    run_parts,
    table,
    title,
)

import hiermodels as hm

PRIORS = {"tau": hm.HalfNormal(1)}
SHAPES = {  # rows, hospitals, covariates
    "1,934 × 60 × 6": (1934, 60, 6),
    "10,000 × 60 × 10": (10_000, 60, 10),
    "50,000 × 300 × 10": (50_000, 300, 10),
}
GOALS = {"1,934 × 60 × 6": 2.0, "50,000 × 300 × 10": 20.0}
SMALL, LARGE = "1,934 × 60 × 6", "50,000 × 300 × 10"
MAX_EXPONENT, MAX_GIB, MIN_RATIO = 1.0, 1.0, 10.0
TUNE = 1000
VARIABLES = ("mu", "tau", "beta", "theta")


def patients(shape: tuple[int, int, int], random_seed: int) -> pd.DataFrame:
    """Simulate deaths of patients in hospitals, given covariates."""
    n, hospitals, p = shape
    rng = np.random.default_rng(random_seed)
    x = rng.normal(size=(n, p))
    hospital = rng.integers(0, hospitals, n)
    eta = -1.0 + x @ rng.normal(0, 0.3, p) + rng.normal(0, 0.5, hospitals)[hospital]
    died = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    covariates = {f"x{i}": x[:, i] for i in range(p)}
    return pd.DataFrame({"died": died, "hospital": hospital, **covariates})


def formula(frame: pd.DataFrame) -> str:
    """All covariates, and an intercept of each hospital."""
    return f"died ~ {' + '.join(c for c in frame if c.startswith('x'))} + (1 | hospital)"


def draw(frame: pd.DataFrame) -> hm.Fit:
    """Take 4 × 1,000 draws of everything."""
    return hm.fit(frame, formula(frame), family="binomial", priors=PRIORS, random_seed=1)


def drawn(name: str) -> tuple[hm.Fit, float]:
    """A fit, and the processor time that it took after one with other data."""
    draw(patients(SHAPES[SMALL], 1))
    frame = patients(SHAPES[name], 2)
    start = time.process_time()
    fit = draw(frame)
    return fit, time.process_time() - start


def bench_draws() -> dict[str, Any]:
    """Draws of everything."""
    title("Rows of counts: 4,000 draws of everything")
    found: dict[str, Any] = {}
    for name in SHAPES:
        fit, elapsed = drawn(name)
        accepted = fit.datatree["posterior"].attrs["acceptance"]
        found[name] = {"seconds": elapsed, "acceptance": accepted}
    rows = [
        [
            name,
            duration(line["seconds"]),
            f"{line['acceptance']:.2f}",
            goal(line["seconds"], GOALS[name], " s") if name in GOALS else "",
        ]
        for name, line in found.items()
    ]
    table(["rows × hospitals × covariates", "time", "accepted", "goal"], rows)
    last = list(SHAPES)[-2:]
    slope = exponent([SHAPES[name][0] for name in last], [found[name]["seconds"] for name in last])
    print(f"time ~ rows^{slope:.2f} ({goal(slope, MAX_EXPONENT)})")
    return found


def bench_reference(names: tuple[str, ...] = (SMALL,)) -> dict[str, float]:
    """Means and sds of everything, from weighted points."""
    title("Rows of counts: reference() with means and sds")
    found = {}
    for name in names:
        frame = patients(SHAPES[name], 2)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hm.PrecisionWarning)
            reference = hm.reference(frame, formula(frame), family="binomial", priors=PRIORS)
            _ = reference.mean, reference.sd
        found[name] = time.process_time() - start
    table(["rows × hospitals × covariates", "time"], [[n, duration(t)] for n, t in found.items()])
    return found


# --- nuts -----------------------------------------------------------------------------------------


def model_by_hand(frame: pd.DataFrame) -> Any:
    """The same model as people write it: non-centred."""
    import pymc as pm

    x = frame.filter(regex="^x").to_numpy()
    labels, hospital = np.unique(frame["hospital"], return_inverse=True)
    with pm.Model() as model:
        mu = pm.Flat("mu", initval=-1.0)
        tau = pm.HalfNormal("tau", 1)
        beta = pm.Flat("beta", shape=x.shape[1])
        offset = pm.Normal("offset", shape=len(labels))
        theta = pm.Deterministic("theta", mu + tau * offset)
        pm.Bernoulli("died", logit_p=theta[hospital] + x @ beta, observed=frame["died"].to_numpy())
    return model


def bench_nuts(name: str = SMALL) -> dict[str, float]:
    """Effective draws per second of processor time."""
    import nutpie

    title(f"Rows of counts, {name}: effective draws per second of processor time")
    fit, elapsed = drawn(name)
    frame = patients(SHAPES[name], 2)
    exact = Run("exact", fit.datatree["posterior"].to_dataset(), elapsed)
    compiled = nutpie.compile_pymc_model(model_by_hand(frame))
    start = time.process_time()
    trace = nutpie.sample(compiled, draws=1000, tune=TUNE, chains=4, seed=1, progress_bar=False)
    sampled = Run(
        "PyMC by hand, nutpie", trace["posterior"].to_dataset(), time.process_time() - start
    )
    compare(VARIABLES, exact, [sampled])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hm.PrecisionWarning)
        print(agreement(sampled, fit.reference().mean, VARIABLES[:3]))
    rates = [min(run.effective(v) for v in VARIABLES) / run.seconds for run in (exact, sampled)]
    print(f"{rates[0] / rates[1]:.1f} times (goal: at least {MIN_RATIO:g})")
    return {"exact": rates[0], "nuts": rates[1]}


# --- memory ---------------------------------------------------------------------------------------

CHILD = """
import sys
sys.path.insert(0, {folder!r})
from bench_rows import measure_memory
measure_memory()
"""


def measure_memory() -> None:
    """Fit the largest data in the process that this runs in."""
    draw(patients(SHAPES[LARGE], 2))
    print(json.dumps(peak_memory()))


def bench_memory() -> float:
    """Peak of a process that fits the largest data."""
    title(f"Rows of counts, {LARGE}: memory")
    peak = float(json.loads(in_fresh_process(CHILD.format(folder=str(Path(__file__).parent)))))
    print(goal(peak, MAX_GIB, " GiB"))
    return peak


PARTS = {
    "draws": bench_draws,
    "reference": bench_reference,
    "nuts": bench_nuts,
    "memory": bench_memory,
}
QUICK = {"reference": lambda: bench_reference((SMALL,))}

if __name__ == "__main__":
    run_parts(__doc__, PARTS, QUICK)
