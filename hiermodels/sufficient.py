"""From rows to what the likelihood takes from them: one tree, on a unit scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.data import GroupedData
from hiermodels.gaussian import Floats, Indices, Tree, sum_by


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
    unit : Standardized, optional
        Other outcomes of the same rows, whose location and scale to take.
    """
    location, scale = (unit.location, unit.scale) if unit else _unit(data)
    centred = data.y - location
    weight = np.ones(len(centred)) if data.se is None else (data.se / scale) ** -2.0
    centre, basis, x = _orthonormal(data, weight)
    rows = np.column_stack([x, centred / scale])
    return Standardized(_tree(rows, weight, data), location, scale, centre, basis)


def _unit(data: GroupedData) -> tuple[float, float]:
    """Centre of the outcome, and the typical size of its deviations and errors."""
    location = float(np.median(data.y))
    spread = float(np.abs(data.y - location).max())
    if data.se is not None:
        spread = max(spread, float(np.median(data.se)))
    return location, float(2.0 ** np.round(np.log2(spread))) if spread > 0 else 1.0


def _orthonormal(data: GroupedData, weight: Floats) -> tuple[Floats, Floats, Floats]:
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
    basis = np.empty((len(order), len(order)))
    basis[order] = np.linalg.inv(np.linalg.qr(scaled, mode="r"))
    basis /= size[:, None]
    return centre, basis, away @ basis


def _lowest_level(data: GroupedData) -> Indices:
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


def _tree(rows: Floats, weight: Floats, data: GroupedData) -> Tree:
    size = data.sizes[0]
    total = np.bincount(data.group, weights=weight, minlength=size)
    share = (weight / total[data.group])[:, None]
    first = np.empty(size, dtype=np.intp)
    first[data.group[::-1]] = np.arange(len(rows))[::-1]
    some = rows[first]
    mean = some + sum_by(data.group, share * (rows - some[data.group]), size)
    away = rows - mean[data.group]
    return Tree(
        mean=mean,
        weight=total,
        scatter=(weight[:, None] * away).T @ away,
        n_rows=len(rows),
        log_weight=float(np.log(weight).sum()),
        parents=data.parents,
    )
