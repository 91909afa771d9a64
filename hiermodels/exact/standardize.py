"""From rows to what the likelihood takes from them: one tree, on a unit scale.

Covariates are made orthonormal level by level.  A direction in their space *belongs* to the lowest
level at which it varies: to the rows, if it varies within groups; to the groups, if it is constant
within groups but varies between groups of one parent; and so on.  Which directions these are is
read off the singular values of the deviations at each level, so that a difference of two columns
that is constant within groups counts as constant although neither column is.  Without an intercept,
the root is one level more, with the deviation of its mean from 0.

A preliminary least-squares fit, level by level from the rows upwards, is taken from the outcome.
What is left of it at a level without a degree of freedom is 0, exactly: the residual sum of squares
of the likelihood, which is divided by variances that may go to 0, is no difference of large sums.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.collinearity import require_size
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.roles import refuse_crossed
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import DataError
from hiermodels.exact.orthonormal import GroupSums, divided, orthonormalized
from hiermodels.exact.standardized import Standardized
from hiermodels.numerics.group_sums import group_means, symmetric

RANK_TOLERANCE = 512 * np.finfo(float).eps  # of singular values, by size of the largest entry
PRODUCT_TOLERANCE = 1e-7  # of singular values that come from cross-products
SMALLEST_SIZE = 1e-290  # below, numbers lose digits


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
    refuse_crossed(data.roles)
    if isinstance(data, SufficientStatistics):
        return _standardize_statistics(data)
    return _standardize_rows(require_rows(data, "another outcome"), unit)


def _standardize_rows(data: GroupedRows, unit: Standardized | None) -> Standardized:
    location, scale = (unit.location, unit.scale) if unit else _unit(data)
    weight = data.precision if data.se is None else (data.se / scale) ** -2.0
    share = weight / weight.sum()
    x = data.design.matrix
    centre, largest = share @ x, np.abs(x).max(axis=0, initial=0.0)
    deviation = x - centre
    size = _sizes_of(np.sqrt(share @ deviation**2), largest, data.design.intercept)
    z = np.column_stack([divided(deviation, size), (data.y - location) / scale])
    total, some, shift = group_means(z, weight, data.group, data.n_groups)
    mean = some + shift
    z -= mean[data.group]
    scatter = (weight[:, None] * z).T @ z
    if x.shape[1]:
        z *= np.sqrt(weight)[:, None]
        root = np.linalg.qr(z, mode="r")
    else:
        root = np.sqrt(scatter)
    parents, log_weight = _parents(data), float(np.log(weight).sum())
    groups = GroupSums(mean, total, root, scatter, len(z), log_weight, parents)
    noise, intercept = _noise(largest, size), data.design.intercept
    return orthonormalized(groups, location, scale, centre, size, (noise, noise), intercept)


def _parents(data: GroupedData) -> tuple[Indices, ...]:
    """Parents as a tree has them."""
    return tuple(level.parent for level in data.levels[1:])


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
    if 0 < size < SMALLEST_SIZE:
        raise DataError(
            f"the outcome's deviations and errors are of size {size:g}, too small for numbers to "
            f"keep their digits; change its unit"
        )
    return float(2.0 ** np.round(np.log2(size))) if size > 0 else 1.0


def _sizes_of(size: Floats, largest: Floats, intercept: bool) -> Floats:
    """Sizes (q,) of the columns' deviations; of constant columns beside no intercept, their own."""
    return size if intercept else np.where(size > RANK_TOLERANCE * largest, size, largest)


def _noise(largest: Floats, size: Floats) -> float:
    """Singular values that rounding makes out of 0, for columns scaled to size 1."""
    ratio = divided(largest, size).max(initial=0.0)
    return float(RANK_TOLERANCE * (1 + ratio))


def _standardize_statistics(data: SufficientStatistics) -> Standardized:
    """Move and scale statistics."""
    location = _weighted_median(data.mean[:, -1], data.weight)
    centre, total = data.total
    y = data.away(np.append(data.mean[0, :-1], location))[:, -1]
    scale = _power_of_two(_typical_size(data, y))
    largest, intercept = np.abs(data.mean[:, :-1]).max(axis=0, initial=0.0), data.design.intercept
    require_size(data.design.names, largest)
    size = _sizes_of(np.sqrt(np.diag(total)[:-1] / data.weight.sum()), largest, intercept)
    x = divided(data.away(data.mean[0])[:, :-1] - centre[:-1], size)
    unit = scale**2 if data.roles.se else 1.0
    to_unit = np.append(divided(np.ones_like(size), size), 1 / scale)
    scatter = symmetric(data.scatter * unit * to_unit * to_unit[:, None])
    groups = GroupSums(
        mean=np.column_stack([x, y / scale]),
        weight=data.weight * unit,
        root=_root(scatter, data.varies_within),
        scatter=scatter,
        n_rows=data.n_rows,
        log_weight=data.log_weight + data.n_rows * float(np.log(unit)),
        parents=_parents(data),
    )
    noise, centre = _noise(largest, size), data.mean[0, :-1] + centre[:-1]
    levels = (max(noise, PRODUCT_TOLERANCE), noise)
    return orthonormalized(groups, location, scale, centre, size, levels, intercept)


def _typical_size(data: SufficientStatistics, y: Floats) -> float:
    """Typical size of the outcome's deviations and errors."""
    spread = max(float(np.abs(y).max()), np.sqrt(data.scatter[-1, -1] / data.weight.sum()))
    if data.roles.se:
        spread = max(spread, float(np.median(np.sqrt(data.count / data.weight))))
    return float(spread)


def _root(product: Floats, varies: NDArray[np.bool_]) -> Floats:
    """A matrix r with ``r'r`` = product, and columns of exactly 0 where nothing varies."""
    root = np.zeros_like(product)
    size, axes = np.linalg.eigh(product[np.ix_(varies, varies)])
    root[np.ix_(varies, varies)] = np.sqrt(np.maximum(size, 0.0))[:, None] * axes.T
    return root
