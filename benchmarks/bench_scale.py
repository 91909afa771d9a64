"""Speed on large data sets, simulated.

lmer     31,022 pupils in 2,410 schools in 131 areas: the whole exact fit with 4 × 1,000 draws of
         everything, against lme4's REML estimate of the same model (a point, no posterior)
draws    drawing 4,000 × 2,410 school effects, against bare normal random numbers
million  1,000,000 groups with a standard error each: posterior, means and sds without Monte Carlo
         error; time and memory, in a process of its own
unknown  an unknown residual sd: 1,000,000 groups, and 100,000 classrooms in 1,000 schools, about
         ten rows each; aggregation, fit with the draws of groups on demand, means and sds of all
         groups without Monte Carlo error, and files of them, each step in a process of its own
growth   time against the number of groups, from 100 to 1,000,000
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from measure import (
    Stages,
    duration,
    exponent,
    goal,
    in_fresh_process,
    in_turn,
    peak_memory,
    run_parts,
    seconds,
    spread,
    table,
    title,
)
from systems import AREAS, SCHOOLS, school_system

import hiermodels as hm
from hiermodels.api import fitting, noise_free
from hiermodels.data.prepare import prepare
from hiermodels.exact import grid
from hiermodels.exact import sample as exact
from hiermodels.exact.effects import Effects
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.numerics import rejection

NESTED = ["area", "school"]
MILLION = 1_000_000
MAX_OF_LMER, MAX_OF_NORMALS = 2.0, 2.0
MAX_SECONDS, MAX_GIB = 5.0, 2.0  # for a million groups
MAX_EXPONENT = 1.1


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
        print(f"ratio of medians  {ratio:.2f} ({goal(ratio, MAX_OF_LMER)}; aim: below 1)")
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
        "read the frame": (fitting, "prepare"),
        "sufficient statistics": (grid, "blocks_of", "standardize"),
        "lattice over the variances": (grid, "laid_for_draws"),
        "draws of the variances": (rejection, "draw"),
        "draws of sigma": (exact, "draw_sigma"),
        "draws of the effects": (Effects, "__init__", "above_groups", "of_groups"),
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
    drawn = rejection.draw(
        marginal.lattice(1.0), marginal.log_density, 4000, np.random.default_rng(1)
    )
    sds = marginal.sds(drawn.points)

    def effects() -> Any:
        drawn = Effects.draw(marginal, sds, np.random.default_rng(2))
        return drawn.above_groups(), drawn.of_groups()

    def normals() -> Any:
        return np.random.default_rng(2).standard_normal((SCHOOLS, 4000))

    effects()
    times = in_turn({"normals": normals, "effects": effects}, rounds)
    ratio = min(times["effects"]) / min(times["normals"])
    print(f"Generator.standard_normal  {spread(times['normals'])}")
    print(f"areas and schools          {spread(times['effects'])}")
    print(f"ratio                      {ratio:.2f} ({goal(ratio, MAX_OF_NORMALS)})")


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
        reached = total <= MAX_SECONDS and found["peak"] <= MAX_GIB
        rows[-1].append("reached" if reached else "missed")
    header = ["", "read", "tau, mu", "all groups", "total", "peak memory", "before", "goal"]
    table(header, rows)
    print(f"goal: at most {MAX_SECONDS:g} s and {MAX_GIB:g} GiB; 'before' holds the frame already")


def measure_million(text: bool) -> None:
    """Print times and memory, as JSON on one line."""
    frame = estimates(MILLION, text=text)
    before = peak_memory()
    stages = Stages()
    with stages.watch("read", noise_free, "prepare"):
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


# --- unknown ------------------------------------------------------------------------------------

UNKNOWN = {
    "1,000,000 groups": (0, MILLION, 5.0),
    "100,000 in 1,000": (1000, 100_000, 3.0),
}  # parents, groups, and most seconds of the fit and the means and sds
STEP = """
import sys
sys.path.insert(0, {folder!r})
import bench_scale
bench_scale.{step}(*sys.argv[1:])
"""


def bench_unknown() -> None:
    """Aggregate, fit and summarise, each in a process of its own."""
    title("An unknown residual sd, about ten rows a group")
    rows, written = [], []
    for case, (_, groups, most) in UNKNOWN.items():
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "statistics.nc")
            added = in_step("aggregate_rows", case, file)
            solved = in_step("solve_statistics", file)
            saved = in_step("write_summary", file)
        total = solved["fit"] + solved["values"]
        reached = total <= most and solved["peak"] <= MAX_GIB
        rows.append(
            [case, duration(added["aggregation"]), duration(solved["fit"]),
             duration(solved["values"]), duration(total), duration(solved["processor"]),
             f"{solved['peak']:.2f} GiB", f"{'reached' if reached else 'missed'} ({most:g} s)"]
        )  # fmt: skip
        written.append(
            [case, duration(saved["parquet"]), f"{saved['size']:.0f} MB",
             f"{saved['peak']:.2f} GiB", duration(saved["zarr"]),
             f"{1e6 * saved['zarr'] / groups / 400:.2f} µs"]
        )  # fmt: skip
    table(
        [
            "",
            "aggregation",
            "fit",
            "all groups",
            "total",
            "of the processor",
            "peak memory",
            "goal",
        ],
        rows,
    )
    print(f"total: of the fit and of all groups, without imports; at most {MAX_GIB:g} GiB")
    print("\nfiles: the summary of all groups with medians and intervals; 400 draws of each")
    table(["", "to_parquet", "size", "peak memory", "to_zarr", "a draw"], written)


def in_step(step: str, *arguments: str) -> dict[str, float]:
    """Run a function of this file in a process of its own."""
    code = STEP.format(folder=str(Path(__file__).parent), step=step)
    answer: dict[str, float] = json.loads(in_fresh_process(code, *arguments))
    return answer


def rows_of_groups(parents: int, groups: int, random_seed: int = 0) -> pd.DataFrame:
    """Simulate 5 to 15 rows in each group, groups in parents if there are some."""
    rng = np.random.default_rng(random_seed)
    count = rng.integers(5, 16, groups)
    parent = np.sort(rng.integers(0, max(parents, 1), groups))
    theta = rng.normal(0, 1, groups) + 1.5 * rng.standard_normal(max(parents, 1))[parent]
    group = np.repeat(np.arange(groups), count)
    columns = {"outer": parent[group]} if parents else {}
    y = theta[group] + 2 * rng.standard_normal(len(group))
    return pd.DataFrame(columns | {"inner": group, "y": y})


def aggregate_rows(case: str, file: str) -> None:
    """Reduce a frame to statistics, and keep them in a file."""
    frame = rows_of_groups(*UNKNOWN[case][:2])
    roles: dict[str, Any] = {"outcome": "y", "groups": [*frame.columns[:-1]]}
    start = time.perf_counter()
    statistics_ = hm.SufficientStatistics.of(frame, **roles)
    print_json(aggregation=time.perf_counter() - start, done=statistics_.to_netcdf(file))


def solve_statistics(file: str) -> None:
    """Fit, and take means and sds of all groups, when all that this imports is there."""
    import scipy.optimize  # noqa: F401

    data = hm.load_statistics(file)
    small = hm.datasets.simulate_classrooms()
    hm.fit(small, "score ~ (1 | school/classroom)", draws=10).reference()
    start, busy = time.perf_counter(), time.process_time()
    fit = hm.fit(data, draws=100, memory_budget=0, random_seed=1)
    middle = time.perf_counter()
    exact = fit.reference()
    require_finite(exact.mean, exact.sd)
    end = time.perf_counter()
    print_json(fit=middle - start, values=end - middle, processor=time.process_time() - busy)


def write_summary(file: str) -> None:
    """Write the summary of all groups, and then all their draws."""
    fit = hm.fit(hm.load_statistics(file), draws=100, memory_budget=0, random_seed=1)
    require_finite(fit.reference().mean)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = fit.to_parquet(Path(folder) / "summary.parquet")
        middle = time.perf_counter()
        size = path.stat().st_size / 1e6
        fit.to_zarr(Path(folder) / "draws.zarr")
        end = time.perf_counter()
    print_json(parquet=middle - start, size=size, zarr=end - middle)


def print_json(**found: Any) -> None:
    """Print figures and the peak memory, as JSON on one line."""
    print(json.dumps(found | {"peak": peak_memory()}, default=str))


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
    slope = exponent([sizes[i] for i in upper], [times[i] for i in upper])
    verdict = goal(slope, MAX_EXPONENT)
    print(f"time ~ groups^{slope:.2f} from {sizes[upper[0]]:,} groups on ({verdict})")


PARTS = {
    "lmer": bench_lmer,
    "draws": bench_draws,
    "million": bench_million,
    "unknown": bench_unknown,
    "growth": bench_growth,
}

if __name__ == "__main__":
    run_parts(__doc__, PARTS)
