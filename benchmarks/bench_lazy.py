"""Rows that stay in files: fits by the engine that reads them, against what it takes at least.

classrooms  10 million rows, 100,000 classrooms in 1,000 schools, 10 files .parquet: the fit, from
            files to draws, against the engine's own group-by mean; what means and sds of all
            classrooms take; and the same fit of rows that were read into memory
memory      50 million rows in 20,000 groups, 20 files, without and with a covariate: time and
            memory, and the same with at most 4 GiB allowed

Every figure is of a process of its own, and the two that are compared follow one another.  Before
the clock starts the package has fitted a few classrooms from memory, so that what it imports at its
first fit is not counted, as the engine's own import is not.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import xarray as xr
from measure import (
    Exceeded,
    duration,
    goal,
    in_fresh_process,
    limit_memory,
    peak_memory,
    run_parts,
    table,
    title,
)

import hiermodels as hm

ENGINES = ("polars", "duckdb")
FORMULA = "y ~ {x}(1 | school/classroom)"
MAX_OF_MEAN = 3.0  # times the engine's own group-by mean
MAX_GIB = 4.0
DRAWS = 2.0**27  # bytes that draws may take: those of all classrooms would take more
CHILD = """
import sys
sys.path.insert(0, {folder!r})
import bench_lazy
getattr(bench_lazy, sys.argv[1])(*sys.argv[2:])
"""


# --- data ---------------------------------------------------------------------------------------


def write_classrooms(
    folder: Path, rows: int, classrooms: int, schools: int, files: int, text: bool = False
) -> None:
    """Simulate pupils in random order, a file at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    parent = np.arange(classrooms) // (classrooms // schools)
    effect = 50 + rng.normal(0, 3, schools)[parent] + rng.normal(0, 5, classrooms)
    names = {"school": np.arange(schools), "classroom": np.arange(classrooms)}
    if text:
        names = {name: np.char.mod(name[0] + "%06d", labels) for name, labels in names.items()}
    for file in range(files):
        classroom = rng.integers(classrooms, size=rows // files)
        x = rng.standard_normal(len(classroom))
        units = {"school": parent[classroom], "classroom": classroom}
        columns = {name: pa.array(names[name]).take(pa.array(unit)) for name, unit in units.items()}
        y = effect[classroom] + 0.5 * x + rng.normal(0, 10, len(x))
        pq.write_table(pa.table({**columns, "x": x, "y": y}), folder / f"{file:02}.parquet")


def scan(engine: str, folder: str) -> Any:
    """The files, lazily."""
    files = f"{folder}/*.parquet"
    if engine == "polars":
        import polars

        return polars.scan_parquet(files)
    import duckdb

    return duckdb.sql(f"select * from '{files}'")


# --- what is measured, each in a process of its own -----------------------------------------------


def own_mean(engine: str, folder: str) -> None:
    """Take the mean of each classroom, in the engine's own words."""
    rows = scan(engine, folder)
    start = time.perf_counter()
    if engine == "polars":
        import polars

        means = rows.group_by("school", "classroom").agg(polars.col("y").mean())
        found = len(means.collect(engine="streaming"))
    else:
        found = rows.aggregate("school, classroom, avg(y)").to_arrow_table().num_rows
    tell(mean=time.perf_counter() - start, groups=found)


def whole_fit(engine: str, folder: str, x: str = "", gib: str = "") -> None:
    """Fit, and take the means and sds of all classrooms without Monte Carlo error."""
    if gib:
        limit_memory(float(gib))
    moments(hm.fit(hm.datasets.simulate_classrooms(), "score ~ (1 | school/classroom)"))
    rows = scan(engine, folder)
    formula = FORMULA.format(x=f"{x} + " if x else "")
    start = time.perf_counter()
    statistics = hm.SufficientStatistics.of(rows, formula)
    reduced = time.perf_counter()
    fit = hm.fit(statistics, random_seed=1, memory_budget=DRAWS)
    fitted = time.perf_counter()
    mean, sd = moments(fit)
    end = time.perf_counter()
    if not (np.isfinite(mean["theta"]).all() and np.isfinite(sd["theta"]).all()):
        raise ArithmeticError("a mean or an sd is not finite")
    tell(
        reduce=reduced - start,
        fit=fitted - reduced,
        whole=fitted - start,
        values=end - fitted,
        total=end - start,
        sigma=[float(mean["sigma"]), float(sd["sigma"])],
    )


def moments(fit: hm.Fit) -> tuple[xr.Dataset, xr.Dataset]:
    """Means and sds without Monte Carlo error."""
    exact = fit.reference()
    return exact.mean, exact.sd


def read_whole(engine: str, folder: str) -> None:
    """Hold all rows in memory."""
    tell(rows=collected(engine, folder).shape[0])


def fit_whole(engine: str, folder: str) -> None:
    """Hold all rows in memory, and fit them."""
    start = time.perf_counter()
    rows = collected(engine, folder)
    moments(hm.fit(rows, FORMULA.format(x=""), random_seed=1, memory_budget=DRAWS))
    tell(total=time.perf_counter() - start)


def collected(engine: str, folder: str) -> Any:
    """The files, as a frame in memory."""
    rows = scan(engine, folder)
    return rows.collect() if engine == "polars" else rows.to_arrow_table()


def tell(**found: Any) -> None:
    """Print what was found, and the peak memory, as JSON on one line."""
    print(json.dumps({**found, "peak": peak_memory()}))


def measured(what: str, *arguments: str) -> dict[str, Any]:
    """Run one of the above in a fresh process."""
    code = CHILD.format(folder=str(Path(__file__).parent))
    return json.loads(in_fresh_process(code, what, *arguments))


def engines() -> Iterator[str]:
    """Those that are installed, with a line for each that is not."""
    for engine in ENGINES:
        if find_spec(engine) and find_spec("pyarrow"):
            yield engine
        else:
            print(f"{engine} skipped: it or pyarrow is not installed")


# --- parts ----------------------------------------------------------------------------------------


def bench_classrooms(
    rows: int = 10**7, classrooms: int = 10**5, schools: int = 1000, rounds: int = 3
) -> dict[str, Any]:
    """Fit beside the engine's own mean, in turn."""
    title(f"{rows:,} rows in {classrooms:,} classrooms in {schools:,} schools, lazily")
    found = []
    for text in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            write_classrooms(Path(folder), rows, classrooms, schools, 10, text)
            for engine in engines():
                pairs = [
                    (measured("own_mean", engine, folder), measured("whole_fit", engine, folder))
                    for _ in range(rounds)
                ]
                line = {
                    "engine": f"{engine} {version(engine)}",
                    "labels": "text" if text else "integers",
                    "mean": median(own["mean"] for own, _ in pairs),
                    **{
                        name: median(fit[name] for _, fit in pairs)
                        for name in ("reduce", "fit", "whole", "values", "peak")
                    },
                    "peak_of_mean": median(own["peak"] for own, _ in pairs),
                    "read": measured("read_whole", engine, folder)["peak"],
                    "in_memory": measured("fit_whole", engine, folder)["peak"],
                }
                found.append(line)
    table(HEADER, [cells(line) for line in found])
    worst = max((line["whole"] / line["mean"] for line in found), default=0.0)
    print(f"worst: {worst:.1f} times the engine's own mean ({goal(worst, MAX_OF_MEAN)})")
    return {"rows": rows, "classrooms": classrooms, "schools": schools, "found": found}


HEADER = (
    "engine", "labels", "own mean", "statistics", "draws", "fit", "times own mean", "all values",
    "peak, GiB", "own mean's", "read whole", "read and fitted",
)  # fmt: skip


def cells(line: dict[str, Any]) -> list[str]:
    """Write out a line of the table of classrooms."""
    return [
        line["engine"], line["labels"],
        *(duration(line[name]) for name in ("mean", "reduce", "fit", "whole")),
        f"{line['whole'] / line['mean']:.1f}",
        duration(line["values"]),
        *(f"{line[name]:.2f}" for name in ("peak", "peak_of_mean", "read", "in_memory")),
    ]  # fmt: skip


def bench_memory(
    rows: int = 5 * 10**7, classrooms: int = 20_000, schools: int = 500
) -> dict[str, Any]:
    """Fit out of core."""
    title(f"{rows:,} rows in {classrooms:,} classrooms in {schools:,} schools, out of core")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        write_classrooms(Path(folder), rows, classrooms, schools, 20)
        files = sum(file.stat().st_size for file in Path(folder).iterdir())
        for engine in engines():
            own = measured("own_mean", engine, folder)
            read = measured("read_whole", engine, folder)["peak"]
            for x in ("", "x"):
                fit = measured("whole_fit", engine, folder, x)
                line = {"engine": f"{engine} {version(engine)}", "covariates": len(x), **fit}
                line |= {"mean": own["mean"], "peak_of_mean": own["peak"], "read": read}
                line["allowed"] = within(partial(measured, "whole_fit", engine, folder, x))
                found.append(line)
    table(HEADER_OF_MEMORY, [cells_of_memory(line) for line in found])
    worst = max((line["peak"] for line in found), default=0.0)
    print(f"files: {files / 1e6:,.0f} MB")
    print(f"worst: {worst:.2f} GiB ({goal(worst, MAX_GIB, ' GiB')})")
    return {"rows": rows, "classrooms": classrooms, "files": files, "found": found}


HEADER_OF_MEMORY = (
    "engine", "covariates", "own mean", "statistics", "times own mean", "in all", "peak, GiB",
    "own mean's", "read whole", f"in all, with {MAX_GIB:g} GiB allowed",
)  # fmt: skip


def cells_of_memory(line: dict[str, Any]) -> list[str]:
    """Write out a line of the table of memory."""
    return [
        line["engine"], str(line["covariates"]),
        duration(line["mean"]),
        duration(line["reduce"]), f"{line['reduce'] / line['mean']:.1f}",
        duration(line["total"]),
        *(f"{line[name]:.2f}" for name in ("peak", "peak_of_mean", "read")),
        line["allowed"],
    ]  # fmt: skip


def within(run: Callable[[str], dict[str, Any]]) -> str:
    """Total time under the limit of memory, or what went wrong."""
    try:
        return duration(run(f"{MAX_GIB:g}")["total"])
    except Exceeded as error:
        return str(error)


PARTS = {"classrooms": bench_classrooms, "memory": bench_memory}
QUICK = {
    "classrooms": partial(bench_classrooms, 10**5, 10**3, 100, rounds=1),
    "memory": partial(bench_memory, 10**5, 10**3, 100),
}

if __name__ == "__main__":
    run_parts(__doc__, PARTS, QUICK)
