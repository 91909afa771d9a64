"""From rows to what the likelihood takes from them: one tree, on a unit scale.

Covariates are made orthonormal level by level.  A direction in their space *belongs* to the lowest
level at which it varies: to the rows, if it varies within groups; to the groups, if it is constant
within groups but varies between groups of one parent; and so on.  Which directions these are is
found from the singular values of the deviations at each level, so that a difference of two columns
that is constant within groups counts as constant although neither column is.  Without an intercept,
the root is one level more, with the deviation of its mean from 0.

A preliminary least-squares fit, level by level from the rows upwards, is taken from the outcome.
What is left of it at a level without a degree of freedom is 0, exactly: the residual sum of squares
of the likelihood, which is divided by variances that may go to 0, is no difference of large sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, GroupedRows, require_rows
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import DataError
from hiermodels.exact.kernels.tree.tree import Residuals, Tree
from hiermodels.numerics.group_sums import group_means, starts, sum_by, symmetric

RANK_TOLERANCE = 512 * np.finfo(float).eps  # of singular values, by size of the largest entry
PRODUCT_TOLERANCE = 1e-7  # of singular values that come from cross-products
SMALLEST_SIZE = 1e-290  # below, numbers lose digits
SMALLEST_RESIDUAL = 1e-13  # share of a sum of squares that is rounding error


@dataclass(frozen=True)
class Standardized:
    """A tree of ``(y − location)/scale`` and of ``(x − centre) @ basis``.

    Without an intercept, location and centre are 0: the root's value is 0 there.

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
    level : (q,)
        The level that each column of the tree belongs to: 0 if it varies within groups, 1 if it
        varies between groups of one parent only, …; the root's, the number of levels, if it does
        not vary, or one more if, without an intercept, it is 0 in every row.
    explained : tuple of bool
        For each level, from the groups upwards: whether its units and the covariates leave nothing
        of the outcome but rounding errors; of the last, whether the mean at the top does.
    """

    tree: Tree
    location: float
    scale: float
    centre: Floats
    basis: Floats
    level: Indices
    explained: tuple[bool, ...]

    @property
    def origin(self) -> Floats:
        """Where the tree's covariates have their 0, seen from the covariates' own 0; (q,)."""
        return self.origin_at(np.zeros_like(self.centre))

    def origin_at(self, x: Floats) -> Floats:
        """Where the tree's covariates have their 0, seen from covariates x (..., q); (..., q)."""
        return (self.centre - x) @ self.basis

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
    weight = np.ones(len(data.y)) if data.se is None else (data.se / scale) ** -2.0
    share = weight / weight.sum()
    x = data.design.matrix
    centre, largest = share @ x, np.abs(x).max(axis=0, initial=0.0)
    deviation = x - centre
    size = _sizes_of(np.sqrt(share @ deviation**2), largest, data.design.intercept)
    z = np.column_stack([_divide(deviation, size), (data.y - location) / scale])
    total, some, shift = group_means(z, weight, data.group, data.sizes[0])
    mean = some + shift
    z -= mean[data.group]
    scatter = (weight[:, None] * z).T @ z
    if x.shape[1]:
        z *= np.sqrt(weight)[:, None]
        root = np.linalg.qr(z, mode="r")
    else:
        root = np.sqrt(scatter)
    groups = _Groups(mean, total, root, scatter, len(z), float(np.log(weight).sum()), data.parents)
    noise, intercept = _noise(largest, size), data.design.intercept
    return _orthonormalized(groups, location, scale, centre, size, (noise, noise), intercept)


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


def _divide(columns: Floats, size: Floats) -> Floats:
    """Scale columns (n, q) to size 1; one of size 0 stays as it is."""
    return columns / np.where(size > 0, size, 1.0)


def _noise(largest: Floats, size: Floats) -> float:
    """Singular values that rounding makes out of 0, for columns scaled to size 1."""
    ratio = _divide(largest, size).max(initial=0.0)
    return float(RANK_TOLERANCE * (1 + ratio))


