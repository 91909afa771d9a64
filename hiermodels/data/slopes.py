"""What statistics of groups have besides where slopes vary: how each group's columns go together.

Of a group's rows c = [x, y] with weights ω, around their mean m, and of the columns v of x whose
slopes vary, r of them, the scatter is

    Σ ω (c − m)(c − m)' = T'T + E,    T of r rows, E free of v.

With ``√ω [1 m]``, a group's T is all that its rows say of effects of 1 and v; the E are added up
over all groups.  T comes from a rotation of the rows, without loss of digits.  From sums of
products, which are all that a back end returns, it comes by Cholesky's rule: then E, a difference,
has lost a digit where the groups' slopes explain 90 % of the scatter, and two where it is 99 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.data.design import Design
from hiermodels.data.group_moments import require_shape
from hiermodels.data.grouped import GroupedRows
from hiermodels.data.varying import varying_columns
from hiermodels.model.level import Varying
from hiermodels.numerics.group_triangles import by_group, triangles_of

DEPENDENT = 1e-11  # of a column's sum of squares, what is rounding error beside the columns before


@storable
@dataclass(frozen=True)
class SlopeStatistics:
    """How columns whose slopes vary go together with all columns, in each group.

    Attributes
    ----------
    rows : (g, r, q + 1)
        T of each group.
    rest : (q + 1, q + 1)
        E of all groups together.
    """

    rows: Floats
    rest: Floats

    def require(self, size: int, columns: int) -> None:
        """Raise DataError if these cannot be of so many groups and columns."""
        require_shape("slopes.rows", self.rows, (size, self.rows.shape[1], columns))
        require_shape("slopes.rest", self.rest, (columns, columns))

    def kept(self, columns: NDArray[np.bool_]) -> SlopeStatistics:
        """The same of some columns (q + 1,); of the others all are 0."""
        return SlopeStatistics(self.rows[:, :, columns], self.rest[np.ix_(columns, columns)])

    def products(self, columns: Indices) -> Floats:
        """Cross-products of the columns (r,) that have slopes with all; (g, r, q + 1)."""
        return np.einsum("gkr,gkj->grj", self.rows[:, :, columns], self.rows)

    def laid_out(self, place: Indices, size: int) -> Floats:
        """The groups' rows among those of more groups, 0 elsewhere; (size, r, q + 1)."""
        rows = np.zeros((size, *self.rows.shape[1:]))
        rows[place] = self.rows
        return rows


def columns_with_slopes(varying: Sequence[Varying], design: Design) -> Indices:
    """Which columns of the design have slopes that vary at some level; (r,)."""
    terms = {term for own in varying_columns(varying, design) for term in own.terms}
    return np.array([j for j, name in enumerate(design.names) if name in terms], dtype=np.intp)


def slopes_of_rows(rows: GroupedRows, deviations: Floats) -> SlopeStatistics | None:
    """From √ω times the deviations (N, q + 1) of the rows from the means of their groups."""
    if not rows.roles.varying:
        return None
    columns = columns_with_slopes(rows.roles.varying, rows.design)
    ordered = deviations[:, _in_front(columns, deviations.shape[1])]
    ordered = ordered[by_group(ordered, rows.group, len(columns))]
    return _rotated(ordered, np.bincount(rows.group), columns)


def slopes_of_products(products: Floats, scatter: Floats, columns: Indices) -> SlopeStatistics:
    """From cross-products, by Cholesky's rule.

    Parameters
    ----------
    products : (g, r, q + 1)
        Of the columns that have slopes with all, around the mean of each group.
    scatter : (q + 1, q + 1)
        Of all columns, over all groups.
    columns : (r,)
    """
    left, rows = products.copy(), np.zeros(products.shape)
    size = np.einsum("gii->gi", products[:, :, columns])
    for i, column in enumerate(columns):
        pivot = left[:, i, column]
        varies = pivot > DEPENDENT * size[:, i]
        root = np.sqrt(np.where(varies, pivot, 1.0))
        rows[:, i] = np.where(varies[:, None], left[:, i] / root[:, None], 0.0)
        rows[:, i, columns[:i]] = 0.0
        left -= rows[:, i, columns][:, :, None] * rows[:, i][:, None]
    rest = scatter - np.einsum("gri,grj->ij", rows, rows)
    rest[columns], rest[:, columns] = 0.0, 0.0
    nothing = np.diag(rest) <= DEPENDENT * np.diag(scatter)
    rest[nothing], rest[:, nothing] = 0.0, 0.0
    return SlopeStatistics(rows, rest)


def added_slopes(
    a: SlopeStatistics | None,
    b: SlopeStatistics | None,
    places: tuple[Indices, Indices],
    between: Floats,
    columns: Indices,
) -> SlopeStatistics | None:
    """Of two parts of the data, as if their rows had been together; None without slopes.

    Parameters
    ----------
    a, b : SlopeStatistics, optional
    places : ((g₁,), (g₂,))
        Where the groups of each part are among those of both.
    between : (g, q + 1)
        A row for each group whose cross-products are those between its two means.
    columns : (r,)
        That have slopes.
    """
    if a is None or b is None:
        return None
    parts = [part.laid_out(place, len(between)) for part, place in zip((a, b), places, strict=True)]
    every = np.concatenate([*parts, between[:, None]], axis=1)
    groups, m, size = every.shape
    rows = every.reshape(-1, size)[:, _in_front(columns, size)]
    more = _rotated(rows, np.full(groups, m), columns)
    return SlopeStatistics(more.rows, a.rest + b.rest + more.rest)


def _rotated(rows: Floats, sizes: Indices, columns: Indices) -> SlopeStatistics:
    """From rows in the order of their groups, of given sizes, with these columns in front."""
    back = np.argsort(_in_front(columns, rows.shape[1]))
    triangles, left = triangles_of(rows, sizes, len(columns))
    rest = np.zeros((rows.shape[1], rows.shape[1]))
    rest[len(columns) :, len(columns) :] = left.T @ left
    return SlopeStatistics(triangles[:, :, back], rest[np.ix_(back, back)])


def _in_front(columns: Indices, size: int) -> Indices:
    """All of some columns in an order in which these come first."""
    return np.concatenate([columns, np.setdiff1d(np.arange(size), columns)])
