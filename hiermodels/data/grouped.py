"""From a data frame to :class:`GroupedData`.  Every error about the data is raised here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Literal, Self

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.messages import (
    LARGEST,
    is_storable,
    listed,
    plural,
    rows_named,
    short,
    variable_names,
)
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.core.scalars import as_float, is_number
from hiermodels.data.coding import term_columns
from hiermodels.data.design import Design, build
from hiermodels.data.roles import Roles, infer_roles
from hiermodels.errors import DataError, SpecError
from hiermodels.model.standard_errors import KINDS, SMALLEST, Scale, from_se, to_se

type Missing = Literal["error", "drop"]

LEAVE_OUT = "Fill them, or leave these rows out"
# Names of what stands beside the covariates, and of dimensions.
TAKEN = ("group", "kind", "chain", "draw", "sample", "row", "quantile", COEFFICIENT_DIM)


class GroupedData(ABC):
    """Groups, and what was observed of them: rows, or statistics of rows.

    Attributes
    ----------
    roles : Roles
    design : Design
        Covariates, without a column for the intercept.
    labels : tuple of arrays
        Labels of the units at each level, from the outermost to the innermost, in the order in
        which they appear in the data (within their parent); integers, or else strings.
    own_labels : tuple of arrays
        The same as they stand in the column, which may hold them under several parents.
    parents : tuple of (u,)
        Index of each unit's parent, from the innermost level to the outermost but one.
    dropped : int
        Number of rows left out because a value was missing, where that was asked for.
    y, se, group
        The rows, as in :class:`GroupedRows`; to ask statistics for them is an error.
    """

    roles: Roles
    y: Floats
    se: Floats | None
    design: Design
    group: Indices
    labels: tuple[NDArray[Any], ...]
    own_labels: tuple[NDArray[Any], ...]
    parents: tuple[Indices, ...]
    dropped: int
    has_rows: ClassVar[bool]

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def outcome_sd(self) -> float:
        """Sd of the outcome over all rows; 0 for a single one."""

    @property
    @abstractmethod
    def mean_covariates(self) -> Floats:
        """Means of the covariates over the rows; (q,)."""

    @property
    @abstractmethod
    def observations(self) -> Observations:
        """What was observed, as variables of a data set."""

    @abstractmethod
    def without_empty_cells(self) -> Self:
        """The same without columns of interactions that are 0 in every row."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of units at each level, from the innermost to the outermost."""
        return tuple(len(labels) for labels in reversed(self.labels))

    @property
    def coords(self) -> dict[str, NDArray[Any]]:
        """Labels by the column that they come from, as xarray's coordinates."""
        coords = dict(zip(self.roles.groups, self.labels, strict=True))
        names = self.design.names
        return coords | ({COEFFICIENT_DIM: np.array(names)} if names else {})

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """Names of the covariates as variables beside labels and standard errors."""
        taken = [*self.roles.groups, *TAKEN, self.roles.outcome, str(self.roles.se)]
        return tuple(variable_names(self.design.names, [*taken, self.parent_name]))

    @property
    def parent_name(self) -> str:
        """What each inner unit's parent is called, such as ``classroom_school``."""
        return "_".join(reversed(self.roles.groups))

    def __str__(self) -> str:
        counts = [
            f"{len(labels)} {name}"
            for name, labels in zip(self.roles.groups, self.labels, strict=True)
        ]
        dropped = f" ({self.dropped} with missing values dropped)" if self.dropped else ""
        where = f" in {', '.join(counts)}" if counts else ""
        empty = f", none in the cell {listed(self.design.empty)}" if self.design.empty else ""
        return f"{self.n_rows} rows{dropped}{where}{empty}"


@dataclass(frozen=True)
class Observations:
    """What was observed, along one dimension.

    Attributes
    ----------
    dim : str
    observed : mapping of str to (n,)
        What the model explains.
    constant : mapping of str to (n,)
        What it takes as given.
    """

    dim: str
    observed: Mapping[str, NDArray[Any]]
    constant: Mapping[str, NDArray[Any]]


@storable
@dataclass(frozen=True)
class GroupedRows(GroupedData):
    """Rows in groups, checked.

    Attributes
    ----------
    roles, design, labels, own_labels, parents, dropped
        As in :class:`GroupedData`.
    y : (N,)
        Outcome.
    se : (N,) or None
        Known standard errors.
    group : (N,)
        Index of each row's innermost group.
    """

    roles: Roles
    y: Floats
    se: Floats | None
    design: Design
    group: Indices
    labels: tuple[NDArray[Any], ...]
    own_labels: tuple[NDArray[Any], ...]
    parents: tuple[Indices, ...]
    dropped: int = 0
    has_rows: ClassVar[bool] = True

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def outcome_sd(self) -> float:
        """Sd of the outcome over all rows; 0 for a single one."""
        return float(np.std(self.y, ddof=1)) if len(self.y) > 1 else 0.0

    @property
    def mean_covariates(self) -> Floats:
        """Means of the covariates over the rows; (q,)."""
        return self.design.matrix.mean(axis=0)

    def without_empty_cells(self) -> GroupedRows:
        """The same without columns of interactions that are 0 in every row."""
        empty = self.design.empty_cells(~self.design.matrix.any(axis=0))
        return replace(self, design=self.design.without(empty)) if empty.any() else self

    @property
    def observations(self) -> Observations:
        """The rows: outcome, covariates, label of the group and what was given of its error."""
        constant: dict[str, NDArray[Any]] = {}
        constant |= zip(self.covariate_names, self.design.matrix.T, strict=True)
        if self.labels:
            constant["group"] = self.labels[-1][self.group]
        if self.se is not None and self.roles.se is not None:
            constant[self.roles.se] = from_se(self.se, self.roles.se_scale)
        return Observations("row", {self.roles.outcome: self.y}, constant)


