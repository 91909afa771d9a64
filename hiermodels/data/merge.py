"""Two parts of the data put together, group by group, from the statistics of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed
from hiermodels.data.design import Design
from hiermodels.data.grouped import GroupedData
from hiermodels.data.nesting import GroupLevel, labels_above, number_groups
from hiermodels.data.roles import Roles
from hiermodels.data.slopes import SlopeStatistics, added_slopes
from hiermodels.errors import SpecError
from hiermodels.numerics.group_sums import two_sum

MOMENTS = ("count", "weight", "mean", "rest", "scatter", "slopes")


@dataclass(frozen=True)
class Moments:
    """Statistics of each group, as :class:`hiermodels.SufficientStatistics` has them.

    Attributes
    ----------
    count, weight : (g,)
    mean, rest : (g, q + 1)
    """

    count: Indices
    weight: Floats
    mean: Floats
    rest: Floats


class HasMoments(Protocol):
    """What has these statistics, the scatter and what it says of slopes, and may have more."""

    @property
    def count(self) -> Indices:
        """Number of rows of each group; (g,)."""

    @property
    def weight(self) -> Floats:
        """Their weight; (g,)."""

    @property
    def mean(self) -> Floats:
        """Their means, rounded; (g, q + 1)."""

    @property
    def rest(self) -> Floats:
        """What the means have beyond that; (g, q + 1)."""

    @property
    def scatter(self) -> Floats:
        """Cross-products of rows around the means of their groups; (q + 1, q + 1)."""

    @property
    def slopes(self) -> SlopeStatistics | None:
        """Where slopes vary, how their columns go together with all."""


def merged_groups(
    a: GroupedData, b: GroupedData
) -> tuple[tuple[Indices, Indices], tuple[GroupLevel, ...], tuple[Indices, ...]]:
    """The groups of either part, or cells of crossed groups.

    Returns
    -------
    places : ((g₁,), (g₂,))
        Where those of each part are among those of both.
    levels : tuple of GroupLevel
        The outermost first.
    crossed : tuple of (g,)
        Of crossed groups, index of each cell's group in every column.
    """
    mine, theirs = _members(a), _members(b)
    both = {name: np.concatenate([mine[name], theirs[name]]) for name in mine}
    size, total = len(next(iter(mine.values()))), len(next(iter(both.values())))
    members, levels = number_groups(both, total, a.roles.nesting)
    group, crossed = members[-1], ()
    if a.roles.nesting:
        cells, group = np.unique(np.stack(members), axis=1, return_inverse=True)
        group, crossed = group.ravel(), tuple(cells)
    return (group[:size], group[size:]), levels, crossed


def added_moments(
    a: HasMoments, b: HasMoments, places: tuple[Indices, Indices], size: int, columns: Indices
) -> dict[str, Any]:
    """What ``MOMENTS`` names of two parts, as if their rows had been together.

    Parameters
    ----------
    a, b : HasMoments
    places : ((g₁,), (g₂,))
        Where the groups of each part are among those of both.
    size : int
        Number of groups of both, g.
    columns : (r,)
        That have slopes.
    """
    parts = (laid_out(part, place, size) for part, place in zip((a, b), places, strict=True))
    moments, gaps = merged_moments(*parts)
    return {
        **vars(moments),
        "scatter": a.scatter + b.scatter + gaps.T @ gaps,
        "slopes": added_slopes(a.slopes, b.slopes, places, gaps, columns),
    }


def kept_moments(part: HasMoments, columns: NDArray[np.bool_]) -> dict[str, Any]:
    """What ``MOMENTS`` names and depends on columns, of some of these (q + 1,); others are 0."""
    return {
        "mean": part.mean[:, columns],
        "rest": part.rest[:, columns],
        "scatter": part.scatter[np.ix_(columns, columns)],
        "slopes": part.slopes and part.slopes.kept(columns),
    }


def merged_moments(a: Moments, b: Moments) -> tuple[Moments, Floats]:
    """Statistics of the groups of two parts, as if their rows had been together.

    Parameters
    ----------
    a, b : Moments
        Laid out among the groups of both by :func:`laid_out`.

    Returns
    -------
    moments : Moments
    gaps : (g, q + 1)
        A row for each group with the cross-products between its two means, which the scatter has
        besides.
    """
    weight = a.weight + b.weight
    shared = (a.count > 0) & (b.count > 0)
    gap = np.where(shared[:, None], (b.mean - a.mean) + (b.rest - a.rest), 0.0)
    share = b.weight / weight
    start = (a.count > 0)[:, None]
    mean, rest = two_sum(
        np.where(start, a.mean, b.mean),
        np.where(start, a.rest, b.rest) + share[:, None] * gap,
    )
    gaps = np.sqrt(a.weight * share)[:, None] * gap
    return Moments(a.count + b.count, weight, mean, rest), gaps


def laid_out(part: HasMoments, place: Indices, size: int) -> Moments:
    """A part's groups among those of the whole; those that it has not have no rows."""
    arrays = []
    for values in (part.count, part.weight, part.mean, part.rest):
        whole = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
        whole[place] = values
        arrays.append(whole)
    return Moments(*arrays)


