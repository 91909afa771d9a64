"""Speed on large data sets, simulated.

lmer     31,022 pupils in 2,410 schools in 131 areas: the whole exact fit with 4 × 1,000 draws of
         everything, against lme4's REML estimate of the same model (a point, no posterior)
draws    drawing 4,000 × 2,410 school effects, against bare normal random numbers
million  1,000,000 groups with a standard error each: posterior, means and sds without Monte Carlo
         error; time and memory, in a process of its own
growth   time against the number of groups, from 100 to 1,000,000
nuts     effective draws per second, against a PyMC model written by hand and sampled with nutpie
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from efficiency import Run, agreement, compare
from measure import (
    Stages,
    duration,
    goal,
    in_fresh_process,
    in_turn,
    run_parts,
    seconds,
    spread,
    table,
    title,
)

import hiermodels as hm
from hiermodels import lattice
from hiermodels.engines import exact
from hiermodels.inputs import prepare
from hiermodels.marginal import Marginal, Values
from hiermodels.sufficient import standardize

PUPILS, SCHOOLS, AREAS = 31_022, 2_410, 131
NESTED = ["area", "school"]
MILLION = 1_000_000
MOST_OF_LMER, MOST_OF_NORMALS = 2.0, 2.0
MOST_SECONDS, MOST_GIB = 5.0, 2.0  # for a million groups
MOST_EXPONENT = 1.1


def school_system(
    pupils: int = PUPILS, schools: int = SCHOOLS, areas: int = AREAS, random_seed: int = 0
) -> pd.DataFrame:
    """Simulate pupils in schools in areas, of very different sizes, in random order."""
    rng = np.random.default_rng(random_seed)
    shares = rng.dirichlet(np.full(areas, 2.0))
    area = np.append(np.arange(areas), rng.choice(areas, schools - areas, p=shares))
    size = 1 + rng.multinomial(pupils - schools, rng.dirichlet(np.full(schools, 2.0)))
    theta = rng.normal(0, 0.15, areas)[area] + rng.normal(0, 0.3, schools)
    school = rng.permutation(np.repeat(np.arange(schools), size))
    return pd.DataFrame(
        {
            "area": np.char.mod("A%d", area)[school],
            "school": np.char.mod("S%d", np.arange(schools))[school],
            "y": theta[school] + rng.normal(0, 0.9, pupils),
        }
    )


def estimates(groups: int, random_seed: int = 0, text: bool = False) -> pd.DataFrame:
    """Simulate an estimate with a standard error of its own for each group."""
    rng = np.random.default_rng(random_seed)
    se = rng.uniform(0.5, 2, groups)
    label = np.arange(groups)
    y = rng.normal(0, 1, groups) + se * rng.standard_normal(groups)
    return pd.DataFrame({"group": label.astype(str) if text else label, "y": y, "se": se})


# --- lmer ---------------------------------------------------------------------------------------

LMER = """
options(warn = -1)
if (!requireNamespace("lme4", quietly = TRUE)) { cat("no lme4\\n"); quit(status = 0) }
suppressMessages(library(lme4))
argument <- commandArgs(trailingOnly = TRUE)
data <- read.csv(argument[1], stringsAsFactors = TRUE)
times <- numeric(0)
for (i in seq_len(as.integer(argument[2]) + 1)) {
  time <- system.time(
    estimate <- lmer(y ~ 1 + (1 | area/school), data = data, REML = TRUE)
  )[["elapsed"]]
  if (i > 1) times <- c(times, time)
}
cat("R", paste(R.version$major, R.version$minor, sep = "."), "lme4",
    as.character(packageVersion("lme4")), "BLAS", basename(extSoftVersion()[["BLAS"]]), "\\n")
