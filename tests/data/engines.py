"""Engines that hold rows: how a pandas frame gets into each of them, in one piece or in several."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

PARTS = 3  # files or partitions
QUIET = [
    pytest.mark.filterwarnings(f"ignore:{beginning}")
    for beginning in (
        "Dask support is moving",
        "PySpark does not yet fully support pandas",
        "The inplace keyword in DataFrame.reset_index",  # Dask's
        "fetch_arrow_table",  # Ibis'
    )
]


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


def cut(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in their order, in as many parts as ``PARTS``."""
    edges = np.linspace(0, len(frame), PARTS + 1).astype(int)
    return [frame.iloc[i:j] for i, j in pairwise(edges)]


def write_parts(parts: list[pd.DataFrame], folder: Path) -> Path:
    """Write each part as a file .parquet; returns a new folder of them."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    whole = to_arrow(pd.concat(parts)).schema.remove_metadata()
    for i, part in enumerate(parts):
        table = pa.Table.from_pandas(part, whole, preserve_index=False)
        parquet.write_table(table.replace_schema_metadata(), folder / f"part-{i}.parquet")
    return folder


def in_polars(frame: pd.DataFrame, folder: Path) -> Any:
    import polars as pl

    return pl.from_arrow(to_arrow(frame))


def in_duckdb(frame: pd.DataFrame, folder: Path) -> Any:
    import duckdb

    connection = duckdb.connect()
    connection.register("rows", to_arrow(frame))
    return connection.sql("select * from rows")


def in_polars_files(frame: pd.DataFrame, folder: Path) -> Any:
    import polars as pl

    return pl.scan_parquet(write_parts(cut(frame), folder) / "*.parquet")


def in_duckdb_files(frame: pd.DataFrame, folder: Path) -> Any:
    import duckdb

    return duckdb.connect().sql(f"from '{write_parts(cut(frame), folder)}/*.parquet'")


def in_dask(frame: pd.DataFrame, folder: Path) -> Any:
    import dask.dataframe as dd

    if "fee" in frame:  # else it would be text
        frame = frame.astype({"fee": pd.ArrowDtype(pa.decimal128(10, 2))})
    return dd.from_pandas(frame, npartitions=PARTS)


def in_ibis(frame: pd.DataFrame, folder: Path) -> Any:
    import ibis

    return ibis.memtable(to_arrow(frame))


def in_spark(frame: pd.DataFrame, folder: Path) -> Any:
    return spark_session().createDataFrame(to_arrow(frame))


PUT: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "pandas": lambda frame, folder: frame,
    "pyarrow": lambda frame, folder: to_arrow(frame),
    "polars eager": in_polars,
    "polars": lambda frame, folder: in_polars(frame, folder).lazy(),
    "polars files": in_polars_files,
    "duckdb": in_duckdb,
    "duckdb files": in_duckdb_files,
    "dask": in_dask,
    "ibis": in_ibis,
    "pyspark": in_spark,
}
ELSEWHERE = ("dask", "ibis", "pyspark")  # what .venv does not hold


def parameter(name: str) -> Any:
    """An engine as a parameter of a test, which `make engines` runs if .venv has no such engine."""
    return pytest.param(name, marks=pytest.mark.engines if name in ELSEWHERE else ())


def require(name: str) -> None:
    """Skip a test whose engine is not there."""
    package = name.split()[0]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed here; `make engines` runs this test")
    if package == "pyspark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java, and there is none")


def spark_session() -> Any:
    """The session of Spark, started where there is none: local, small and quiet."""
    from pyspark.sql import SparkSession

    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.log.level": "OFF",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