def _members(data: GroupedData) -> dict[str, NDArray[Any]]:
    """Own labels of each innermost group and of those above it, the outermost first; of cells."""
    columns = labels_above(data.levels, np.arange(data.n_groups))
    if data.crossed:
        each = zip(data.levels, data.crossed, strict=True)
        columns = {level.column: level.own_labels[member] for level, member in each}
    return {
        name: labels if labels.dtype.kind in "iu" else labels.astype(object)
        for name, labels in columns.items()
    }


def require_alike(a: GroupedData, b: GroupedData) -> None:
    """Raise SpecError if columns differ, or covariates are coded differently.

    Raises
    ------
    SpecError
        Naming the first difference, and what to do.
    """
    _require_same_roles(a.roles, b.roles)
    _require_same_columns(a.design, b.design)
    _require_same_coding(a.design, b.design)
    for name, mine, theirs in zip(a.roles.groups, a.own_labels, b.own_labels, strict=True):
        if (mine.dtype.kind in "iu") != (theirs.dtype.kind in "iu"):
            raise SpecError(
                f"column {name!r} has integers for labels in one part and text in the other; make "
                f"them all text, or all integers"
            )


def _require_same_roles(a: Roles, b: Roles) -> None:
    """Raise SpecError if columns have other roles."""
    for role in ("outcome", "groups", "se", "se_scale", "family", "columns", "varying", "nesting"):
        mine, theirs = getattr(a, role), getattr(b, role)
        if mine != theirs:
            raise SpecError(
                f"statistics that are added must be of the same columns: {role} is {mine!r} in "
                f"one and {theirs!r} in the other"
            )


def _require_same_columns(a: Design, b: Design) -> None:
    """Raise SpecError if designs have different terms, or one has left out other empty cells."""
    if a.terms != b.terms:
        raise SpecError(
            f"statistics that are added must be of the same columns: the covariates are "
            f"{listed(a.terms)} in one and {listed(b.terms)} in the other"
        )
    if a.intercept != b.intercept:
        raise SpecError(
            "statistics that are added must be of the same model: one part has an intercept, the "
            "other none. Write the same formula for both"
        )
    cells = sorted({*a.empty} ^ {*b.empty})
    if cells:
        raise SpecError(
            f"statistics that are added must be of the same columns: those of the cells "
            f"{listed(cells)} were left out of one part only, when it was fitted. Add up what was "
            f"made with SufficientStatistics.of"
        )


def _require_same_coding(a: Design, b: Design) -> None:
    """Raise SpecError if designs have other levels, or were moved by other means."""
    for name in {*a.levels, *b.levels}:
        mine, theirs = a.levels.get(name), b.levels.get(name)
        if mine != theirs:
            raise SpecError(
                f"covariate {name!r} has the levels {listed(mine or ())} in one part and "
                f"{listed(theirs or ())} in the other: their columns differ. Declare all levels "
                f"for each part, SufficientStatistics.of(…, levels={{{name!r}: […]}})"
            )
    for name in a.constants:
        first, second = a.constants[name], b.constants[name]
        if first != second:
            raise SpecError(
                f"covariate {name!r} is written with center or scale, which take the mean and the "
                f"sd from the rows at hand: {first} in one part and {second} in the other. Make "
                f"the column with the same numbers in each part, such as data[{name!r}] - "
                f"{first[0]:.6g}, and use its name"
            )
