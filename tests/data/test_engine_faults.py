"""Faults of what holds the rows: parts that differ, engines that raise, and disks that are full."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.results.report import write as report
from tests.data import engines
from tests.data.test_engines_of_data import assert_same_statistics, expected_statistics

pytestmark = engines.QUIET

FORMULA = "y ~ x + sex + (1 | school)"
CASE = {"formula": FORMULA}
SIZE = 3000


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "school": [f"s{i}" for i in np.arange(SIZE) % 7],
            "sex": rng.choice(["F", "M"], size=SIZE),
            "x": rng.normal(size=SIZE),
            "y": rng.normal(size=SIZE),
        }
    )


def files_of(folder: Path) -> list[str]:
    """By name: a pattern would be looked up again, and say nothing of a file that is gone."""
    return sorted(map(str, folder.glob("*.parquet")))


def scan_with_polars(folder: Path):
    import polars as pl

    return pl.scan_parquet(files_of(folder))


def scan_with_duckdb(folder: Path):
    import duckdb

    return duckdb.connect().read_parquet(files_of(folder))


def scan_with_dask(folder: Path):
    import dask.dataframe as dd

    return dd.read_parquet(files_of(folder))


def scan_with_ibis(folder: Path):
    import ibis

    return ibis.duckdb.connect().read_parquet(files_of(folder))


def scan_with_spark(folder: Path):
    return engines.spark_session().read.parquet(*files_of(folder))


SCAN = {
    "polars": scan_with_polars,
    "duckdb": scan_with_duckdb,
    "dask": scan_with_dask,
    "ibis": scan_with_ibis,
    "pyspark": scan_with_spark,
}
NAMES = {"polars": "polars", "duckdb": "DuckDB", "dask": "Dask", "ibis": "Ibis", "pyspark": "Spark"}


@pytest.fixture(params=map(engines.parameter, SCAN))
def engine(request):
    engines.require(request.param)
    return request.param


@pytest.fixture
def scan(engine):
    """A function that reads a folder of files .parquet lazily."""
    return SCAN[engine]


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def statistics(data) -> SufficientStatistics:
    return SufficientStatistics.of(data, FORMULA)


def failure(data, engine: str) -> str:
    """The message with which a fit is refused, which names the engine and keeps what it raised."""
    with pytest.raises(hm.DataError, match=f"data: {NAMES[engine]} failed to add up") as caught:
        statistics(data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "then try again. No data were changed" in message
    assert caught.value.__cause__ is not None
    return message


# Parts that differ, and are right


def split(frame: pd.DataFrame, first: pd.Series) -> list[pd.DataFrame]:
    return [frame[first], frame[~first]]


def test_a_group_in_one_part_only(scan, tmp_path):
    frame = rows()
    parts = split(frame, frame["school"] == "s3")
    assert not set(parts[0]["school"]) & set(parts[1]["school"])
    found = statistics(scan(engines.write_parts(parts, tmp_path)))
    assert_same_statistics(found, expected_statistics(frame, CASE))


def test_a_level_in_one_part_only(scan, tmp_path):
    frame = rows()
    parts = split(frame, frame["sex"] == "M")
    found = statistics(scan(engines.write_parts(parts, tmp_path)))
    assert found.design.levels == {"sex": ("F", "M")}
    assert_same_statistics(found, expected_statistics(frame, CASE))


def test_dictionaries_that_differ_from_part_to_part(scan, tmp_path):
    """The same code stands for other labels in each file."""
    frame = rows()
    parts = split(frame, frame["school"].isin(["s0", "s4"]))
    coded = [part.astype({"school": "category", "sex": "category"}) for part in parts]
    coded[1]["sex"] = coded[1]["sex"].cat.reorder_categories(["M", "F"])
    assert coded[0]["school"].cat.categories[0] != coded[1]["school"].cat.categories[0]
    for i, part in enumerate(coded):
        part.to_parquet(tmp_path / f"part-{i}.parquet", index=False)
    found = statistics(scan(tmp_path))
    assert_same_statistics(found, expected_statistics(frame, CASE))


# Engines that raise


def damage_pages(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def turn_numbers_into_text(file: Path) -> None:
    pd.read_parquet(file).assign(x="text").to_parquet(file, index=False)


@pytest.mark.parametrize("fault", [damage_pages, truncate, turn_numbers_into_text, Path.unlink])
def test_a_file_that_goes_bad(fault, scan, engine, tmp_path):
    folder = engines.write_parts(engines.cut(rows()), tmp_path)
    data = scan(folder)
    good = (folder / "part-1.parquet").read_bytes()
    fault(folder / "part-1.parquet")
    before = checksums(folder)
    failure(data, engine)
    assert checksums(folder) == before
    (folder / "part-1.parquet").write_bytes(good)
    assert_same_statistics(statistics(scan(folder)), expected_statistics(rows(), CASE))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (truncate, "part-1.parquet' cannot be read: "),
        (damage_pages, "data: polars failed to add up the rows: "),
        (turn_numbers_into_text, "data type mismatch for column x"),
    ],
)
def test_a_bad_file_among_good_ones_is_told_in_a_line(fault, message, tmp_path, capsys):
    folder = engines.write_parts(engines.cut(rows()), tmp_path)
    fault(folder / "part-1.parquet")
    before = checksums(tmp_path)
    assert main(["fit", str(folder), "--formula", FORMULA, "--out", str(tmp_path / "fit.nc")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert checksums(tmp_path) == before


def test_a_file_that_vanishes_between_two_queries(tmp_path, monkeypatch):
    """A pattern is looked up for each query, and what is gone leaves no trace in the second."""
    import duckdb
    import narwhals as nw

    folder = engines.write_parts(engines.cut(rows()), tmp_path)
    collect = nw.LazyFrame.collect

    def collect_and_lose_a_file(self, *arguments, **options):
        found = collect(self, *arguments, **options)
        (folder / "part-2.parquet").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(nw.LazyFrame, "collect", collect_and_lose_a_file)
    with pytest.raises(hm.DataError, match="3000 rows were checked, and then 2000 were added up"):
        statistics(duckdb.sql(f"from '{folder}/*.parquet'"))


def test_rows_that_each_query_draws_anew():
    import duckdb

    frame = rows()
    data = duckdb.sql("select * from frame where random() < 0.5")
    with pytest.raises(hm.DataError, match=r"rows were checked.*each query draws others"):
        statistics(data)
    assert len(frame) == SIZE


def raise_in_polars(error: BaseException):
    import polars as pl

    def fail(batch: pl.DataFrame) -> pl.DataFrame:
        raise error

    frame = pl.from_pandas(rows())
    return frame.lazy().map_batches(fail, schema=frame.schema)


def test_a_function_that_raises_in_polars():
    message = failure(raise_in_polars(RuntimeError("sensor 7\nis broken")), "polars")
    assert "RuntimeError: sensor 7. See" in message


def test_polars_panics():
    """Its panics are no exceptions to Python, and would pass by everything."""
    from polars.exceptions import PanicException

    assert not issubclass(PanicException, Exception)
    message = failure(raise_in_polars(PanicException("index out of bounds")), "polars")
    assert "PanicException: index out of bounds" in message


def test_a_request_to_stop_is_none_of_the_faults():
    with pytest.raises(KeyboardInterrupt):
        statistics(raise_in_polars(KeyboardInterrupt()))


def test_faults_of_this_package_are_told_as_they_are(monkeypatch):
    import polars as pl

    import hiermodels.data.lazy

    monkeypatch.setattr(hiermodels.data.lazy, "sums_around_point", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        statistics(pl.from_pandas(rows()).lazy())


def test_a_view_over_a_table_that_was_dropped():
    import duckdb

    connection = duckdb.connect()
    connection.register("frame", rows())
    connection.execute("create table kept as from frame")
    connection.execute("create view pupils as from kept")
    data = connection.sql("from pupils")
    connection.execute("drop table kept")
    assert "Table with name kept does not exist" in failure(data, "duckdb")
    connection.execute("create table kept as from frame")
    assert_same_statistics(
        statistics(connection.sql("from pupils")), expected_statistics(rows(), CASE)
    )


def test_a_connection_that_was_closed():
    import duckdb

    connection = duckdb.connect()
    connection.register("frame", rows())
    data = connection.sql("from frame")
    connection.close()
    assert "Connection has already been closed" in failure(data, "duckdb")


def test_a_value_that_cannot_be_converted_half_way():
    import duckdb

    frame = rows().astype({"y": str})
    frame.loc[SIZE - 1, "y"] = "lost"
    connection = duckdb.connect()
    connection.register("frame", frame)
    data = connection.sql("select * replace (y::double as y) from frame")
    assert "Could not convert string 'lost' to DOUBLE" in failure(data, "duckdb")


@pytest.mark.engines
def test_a_partition_that_raises():
    import dask.dataframe as dd

    def fail(part: pd.DataFrame, partition_info=None) -> pd.DataFrame:
        if partition_info and partition_info["number"] == 1:
            raise RuntimeError("sensor 7 is broken")
        return part

    whole = dd.from_pandas(rows(), npartitions=3)
    data = whole.map_partitions(fail, meta=rows()[:0])
    assert "RuntimeError: sensor 7 is broken" in failure(data, "dask")
    assert_same_statistics(statistics(whole), expected_statistics(rows(), CASE))


@pytest.mark.engines
def test_a_table_of_ibis_that_was_dropped():
    import duckdb
    import ibis

    connection = duckdb.connect()
    connection.register("frame", rows())
    connection.execute("create table pupils as from frame")
    data = ibis.duckdb.from_connection(connection).table("pupils")
    connection.execute("drop table pupils")
    assert "Table with name pupils does not exist" in failure(data, "ibis")


@pytest.mark.engines
def test_a_row_that_raises_in_spark():
    engines.require("pyspark")
    from pyspark.sql import functions

    whole = engines.in_spark(rows(), Path())
    lost = functions.raise_error(functions.lit("sensor 7 is broken")).cast("double")
    seen = functions.when(functions.col("x") < 3.0, functions.col("y")).otherwise(lost)
    assert "sensor 7 is broken" in failure(whole.withColumn("y", seen), "pyspark")
    assert_same_statistics(statistics(whole), expected_statistics(rows(), CASE))


@pytest.mark.engines
def test_a_session_that_was_stopped():
    engines.require("pyspark")
    data = engines.in_spark(rows(), Path())
    engines.spark_session().stop()
    failure(data, "pyspark")
    again = engines.in_spark(rows(), Path())
    assert_same_statistics(statistics(again), expected_statistics(rows(), CASE))


# Disks that are full


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let writes fail beyond a size, as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_while_duckdb_spills(tmp_path):
    import duckdb

    settings = {"memory_limit": "60MB", "temp_directory": str(tmp_path), "threads": 1}
    with duckdb.connect(config=settings) as connection:
        data = connection.sql(
            "select (i % 200_000)::varchar as school, if(i % 3 = 0, 'F', 'M') as sex, "
            "sin(i) as x, (i % 17)::double + cos(i) as y from range(600_000) as t(i)"
        )
        with files_no_larger_than(2**16):
            assert "Could not write file" in failure(data, "duckdb")
        connection.execute("set memory_limit = '1GB'")
        assert statistics(data).n_rows == 600_000


@pytest.fixture
def folder(tmp_path) -> Path:
    """Rows in a file .parquet, and what was saved of them before."""
    rows().to_parquet(tmp_path / "rows.parquet", index=False)
    (tmp_path / "fit.nc").write_bytes(b"an earlier fit")
    (tmp_path / "report.html").write_bytes(b"an earlier report")
    return tmp_path


def fit_command(folder: Path, *options: str) -> list[str]:
    outputs = {"--out": folder / "fit.nc", "--report": folder / "report.html"}
    arguments = [text for name, path in outputs.items() for text in (name, str(path))]
    small = ["--draws", "20", "--chains", "1", "--seed", "1"]
    return [
        "fit",
        str(folder / "rows.parquet"),
        "--formula",
        FORMULA,
        *small,
        *(options or arguments),
    ]


@pytest.mark.parametrize(("option", "name"), [("--out", "fit.nc"), ("--report", "report.html")])
def test_a_disk_that_is_full_while_results_are_written(option, name, folder, capsys, monkeypatch):
    monkeypatch.setattr(report, "sections", lambda *_: [])  # its pictures take their time
    before = checksums(folder)
    with files_no_larger_than(2**10):
        assert main(fit_command(folder, option, str(folder / name))) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"hiermodels: cannot write '{folder / name}': File too large.")
    assert error.endswith("What was there before is as it was")
    assert checksums(folder) == before


def test_a_device_that_is_full_is_no_file(folder, capsys):
    before = checksums(folder)
    assert main(fit_command(folder, "--out", "/dev/full")) == 2
    assert "cannot write '/dev/full': it is not a regular file" in capsys.readouterr().err
    assert checksums(folder) == before


# Runs that are killed

KILLED_AT = """
import os, signal, sys
from hiermodels.results.report import write as report
from hiermodels.cli import main