def _standardize_statistics(data: SufficientStatistics) -> Standardized:
    """Move and scale statistics."""
    location = _weighted_median(data.mean[:, -1], data.weight)
    centre, total = data.total
    y = data.away(np.append(data.mean[0, :-1], location))[:, -1]
    scale = _power_of_two(_typical_size(data, y))
    largest, intercept = np.abs(data.mean[:, :-1]).max(axis=0, initial=0.0), data.design.intercept
    size = _sizes_of(np.sqrt(np.diag(total)[:-1] / data.weight.sum()), largest, intercept)
    x = _divide(data.away(data.mean[0])[:, :-1] - centre[:-1], size)
    unit = scale**2 if data.roles.se else 1.0
    to_unit = np.append(_divide(np.ones_like(size), size), 1 / scale)
    scatter = symmetric(data.scatter * unit * to_unit * to_unit[:, None])
    groups = _Groups(
        mean=np.column_stack([x, y / scale]),
        weight=data.weight * unit,
        root=_root(scatter, data.varies_within),
        scatter=scatter,
        n_rows=data.n_rows,
        log_weight=data.log_weight + data.n_rows * float(np.log(unit)),
        parents=data.parents,
    )
    noise, centre = _noise(largest, size), data.mean[0, :-1] + centre[:-1]
    levels = (max(noise, PRODUCT_TOLERANCE), noise)
    return _orthonormalized(groups, location, scale, centre, size, levels, intercept)


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


