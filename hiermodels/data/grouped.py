"""Data in groups, checked: what every model is given, and how a data frame becomes that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.messages import listed, variable_names
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.data.coding import term_columns
from hiermodels.data.design import Design, build
from hiermodels.data.frame import Frame
from hiermodels.data.nesting import (
    GroupLevel,
    attributes_of,
    chain_of,
    check_groups,
    levels_of,
    nested_by_chance,
    number_groups,
    said_of_chain,
)
from hiermodels.data.observations import Observations
from hiermodels.data.outcome import read_outcome
from hiermodels.data.read_covariance import read_covariance
from hiermodels.data.roles import Roles, infer_roles
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.data.shared_groups import check_shared
from hiermodels.data.strata import check_strata, read_strata, strata_of
from hiermodels.errors import DataError, SpecError
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.formula.columns import Stated
from hiermodels.model.nests import lineages_of, pairs_of
from hiermodels.model.standard_errors import from_se

type Missing = Literal["error", "drop"]

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
        Labels of the groups at each level, from the outermost to the innermost, in the order in
        which they appear in the data (within their parent); integers, or else strings.
    own_labels : tuple of arrays
        The same as they stand in the column, which may hold them under several parents.
    parents : tuple of (u,)
        Index of each group's parent, from the innermost level to the outermost but one.
    dropped : int
        Number of rows left out because a value was missing, where that was asked for.
    crossed : tuple of arrays
        Index of each row's group, or each cell's, in every column, where some are crossed.
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
    crossed: tuple[Indices, ...]
    strata: NDArray[Any]
    has_rows: ClassVar[bool]

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def rows_of_strata(self) -> Indices:
        """Number of rows of each stratum, if these have residual sds of their own; (K,)."""

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
    def covariate_sizes(self) -> Floats:
        """Sds of the covariates over the rows, or their sizes if constant; (q,)."""

    @property
    @abstractmethod
    def observations(self) -> Observations:
        """What was observed, as variables of a data set."""

    @abstractmethod
    def without_empty_cells(self) -> Self:
        """The same without columns of interactions that are 0 in every row."""

    @property
    def pairs(self) -> tuple[tuple[GroupLevel, GroupLevel], ...]:
        """Each level that lies in another one, after that one."""
        pairs = pairs_of(self.roles.nesting, len(self.levels))
        return tuple((self.levels[outer], self.levels[inner]) for outer, inner in pairs)

    @property
    def lineages(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of each level and of those that it lies in, from the inner to the outer one."""
        return lineages_of(self.roles.nesting, len(self.levels))

    @cached_property
    def levels(self) -> tuple[GroupLevel, ...]:
        """The groups level by level, from the outermost to the innermost."""
        return levels_of(self.roles.groups, self.labels, self.own_labels, self.parents)

    @property
    def n_groups(self) -> int:
        """Number of innermost groups."""
        return len(self.labels[-1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of groups at each level, from the innermost to the outermost."""
        return tuple(len(labels) for labels in reversed(self.labels))

    @property
    def coords(self) -> dict[str, NDArray[Any]]:
        """Labels by the column that they come from, as xarray's coordinates."""
        coords = {self.roles.columns[STRATA]: self.strata} if len(self.strata) else {}
        coords |= zip(self.roles.groups, self.labels, strict=True)
        names = self.design.names
        return coords | ({COEFFICIENT_DIM: np.array(names)} if names else {})

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """Names of the covariates as variables beside labels and standard errors."""
        taken = [*self.roles.groups, *TAKEN, self.roles.outcome, str(self.roles.se)]
        taken += [*self.roles.columns.values(), *self.group_names]
        return tuple(variable_names(self.design.names, [*taken, *self.parent_names]))

    @property
    def parent_names(self) -> tuple[str, ...]:
        """What parents are called, such as ``classroom_school``, from the outermost downwards."""
        groups = self.roles.groups
        pairs = pairs_of(self.roles.nesting, len(groups))
        return tuple(f"{groups[inner]}_{groups[outer]}" for outer, inner in pairs)

    @property
    def group_names(self) -> tuple[str, ...]:
        """What the labels of the rows' groups are called: of crossed ones by column."""
        crossed = tuple(f"group_{column}" for column in self.roles.groups)
        return crossed if self.roles.nesting else ("group",)

    @cached_property
    def nested_by_chance(self) -> list[str]:
        """Which columns that were crossed lie in one another, in words."""
        if self.roles.as_crossed:
            return [said_of_chain(self.roles.groups)]
        return nested_by_chance(self.levels, self.crossed, self.lineages) if self.crossed else []

    def __str__(self) -> str:
        return "; ".join([self._counted, *self.nested_by_chance])

    @property
    def _counted(self) -> str:
        """How many rows and groups there are, in words."""
        counts = [
            f"{len(labels)} {name}"
            for name, labels in zip(self.roles.groups, self.labels, strict=True)
        ]
        dropped = f" ({self.dropped} with missing values dropped)" if self.dropped else ""
        where = f" in {', '.join(counts)}" if counts else ""
        empty = f", none in the cell {listed(self.design.empty)}" if self.design.empty else ""
        return f"{self.n_rows} rows{dropped}{where}{empty}"


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
        Index of each row's innermost group; of crossed ones, of its group in the last column.
    columns : mapping of str to (N,)
        What the rows' family needs beside these, and the offset, by what they are to it.
    covariance : SamplingCovariance, optional
        Of the rows' errors, where these are correlated; ``se`` are the roots of its diagonal.
    strata : (K,)
        Labels of the strata of the rows, if these have residual sds of their own.
    crossed : tuple of (N,)
        Index of each row's group in every column, where some are crossed.
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
    columns: Mapping[str, Floats] = field(default_factory=dict)
    covariance: SamplingCovariance | None = None
    strata: NDArray[Any] = field(default_factory=lambda: np.array([]))
    crossed: tuple[Indices, ...] = ()
    has_rows: ClassVar[bool] = True

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def rows_of_strata(self) -> Indices:
        """Number of rows of each stratum; (K,)."""
        return np.bincount(strata_of(self.columns), minlength=len(self.strata))

    @property
    def memberships(self) -> tuple[Indices, ...]:
        """Index of each row's group in every column of groups; (N,) each."""
        if self.crossed or not self.labels:
            return self.crossed
        members = [self.group]
        for level in reversed(self.levels[1:]):
            members.append(level.parent[members[-1]])
        return tuple(reversed(members))

    @property
    def precision(self) -> Floats:
        """Inverse variance of each row, in units of 1/σ² where σ is unknown; (N,)."""
        if self.se is not None:
            return self.se**-2.0
        return self.columns.get(WEIGHTS, np.ones(len(self.y)))

    @property
    def outcome_sd(self) -> float:
        """Sd of the outcome over all rows; 0 for a single one."""
        return float(np.std(self.y, ddof=1)) if len(self.y) > 1 else 0.0

    @property
    def mean_covariates(self) -> Floats:
        """Means of the covariates over the rows; (q,)."""
        return self.design.matrix.mean(axis=0)

    @property
    def covariate_sizes(self) -> Floats:
        """Sds of the covariates over the rows, or their sizes if constant; (q,)."""
        spread = self.design.matrix.std(axis=0)
        return np.where(spread > 0, spread, np.abs(self.design.matrix).max(axis=0, initial=0.0))

    def without_empty_cells(self) -> GroupedRows:
        """The same without columns of interactions that are 0 in every row."""
        empty = self.design.empty_cells(~self.design.matrix.any(axis=0))
        return replace(self, design=self.design.without(empty)) if empty.any() else self

    @property
    def observations(self) -> Observations:
        """The rows: outcome, covariates, label of the group and what was given of its error."""
        constant: dict[str, NDArray[Any]] = {}
        constant |= zip(self.covariate_names, self.design.matrix.T, strict=True)
        shown = zip(self.memberships, self.labels, strict=True)
        labels = [of_column[member] for member, of_column in shown][-len(self.group_names) :]
        constant |= zip(self.group_names[: len(labels)], labels, strict=True)
        if self.se is not None and self.roles.se is not None:
            constant[self.roles.se] = from_se(self.se, self.roles.se_scale)
        known: dict[str, NDArray[Any]] = dict(self.columns)
        if STRATA in known:
            known[STRATA] = self.strata[self.columns[STRATA].astype(np.intp)]
        constant |= {name: known[role] for role, name in self.roles.columns.items()}
        return Observations("row", {self.roles.outcome: self.y}, constant)


def require_rows(data: GroupedData, purpose: str) -> GroupedRows:
    """Return the rows, or refuse statistics, which have none."""
    if isinstance(data, GroupedRows):
        return data
    raise SpecError(
        f"{purpose} needs rows, and these data are statistics of groups: their rows were not "
        f"kept. Fit the rows themselves, in a data frame in memory"
    )


def read(data: Any, *, missing: Missing = "error", **said: Any) -> GroupedRows:
    """Read and check a data frame.

    Crossed columns that all lie in one another are nested: they are read as such.

    Columns of interactions that are 0 in every row are left out: their cells are empty.  Whether
    the coefficients of the others can be told apart depends on their priors, and is not checked.

    Parameters
    ----------
    data : pandas.DataFrame or any eager frame that narwhals knows
    missing : {"error", "drop"}
        What to do with rows in which a value that is needed is missing.
    **said
        Columns by their roles, see :class:`hiermodels.model.formula.columns.Stated`.

    Returns
    -------
    GroupedRows

    Raises
    ------
    DataError
        Naming the column, the rows, what was expected and what to do.
    """
    stated = Stated(**said)
    result = read_part(data, stated, missing=missing, whole=True)
    order = chain_of(result.crossed, result.sizes[::-1]) if result.crossed else ()
    if order:
        crossed = result.roles.groups
        nested = stated._replace(groups=[crossed[own] for own in order], nesting=())
        result = read_part(data, nested, missing=missing, whole=True)
        result = replace(result, roles=replace(result.roles, as_crossed=crossed))
    check_groups(result.levels, result.roles.nesting)
    return result.without_empty_cells()


def read_part(
    data: Any,
    said: Stated,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
    whole: bool = False,
) -> GroupedRows:
    """Read rows that may be a part of the data: one group is enough, a covariate may be constant.

    Parameters
    ----------
    data, missing
        As in :func:`read`.
    said : Stated
        Columns by their roles.
    levels : mapping of str to sequence of str, optional
        Levels of categorical covariates, which need not all occur; the first is the reference.
    whole : bool
        Whether they are all rows, so that each stratum has some to spare.
    """
    frame = Frame(data)
    given = said.se, said.variance, said.covariance
    errors_given = any(value is not None for value in given)
    if said.outcome is None or said.groups is None or not errors_given:
        frame.require_unique()
    columns = term_columns(said.covariates)
    roles = infer_roles(frame, said, columns)
    require_missing(missing)
    used = [roles.outcome, *roles.groups, *([roles.se] if roles.se else []), *columns]
    used += roles.columns.values()
    dropped, keep = 0, np.ones(len(frame), dtype=bool)
    if missing == "drop":
        gaps = np.any([frame.gaps(name) for name in used], axis=0)
        dropped, keep = int(gaps.sum()), ~gaps
        frame = frame.filter(keep)
        if not len(frame):
            raise DataError(f"no rows are left after dropping {dropped} with missing values")
    y, more = read_outcome(frame, roles)
    strata, of_rows = read_strata(frame, roles)
    if of_rows and whole:
        check_strata(frame, roles, strata, of_rows[STRATA])
    se = frame.errors(roles.se, roles.se_scale) if roles.se else None
    design = build(frame.select(columns), said.covariates, levels, said.intercept)
    labels = {name: frame.labels(name) for name in roles.groups}
    members, nested = number_groups(labels, len(y), roles.nesting)
    group = members[-1] if members else np.zeros(len(y), dtype=np.intp)
    covariance = read_covariance(said, roles, frame, keep, se, nested, group)
    if covariance is not None:
        se = np.sqrt(covariance.variances)
    result = GroupedRows(
        roles,
        y,
        se,
        design,
        group,
        dropped=dropped,
        columns=more | of_rows,
        covariance=covariance,
        strata=strata,
        crossed=members if roles.nesting else (),
        **attributes_of(nested),
    )

    def show_rows(shared: int) -> str:
        return frame.show_rows(np.flatnonzero(group == shared))

    check_shared(roles, nested, np.bincount(group), show_rows)
    return result


def require_missing(missing: str) -> None:
    """Raise DataError if this is another word than "error" and "drop"."""
    if missing not in ("error", "drop"):
        raise DataError(f"missing: expected 'error' or 'drop'; found {missing!r}")
