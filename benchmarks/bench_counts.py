"""Counts in hospitals: what the exact posterior takes, in seconds of one thread's processor time.

figures     reference() and 4,000 draws of everything, on data sets from 12 to 30,000 groups
covariate   reference() where a covariate has another value in each group
growth      reference() with means and sds, and a fit whose draws of groups stay on demand, against
            the number of groups, each in a process of its own; the largest has a million; where
            counts repeat, and where nearly all differ
nuts        effective draws per second against a non-centred PyMC model by hand, sampled by nutpie,
            compilation not counted
levels      the same of hospitals in regions, and reference() with means and sds

Each figure is of a second call with a new data set, so that nothing of the first is at hand.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
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
    save,
    table,
    title,
)

import hiermodels as hm

PROBABILITIES = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
ROLES: dict[str, Any] = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
PRIORS = {"tau": hm.HalfNormal(1)}
MAX_EXPONENT, MAX_GIB, MIN_RATIO = 1.0, 4.0, 4.0
TUNE = 1000
REPEATED, DISTINCT = (20, 500), (20, 20_000)  # operations: counts repeat, or nearly all differ
VARIABLES = ("mu", "tau", "theta")


def hospitals(
    groups: int,
    random_seed: int,
    beta: float | None = None,
    cases: tuple[int, int] = REPEATED,
) -> pd.DataFrame:
    """Simulate deaths in hospitals."""
    return hm.datasets.simulate_hospitals(groups, cases, beta=beta, random_seed=random_seed)


def surgical(_: int = 0) -> pd.DataFrame:
    """Deaths after heart surgery in twelve hospitals, in a new frame."""
    return hm.datasets.load_surgical().copy()


def rats(_: int = 0) -> pd.DataFrame:
    """Tumours of rats in 71 experiments, in the columns of hospitals."""
    found = hm.datasets.load_rat_tumors()
    return pd.DataFrame(
        {"hospital": found["experiment"], "deaths": found["tumors"], "cases": found["rats"]}
    )


DATA: dict[str, Callable[[int], pd.DataFrame]] = {
    "Surgical, 12": surgical,
    "rats, 71": rats,
    "3,000 hospitals": lambda seed: hospitals(3000, seed),
    "30,000 hospitals": lambda seed: hospitals(30_000, seed),
}
SMALL = {name: DATA[name] for name in list(DATA)[:2]}


def processor_seconds(call: Callable[[], Any]) -> float:
    """Processor time of one call."""
    gc.collect()
    start = time.process_time()
    call()
    return time.process_time() - start


def second_call(call: Callable[[pd.DataFrame], Any], make: Callable[[int], pd.DataFrame]) -> float:
    """Processor time of a call with a data set of its own, after one with another."""
    call(make(1))
    frame = make(2)
    return processor_seconds(lambda: call(frame))


def solve(frame: pd.DataFrame, *, quantiles: bool = False, **roles: Any) -> None:
    """Means and sds of everything without Monte Carlo error, and quantiles if these are asked."""
    exact = hm.reference(frame, **ROLES, **roles, priors=PRIORS)
    found = [exact.mean, exact.sd]
    if quantiles:
        found.append(exact.quantile(PROBABILITIES))
    for values in found:
        if not all(np.isfinite(values[name]).all() for name in values.data_vars):
            raise ArithmeticError("a mean, an sd or a quantile is not finite")


def draw(frame: pd.DataFrame) -> hm.Fit:
    """Take 4 × 1,000 draws of everything."""
    fit = hm.fit(frame, **ROLES, priors=PRIORS, random_seed=1)
    fit.datatree["posterior"]["theta"].to_numpy()
    return fit


# --- figures --------------------------------------------------------------------------------------


def bench_figures(data: dict[str, Callable[[int], pd.DataFrame]] = DATA) -> list[dict[str, Any]]:
    """References and draws of several data sets."""
    title("Counts: means and sds, quantiles, and 4,000 draws of everything")
    found = []
    for name, make in data.items():
        line: dict[str, Any] = {"data": name, "reference": second_call(solve, make)}
        if "30,000" not in name:
            line["draws"] = second_call(draw, make)
        if name in SMALL:
            line["quantiles"] = second_call(lambda f: solve(f, quantiles=True), make)
        found.append(line)
    header = ["", "means and sds", "with quantiles", "4 × 1,000 draws"]
    kinds = ("reference", "quantiles", "draws")
    rows = [[f["data"], *(duration(f[k]) if k in f else "" for k in kinds)] for f in found]
    table(header, rows)
    return found


def bench_covariate(sizes: tuple[int, ...] = (60, 3000)) -> list[dict[str, Any]]:
    """References with a covariate that has another value in each hospital."""
    title("Counts with a continuous covariate of each hospital")
    found = []
    for groups in sizes:

        def make(seed: int, groups: int = groups) -> pd.DataFrame:
            return hospitals(groups, seed, beta=0.4)

        def whole(frame: pd.DataFrame) -> None:
            solve(frame, quantiles=True, covariates=["severity"])

        def moments(frame: pd.DataFrame) -> None:
            solve(frame, covariates=["severity"])

        line = {"groups": groups, "reference": second_call(moments, make)}
        if groups <= 100:
            line["quantiles"] = second_call(whole, make)
        found.append(line)
    table(
        ["hospitals", "means and sds", "with quantiles"],
        [
            [
                f"{f['groups']:,}",
                *(duration(f[k]) if k in f else "" for k in ("reference", "quantiles")),
            ]
            for f in found
        ],
    )
    return found


# --- growth ---------------------------------------------------------------------------------------

CHILD = """
import sys
sys.path.insert(0, {folder!r})
from bench_counts import measure_growth
measure_growth(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""
GROWTH = {
    "reference": solve,
    "fit": lambda frame: hm.fit(
        frame, **ROLES, priors=PRIORS, draws=100, memory_budget=0, random_seed=1
    ),
}


CASES = {"counts repeat": REPEATED, "nearly all counts differ": DISTINCT}


def measure_growth(what: str, groups: int, most: int) -> None:
    """Measure one size with up to so many operations, in the process that this runs in."""
    GROWTH[what](hospitals(50, 1))
    frame = hospitals(groups, 2, cases=(REPEATED[0], most))
    elapsed = processor_seconds(lambda: GROWTH[what](frame))
    print(json.dumps({"seconds": elapsed, "peak": peak_memory()}))


def bench_growth(sizes: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)) -> dict[str, Any]:
    """Time and memory against the number of groups."""
    title("Counts: time and memory against the number of groups")
    found: dict[str, Any] = {"sizes": list(sizes)}
    for label, (_, most) in CASES.items():
        for what in GROWTH:
            print(f"\n{what}, {label}")
            found[f"{what}, {label}"] = growth_of(what, sizes, most)
    return found


