"""What the benchmarks share: clocks, fresh processes, and tables."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import hiermodels

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


def run_parts(doc: str | None, parts: Mapping[str, Callable[[], None]]) -> None:
    """Run the parts of a benchmark that the command line names, or all."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(parts)}; or all")
    chosen = parser.parse_args().parts or list(parts)
    for part in chosen:
        if part not in parts:
            parser.error(f"expected one of {', '.join(parts)}; found {part!r}")
    print(f"hiermodels {hiermodels.__version__}, {describe_machine(*COMPARED)}")
    for part in chosen:
        parts[part]()


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


def in_fresh_process(code: str, *arguments: str) -> str:
    """Run Python code in a process of its own; return the last line that it prints.

    ``-P`` leaves out the current folder, so that it imports what this process imports.
    """
    command = [sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a benchmark's own process failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


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