def require_rows(data: GroupedData, purpose: str) -> GroupedRows:
    """Return the rows, or refuse statistics, which have none."""
    if isinstance(data, GroupedRows):
        return data
    raise SpecError(
        f"{purpose} needs rows, and these data are statistics of groups: their rows were not "
        f"kept. Fit the rows themselves, in a data frame in memory"
    )


def read(
    data: Any,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] = (),
    missing: Missing = "error",
    intercept: bool = True,
) -> GroupedRows:
    """Read and check a data frame.

    Columns of interactions that are 0 in every row are left out: their cells are empty.  Whether
    the coefficients of the others can be told apart depends on their priors, and is not checked.

    Parameters
    ----------
    data : pandas.DataFrame or any eager frame that narwhals knows
    outcome, groups, se, variance
        Columns; inferred where they are not given, see :func:`hiermodels.data.roles.infer_roles`.
    covariates : sequence of str
        Terms of the design, as :func:`hiermodels.data.design.build` takes them.
    missing : {"error", "drop"}
        What to do with rows in which a value that is needed is missing.
    intercept : bool
        Whether the model has one beside the covariates.

    Returns
    -------
    GroupedRows

    Raises
    ------
    DataError
        Naming the column, the rows, what was expected and what to do.
    """
    roles: dict[str, Any] = {"outcome": outcome, "groups": groups, "se": se, "variance": variance}
    result = read_part(data, **roles, covariates=covariates, missing=missing, intercept=intercept)
    check_groups(result)
    return result.without_empty_cells()


def read_part(
    data: Any,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] = (),
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
    intercept: bool = True,
) -> GroupedRows:
    """Read rows that may be a part of the data: one group is enough, a covariate may be constant.

    Parameters
    ----------
    data, outcome, groups, se, variance, covariates, missing, intercept
        As in :func:`read`.
    levels : mapping of str to sequence of str, optional
        Levels of categorical covariates, which need not all occur; the first is the reference.
    """
    frame = Frame(data)
    if outcome is None or groups is None or (se is None and variance is None):
        frame.require_unique()
    roles = infer_roles(frame, outcome, groups, se, term_columns(covariates), variance)
    require_missing(missing)
    columns = term_columns(covariates)
    used = [roles.outcome, *roles.groups, *([roles.se] if roles.se else []), *columns]
    dropped = 0
    if missing == "drop":
        gaps = np.any([frame.gaps(name) for name in used], axis=0)
        dropped = int(gaps.sum())
        frame = frame.filter(~gaps)
        if not len(frame):
            raise DataError(f"no rows are left after dropping {dropped} with missing values")
    y = frame.numbers(roles.outcome)
    se_values = frame.errors(roles.se, roles.se_scale) if roles.se else None
    design = build(frame.select(columns), covariates, levels, intercept)
    units = [frame.labels(name) for name in roles.groups]
    group, labels, own_labels, parents = nest(units, len(y))
    result = GroupedRows(roles, y, se_values, design, group, labels, own_labels, parents, dropped)
    _check_shared(frame, result)
    return result


def require_missing(missing: str) -> None:
    """Refuse another word than "error" and "drop"."""
    if missing not in ("error", "drop"):
        raise DataError(f"missing: expected 'error' or 'drop'; found {missing!r}")