def growth_of(what: str, sizes: tuple[int, ...], most: int) -> list[dict[str, float]]:
    """Measure all sizes with up to so many operations, each in a process of its own."""
    child = CHILD.format(folder=str(Path(__file__).parent))
    runs = [json.loads(in_fresh_process(child, what, str(size), str(most))) for size in sizes]
    table(
        ["groups", "time", "peak, GiB"],
        [
            [f"{n:,}", duration(run["seconds"]), f"{run['peak']:.2f}"]
            for n, run in zip(sizes, runs, strict=True)
        ],
    )
    slope = exponent(sizes, [run["seconds"] for run in runs])
    print(f"time ~ groups^{slope:.2f} ({goal(slope, MAX_EXPONENT)})")
    print(f"memory: {goal(max(run['peak'] for run in runs), MAX_GIB, ' GiB')}")
    return runs


# --- nuts -----------------------------------------------------------------------------------------


def model_by_hand(frame: pd.DataFrame) -> Any:
    """The same model as people write it: non-centred."""
    import pymc as pm

    with pm.Model() as model:
        mu = pm.Flat("mu", initval=-2.0)
        tau = pm.HalfNormal("tau", 1)
        offset = pm.Normal("offset", shape=len(frame))
        theta = pm.Deterministic("theta", mu + tau * offset)
        counts = frame["deaths"].to_numpy(), frame["cases"].to_numpy()
        pm.Binomial("deaths", counts[1], logit_p=theta, observed=counts[0])
    return model


def by_nutpie(model: Any) -> Run:
    """Sample a model by hand; only sampling counts."""
    import nutpie

    compiled = nutpie.compile_pymc_model(model)
    start = time.process_time()
    trace = nutpie.sample(compiled, draws=1000, tune=TUNE, chains=4, seed=1, progress_bar=False)
    elapsed = time.process_time() - start
    return Run("PyMC by hand, nutpie", trace["posterior"].to_dataset(), elapsed)


def bench_nuts(names: tuple[str, ...] = tuple(DATA)[:3]) -> list[dict[str, Any]]:
    """Effective draws per second of processor time."""
    title("Counts: effective draws per second of processor time, exact and by NUTS")
    found = []
    for name in names:
        print(f"\n{name}")
        draw(DATA[name](1))
        frame = DATA[name](2)
        start = time.process_time()
        fit = draw(frame)
        elapsed = time.process_time() - start
        exact = Run("exact", fit.datatree["posterior"].to_dataset(), elapsed)
        sampled = by_nutpie(model_by_hand(frame))
        compare(VARIABLES, exact, [sampled])
        means = hm.reference(frame, **ROLES, priors=PRIORS).mean
        print(agreement(sampled, means, VARIABLES))
        rates = [min(run.effective(v) for v in VARIABLES) / run.seconds for run in (exact, sampled)]
        found.append({"data": name, "exact": rates[0], "nuts": rates[1]})
        print(f"{rates[0] / rates[1]:.1f} times (goal: at least {MIN_RATIO:g})")
    return found


