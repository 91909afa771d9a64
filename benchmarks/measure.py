"""What the benchmarks share: clocks, fresh processes, and tables."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import hiermodels

RESULTS = Path(__file__).parent / "results.json"
COMPARED = ("numpy", "scipy", "pandas", "xarray", "pymc", "nutpie")


def describe_machine(*packages: str) -> str:
    """Versions of Python and of packages, and the number of cores."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package}: not installed")
    return f"{', '.join(found)}; {len(os.sched_getaffinity(0))} cores"


def run_parts(
    doc: str | None,
    parts: Mapping[str, Callable[[], Any]],
    quick: Mapping[str, Callable[[], Any]] | None = None,
) -> None:
    """Run the parts of a benchmark that the command line names, or all.

    With ``--quick`` small forms of them, of those that have one.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(parts)}; or all")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    asked = parser.parse_args()
    for part in asked.parts:
        if part not in parts:
            parser.error(f"expected one of {', '.join(parts)}; found {part!r}")
    chosen = quick or {} if asked.quick else parts
    if not chosen:
        print("skipped: no quick form")
        return
    print(f"hiermodels {hiermodels.__version__}, {describe_machine(*COMPARED)}")
    for part in asked.parts or list(chosen):
        if part in chosen:
            chosen[part]()


def save(part: str, found: Any) -> None:
    """Keep the results of a part in ``results.json``, from which the documentation is made."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(results | {part: found}, indent=1) + "\n")


def seconds(call: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time several calls in turn, so that what else runs on the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


class Exceeded(Exception):
    """A benchmark's own process took more time or memory than it was allowed."""


OUT_OF_MEMORY = ("MemoryError", "memory allocation", "bad_alloc", "annot allocate", "OutOfMemory")


def in_fresh_process(
    code: str, *arguments: str, most_seconds: float = np.inf, most_gib: float = np.inf
) -> str:
    """Run Python code in a process of its own; return the last line that it prints.

    ``-P`` leaves out the current folder, so that it imports what this process imports.

    Raises
    ------
    Exceeded
        If it takes more time or memory, or runs out of the memory that it allows itself.
    """
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, *arguments]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        start = time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.02)
                if time.monotonic() - start > most_seconds:
                    raise Exceeded(f"over {most_seconds:g} s")
                if most_gib < np.inf and resident_memory(process.pid) > most_gib:
                    raise Exceeded(f"over {most_gib:g} GiB")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.wait()
        out.seek(0)
        err.seek(0)
        printed, errors = out.read(), err.read()
    if process.returncode:
        if any(sign in errors for sign in OUT_OF_MEMORY):
            raise Exceeded("out of memory")
        raise RuntimeError(f"a benchmark's own process failed:\n{errors}")
    return printed.strip().splitlines()[-1]


def resident_memory(group: int) -> float:
    """Resident memory of a group of processes, in GiB; 0 where Linux's ``/proc`` is not there."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process may end meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def limit_memory(gib: float) -> None:
    """Let this process and those that it starts hold this much data in memory, and no more.

    Files that are mapped into memory do not count: the kernel can drop these.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30),) * 2)


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


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Slope of log time against log size, by least squares."""
    x, y = (np.log(values) for values in (sizes, times))
    return float(np.polyfit(x, y, 1)[0])


class Stages:
    """Seconds spent in some functions while these are wrapped, by the name of the stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def watch(self, stage: str, owner: Any, *names: str) -> Iterator[None]:
        """Time the functions or methods ``owner.name`` as one stage."""
        originals = {name: vars(owner)[name] for name in names}
        for name, function in originals.items():
            setattr(owner, name, self._timed(stage, function))
        try:
            yield
        finally:
            for name, function in originals.items():
                setattr(owner, name, function)

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                self.seconds[stage] = self.seconds.get(stage, 0.0) + elapsed

        return timed


def duration(value: float) -> str:
    """Write out seconds, in milliseconds where they are few."""
    return f"{1e3 * value:.1f} ms" if value < 1 else f"{value:.2f} s"


def spread(times: Sequence[float]) -> str:
    """Least and median of some times."""
    return f"{duration(min(times))} (median {duration(statistics.median(times))})"


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))


def goal(reached: float, at_most: float, unit: str = "") -> str:
    """Say whether a figure is within its goal."""
    verdict = "reached" if reached <= at_most else "missed"
    return f"goal: at most {at_most:g}{unit}, {verdict}"


def measured(what: str, run: Callable[[], object], most: float | None, rounds: int = 3) -> float:
    """Print and return the least time of the processor, besides that of the clock."""
    times = []
    for _ in range(rounds):
        clock, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
        times.append((time.process_time() - cpu, time.perf_counter() - clock))
    cpu, clock = min(times)
    held = "" if most is None else f"; {goal(cpu, most, ' s')}"
    print(f"{what:46} {cpu:7.3f} s of processor, {clock:7.3f} s of clock{held}", flush=True)
    return cpu
