"""Tables of rows in files, read or about to be scanned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiermodels.errors import DataError


def read_table(path: Path, lazy: bool) -> Any:
    """Read a table, or prepare to scan it."""
    import pandas as pd

    if lazy or path.is_dir():
        return _scan(path)
    if path.suffix not in (".csv", ".parquet"):
        raise DataError(f"{str(path)!r}: expected a file .csv or .parquet")
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path)
        return pd.read_parquet(path)
    except (OSError, ImportError, ValueError) as error:  # pandas' and pyarrow's own are such
        if not path.exists():
            raise DataError(f"there is no file {str(path)!r}") from error
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error


def _scan(path: Path) -> Any:
    """Prepare to scan a file .parquet, or all of a folder and the folders in it."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or files[0].suffix != ".parquet":
        raise DataError(f"{str(path)!r}: expected a file .parquet, or a folder of such files")
    if not files[0].exists():
        raise DataError(f"there is no file {str(path)!r}")
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise DataError(
            f"{str(path)!r}: to scan it without loading its rows needs polars, which is not "
            f"installed; pip install 'hiermodels[polars]'"
        ) from error
    for file in files:  # polars does not say which of them is damaged
        try:
            pl.read_parquet_schema(file)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{str(file)!r} cannot be read: {error}") from error
    return pl.scan_parquet(files, glob=False)  # brackets and stars are names
