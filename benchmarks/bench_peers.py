"""The same model by other programs, from 100 groups on, until they take too long or too much.

Two levels, five rows a group, unknown tau and sigma.  Each run is a process of its own:

hiermodels         fit with 4 × 1,000 draws, and means and sds of all groups without Monte Carlo
                   error
PyMC by hand       non-centred, on group means, 4 × 1,000 draws by nutpie after 1,000 of tuning
bambi              y ~ 1 + (1 | g) with its own priors, likewise by nutpie
statsmodels MixedLM, lme4 lmer
                   REML estimates of the parameters: no posterior

Times are from the data frame to the result, with compilation, without import and the first use of
anything: before the clock starts each has fitted 50 other groups.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import (
    Exceeded,
    duration,
    exponent,
    in_fresh_process,
    peak_memory,
    run_parts,
    table,
    title,
)

import hiermodels as hm

SIZES = (10**2, 10**3, 10**4, 10**5, 10**6)
ROWS = 5  # of each group
LIMITS = {"most_seconds": 60.0, "most_gib": 8.0}  # of a process
CHILD = """
import sys
sys.path.insert(0, {folder!r})
from bench_peers import measure_peer
measure_peer(sys.argv[1], int(sys.argv[2]))
"""
type Found = dict[str, Any]


def simulate(groups: int, random_seed: int = 0) -> pd.DataFrame:
    """Simulate five rows in each group, in random order."""
    rng = np.random.default_rng(random_seed)
    group = rng.permutation(np.repeat(np.arange(groups), ROWS))
    y = rng.normal(10, 1, groups)[group] + rng.normal(0, 1.5, len(group))
    return pd.DataFrame({"g": group, "y": y})


# --- the peers ------------------------------------------------------------------------------------


def by_hiermodels(frame: pd.DataFrame) -> Found:
    fit = hm.fit(frame, "y ~ (1 | g)", random_seed=1)
    mean, sd = fit.reference().mean, fit.reference().sd
    if not (np.isfinite(mean["theta"]).all() and np.isfinite(sd["theta"]).all()):
        raise ArithmeticError("a mean or an sd is not finite")
    return {
        "draws": fit.datatree["posterior"].to_dataset()[["mu", "tau", "sigma"]],
        "estimate": [float(mean[name]) for name in ("mu", "tau", "sigma")],
    }


def by_hand(frame: pd.DataFrame) -> Found:
    import nutpie
    from bench_nuts import model_by_hand

    compiled = nutpie.compile_pymc_model(model_by_hand(frame, ["g"], None))
    trace = nutpie.sample(compiled, draws=1000, tune=1000, chains=4, seed=1, progress_bar=False)
    return _sampled(trace["posterior"].to_dataset(), ("mu", "tau", "sigma"))


def by_bambi(frame: pd.DataFrame) -> Found:
    import bambi

    model = bambi.Model("y ~ 1 + (1 | g)", frame, categorical="g")
    trace = model.fit(
        draws=1000, tune=1000, chains=4, random_seed=1, inference_method="nutpie",
        progressbar=False,
    )  # fmt: skip
    return _sampled(trace["posterior"].to_dataset(), ("Intercept", "1|g_sigma", "sigma"))


def _sampled(draws: Any, names: tuple[str, ...]) -> Found:
    draws = draws[list(names)]
    return {"draws": draws, "estimate": [float(draws[name].mean()) for name in names]}


def by_statsmodels(frame: pd.DataFrame) -> Found:
    import statsmodels.formula.api as smf

    fit = smf.mixedlm("y ~ 1", frame, groups=frame["g"]).fit(reml=True)
    tau, sigma = np.sqrt(fit.cov_re.iloc[0, 0]), np.sqrt(fit.scale)
    return {"estimate": [float(fit.params["Intercept"]), float(tau), float(sigma)]}


LMER = """
options(warn = -1)
suppressMessages(library(lme4))
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name, what, size) {
  readBin(file.path(folder, name), what, n = 1e9, size = size)
}
data <- data.frame(g = factor(read("g", "integer", 4)), y = read("y", "double", 8))
some <- data[as.integer(data$g) <= 50, ]
fit <- lmer(y ~ 1 + (1 | g), data = some)
time <- system.time(fit <- lmer(y ~ 1 + (1 | g), data = data))[["elapsed"]]
sds <- as.data.frame(VarCorr(fit))$sdcor
peak <- 0
if (file.exists("/proc/self/status")) {
  line <- grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)
  peak <- as.numeric(gsub("[^0-9]", "", line)) / 2^20
}
cat(sprintf("[%.17g, %.17g, %.17g, %.17g, %.17g]", time, peak, fixef(fit)[[1]], sds[1], sds[2]))
"""


def by_lmer(frame: pd.DataFrame) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        frame["g"].to_numpy(np.int32).tofile(Path(folder, "g"))
        frame["y"].to_numpy().tofile(Path(folder, "y"))
        script = Path(folder, "fit.R")
        script.write_text(LMER)
        command = ["Rscript", "--vanilla", str(script), folder]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    elapsed, peak, *estimate = json.loads(out)
    return {"seconds": elapsed, "peak": peak, "estimate": estimate}


def lme4_version() -> str | None:
    """Version of lme4, if there is R and lme4 in it."""
    if shutil.which("Rscript") is None:
        return None
    code = (
        'cat("lme4 ", as.character(packageVersion("lme4")), sep = "");'
        'cat(", R ", as.character(getRversion()), sep = "")'
    )
    done = subprocess.run(["Rscript", "--vanilla", "-e", code], capture_output=True, text=True)
    return None if done.returncode else done.stdout


def version_if_there(*packages: str) -> str | None:
    """Versions of packages, if all are installed."""
    if all(map(find_spec, packages)):
        return ", ".join(f"{package} {version(package)}" for package in packages)
    return None


type Peer = tuple[Callable[[pd.DataFrame], Found], Callable[[], str | None], str]
PEERS: dict[str, Peer] = {
    "hiermodels": (by_hiermodels, lambda: f"hiermodels {hm.__version__}", "exact posterior"),
    "PyMC by hand": (by_hand, partial(version_if_there, "pymc", "nutpie"), "NUTS"),
    "bambi": (by_bambi, partial(version_if_there, "bambi", "nutpie"), "NUTS"),
    "statsmodels MixedLM": (by_statsmodels, partial(version_if_there, "statsmodels"), "estimates"),
    "lme4 lmer": (by_lmer, lme4_version, "estimates"),
}


# --- measuring ------------------------------------------------------------------------------------


def measure_peer(name: str, groups: int) -> None:
    """Print seconds, peak memory, effective draws and estimates, as JSON on one line."""
    fit = PEERS[name][0]
    silence = io.StringIO()
    with contextlib.redirect_stdout(silence):
        if name != "lme4 lmer":  # which does so itself
            fit(simulate(50, 1))
        frame = simulate(groups)
        start = time.perf_counter()
        found = fit(frame)
        elapsed = time.perf_counter() - start
    found = {"seconds": elapsed, "peak": peak_memory(), **found}
    if "draws" in found:
        import arviz_stats

        effective = arviz_stats.ess(found.pop("draws"), method="bulk")
        found["effective"] = min(float(value) for value in effective.values())
    print(json.dumps(found))


def climb(name: str, sizes: tuple[int, ...]) -> list[Found]:
    """Measure a peer at growing sizes, up to the first at which it exceeds a limit."""
    code = CHILD.format(folder=str(Path(__file__).parent))
    runs: list[Found] = []
    for groups in sizes:
        try:
            found = json.loads(in_fresh_process(code, name, str(groups), **LIMITS))
        except Exceeded as error:
            reason = str(error)
        except RuntimeError as error:
            reason = "failed"
            print(error)
        else:
            reason = None
        if reason:
            print(f"{name}, {groups:,} groups: {reason}", flush=True)
            return [*runs, {"groups": groups, "stopped": reason}]
        runs.append({"groups": groups, **found})
        print(f"{name}, {groups:,} groups: {duration(found['seconds'])}", flush=True)
    return runs


def bench_peers(sizes: tuple[int, ...] = SIZES) -> Found:
    """Measure all peers that are installed."""
    limits = f"at most {LIMITS['most_seconds']:g} s and {LIMITS['most_gib']:g} GiB a process"
    title(f"Two levels, {ROWS} rows a group, {limits}")
    peers = {}
    for name, (_, there, kind) in PEERS.items():
        versions = there()
        if versions is None:
            print(f"{name} skipped: not installed")
            continue
        runs = climb(name, sizes)
        peers[name] = {"versions": versions, "kind": kind, "runs": runs, **growth(runs)}
    found = {"sizes": list(sizes), "peers": peers}
    print_tables(found)
    return found


def growth(runs: list[Found]) -> Found:
    """Slope of log time against log groups over the last two decades that were reached."""
    done = finished(runs)
    upper = [run for run in done if run["groups"] >= done[-1]["groups"] / 100]
    if len(upper) < 2:
        return {}
    slope = exponent([run["groups"] for run in upper], [run["seconds"] for run in upper])
    return {"exponent": slope}


def print_tables(found: Found) -> None:
    """Print times, memory and effective draws per second."""
    for heading, (value, written) in QUANTITIES.items():
        print(f"\n{heading}")
        rows = [
            [name, *row(peer["runs"], found["sizes"], value, written)]
            for name, peer in with_values(found, value).items()
        ]
        table(["groups", *(f"{size:,}" for size in found["sizes"])], rows)
    print()
    for name, peer in found["peers"].items():
        slope = f"time ~ groups^{peer['exponent']:.2f}; " if "exponent" in peer else ""
        print(f"{name}: {slope}{peer['versions']}")
        for run in finished(peer["runs"])[-1:]:
            estimates = ", ".join(f"{value:.4f}" for value in run["estimate"])
            print(f"    mu, tau, sigma of {run['groups']:,} groups: {estimates}")


def finished(runs: list[Found]) -> list[Found]:
    """Runs that ended within the limits."""
    return [run for run in runs if "seconds" in run]


type Value = Callable[[Found], float | None]
QUANTITIES: dict[str, tuple[Value, Callable[[float], str]]] = {
    "Time": (lambda run: run["seconds"], duration),
    "Peak memory, GiB": (lambda run: run["peak"], "{:.2f}".format),
    "Effective draws per second": (
        lambda run: run["effective"] / run["seconds"] if "effective" in run else None,
        "{:,.0f}".format,
    ),
}


def with_values(found: Found, value: Value) -> dict[str, Found]:
    """Peers that have such a value: estimates are no draws."""
    peers = found["peers"].items()
    return {
        name: peer
        for name, peer in peers
        if any(value(run) is not None for run in finished(peer["runs"]))
    }


def row(
    runs: list[Found], sizes: list[int], value: Value, written: Callable[[float], str]
) -> list[str]:
    """A cell for each size: a figure, why there is none, or that a smaller size had none."""
    by_size = {run["groups"]: run for run in runs}
    cells = []
    for size in sizes:
        run = by_size.get(size, {"stopped": "not tried"})
        cells.append(run.get("stopped") or written(value(run)))
    return cells


PARTS = {"peers": bench_peers}
QUICK = {"peers": partial(bench_peers, SIZES[:2])}

if __name__ == "__main__":
    run_parts(__doc__, PARTS, QUICK)
