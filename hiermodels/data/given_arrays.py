"""Numbers of rows that are given as an array, in place of the name of a column that has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import pandas as pd

from hiermodels.core.options import real_numbers
from hiermodels.data.as_frame import as_frame
from hiermodels.errors import DataError, SpecError

ROLES = ("se", "variance", "trials", "exposure", "offset", "weights")


def with_arrays(data: Any, said: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The data with a column for each array, named after its role, and names in place of arrays.

    Parameters
    ----------
    data : data frame
    said : mapping of str to object
        What was said of the columns, by role.

    Raises
    ------
    DataError, SpecError
        If an array is not one number for each row, or has another index than the rows, or if the
        rows stay where they are.
    """
    named = dict(said)
    for role in ROLES:
        if _is_array(named.get(role)):
            data, named[role] = _with_column(data, role, named[role])
    return data, named


def _is_array(given: Any) -> bool:
    """Whether it is an array, a series or a list of other things than names."""
    if given is None or isinstance(given, str):
        return False
    if isinstance(given, (list, tuple)):
        return not any(isinstance(value, str) for value in given)
    return getattr(given, "ndim", 0) > 0 or _is_series(given)


def _is_series(given: Any) -> bool:
    return isinstance(nw.from_native(given, allow_series=True, pass_through=True), nw.Series)


def _with_column(data: Any, role: str, given: Any) -> tuple[Any, str]:
    """The data with one more column, and its name."""
    native, _ = as_frame(data)
    frame = nw.from_native(native, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        raise SpecError(
            f"{role}: expected the name of a column; found {type(given).__name__}, and arrays can "
            f"stand beside a data frame in memory alone. Make it a column of the data"
        )
    index = native.index if isinstance(native, pd.DataFrame) else None
    if index is not None and isinstance(given, pd.Series) and not given.index.equals(index):
        raise DataError(
            f"{role}: the series has another index than the rows of the data. Give "
            f"{role}=series.to_numpy() if the order is right"
        )
    values = real_numbers(role, given)
    if values.shape != (len(frame),):
        raise DataError(
            f"{role}: expected {len(frame)} numbers, one for each row; found shape {values.shape}"
        )
    name = role
    while name in frame.columns:
        name += "_"
    if index is not None:
        return native.assign(**{name: values}), name
    series = nw.new_series(name, values, backend=frame.implementation)
    return frame.with_columns(series).to_native(), name