@dataclass(frozen=True)
class _Groups:
    """Means of groups with columns ``[x, y]`` on a unit scale, and the rows around them.

    Attributes
    ----------
    mean : (g, q + 1)
    weight : (g,)
    root : (m, q + 1)
        A matrix with ``root'root = scatter``, of the rows' deviations from their group's mean.
    scatter : (q + 1, q + 1)
    n_rows, log_weight, parents
        As in :class:`hiermodels.exact.kernels.tree.tree.Tree`.
    """

    mean: Floats
    weight: Floats
    root: Floats
    scatter: Floats
    n_rows: int
    log_weight: float
    parents: tuple[Indices, ...]

    @property
    def tree(self) -> Tree:
        """The same as a tree."""
        return Tree(
            self.mean, self.weight, self.scatter, self.n_rows, self.log_weight, self.parents
        )

    @property
    def chain(self) -> tuple[Indices, ...]:
        """Parent of each unit at each level, from the groups to the units below the root."""
        top = int(self.parents[-1][-1]) + 1 if self.parents else len(self.weight)
        return (*self.parents, np.zeros(top, dtype=np.intp))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of rows, and of units at each level up to the root."""
        return (self.n_rows, *map(len, self.chain), 1)


@dataclass(frozen=True)
class _Deviations:
    """Means of groups as a sum: the root's, and at each level the units' deviations from it.

    Attributes
    ----------
    root : (c,)
    units : tuple of (u, c)
        Weighted means of the units of a level less those of their parents, from the groups
        upwards.
    weights : tuple of (u,)
    chain : tuple of (u,)
    """

    root: Floats
    units: tuple[Floats, ...]
    weights: tuple[Floats, ...]
    chain: tuple[Indices, ...]

    @classmethod
    def of(cls, groups: _Groups) -> _Deviations:
        mean, weight = groups.mean, groups.weight
        units, weights = [], []
        for parent in groups.chain:
            first = starts(parent)
            total = np.add.reduceat(weight, first)
            some = mean[first]
            share = (weight / total[parent])[:, None]
            centre = some + sum_by(parent, share * (mean - some[parent]), len(total))
            units.append(mean - centre[parent])
            weights.append(weight)
            mean, weight = centre, total
        return cls(mean[0], tuple(units), tuple(weights), groups.chain)

    def factors(self) -> list[Floats]:
        """For each level a matrix (u, c) whose cross-products are those of the deviations."""
        return [np.sqrt(w)[:, None] * d for w, d in zip(self.weights, self.units, strict=True)]

    def rebuilt(self, basis: Floats, anchor: Floats, keep: NDArray[np.bool_]) -> Floats:
        """Means of the groups in the columns ``[x @ basis, y − x @ basis @ anchor]``; (g, q + 1).

        Parameters
        ----------
        basis : (q, q)
        anchor : (q,)
        keep : (levels, q + 1)
            Whether a new column has deviations at a level; where not, they are 0 exactly.  There
            is one level more, the root's, if its mean is a deviation from 0.
        """
        mean = _transformed(self.root[None], basis, anchor)
        for kept in keep[len(self.units) :]:
            mean = np.where(kept, mean, 0.0)
        levels = zip(self.units, self.chain, keep, strict=False)
        for deviation, parent, kept in reversed(list(levels)):
            mean = mean[parent] + np.where(kept, _transformed(deviation, basis, anchor), 0.0)
        return mean


def _transformed(z: Floats, basis: Floats, anchor: Floats) -> Floats:
    """Columns ``[x @ basis, y − x @ basis @ anchor]`` of ``z = [x, y]``."""
    x = z[:, :-1] @ basis
    return np.column_stack([x, z[:, -1] - x @ anchor])


def _orthonormalized(
    groups: _Groups,
    location: float,
    scale: float,
    centre: Floats,
    size: Floats,
    noise: tuple[float, float],
    intercept: bool,
) -> Standardized:
    """Make the covariates orthonormal, level by level, and take a first fit from the outcome."""
    deviations, unit = _Deviations.of(groups), np.sqrt(groups.weight.sum())
    factors = [np.linalg.qr(f / unit, mode="r") for f in (groups.root, *deviations.factors())]
    sizes = np.array(groups.sizes)
    if not intercept:
        origin = np.append(_divide(centre, size), location / scale)
        groups = replace(groups, mean=groups.mean + origin)
        deviations = replace(deviations, root=deviations.root + origin)
        factors, sizes = [*factors, deviations.root[None]], np.append(sizes, 0)
        location, centre = 0.0, np.zeros_like(centre)
    basis, level = _basis(factors, noise)
    belongs = level == np.arange(len(factors))[:, None]  # (levels with the rows, q)
    varies = np.logical_or.accumulate(belongs, axis=0)
    x = [np.where(v, f[:, :-1] @ basis, 0.0) for v, f in zip(varies, factors, strict=True)]
    y = [f[:, -1] for f in factors]
    df = sizes[:-1] - sizes[1:] - belongs.sum(axis=1)
    full = len(df) if not df.any() else int(np.argmax(df > 0))  # levels without a df, from below
    tree = groups.tree
    if len(basis):
        anchor = _fit(x, y, belongs, full)
        rest = y[0] - x[0] @ anchor if full == 0 else np.zeros_like(y[0])
        keep = np.column_stack([varies[1:], np.arange(1, len(df)) >= full])
        residual = deviations.rebuilt(basis, anchor, keep)
        tree = _with_residuals(tree, residual, anchor, unit * np.column_stack([x[0], rest]))
    explained = _explained(x, y)[: len(deviations.units)] + _explained(x, y)[-1:]
    return Standardized(tree, location, scale, centre, _divide(basis.T, size).T, level, explained)


def _with_residuals(tree: Tree, residual: Floats, anchor: Floats, root: Floats) -> Tree:
    """A tree of the new covariates, with what the first fit leaves of the outcome.

    Parameters
    ----------
    residual : (g, q + 1)
        New covariates and residuals of the groups' means.
    anchor : (q,)
        Coefficients of the first fit.
    root : (m, q + 1)
        A matrix whose cross-products are those of the rows around their groups' means.
    """
    scatter = symmetric(root.T @ root)
    back = np.eye(len(anchor) + 1)
    back[:-1, -1] = anchor
    return replace(
        tree,
        mean=np.column_stack([residual[:, :-1], tree.mean[:, -1]]),
        scatter=symmetric(back.T @ scatter @ back),
        residuals=Residuals(anchor, residual[:, -1], scatter),
    )


def _basis(factors: Sequence[Floats], noise: tuple[float, float]) -> tuple[Floats, Indices]:
    """Columns that are orthonormal over all rows, those of the highest level first.

    Parameters
    ----------
    factors : sequence of (m, q + 1)
        Deviations at each level, from the rows upwards; of sum of squares at most 1 a column.
    noise : (float, float)
        Singular values that count as 0: among the rows, and at the levels above.

    Returns
    -------
    basis : (q, q)
    level : (q,)
        The level that each new column belongs to.
    """
    q = factors[0].shape[1] - 1
    null, blocks = np.eye(q), []
    for i, factor in enumerate(factors):
        rows, rest = _split(factor[:, :q] @ null, noise[i > 0])
        blocks.append(null @ rows)
        null = null @ rest
    blocks.append(null)
    level = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])[::-1]
    columns = np.hstack(blocks[::-1])
    varies = level <= np.arange(len(factors))[:, None]
    stacked = [np.where(v, f[:, :q] @ columns, 0.0) for v, f in zip(varies, factors, strict=True)]
    some = level < len(factors)
    triangle = np.eye(q)
    triangle[np.ix_(some, some)] = np.linalg.qr(np.vstack(stacked)[:, some], mode="r")
    return columns @ np.linalg.inv(triangle) * np.sign(np.diag(triangle)), level


def _split(columns: Floats, noise: float) -> tuple[Floats, Floats]:
    """Orthonormal directions along which columns (m, k) vary, and those along which they do not.

    Where it is columns that do not vary, rather than combinations of them, they stay as they are.
    """
    axes = np.eye(columns.shape[1])
    varies = np.linalg.norm(columns, axis=0) > noise
    if np.linalg.matrix_rank(columns[:, varies], tol=noise) == varies.sum():
        return axes[:, varies], axes[:, ~varies]
    _, size, axes = np.linalg.svd(columns, full_matrices=True)
    rank = int((size > noise).sum())
    return axes[:rank].T, axes[rank:].T


def _fit(x: Sequence[Floats], y: Sequence[Floats], belongs: NDArray[np.bool_], full: int) -> Floats:
    """Coefficients of a first fit; (q,).

    The lowest levels without a degree of freedom are fitted one after another, from the rows
    upwards: a variance that goes to 0 leaves nothing but that fit.  The others are fitted at once,
    for which the columns are orthonormal.
    """
    anchor = np.zeros(belongs.shape[1])
    for parts in [slice(i, i + 1) for i in range(full)] + [slice(full, None)]:
        own = belongs[parts].any(axis=0)
        if own.any():
            columns, outcome = np.vstack(list(x[parts])), np.concatenate(y[parts])
            orthonormal, triangle = np.linalg.qr(columns[:, own])
            rest = outcome - columns @ anchor
            anchor[own] = np.linalg.solve(triangle, orthonormal.T @ rest)
    return anchor


def _explained(x: Sequence[Floats], y: Sequence[Floats]) -> tuple[bool, ...]:
    """Whether, at each level, the units and the covariates leave only rounding errors."""
    found = []
    for count in range(1, len(y) + 1):
        columns, outcome = np.vstack(list(x[:count])), np.concatenate(y[:count])
        orthonormal = np.linalg.qr(columns[:, columns.any(axis=0)])[0]
        rest = outcome - orthonormal @ (orthonormal.T @ outcome)
        least = SMALLEST_RESIDUAL * max(float(outcome @ outcome), SMALLEST_RESIDUAL)
        found.append(bool(rest @ rest <= least))
    return tuple(found)
