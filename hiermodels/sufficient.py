"""From rows to what the likelihood takes from them: one tree, on a unit scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.data import GroupedData, GroupedRows, require_rows
from hiermodels.gaussian import Floats, Indices, Tree, starts
from hiermodels.statistics import SufficientStatistics, group_means, symmetric


@dataclass(frozen=True)
class Standardized:
    """A tree of ``(y − location)/scale`` and of ``(x − centre) @ basis``.

    The posterior is equivariant under both changes, floating-point arithmetic is not: sums of
    squares keep their digits only around a centre, stay in range only on a unit scale, and can
    be solved for β only if the columns of x are not nearly parallel.

    Attributes
    ----------
    tree : Tree
    location : float
        Centre of the outcome.
    scale : float
        Typical size of its deviations and errors: a power of two, so that dividing by it is
        exact.
    centre : (q,)
        Weighted means of the covariates.
    basis : (q, q)
        Makes the centred columns orthonormal: ``β = scale · basis @ β_tree``.
    """

    tree: Tree
    location: float
    scale: float
    centre: Floats
    basis: Floats

    @property
    def origin(self) -> Floats:
        """Where the tree's covariates have their 0, seen from the covariates' own 0; (q,)."""
        return self.centre @ self.basis

    @property
    def group_means(self) -> Floats:
        """Raw mean of each group's outcomes, in the outcome's unit; shape (g,)."""
        return self.location + self.scale * self.tree.mean[:, -1]

    @property
    def log_jacobian(self) -> float:
        """What ``log p(y)`` has over the log density of the standardised outcome."""
        return -self.tree.n_rows * float(np.log(self.scale))


def standardize(data: GroupedData, unit: Standardized | None = None) -> Standardized:
    """Reduce rows to weighted group means and their scatter.

    Means are taken before the deviations from them: no difference of large sums is formed.

    Parameters
    ----------
    data : GroupedData
        Rows, or the statistics to which rows have been reduced.
    unit : Standardized, optional
        Other outcomes of the same rows, whose location and scale to take.
    """
    if isinstance(data, SufficientStatistics):
        return _standardize_statistics(data)
    return _standardize_rows(require_rows(data, "another outcome"), unit)


def _standardize_rows(data: GroupedRows, unit: Standardized | None) -> Standardized:
    location, scale = (unit.location, unit.scale) if unit else _unit(data)
    centred = data.y - location
    weight = np.ones(len(centred)) if data.se is None else (data.se / scale) ** -2.0
    centre, basis, x = _orthonormal(data, weight)
    rows = np.column_stack([x, centred / scale])
    return Standardized(_tree(rows, weight, data), location, scale, centre, basis)


def _unit(data: GroupedRows) -> tuple[float, float]:
    """Centre of the outcome, and the typical size of its deviations and errors."""
    location = _weighted_median(data.y, np.ones_like(data.y) if data.se is None else data.se**-2.0)
    spread = float(np.abs(data.y - location).max())
    if data.se is not None:
        spread = max(spread, float(np.median(data.se)))
    return location, _power_of_two(spread)


def _weighted_median(values: Floats, weight: Floats) -> float:
    """One of the values, with half of the weight on either side.

    To subtract it costs the values near to it, of which much is known, no digits: a point in the
    midst of values that lie far apart, and are known badly, would.
    """
    if (weight == weight[0]).all():
        middle = (len(values) - 1) // 2
        return float(np.partition(values, middle)[middle])
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order] / weight.max())
    return float(values[order[np.searchsorted(below, below[-1] / 2)]])


def _power_of_two(size: float) -> float:
    return float(2.0 ** np.round(np.log2(size))) if size > 0 else 1.0


def _standardize_statistics(data: SufficientStatistics) -> Standardized:
    """Move and scale statistics."""
    location = _weighted_median(data.mean[:, -1], data.weight)
    centre, total = data.total
    centre, total = centre[:-1], total[:-1, :-1]
    y = data.away(np.append(data.mean[0, :-1], location))[:, -1]
    scale = _power_of_two(_typical_size(data, y))
    basis = _basis_of_products(data, total / data.weight.sum())
    x = (data.away(data.mean[0])[:, :-1] - centre) @ basis
    to_tree = np.zeros_like(data.scatter)
    to_tree[:-1, :-1] = basis
    to_tree[-1, -1] = 1 / scale
    unit = scale**2 if data.roles.se else 1.0
    tree = Tree(
        mean=np.column_stack([x, y / scale]),
        weight=data.weight * unit,
        scatter=symmetric(to_tree.T @ (data.scatter * unit) @ to_tree),
        n_rows=data.n_rows,
        log_weight=data.log_weight + data.n_rows * float(np.log(unit)),
        parents=data.parents,
    )
    return Standardized(tree, location, scale, data.mean[0, :-1] + centre, basis)


def _typical_size(data: SufficientStatistics, y: Floats) -> float:
    """Typical size of the outcome's deviations and errors."""
    spread = max(float(np.abs(y).max()), np.sqrt(data.scatter[-1, -1] / data.weight.sum()))
    if data.roles.se:
        spread = max(spread, float(np.median(np.sqrt(data.count / data.weight))))
    return float(spread)