report.sections = lambda *_: []  # its pictures take their time

event, suffix, left, number = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def kill(name, arguments):
    global left
    if name == event and str(arguments[0]).endswith(suffix) and "/." in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

sys.addaudithook(kill)
sys.exit(main(sys.argv[5:]))
"""


def run_until(moment: tuple[str, str, int], number: int, folder: Path) -> None:
    """Fit, and send a signal at an event that concerns a temporary file, such as its renaming."""
    command = [sys.executable, "-c", KILLED_AT, *map(str, moment), str(int(number))]
    done = subprocess.run(
        [*command, *fit_command(folder)], capture_output=True, timeout=300, text=True
    )
    assert done.returncode == -number, done.stderr


@pytest.mark.parametrize("moment", [("open", ".nc", 2), ("os.rename", ".nc", 1)])
def test_killed_while_the_fit_is_saved(moment, folder):
    before = checksums(folder)
    run_until(moment, signal.SIGKILL, folder)
    after = checksums(folder)
    hidden = after.keys() - before.keys()
    assert len(hidden) == 1
    assert Path(hidden.pop()).name.startswith(".")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_while_the_report_is_saved(number, folder):
    """The fit is saved by then, whole."""
    before = checksums(folder)
    run_until(("os.rename", ".html", 1), number, folder)
    assert hm.load(folder / "fit.nc").data.n_rows == SIZE
    fit = str(folder / "fit.nc")
    after = checksums(folder)
    assert before.pop(fit) != after.pop(fit)
    hidden = after.keys() - before.keys()
    assert all(os.path.basename(name).startswith(".") for name in hidden)
    assert len(hidden) == (1 if number == signal.SIGKILL else 0)
    assert {name: after[name] for name in before} == before