cat(times, "\\n")
cat(as.data.frame(VarCorr(estimate))$sdcor, "\\n")
"""


def bench_lmer(rounds: int = 3, repeats: int = 3) -> None:
    """Fit the school system here and in R, in turn."""
    title("31,022 pupils in 2,410 schools in 131 areas: exact posterior against lmer's estimate")
    frame = school_system()
    fit_schools(frame)
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "schools.csv"
        frame.to_csv(file, index=False)
        for _ in range(rounds):
            ours += [seconds(lambda: fit_schools(frame)) for _ in range(repeats)]
            answer = run_lmer(file, repeats)
            if answer is None:
                break
            theirs += answer[0]
    print(f"exact, 4 × 1,000 draws of {SCHOOLS + AREAS + 4:,} quantities  {spread(ours)}")
    if answer is not None:
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"lmer, REML estimate of 4 quantities            {spread(theirs)}; {answer[1]}")
        print(f"ratio of medians  {ratio:.2f} ({goal(ratio, MOST_OF_LMER)}; aim: below 1)")
        print(f"sds: lmer {answer[2]}; posterior means {posterior_sds(frame)}")
    print_stages(frame)


def fit_schools(frame: pd.DataFrame) -> hm.Fit:
    """Fit three levels exactly, all variances unknown."""
    return hm.fit(frame, outcome="y", groups=NESTED, random_seed=1)


def run_lmer(file: Path, repeats: int) -> tuple[list[float], str, str] | None:
    """Return seconds of each call of lmer, versions, and estimates; None without R or lme4."""
    if shutil.which("Rscript") is None:
        print("lmer skipped: R is not installed")
        return None
    script = file.with_suffix(".R")
    script.write_text(LMER)
    command = ["Rscript", "--vanilla", str(script), str(file), str(repeats)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if lines == ["no lme4"]:
        print("lmer skipped: the R package lme4 is not installed")
        return None
    inner, outer, residual = map(float, lines[2].split())
    estimate = f"kappa {outer:.4f}, tau {inner:.4f}, sigma {residual:.4f}"
    return [float(time) for time in lines[1].split()], lines[0].strip(), estimate


def posterior_sds(frame: pd.DataFrame) -> str:
    """Exact posterior means of the three sds."""
    means = hm.reference(frame, outcome="y", groups=NESTED).mean
    return ", ".join(f"{name} {float(means[name]):.4f}" for name in ("kappa", "tau", "sigma"))


def print_stages(frame: pd.DataFrame, rounds: int = 7) -> None:
    """Split the time of a fit."""
    watched = {
        "read the frame": (importlib.import_module("hiermodels.fit"), "prepare"),
        "sufficient statistics": (exact, "standardize"),
        "lattice over the variances": (Marginal, "lattice"),
        "draws of the variances": (lattice, "draw"),
        "draws of the values": (Values, "__init__", "above_groups", "of_groups"),
        "DataTree": (exact, "build_datatree"),
    }
    totals, parts = [], []
    for _ in range(rounds):
        stages = Stages()
        with contextlib.ExitStack() as stack:
            for stage, (owner, *names) in watched.items():
                stack.enter_context(stages.watch(stage, owner, *names))
            totals.append(seconds(lambda: fit_schools(frame)))
        parts.append(stages.seconds)
    print("\nmedian time of each stage of the fit")
    rows = [[s, duration(statistics.median(part[s] for part in parts))] for s in watched]
    rest = [total - sum(part.values()) for total, part in zip(totals, parts, strict=True)]
    table(["stage", "time"], [*rows, ["rest", duration(statistics.median(rest))]])


# --- draws --------------------------------------------------------------------------------------


def bench_draws(rounds: int = 9) -> None:
    """Draw the school effects given draws of the variances."""
    title("4,000 × 2,410 school effects given the variances, against bare normal numbers")
    spec, grouped = prepare(school_system(), outcome="y", groups=NESTED)
    marginal = Marginal.of(spec, standardize(grouped))
    drawn = lattice.draw(
        marginal.lattice(1.0), marginal.log_density, 4000, np.random.default_rng(1)
    )
    sds = marginal.sds(drawn.points)

    def effects() -> Any:
        values = Values.draw(marginal, sds, np.random.default_rng(2))
        return values.above_groups(), values.of_groups()

    def normals() -> Any:
        return np.random.default_rng(2).standard_normal((SCHOOLS, 4000))

    effects()
    times = in_turn({"normals": normals, "effects": effects}, rounds)
    ratio = min(times["effects"]) / min(times["normals"])
    print(f"Generator.standard_normal  {spread(times['normals'])}")
    print(f"areas and schools          {spread(times['effects'])}")
    print(f"ratio                      {ratio:.2f} ({goal(ratio, MOST_OF_NORMALS)})")


# --- million ------------------------------------------------------------------------------------

CHILD = """
import sys
sys.path.insert(0, {folder!r})
from bench_scale import measure_million
measure_million(sys.argv[1] == "text")
"""


def bench_million() -> None:
    """Solve a million groups, in processes of their own."""
    title("1,000,000 groups with a standard error each: means and sds without Monte Carlo error")
    rows = []
    for labels in ("integers", "text"):
        found = json.loads(
            in_fresh_process(CHILD.format(folder=str(Path(__file__).parent)), labels)
        )
        total = found["total"]
        rows.append(
            [f"labels: {labels}", duration(found["read"]), duration(found["hyperparameters"]),
             duration(found["values"]), duration(total), f"{found['peak']:.2f} GiB",
             f"{found['before']:.2f} GiB"]
        )  # fmt: skip
        reached = total <= MOST_SECONDS and found["peak"] <= MOST_GIB
        rows[-1].append("reached" if reached else "missed")
    header = ["", "read", "tau, mu", "all groups", "total", "peak memory", "before", "goal"]
    table(header, rows)
    print(
        f"goal: at most {MOST_SECONDS:g} s and {MOST_GIB:g} GiB; 'before' holds the frame already"
    )


def measure_million(text: bool) -> None:
    """Print times and memory, as JSON on one line."""
    frame = estimates(MILLION, text=text)
    before = peak_memory()
    stages = Stages()
    with stages.watch("read", importlib.import_module("hiermodels.reference"), "prepare"):
        start = time.perf_counter()
        posterior = hm.reference(frame, outcome="y", groups="group", se="se")
        middle = time.perf_counter()
        means, sds = posterior.mean, posterior.sd
        end = time.perf_counter()
    require_finite(means, sds)
    read = stages.seconds["read"]
    print(
        json.dumps(
            {"read": read, "hyperparameters": middle - start - read, "values": end - middle,
             "total": end - start, "before": before, "peak": peak_memory()}
        )
    )  # fmt: skip


def require_finite(*moments: xr.Dataset) -> None:
    """Make sure that there is an answer for every group."""
    for dataset in moments:
        if not np.isfinite(dataset["theta"]).all():
            raise ArithmeticError("a mean or an sd is not finite")


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GiB.

    Linux's ``ru_maxrss`` begins with that of the parent process; ``VmHWM`` does not.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# --- growth -------------------------------------------------------------------------------------


def bench_growth() -> None:
    """Time against the number of groups."""
    title("Time against the number of groups")
    sizes = [10**2, 10**3, 10**4, 10**5, 3 * 10**5, 10**6]
    report_growth(
        "two levels, a standard error each: reference means and sds of all groups",
        sizes,
        [min(seconds(lambda f=f: solve(f)) for _ in range(3)) for f in map(estimates, sizes)],
    )
    sizes = [10**2, 10**3, 10**4, 3 * 10**4, 10**5]
    times = []
    for size in sizes:
        frame = school_system(10 * size, size, max(10, size // 20))
        times.append(min(seconds(lambda f=frame: draw_few(f)) for _ in range(2)))
    report_growth(
        "three levels, 10 rows a group, 20 groups a parent: fit with 4 × 100 draws", sizes, times
    )


def solve(frame: pd.DataFrame) -> None:
    """Means and sds of all groups."""
    posterior = hm.reference(frame, outcome="y", groups="group", se="se")
    require_finite(posterior.mean, posterior.sd)


def draw_few(frame: pd.DataFrame) -> None:
    """Fit with few draws, so that the arrays of draws do not fill the memory."""
    hm.fit(frame, outcome="y", groups=NESTED, draws=100, random_seed=1)


def report_growth(what: str, sizes: Sequence[int], times: Sequence[float]) -> None:
    """Print times and the slope of their logarithms over the upper sizes."""
    print(f"\n{what}")
    table(
        ["groups", "time", "a group"],
        [
            [f"{size:,}", duration(elapsed), f"{1e6 * elapsed / size:.2f} µs"]
            for size, elapsed in zip(sizes, times, strict=True)
        ],
    )
    upper = [i for i, size in enumerate(sizes) if size >= sizes[-1] // 100]
    logs = np.log([(sizes[i], times[i]) for i in upper])
    exponent = float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])
    verdict = goal(exponent, MOST_EXPONENT)
    print(f"time ~ groups^{exponent:.2f} from {sizes[upper[0]]:,} groups on ({verdict})")


# --- nuts ---------------------------------------------------------------------------------------

VARIABLES = ("lam", "kappa", "tau", "sigma", "mu", "theta")
TUNE = 1000


def bench_nuts() -> None:
    """Draw the same posteriors exactly and with a model written by hand."""
    title("Effective draws (bulk) per second, exact against a PyMC model written by hand")
    if find_spec("pymc") is None or find_spec("nutpie") is None:
        print("skipped: PyMC or nutpie is not installed")
        return
    print("4 × 1,000 draws, NUTS after 1,000 of tuning; mu, theta: the least of all units")
    pastes = hm.datasets.load_pastes().rename(columns={"strength": "y"})
    against_nuts("Pastes: 60 assays of 30 casks in 10 batches", pastes, ["batch", "cask"])
    schools = school_system(10_000, 800, 40)
    against_nuts("10,000 pupils in 800 schools in 40 areas", schools, NESTED)


def against_nuts(what: str, frame: pd.DataFrame, groups: list[str]) -> None:
    """Compare one data set's samplers."""
    print(f"\n{what}")

    def fit() -> hm.Fit:
        return hm.fit(frame, outcome="y", groups=groups, random_seed=1)

    result = fit()
    elapsed = statistics.median(seconds(fit) for _ in range(7))
    ours = Run("exact", result.datatree["posterior"].to_dataset(), elapsed)
    compiling, sampling, draws = sample_by_hand(frame, groups)
    whole = Run("PyMC and nutpie", draws, compiling + sampling)
    alone = Run("nutpie, compiled before", draws, sampling)
    compare(VARIABLES, ours, [whole, alone])
    moments = result.reference().mean
    kept = [name for name in VARIABLES if np.isfinite(moments[name]).all()]
    print(agreement(alone, moments, kept))


