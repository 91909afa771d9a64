"""What the posterior needs of the data, group by group, without the rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, ClassVar, Unpack

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.data.arguments import takes_columns
from hiermodels.data.cells import CELL, in_cells, require_cells
from hiermodels.data.design import Design
from hiermodels.data.given_arrays import with_arrays
from hiermodels.data.group_moments import GroupMoments, require_distinct, require_shape
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.lazy import aggregate_lazily, as_lazy
from hiermodels.data.merge import added_moments, kept_moments, merged_groups, require_alike
from hiermodels.data.nesting import attributes_of, check_groups
from hiermodels.data.observations import Observations
from hiermodels.data.read_rows import Missing, read_part
from hiermodels.data.roles import (
    NO_COVARIANCES,
    NO_GROUPS,
    NO_SLOPES,
    Roles,
)
from hiermodels.data.row_moments import moments_of_rows, stratum_of_rows
from hiermodels.data.slopes import (
    SlopeStatistics,
    columns_with_slopes,
)
from hiermodels.data.strata import strata_of
from hiermodels.data.stratum_statistics import (
    StratumStatistics,
    added_strata,
    in_stratum,
    require_strata,
)
from hiermodels.data.totals import Totals, added_totals, totals_of
from hiermodels.errors import DataError, SpecError
from hiermodels.families.checks import OUTCOME
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.formula.columns import ColumnNames, Stated, stated

STATISTICS = "statistics"  # what a file of them holds


@storable
@dataclass(frozen=True, repr=False)
class SufficientStatistics(GroupMoments):
    """Statistics of groups that say all that their rows say of the model's parameters.

    Rows are ``z = [x, y]``, the covariates and the outcome, with weights ω: 1, or ``1/se²`` where
    the standard errors are known.  Of each innermost group c, and of all rows, these are kept::

        weight_c = Σ ω   mean_c = Σ ω z / weight_c   scatter = Σ_c Σ ω (z − mean_c)(z − mean_c)'

    Of counts, ``totals`` has what each group's rows add up to, with any offset that they have in
    common; covariates must be constant within groups.  Of families whose rows do not add up there
    are no statistics.  Where slopes vary, ``slopes`` has what each group says of its own.

    Of crossed groups these are of cells, c: of rows that share their group in every column.

    Statistics of parts of the data are added with ``+``, as if their rows had been together.

    ``hm.fit`` and ``hm.reference`` take statistics in place of a data frame.  What needs rows,
    such as a predictive check or the log likelihood of each row, is refused.

    Attributes
    ----------
    roles, design, labels, own_labels, parents, dropped
        As in :class:`hiermodels.GroupedData`; the design's matrix has no rows.
    count, weight : (g,)
        Number of rows of each innermost group or cell, and their weight.
    mean : (g, q + 1)
        The means, rounded.
    rest : (g, q + 1)
        What the means have beyond ``mean``: a group far from 0 keeps the digits of its spread.
    scatter : (q + 1, q + 1)
    log_weight : float
        Sum of ``log ω`` over the rows.
    totals : mapping of str to (g,)
        Of counts: ``outcome``, ``trials`` or ``exposure``, ``offset`` if there is one (with a log
        link exposures are in units of its e-th power), and ``log_given``, the log probability of
        the rows given these totals.
    slopes : SlopeStatistics, optional
        Where slopes vary, how their columns go together with all columns in each group.
    crossed : tuple of (g,)
        Of crossed groups, index of each cell's group in every column.
    strata : (K,)
        Labels of the strata of the rows, if these have residual sds of their own.
    by_stratum : tuple of StratumStatistics
        Statistics of the rows of each.

    References
    ----------
    Chan, Golub & LeVeque (1983), The American Statistician 37:242 (adding up parts).

    Examples
    --------
    >>> import hiermodels as hm
    >>> pastes = hm.datasets.load_pastes()
    >>> roles = {"outcome": "strength", "groups": ["batch", "cask"]}
    >>> first = hm.SufficientStatistics.of(pastes[:25], **roles)
    >>> both = first + hm.SufficientStatistics.of(pastes[25:], **roles)
    >>> both
    SufficientStatistics(60 rows in 10 batch, 30 cask)
    >>> round(float(hm.reference(both).mean["lam"]), 6)
    60.053333
    """

    roles: Roles
    design: Design
    labels: tuple[NDArray[Any], ...]
    own_labels: tuple[NDArray[Any], ...]
    parents: tuple[Indices, ...]
    count: Indices
    weight: Floats
    mean: Floats
    rest: Floats
    scatter: Floats
    log_weight: float
    dropped: int = 0
    totals: Totals = field(default_factory=dict)
    slopes: SlopeStatistics | None = None
    crossed: tuple[Indices, ...] = ()
    strata: NDArray[Any] = field(default_factory=lambda: np.array([]))
    by_stratum: tuple[StratumStatistics, ...] = ()
    has_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise SpecError if these cannot be the statistics of rows."""
        if not self.roles.groups:
            raise SpecError(NO_GROUPS)
        if self.roles.varying and self.slopes is None and not self.totals:
            raise SpecError(NO_SLOPES)
        if self.roles.sampling is not None:
            raise SpecError(NO_COVARIANCES)
        require_cells(self.roles, self.crossed)
        size, columns = self.n_moments, len(self.design.names) + 1
        expected = {
            "count": (size,),
            "weight": (size,),
            "mean": (size, columns),
            "rest": (size, columns),
            "scatter": (columns, columns),
            **dict.fromkeys(self.totals, (size,)),
        }
        for name, shape in expected.items():
            require_shape(name, {**vars(self), **self.totals}[name], shape)
        if self.slopes is not None:
            self.slopes.require(size, columns)
        positive = (self.count > 0).all() and (self.weight > 0).all()
        if not (positive and (np.diag(self.scatter) >= 0).all() and np.isfinite(self.log_weight)):
            raise DataError(
                "statistics: expected a positive number of rows and a positive weight in each "
                "group, and sums of squares of at least 0"
            )

    @classmethod
    @takes_columns
    def of(
        cls,
        data: Any,
        formula: str | None = None,
        *,
        levels: Mapping[str, Sequence[str]] | None = None,
        missing: Missing = "error",
        **columns: Unpack[ColumnNames],
    ) -> SufficientStatistics:
        """Reduce a data frame, or a part of one, to its statistics.

        What is lazy is never collected: the engine reads its rows once, after a look at the first
        few, for sums over each innermost group, of which a row comes back.  It reads them once
        more, before, where values are missing, and for standard errors, categorical covariates (of
        which each takes another query, for its levels) and interactions; twice more, after, where
        groups lie so far apart that these sums would lose digits.

        Parameters
        ----------
        data, formula, outcome, groups, se, variance, covariates, missing
            As in :func:`hiermodels.fit`.  A part of the data may hold a single group.  Of a lazy
            frame, several columns of groups are not inferred: rows would have to be compared.
        family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
            Likewise: what the rows are.  Rows whose errors are correlated have no statistics.
        levels : mapping of str to sequence of str, optional
            All levels of categorical covariates, the reference first.  Without them, they are
            those that occur; statistics of parts in which different ones occur cannot be added.

        Raises
        ------
        DataError, SpecError
            As :func:`hiermodels.fit` does.
        """
        data, named = with_arrays(data, columns)
        said = stated(formula, **named)
        lazy = as_lazy(data)
        if lazy is None:
            rows = read_part(data, said, levels=levels, missing=missing)
            statistics = with_totals(rows)
        else:
            statistics = statistics_of_lazy(lazy, said, levels=levels, missing=missing)
        statistics.roles.announce()
        return replace(statistics, roles=replace(statistics.roles, inferred=()))

    @property
    def n_moments(self) -> int:
        """Number of innermost groups or cells, g."""
        return len(self.crossed[0]) if self.crossed else len(self.labels[-1])

    @property
    def observations(self) -> Observations:
        """The groups: mean outcome, or its total if it is a count, number of rows, and weight."""
        dim, named = self.roles.groups[-1], self.roles.columns
        if self.crossed:
            dim = CELL
        outcome = self.totals.get(OUTCOME, (self.mean + self.rest)[:, -1])
        constant: dict[str, NDArray[Any]] = {f"rows_of_{dim}": self.count}
        for name, labels, member in zip(self.group_names, self.labels, self.crossed, strict=False):
            constant[name] = labels[member]
        known = {**self.totals, WEIGHTS: self.weight}
        constant |= {n: known[role] for role, n in named.items() if role != STRATA}
        return Observations(dim, {self.roles.outcome: outcome}, constant)

    def __getattr__(self, name: str) -> Any:
        """Raise DataError: statistics do not have the rows."""
        if name in ("y", "se", "group"):
            require_rows(self, f"data.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"SufficientStatistics({self})"

    def __radd__(self, other: Any) -> SufficientStatistics:
        """Begin a ``sum``."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Put two parts of the data together.

        Of a group that both have, with means ``m₁`` and ``m₂`` and weights ``w₁`` and ``w₂``,

            weight = w₁ + w₂,   mean = m₁ + w₂/(w₁ + w₂) (m₂ − m₁),
            scatter = S₁ + S₂ + w₁w₂/(w₁ + w₂) (m₂ − m₁)(m₂ − m₁)'.
        """
        if not isinstance(other, SufficientStatistics):
            return NotImplemented
        require_alike(self, other)
        places, levels, crossed = merged_groups(self, other)
        size = len(crossed[0]) if crossed else len(levels[-1])
        columns = self.with_slopes
        return SufficientStatistics(
            roles=self.roles,
            design=self.design,
            **attributes_of(levels),
            **added_moments(self, other, places, size, columns),
            log_weight=self.log_weight + other.log_weight,
            dropped=self.dropped + other.dropped,
            totals=added_totals(self, other, places, levels[-1].labels),
            crossed=crossed,
            **added_strata(
                (self.strata, self.by_stratum),
                (other.strata, other.by_stratum),
                places,
                columns,
            ),
        )

    @property
    def rows_of_strata(self) -> Indices:
        """Number of rows of each stratum; (K,)."""
        return np.array([part.count.sum() for part in self.by_stratum], dtype=np.intp)

    @property
    def with_slopes(self) -> Indices:
        """Which columns have slopes that vary."""
        return columns_with_slopes(self.roles.varying, self.design)

    def without_empty_cells(self) -> SufficientStatistics:
        """The same without columns of interactions that are 0 in every row."""
        x = np.vstack([self.mean, self.rest, self.scatter])[:, :-1]
        empty = self.design.empty_cells(~x.any(axis=0))
        if not empty.any():
            return self
        kept = np.append(~empty, True)
        return replace(
            self,
            design=self.design.without(empty),
            **kept_moments(self, kept),
            by_stratum=tuple(part.kept(kept) for part in self.by_stratum),
        )

    def check(self, flat: NDArray[np.bool_] | None = None) -> None:
        """Raise an error if the statistics are of a part of the data only, as far as that shows.

        Parameters
        ----------
        flat : (q,), optional
            Which coefficients have flat priors; all by default.

        Raises
        ------
        DataError
            If labels are not nested, or if coefficients with flat priors cannot be told apart.
        """
        check_groups(self.levels, self.roles.nesting)
        if STRATA in self.roles.columns:
            require_strata(self.roles.columns[STRATA], self.strata, self.by_stratum)
        require_distinct(self, flat)

    def to_netcdf(self, path: str | os.PathLike[str]) -> Path:
        """Save the statistics atomically; :func:`hiermodels.load_statistics` reads them.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.

        Raises
        ------
        DataError
            If the file cannot be written; what was there before is as it was.
        """
        from hiermodels.core.container import write
        from hiermodels.core.files import target

        target(path)
        return write(path, {}, {STATISTICS: self})


def statistics_of(data: GroupedData) -> SufficientStatistics:
    """Statistics of rows; of statistics, themselves.

    A group's mean is taken as its first row plus the mean of the deviations from that row, and
    the scatter from deviations from the mean: no difference of large sums is formed.
    """
    if isinstance(data, SufficientStatistics):
        return data
    rows = require_rows(data, "statistics")
    if not rows.labels:
        raise SpecError(NO_GROUPS)
    if rows.crossed:
        by_cell, members = in_cells(rows)
        return replace(
            statistics_of(by_cell),
            roles=rows.roles,
            labels=rows.labels,
            own_labels=rows.own_labels,
            parents=rows.parents,
            crossed=members,
        )
    strata = range(len(rows.strata))
    return SufficientStatistics(
        roles=rows.roles,
        design=replace(rows.design, matrix=np.empty((0, len(rows.design.names)))),
        labels=rows.labels,
        own_labels=rows.own_labels,
        parents=rows.parents,
        log_weight=float(np.log(rows.precision).sum()),
        dropped=rows.dropped,
        strata=rows.strata,
        by_stratum=tuple(stratum_of_rows(rows, strata_of(rows.columns) == k) for k in strata),
        **moments_of_rows(rows, rows.n_groups),
    )


def statistics_of_lazy(
    frame: nw.LazyFrame[Any],
    said: Stated,
    *,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: Missing = "error",
) -> SufficientStatistics:
    """Statistics of a lazy frame; of strata, those of each added up.

    Parameters
    ----------
    frame, said, levels, missing
        As in :func:`hiermodels.data.lazy.aggregate_lazily`.
    """
    parts = aggregate_lazily(frame, said, levels=levels, missing=missing)
    return reduce(
        add, (SufficientStatistics(**in_stratum(label, fields)) for label, fields in parts)
    )


def with_totals(data: GroupedData) -> SufficientStatistics:
    """Statistics of rows, with the totals of counts; of statistics, themselves."""
    if isinstance(data, SufficientStatistics):
        return data
    return replace(statistics_of(data), totals=totals_of(require_rows(data, "statistics")))