def nest(
    columns: Sequence[NDArray[Any]], n_rows: int
) -> tuple[Indices, tuple[NDArray[Any], ...], tuple[NDArray[Any], ...], tuple[Indices, ...]]:
    """Number the units of each level, children of one parent side by side.

    Labels that repeat under several parents are different units; they are then written
    ``parent/label``.

    Returns
    -------
    group, labels, own_labels, parents
        As in :class:`GroupedData`.
    """
    labels: list[NDArray[Any]] = []
    own_labels: list[NDArray[Any]] = []
    parents: list[Indices] = []
    unit = np.zeros(n_rows, dtype=np.intp)
    for level, column in enumerate(columns):
        codes, values = pd.factorize(column)
        place, keys = pd.factorize(unit * len(values) + codes)
        order = np.argsort(keys // len(values), kind="stable")
        unit, keys = np.argsort(order)[place], keys[order]
        parent, own = keys // len(values), values[keys % len(values)]
        own_labels.append(plain_labels(own))
        if len(keys) > len(values):
            own = np.array(
                [f"{labels[-1][p]}/{label}" for p, label in zip(parent, own, strict=True)]
            )
        labels.append(plain_labels(own))
        if level:
            parents.append(parent)
    return unit, tuple(labels), tuple(own_labels), tuple(reversed(parents))


def plain_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers or strings, not as objects."""
    return labels.astype(str) if labels.dtype == object else labels


def _check_numbering(
    names: Sequence[str], parent: Indices, own: NDArray[Any], parents: NDArray[Any]
) -> None:
    """Refuse labels that repeat here and there: they are not numbered anew under each parent.

    Numbers or letters that begin anew have a first one, which stands under most parents.  A
    label that stands under a few is a group that was recorded under two parents.
    """
    outer, inner = names
    repeated, counts = np.unique(own, return_counts=True)
    if len(parents) < 3 or 2 * counts.max() > len(parents):
        return
    label = repeated[np.argmax(counts)]
    where = [parents[p] for p in parent[own == label]]
    raise DataError(
        f"column {inner!r}: label {short(label)} stands under {len(where)} of {len(parents)} "
        f"labels of {outer!r}, {listed(where)}. If it is one group, it is not nested: correct its "
        f"rows. If these are different groups, give each a label of its own"
    )


def _check_distinct(name: str, labels: NDArray[Any]) -> None:
    values, counts = np.unique(labels, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"column {name!r}: two different groups would both be called "
            f"{short(values[counts > 1][0])}; rename them so that 'parent/label' is unique"
        )


def check_groups(data: GroupedData) -> None:
    """Refuse labels that are not nested.

    Raises
    ------
    DataError
        If labels stand under some parents as if by mistake, or if two units would have one name.
    """
    names = data.roles.groups
    for level in range(1, len(names)):
        parent, own = data.parents[-level], data.own_labels[level]
        if len(np.unique(own)) < len(own):
            _check_numbering(names[level - 1 : level + 1], parent, own, data.labels[level - 1])
            _check_distinct(names[level], data.labels[level])


def _check_shared(frame: Frame, data: GroupedRows) -> None:
    """Refuse groups of several rows that nobody named, where each row has a standard error."""
    sizes = np.bincount(data.group)
    if data.se is not None and "groups" in data.roles.inferred and sizes.max() > 1:
        shared = int(np.argmax(sizes > 1))
        rows = np.flatnonzero(data.group == shared)
        label = short(data.labels[-1][shared])
        raise DataError(
            f"column {data.roles.groups[-1]!r}: label {label} stands in "
            f"{frame.show_rows(rows)}, and each row has a standard error of its own. If these are "
            f"several measurements of one group, say groups={list(data.roles.groups)}; if not, "
            f"give each its own label"
        )


class Frame:
    """The user's frame, column by column, with messages that name column and rows.

    Parameters
    ----------
    data : data frame
        Any eager frame that narwhals knows.
    remedy : str
        What messages say that one may do about missing values.

    Attributes
    ----------
    index : pandas.Index
        Labels of the rows: numbers from 0 where the frame has none.
    """

    def __init__(self, data: Any, remedy: str = f"{LEAVE_OUT} with missing='drop'") -> None:
        self._repeated: set[Any] = set()
        if isinstance(data, pd.DataFrame) and not data.columns.is_unique:
            repeated = data.columns.duplicated(keep=False)
            self._repeated = set(data.columns[repeated])
            data = data.loc[:, ~repeated]
        try:
            frame = nw.from_native(data, eager_only=True)
        except Exception as error:  # narwhals raises many kinds
            raise DataError(
                f"data: expected a data frame (pandas, polars, pyarrow, …) with unique column "
                f"names; found {type(data).__name__}: {error}"
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
        """Refuse columns of one name, any of which might be inferred to have a role."""
        for name in self._repeated:
            raise DataError(
                f"there is more than one column {name!r}; rename one, or name all roles, with "
                f"se=False if there are no standard errors"
            )

    def require(self, name: str) -> None:
        """Refuse a name that is no column, or of more than one."""
        if name in self._repeated:
            raise DataError(f"there is more than one column {name!r}; rename or leave out one")
        if name not in self.columns:
            raise DataError(f"there is no column {name!r}; the data have {listed(self.columns)}")

    def filter(self, keep: NDArray[np.bool_]) -> Frame:
        """Return some of the rows."""
        kept = object.__new__(Frame)
        kept._frame = self._frame.filter(keep.tolist())
        kept.index = self.index[keep]
        kept._remedy = self._remedy
        kept._repeated = self._repeated
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
        return bool(self._frame[name].dtype.is_float())

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories."""
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
        """Refuse missing values."""
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
        """Refuse labels that are empty, or text that arrays and files cannot hold."""
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
        """Refuse lists, dictionaries, arrays and the like, which can change."""
        for row, value in enumerate(raw):
            try:
                hash(value)
            except TypeError as error:
                raise DataError(
                    f"column {name!r}: expected labels such as text or whole numbers; found "
                    f"{short(value)} ({type(value).__name__}) in {self.show_rows(np.array([row]))}"
                ) from error

    def _check_spelling(self, name: str, raw: list[Any], text: NDArray[Any]) -> None:
        """Refuse labels that differ but are written alike, or are equal but written differently."""
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