def sample_by_hand(frame: pd.DataFrame, groups: list[str]) -> tuple[float, float, Any]:
    """Seconds to build and compile, seconds to sample, and the draws."""
    import nutpie

    start = time.perf_counter()
    compiled = nutpie.compile_pymc_model(model_by_hand(frame, groups))
    middle = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trace = nutpie.sample(compiled, draws=1000, tune=TUNE, chains=4, seed=1, progress_bar=False)
    sampling = time.perf_counter() - middle
    return middle - start, sampling, trace["posterior"].to_dataset()


def model_by_hand(frame: pd.DataFrame, groups: list[str]) -> Any:
    """Write the model as for speed: non-centred, group means and their scatter for the rows.

    With the same priors: flat on λ, κ² and τ², 1/σ² on σ².
    """
    import pymc as pm
    import pytensor.tensor as pt

    rows = frame.groupby(groups, sort=False)["y"]
    size, mean = rows.size().to_numpy(), rows.mean().to_numpy()
    # Groups in the order in which hiermodels numbers them: by parent, as these appear.
    parent, _ = pd.factorize(rows.size().index.get_level_values(0))
    order = np.argsort(parent, kind="stable")
    size, mean, parent = size[order], mean[order], parent[order]
    squares = float(((frame["y"] - rows.transform("mean")) ** 2).sum())
    freedom = len(frame) - len(size)
    with pm.Model() as model:
        lam = pm.Flat("lam", initval=mean.mean())
        spreads = [pm.HalfFlat(f"{name}2", initval=mean.var() / 2) for name in ("kappa", "tau")]
        kappa = pm.Deterministic("kappa", pt.sqrt(spreads[0]))
        tau = pm.Deterministic("tau", pt.sqrt(spreads[1]))
        log_sigma = pm.Flat("log_sigma", initval=0.5 * np.log(squares / freedom))
        sigma = pm.Deterministic("sigma", pt.exp(log_sigma))
        offset = pm.Normal("mu_offset", shape=int(parent.max()) + 1)
        mu = pm.Deterministic("mu", lam + kappa * offset)
        offset = pm.Normal("theta_offset", shape=len(size))
        theta = pm.Deterministic("theta", mu[parent] + tau * offset)
        pm.Normal("mean", theta, sigma / np.sqrt(size), observed=mean)
        pm.Gamma("scatter", freedom / 2, 0.5 / sigma**2, observed=squares)
    return model


PARTS = {
    "lmer": bench_lmer,
    "draws": bench_draws,
    "million": bench_million,
    "growth": bench_growth,
    "nuts": bench_nuts,
}

if __name__ == "__main__":
    run_parts(__doc__, PARTS)
