"""Simulation-based calibration for counts and other rows that are not normal, of both engines.

Each family has two levels and three, with an offset.  The exact draws are calibrated without and
with a covariate, which is constant within groups, and those of binomial rows and of counts of
events with 1, 5 and 10 covariates that differ between rows of a group, as NUTS with one.  Three
levels have six of the eight groups, for the time that they take.  Effects are not centred for NUTS:
one form has to suit every tau that its prior draws.
Printed are, of each case, the verdict, how many quantities were ranked, the smallest of their
p-values, which are uniform if all is well, and how many of the fits diverged.

References
----------
Talts et al. (2018), arXiv:1804.06788.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import describe_machine, seconds

import hiermodels as hm

PRIORS = {
    "mu": hm.Normal(-0.5, 1.0),
    "lam": hm.Normal(-0.5, 1.0),
    "kappa": hm.HalfNormal(0.7),
    "tau": hm.HalfNormal(0.7),
    "beta": hm.Normal(0.0, 0.7),
}
FAMILIES: dict[str, dict[str, Any]] = {
    "negative_binomial": {"exposure": "n", "family": hm.NegativeBinomial(size=3.0)},
    "odds_ratio": {
        "trials": "n",
        "family": hm.OddsRatio(control_events="events", control_trials="controls"),
    },
    "student_t": {"se": "se", "family": hm.StudentT(nu=4)},
    "poisson": {"exposure": "n"},
    "binomial": {"trials": "n"},
}
THREE, COVARIATE = ", three levels", ", covariate"
WITHIN = " within groups"
SIZES = {1: (60, 10), 5: (200, 20), 10: (500, 25)}  # rows and groups for so many covariates
CASES = {
    "exact": [
        *(f"{family}{more}" for more in ("", COVARIATE, THREE) for family in FAMILIES),
        *(f"{family}, {p} covariates{WITHIN}" for p in SIZES for family in ("binomial", "poisson")),
    ],
    "nuts": [f"{family}{more}{COVARIATE}" for more in ("", THREE) for family in FAMILIES],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "exact": {"draws": 25},  # in each of four chains: they are independent
    "nuts": {"draws": 250, "tune": 500, "parameterization": "noncentered"},
}


def design() -> pd.DataFrame:
    """Rows in eight groups of unequal size; their outcome is not looked at."""
    rng = np.random.default_rng(1)
    group = np.sort(np.append(np.arange(8), rng.integers(0, 8, 12)))
    n = len(group)
    controls = rng.integers(1, 15, n)
    return pd.DataFrame(
        {
            "room": group,
            "outer": group // 2,
            "y": np.where(np.arange(n) % 2, 0, 1),
            "n": rng.integers(1, 15, n),
            "controls": controls,
            "events": (controls + 1) // 2,
            "se": rng.uniform(0.3, 1.0, n),
            "of_row": rng.normal(size=n),
            "of_group": rng.normal(size=8)[group],
            "known": rng.normal(0, 0.3, n),
        }
    )


def design_within(p: int) -> pd.DataFrame:
    """Rows of single trials, with covariates that differ between rows of a group."""
    rng = np.random.default_rng(p)
    n, groups = SIZES[p]
    x = rng.normal(size=(n, p))
    room = rng.permutation(np.resize(np.arange(groups), n))
    columns = {f"x{i}": x[:, i] for i in range(p)}
    return pd.DataFrame({"y": np.where(np.arange(n) % 2, 0, 1), "room": room, **columns})


def calibrate_within(case: str, simulations: int, seed: int, folder: Path | None) -> hm.Calibration:
    """Calibrate the exact engine for a case with covariates that vary within groups."""
    family, more = case.removesuffix(f" covariates{WITHIN}").split(", ")
    terms = " + ".join(f"x{i}" for i in range(int(more)))
    return hm.calibrate(
        design_within(int(more)),
        f"y ~ {terms} + (1 | room)",
        family=family,
        priors={"mu": hm.Normal(0, 0.7), "tau": hm.HalfNormal(0.7), "beta": hm.Normal(0, 0.4)},
        engine="exact",
        simulations=simulations,
        random_seed=seed,
        progressbar=False,
        path=folder / f"exact {case}.nc" if folder else None,
        **OPTIONS["exact"],
    )


def calibrate(
    engine: str, case: str, simulations: int, seed: int, folder: Path | None
) -> hm.Calibration:
    """Calibrate an engine for a case, from the simulations in a folder on."""
    if WITHIN in case:
        return calibrate_within(case, simulations, seed, folder)
    outer, covariate = THREE in case, COVARIATE in case
    names = [*(["lam", "kappa"] if outer else ["mu"]), "tau", *(["beta"] if covariate else [])]
    return hm.calibrate(
        design().query("outer < 3") if outer else design(),
        outcome="y",
        groups=["outer", "room"] if outer else ["room"],
        covariates=({"exact": "of_group", "nuts": "of_row"}[engine]) if covariate else None,
        offset="known",
        priors={name: PRIORS[name] for name in names},
        engine=engine,
        simulations=simulations,
        random_seed=seed,
        progressbar=False,
        path=folder / f"{engine} {case}.nc" if folder else None,
        **FAMILIES[case.partition(",")[0]],
        **OPTIONS[engine],
    )


def main() -> None:
    """Calibrate every case and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help='such as "poisson"; or all')
    parser.add_argument("--engine", choices=list(CASES), help="or both")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="of finished simulations, to go on with")
    parser.add_argument("--seed", type=int, default=1, help="of all simulations")
    parser.add_argument("--quick", action="store_true", help="few simulations")
    asked = parser.parse_args()
    simulations = 10 if asked.quick else asked.simulations
    print(describe_machine("pymc", "nutpie"))
    print(f"{simulations} simulations of each case\n")
    every: list[float] = []
    for engine in [asked.engine] if asked.engine else CASES:
        for case in [c for c in CASES[engine] if not asked.cases or c in asked.cases]:
            every += show(engine, case, simulations, asked.seed, asked.folder)
    print(f"\n{len(every)} p-values, the smallest {min(every):.4f}: by chance below this with")
    print(f"probability {1 - (1 - min(every)) ** len(every):.2f}")


def show(engine: str, case: str, simulations: int, seed: int, folder: Path | None) -> list[float]:
    """Calibrate, print what was found, and return the p-values."""
    found: list[hm.Calibration] = []
    elapsed = seconds(lambda: found.append(calibrate(engine, case, simulations, seed, folder)))
    p = found[0].table["p"]
    verdict = "passes" if found[0].passed else "FAILS"
    print(f"{engine:6}{case:44}{verdict}, {len(p)} quantities, ", end="")
    print(f"smallest p: {p.min():.3f} ({p.idxmin()})", end="")
    if engine == "nuts":
        diverged = int((found[0].datatree["sample_stats"]["divergences"] > 0).sum())
        print(f", {diverged} with divergences", end="")
    print(f"  ({elapsed:.0f} s)", flush=True)
    return p.tolist()


if __name__ == "__main__":
    main()
