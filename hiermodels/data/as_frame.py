"""What can be read as a data frame: dicts of arrays, series, xarray, and the index of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hiermodels.core.messages import listed
from hiermodels.errors import DataError

NAMELESS = "y"  # the column of a series without a name: the outcome


def as_frame(data: Any) -> tuple[Any, frozenset[str]]:
    """The data as a frame, if they can be one, and which of its columns were levels of its index.

    A dict of arrays has a column for each; a series, and what xarray has of one dimension, one for
    its values and one for each level of its index.  Levels of a pandas index that have a name
    become columns, unless a column has that name.  Anything else is returned as it is.

    Raises
    ------
    DataError
        If arrays differ in length, or there are several dimensions.
    """
    frame = _from_xarray(data)
    if isinstance(frame, Mapping):
        frame = _from_mapping(frame)
    if isinstance(frame, pd.Series):
        frame = frame.to_frame(NAMELESS if frame.name is None else frame.name)
    if not isinstance(frame, pd.DataFrame):
        return frame, frozenset()
    levels = {
        name: frame.index.get_level_values(number).array
        for number, name in enumerate(frame.index.names)
        if isinstance(name, str) and name and name not in frame.columns
    }
    return (frame.assign(**levels) if levels else frame), frozenset(levels)


def _from_mapping(arrays: Mapping[Any, Any]) -> pd.DataFrame:
    try:
        return pd.DataFrame(dict(arrays))
    except ValueError as error:
        raise DataError(
            f"data: expected a data frame, or a dict of arrays of one length each; found a dict of "
            f"{listed(list(arrays))}: {error}"
        ) from error


def _from_xarray(data: Any) -> Any:
    """A pandas series or frame of what xarray has of one dimension; anything else as it is."""
    kind = type(data)
    if kind.__module__.split(".")[0] != "xarray" or kind.__name__ not in ("Dataset", "DataArray"):
        return data
    if len(data.dims) != 1:
        raise DataError(
            f"data: expected one dimension, that of the rows, in an xarray {kind.__name__}; found "
            f"{listed(list(data.dims))}. Stack them first, as with data.stack(row=[…])"
        )
    if kind.__name__ == "Dataset":
        return data.to_dataframe()
    return data.to_dataset(name=data.name or NAMELESS).to_dataframe()
