"""Data in groups, checked: what every model is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.messages import listed, variable_names
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.data.design import Design
from hiermodels.data.nesting import (
    GroupLevel,
    levels_of,
    nested_by_chance,
    said_of_chain,
)
from hiermodels.data.observations import Observations
from hiermodels.data.roles import Roles
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.data.strata import strata_of
from hiermodels.errors import SpecError
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.nests import lineages_of, pairs_of
from hiermodels.model.standard_errors import from_se

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