def _basis_of_products(data: SufficientStatistics, product: Floats) -> Floats:
    """Make centred covariates with these mean cross-products orthonormal; (q, q)."""
    if not len(product):
        return np.empty((0, 0))
    size = np.sqrt(np.diag(product))
    order = np.argsort(_lowest_level_of_statistics(data), kind="stable")[::-1]
    correlation = (product / size / size[:, None])[np.ix_(order, order)]
    return _basis(np.linalg.cholesky(correlation).T, order, size)


def _lowest_level_of_statistics(data: SufficientStatistics) -> Indices:
    """Lowest level at which each covariate varies, as :func:`_lowest_level`; (q,)."""
    constant = ~data.varies_within[:-1]
    level = constant.astype(np.intp)
    values = data.mean[:, :-1]
    for parent in data.parents:
        first = starts(parent)
        constant = constant & (values == values[first[parent]]).all(axis=0)
        level += constant
        values = values[first]
    return level


def _basis(triangle: Floats, order: Indices, size: Floats) -> Floats:
    """Invert the triangle of scaled columns in some order, and undo order and scale."""
    basis = np.empty((len(order), len(order)))
    basis[order] = np.linalg.inv(triangle)
    return basis / size[:, None]


def _orthonormal(data: GroupedRows, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre the covariates and make them orthonormal; returns centre, basis and new columns.

    Columns are taken in the order of the highest level at which they vary, so that those which
    do not vary within a level's units stay exactly constant there.  Otherwise their rounding
    errors would outweigh what the data say of them when that level's spread is large.
    """
    x = data.design.matrix
    if not x.shape[1]:
        return np.empty(0), np.empty((0, 0)), x
    share = weight / weight.sum()
    centre = share @ x
    away = x - centre
    size = np.sqrt(share @ away**2)
    order = np.argsort(_lowest_level(data), kind="stable")[::-1]
    scaled = np.sqrt(share)[:, None] * (away / size)[:, order]
    basis = _basis(np.linalg.qr(scaled, mode="r"), order, size)
    return centre, basis, away @ basis


def _lowest_level(data: GroupedRows) -> Indices:
    """Lowest level at which each covariate varies: 0 within groups, 1 between groups, …; (q,)."""
    x = data.design.matrix
    level = np.zeros(x.shape[1], dtype=np.intp)
    unit = data.group
    for parent in (*data.parents, None):
        first = np.unique(unit, return_index=True)[1]
        constant = (x == x[first[unit]]).all(axis=0)
        level += constant
        if parent is not None:
            unit = parent[unit]
    return level


def _tree(rows: Floats, weight: Floats, data: GroupedRows) -> Tree:
    total, some, shift = group_means(rows, weight, data.group, data.sizes[0])
    mean = some + shift
    away = rows - mean[data.group]
    return Tree(
        mean=mean,
        weight=total,
        scatter=(weight[:, None] * away).T @ away,
        n_rows=len(rows),
        log_weight=float(np.log(weight).sum()),
        parents=data.parents,
    )
