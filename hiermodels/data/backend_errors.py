"""What an engine that holds the rows raises, told as an error in the data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

import narwhals as nw

from hiermodels.errors import DataError, HierModelsError

NAMES = {
    nw.Implementation.POLARS: ("polars", "polars"),
    nw.Implementation.DUCKDB: ("DuckDB", "duckdb"),
    nw.Implementation.DASK: ("Dask", "dask"),
    nw.Implementation.IBIS: ("Ibis", "ibis"),
    nw.Implementation.PYSPARK: ("Spark", "spark"),
}  # of engines, and of the extras that install them
LONGEST = 300  # characters of a cause


@contextmanager
def translate_errors(frame: nw.LazyFrame[Any]) -> Iterator[None]:
    """Raise a DataError in place of what the engine raises in the block, and chained to it.

    An engine fails where it wants to: when a frame is described, when a query is planned, or half
    way through it.  Whatever passed through narwhals, by which engines are asked, is theirs.

    Raises
    ------
    DataError
        With the engine's name, the cause in one line, and what to do.
    """
    name, extra = NAMES.get(frame.implementation, (str(frame.implementation), None))
    try:
        yield
    except (HierModelsError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        package = f"'hiermodels[{extra}]'" if extra else error.name
        raise DataError(
            f"data: {name} needs the package {error.name!r}, which is not installed; "
            f"pip install {package}"
        ) from error
    except BaseException as error:
        if not (_is_failure(error) and _passed_through_narwhals(error)):
            raise
        raise DataError(
            f"data: {name} failed to add up the rows: {_cause(error)}. See that the files or "
            f"tables they come from are whole, with the same columns and types in each part, that "
            f"the connection or session is open, and that memory and disk suffice; then try "
            f"again. No data were changed"
        ) from error


def _is_failure(error: BaseException) -> bool:
    """Whether an error is no request to stop; what panics in polars is not an ``Exception``."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _passed_through_narwhals(error: BaseException) -> bool:
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.partition(".")[0] == "narwhals" for name in modules)


def _cause(error: BaseException) -> str:
    """The first line of a message; of the many lines that Spark gives, the root of the trouble."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    roots = [line for line in lines if line.startswith("Caused by: ")]
    if roots:
        text = roots[-1].removeprefix("Caused by: ")
    else:
        text = ": ".join([type(error).__name__, *lines[:1]])
    text = text.rstrip(".")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
