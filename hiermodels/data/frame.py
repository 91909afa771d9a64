"""What is read of a user's data frame, column by column, or an error that names column and rows."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import LARGEST, is_storable, listed, plural, rows_named, short
from hiermodels.core.scalars import as_float, is_number
from hiermodels.core.suggestions import did_you_mean
from hiermodels.data.as_frame import as_frame
from hiermodels.errors import DataError
from hiermodels.model.standard_errors import KINDS, SMALLEST, Scale, to_se

LEAVE_OUT = "Fill them, or leave these rows out"


class Frame:
    """The user's frame, column by column, with messages that name column and rows.

    Parameters
    ----------
    data : data frame
        Any eager frame that narwhals knows, or what :func:`hiermodels.data.as_frame.as_frame` makes
        one of.
    remedy : str
        What messages say that one may do about missing values.

    Attributes
    ----------
    index : pandas.Index
        Labels of the rows: numbers from 0 where the frame has none.
    of_index : frozenset of str
        Columns that were levels of that index.
    """

    def __init__(self, data: Any, remedy: str = f"{LEAVE_OUT} with missing='drop'") -> None:
        self._repeated: set[Any] = set()
        data, self.of_index = as_frame(data)
        if isinstance(data, pd.DataFrame) and not data.columns.is_unique:
            repeated = data.columns.duplicated(keep=False)
            self._repeated = set(data.columns[repeated])
            data = data.loc[:, ~repeated]
        if isinstance(data, pd.DataFrame) and data.attrs:
            data = pd.DataFrame(data, copy=False)  # pandas would copy attrs with every column
        try:
            frame = nw.from_native(data, eager_only=True)
        except Exception as error:  # narwhals raises many kinds
            raise DataError(
                f"data: expected a data frame (pandas, polars, pyarrow, …) with unique column "
                f"names, or a dict of arrays; found {type(data).__name__}: {error}"
            ) from error
        if not len(frame):
            raise DataError("data: expected rows; the frame is empty")
        self._frame = frame
        index = getattr(data, "index", None)
        self.index = index if isinstance(index, pd.Index) else pd.RangeIndex(len(frame))
        self._remedy = remedy

    def __len__(self) -> int:
        return len(self._frame)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._frame.columns)

    def require_unique(self) -> None:
        """Raise DataError if columns that roles may be inferred from have one name."""
        for name in self._repeated:
            raise DataError(
                f"there is more than one column {name!r}; rename one, or name all roles, with "
                f"se=False if there are no standard errors"
            )

    def require(self, name: str) -> None:
        """Raise DataError if a name is that of no column, or of more than one."""
        if name in self._repeated:
            raise DataError(f"there is more than one column {name!r}; rename or leave out one")
        if name not in self.columns:
            raise DataError(
                f"there is no column {name!r}; the data have {listed(self.columns)}"
                f"{did_you_mean(name, self.columns)}"
            )

    def filter(self, keep: NDArray[np.bool_]) -> Frame:
        """Return some of the rows."""
        kept = object.__new__(Frame)
        kept._frame = self._frame.filter(keep.tolist())
        kept.index = self.index[keep]
        kept._remedy = self._remedy
        kept._repeated = self._repeated
        kept.of_index = self.of_index
        return kept

    def select(self, columns: Sequence[str]) -> pd.DataFrame:
        """Some columns as a pandas frame, with the user's row labels for its index."""
        series = {
            name: self._frame[name].to_pandas().array
            if self._has_order(name)
            else pd.Series(self._written(name))
            for name in columns
        }
        return pd.DataFrame(series, index=range(len(self))).set_axis(self.index)

    def _has_order(self, name: str) -> bool:
        """Whether a column holds categories in an order of their own.

        In polars those of ``Enum`` have, and those of ``Categorical`` come as they were met.
        """
        dtype = self._frame[name].dtype
        is_polars = self._frame.implementation is nw.Implementation.POLARS
        return dtype == nw.Enum or (dtype == nw.Categorical and not is_polars)

    def is_continuous(self, name: str) -> bool:
        """Whether a column holds floating-point numbers."""
        return name not in self.of_index and bool(self._frame[name].dtype.is_float())

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories, a level of the index only if no other does."""
        own = self._holds_labels(name)
        if own and name in self.of_index:
            return not any(map(self._holds_labels, set(self.columns) - self.of_index))
        return own

    def _holds_labels(self, name: str) -> bool:
        dtype = self._frame[name].dtype
        if dtype == nw.Object:
            return all(isinstance(value, str) for value in self._frame[name].drop_nulls().to_list())
        return dtype in (nw.String, nw.Categorical, nw.Enum)

    def gaps(self, name: str) -> NDArray[np.bool_]:
        """Where a value is null or not a number."""
        series = self._frame[name]
        if series.dtype == nw.Object:
            return np.asarray(pd.isna(pd.Series(self._objects(name), dtype=object)), dtype=bool)
        null = np.array(series.is_null().to_numpy(), dtype=bool)
        if series.dtype.is_float():
            null |= np.asarray(series.is_nan().fill_null(True).to_numpy(), dtype=bool)
        return null

    def check_gaps(self, names: Sequence[str]) -> None:
        """Raise DataError if values are missing."""
        for name in names:
            rows = np.flatnonzero(self.gaps(name))
            if len(rows):
                raise DataError(
                    f"column {name!r}: {len(rows)} missing value{plural(len(rows))}, in "
                    f"{self.show_rows(rows)}. {self._remedy}"
                )

    def numbers(self, name: str) -> Floats:
        """Return a column of finite numbers."""
        self.check_gaps([name])
        series = self._frame[name]
        dtype = series.dtype
        if dtype.is_numeric():
            values = series.cast(nw.Float64).to_numpy()
        else:
            values = self._objects_to_floats(name, series.to_list())
        values = np.array(values, dtype=float)
        bad = np.flatnonzero(~(np.abs(values) <= LARGEST))
        if len(bad):
            raise DataError(
                f"column {name!r}: expected finite numbers of size up to {LARGEST:g}; found "
                f"{values[bad[0]]} in {self.show_rows(bad)}"
            )
        return values

    def is_truth(self, name: str) -> bool:
        """Whether a column holds truth values, and nothing else but gaps."""
        series = self._frame[name]
        if series.dtype == nw.Object:
            values = [value for value in self._objects(name) if value is not None]
            return bool(values) and all(isinstance(value, (bool, np.bool_)) for value in values)
        return bool(series.dtype == nw.Boolean)

    def truth(self, name: str) -> Floats:
        """Return a column of truth values as numbers, 0 and 1."""
        self.check_gaps([name])
        return np.array(self._frame[name].to_list(), dtype=float)

    def errors(self, name: str, scale: Scale) -> Floats:
        """Return standard errors, from a column of these or of variances."""
        values = self.numbers(name)
        bad = np.flatnonzero(values < SMALLEST[scale])
        if len(bad):
            raise DataError(
                f"column {name!r}: expected positive {KINDS[scale]}; found {values[bad[0]]:g} in "
                f"{self.show_rows(bad)}"
            )
        return to_se(values, scale)

    def _objects(self, name: str) -> list[Any]:
        """Values of a column, with None for a signalling NaN, which admits no comparison."""
        values = self._frame[name].to_list()
        return [None if isinstance(v, Decimal) and v.is_snan() else v for v in values]

    def _written(self, name: str) -> list[Any]:
        """Values of a covariate; refuses text that pandas and files cannot hold."""
        values = self._objects(name)
        odd = {v for v in values if isinstance(v, str)} - {""}
        odd = {text for text in odd if not is_storable(text)}
        if odd:
            rows = [i for i, v in enumerate(values) if isinstance(v, str) and v in odd]
            raise DataError(
                f"column {name!r}: text {short(values[rows[0]])} in "
                f"{self.show_rows(np.array(rows))} has a NUL or half a character in it, which "
                f"files cannot hold. Write it anew"
            )
        return values

    def _objects_to_floats(self, name: str, values: list[Any]) -> list[float]:
        bad = np.flatnonzero([not is_number(value) for value in values])
        if len(bad):
            raise DataError(
                f"column {name!r}: expected numbers; found {short(values[bad[0]])} in "
                f"{self.show_rows(bad)}"
            )
        return [as_float(value) for value in values]

    def whole_numbers(self, name: str) -> Floats | None:
        """The values of a column of whole numbers from 0; None if it is another."""
        if not self._frame[name].dtype.is_integer() or self.gaps(name).any():
            return None
        values = self.numbers(name)
        return values if (values >= 0).all() else None

    def nameless_labels(self) -> str:
        """What to do where an index without a name holds the labels; empty where it does not."""
        if (
            self.index.nlevels > 1
            or self.index.name is not None
            or self.index.dtype.kind in "biufcmM"
        ):
            return ""
        return ". The index of the rows holds labels: name it, as with data.rename_axis('group')"

    def strings(self, name: str) -> list[str]:
        """Return the values of a column, written out."""
        return [str(value) for value in self._frame[name].to_list()]

    def labels(self, name: str) -> NDArray[Any]:
        """Return a column of labels: integers as they are, all else as (objects that are) text."""
        self.check_gaps([name])
        series = self._frame[name]
        if series.dtype.is_integer():
            values = series.to_numpy()
            if values.dtype.kind in "iu" and values.max() <= np.iinfo(np.int64).max:
                return values.astype(np.int64)
        if series.dtype == nw.String:
            text = np.asarray(series.to_numpy(), dtype=object)
        else:
            raw = series.to_list()
            self._check_hashable(name, raw)
            text = np.array([str(value) for value in raw], dtype=object)
            self._check_spelling(name, raw, text)
        self._check_written(name, text)
        return text

    def labels_or_gaps(self, name: str) -> tuple[list[Any], list[Any]]:
        """Return labels as they stand in the column, and as :meth:`labels`; None where missing."""
        gaps = self.gaps(name)
        raw = [None if gap else v for v, gap in zip(self._objects(name), gaps, strict=True)]
        if gaps.all():
            return raw, raw
        kept = iter(self.filter(~gaps).labels(name).tolist())
        return raw, [None if gap else next(kept) for gap in gaps]

    def _check_written(self, name: str, text: NDArray[Any]) -> None:
        """Raise DataError if labels are empty, or text that arrays and files cannot hold."""
        for label in pd.unique(text):
            if is_storable(label):
                continue
            rows = np.flatnonzero([other == label for other in text])  # NumPy would drop a NUL
            if label:
                raise DataError(
                    f"column {name!r}: label {short(label)} in {self.show_rows(rows)} has a NUL or "
                    f"half a character in it, which files cannot hold. Write these labels anew"
                )
            raise DataError(
                f"column {name!r}: {len(rows)} empty label{plural(len(rows))}, in "
                f"{self.show_rows(rows)}. Name these groups"
            )

    def _check_hashable(self, name: str, raw: list[Any]) -> None:
        """Raise DataError if labels are lists, dictionaries or the like, which can change."""
        for row, value in enumerate(raw):
            try:
                hash(value)
            except TypeError as error:
                raise DataError(
                    f"column {name!r}: expected labels such as text or whole numbers; found "
                    f"{short(value)} ({type(value).__name__}) in {self.show_rows(np.array([row]))}"
                ) from error

    def _check_spelling(self, name: str, raw: list[Any], text: NDArray[Any]) -> None:
        """Raise DataError if labels differ but are written alike, or the reverse."""
        spelled: dict[str, Any] = {}
        for value, written in zip(raw, text, strict=True):
            other = spelled.setdefault(written, value)
            if other != value:
                raise DataError(
                    f"column {name!r}: labels {other!r} ({type(other).__name__}) and {value!r} "
                    f"({type(value).__name__}) differ but are written alike; make them all text"
                )
        if len(set(spelled.values())) < len(spelled):
            raise DataError(
                f"column {name!r}: some labels are equal but written differently, such as 1 and "
                f"1.0; make them all text"
            )

    def value(self, name: str, row: int) -> Any:
        """A value as it stands in the frame."""
        return self._frame[name][int(row)]

    def show_rows(self, rows: Indices) -> str:
        """Name some rows in a message."""
        return rows_named([self.index[i] for i in rows])
