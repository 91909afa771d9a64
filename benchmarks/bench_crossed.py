"""Speed of crossed groups.

penicillin  24 plates × 6 samples: a fit of 4 × 1,000 draws of everything, and the reference
scotssec    simulated with as many rows and groups as Scottish schools: 3,435 pupils, 148 × 19
insteval    simulated with as many as lectures' evaluations: 73,421 rows, 2,972 students × 1,128
            lecturers: fit with draws of the sds, means and sds of all effects, and memory; in
            the same run lmer's estimate (a point, no posterior), where R and lme4 are there
effects     the same rows: 4 × 1,000 draws of all effects, on demand, some three minutes

Goals are held to the time of the processor, which other programs beside hardly change; that of the
clock stands beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import goal, measured, peak_memory, run_parts, title

import hiermodels as hm

PENICILLIN = "diameter ~ 1 + (1 | plate) + (1 | sample)"
SIMULATED = "y ~ 1 + (1 | a) + (1 | b)"
MAX_REFERENCE, MAX_SCOTS, MAX_INST, MAX_GIB = 0.1, 0.3, 9.0, 1.0
LMER = """
file <- commandArgs(TRUE)[1]
suppressPackageStartupMessages(library(lme4))
data <- read.csv(file)
print(system.time(lmer(y ~ 1 + (1 | a) + (1 | b), data = data))[["elapsed"]])
"""


def simulated(
    rows: int, sizes: tuple[int, int], sds: tuple[float, float, float], random_seed: int = 1
) -> pd.DataFrame:
    """Rows of pairs of groups, some of which are met far more often than others."""
    rng = np.random.default_rng(random_seed)
    a = rng.integers(0, sizes[0], rows)
    b = np.minimum((sizes[1] * rng.beta(0.8, 2.0, rows)).astype(int), sizes[1] - 1)
    y = sds[2] * rng.normal(size=rows)
    for own, size, sd in ((a, sizes[0], sds[0]), (b, sizes[1], sds[1])):
        y = y + sd * rng.normal(size=size)[own]
    return pd.DataFrame({"y": np.round(3 + y, 2), "a": a, "b": b})


def run_lmer(data: pd.DataFrame) -> None:
    """Print the seconds that lmer takes; say so where it is not there."""
    if shutil.which("Rscript") is None:
        print("lmer skipped: R is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        script, file = Path(folder) / "lmer.R", Path(folder) / "data.csv"
        script.write_text(LMER)
        data.to_csv(file, index=False)
        command = ["Rscript", "--vanilla", str(script), str(file)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        print("lmer skipped: the R package lme4 is not installed")
        return
    print(f"lmer, an estimate of 4 quantities: {found.stdout.split()[-1]} s of clock")


def print_memory() -> None:
    """Print the largest resident memory so far."""
    gib = peak_memory()
    print(f"peak memory {gib:.2f} GiB; {goal(gib, MAX_GIB, ' GiB')}")


def bench_penicillin() -> None:
    """Fit 24 plates and 6 samples, and sum up."""
    title("Penicillin, 144 rows, 24 × 6")
    data, priors = hm.datasets.load_penicillin(), {"tau": hm.FlatSD()}
    said = {"formula": PENICILLIN, "priors": priors}
    measured("fit, 4 × 1,000 draws", lambda: hm.fit(data, **said, random_seed=1), None)
    measured(
        "reference, means and sds of everything",
        lambda: hm.reference(data, **said).mean["theta_plate"],
        MAX_REFERENCE,
    )


def bench_scotssec() -> None:
    """Fit 148 primary and 19 secondary schools."""
    data = simulated(3435, (148, 19), (0.6, 0.35, 1.6))
    title("3,435 rows, 148 × 19")
    measured("fit, 4 × 1,000 draws", lambda: hm.fit(data, SIMULATED, random_seed=1), MAX_SCOTS)
    measured(
        "reference, means and sds of everything",
        lambda: hm.reference(data, SIMULATED).mean["theta_a"],
        None,
    )
    run_lmer(data)


def evaluations() -> pd.DataFrame:
    """As many rows and groups as lectures' evaluations have."""
    return simulated(73_421, (2972, 1128), (0.33, 0.52, 1.18))


def bench_insteval() -> None:
    """Fit 2,972 students and 1,128 lecturers, and sum up."""
    data = evaluations()
    title("73,421 rows, 2,972 × 1,128")
    measured(
        "fit, 4 × 1,000 draws of sds, sigma and mu",
        lambda: hm.fit(data, SIMULATED, random_seed=1),
        MAX_INST,
        rounds=1,
    )
    print_memory()
    measured(
        "reference, means and sds of everything",
        lambda: hm.reference(data, SIMULATED).mean["theta_a"],
        None,
        rounds=1,
    )
    print_memory()
    run_lmer(data)


def bench_effects() -> None:
    """Draw all effects of as many students and lecturers: a decomposition for each draw."""
    data = evaluations()
    title("73,421 rows, 2,972 × 1,128: draws of all effects")
    fit = hm.fit(data, SIMULATED, random_seed=1)
    for column in ("a", "b"):
        measured(
            f"4 × 1,000 draws of theta_{column}",
            lambda own=column: fit.draws(level=own),
            None,
            rounds=1,
        )
    print_memory()


if __name__ == "__main__":
    run_parts(
        __doc__,
        {
            "penicillin": bench_penicillin,
            "scotssec": bench_scotssec,
            "insteval": bench_insteval,
            "effects": bench_effects,
        },
    )