# --- levels ---------------------------------------------------------------------------------------

NESTED_ROLES: dict[str, Any] = {**ROLES, "groups": ["region", "hospital"]}
NESTED_PRIORS = {**PRIORS, "kappa": hm.HalfNormal(1)}
NESTED_VARIABLES = ("lam", "kappa", "mu", "tau", "theta")
SHAPES = {"20 regions with 5": (20, 5, 5, 60), "160 regions with 10": (160, 10, 1, 4)}


def regions(shape: tuple[int, int, int, int], random_seed: int) -> pd.DataFrame:
    """Simulate deaths in so many regions, hospitals in each, and from so few to so many cases."""
    outer, inner, fewest, most = shape
    rng = np.random.default_rng(random_seed)
    frame = pd.DataFrame({"region": np.repeat(np.arange(outer), inner)})
    frame["hospital"] = np.arange(len(frame))
    frame["cases"] = rng.integers(fewest, most + 1, len(frame))
    log_odds = np.repeat(rng.normal(-1.0, 0.6, outer), inner) + rng.normal(0, 0.4, len(frame))
    return frame.assign(deaths=rng.binomial(frame["cases"], 1 / (1 + np.exp(-log_odds))))


def nested_by_hand(frame: pd.DataFrame) -> Any:
    """The same model as people write it: non-centred at both levels."""
    import pymc as pm

    with pm.Model() as model:
        lam = pm.Flat("lam", initval=-1.0)
        kappa, tau = pm.HalfNormal("kappa", 1), pm.HalfNormal("tau", 1)
        outer = pm.Normal("outer", shape=frame["region"].nunique())
        mu = pm.Deterministic("mu", lam + kappa * outer)
        offset = pm.Normal("offset", shape=len(frame))
        theta = pm.Deterministic("theta", mu[frame["region"].to_numpy()] + tau * offset)
        counts = frame["deaths"].to_numpy(), frame["cases"].to_numpy()
        pm.Binomial("deaths", counts[1], logit_p=theta, observed=counts[0])
    return model


def draw_nested(frame: pd.DataFrame) -> hm.Fit:
    """Take 4 × 1,000 draws of everything."""
    return hm.fit(frame, **NESTED_ROLES, priors=NESTED_PRIORS, random_seed=1)


def bench_levels(shapes: dict[str, Any] = SHAPES) -> list[dict[str, Any]]:
    """Three levels: reference with means and sds, draws, and effective draws per second."""
    title("Counts with three levels: seconds of one thread's processor time")
    found = []
    for name, shape in shapes.items():
        print(f"\n{name}")
        frames = [regions(shape, seed) for seed in (1, 2)]
        draw_nested(frames[0])
        start = time.process_time()
        fit = draw_nested(frames[1])
        elapsed = time.process_time() - start
        exact = Run("exact", fit.datatree["posterior"].to_dataset(), elapsed)
        start = time.process_time()
        reference = hm.reference(frames[1], **NESTED_ROLES, priors=NESTED_PRIORS)
        means, _ = reference.mean, reference.sd
        seconds = time.process_time() - start
        print(f"reference, means and sds: {seconds:.2f} s")
        sampled = by_nutpie(nested_by_hand(frames[1]))
        compare(NESTED_VARIABLES, exact, [sampled])
        print(agreement(sampled, means, NESTED_VARIABLES))
        rates = [
            min(run.effective(v) for v in NESTED_VARIABLES) / run.seconds
            for run in (exact, sampled)
        ]
        row = {"data": name, "reference": seconds, "draws": elapsed}
        found.append({**row, "exact": rates[0], "nuts": rates[1]})
        print(f"{rates[0] / rates[1]:.1f} times (goal: at least {MIN_RATIO:g})")
    return found


def saved(part: str, call: Callable[[], Any]) -> Callable[[], None]:
    """A part of which the results are kept."""
    return lambda: save(f"counts {part}", call())


PARTS = {
    "figures": saved("figures", bench_figures),
    "covariate": saved("covariate", bench_covariate),
    "growth": saved("growth", bench_growth),
    "nuts": saved("nuts", bench_nuts),
    "levels": saved("levels", bench_levels),
}
QUICK = {
    "figures": lambda: bench_figures(SMALL),
    "covariate": lambda: bench_covariate((20,)),
    "growth": lambda: bench_growth((300, 1000)),
}

if __name__ == "__main__":
    run_parts(__doc__, PARTS, QUICK)
