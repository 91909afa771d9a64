"""Units that are left out: rows, and groups within a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.tree.tree import Tree


@dataclass(frozen=True)
class Rows:
    """Rows in the tree's coordinates."""

    z: Floats  # rows [x, y]; (N, q + 1)
    weight: Floats  # their weights ω; (N,)
    group: Indices  # index of each row's group; (N,)


@dataclass(frozen=True)
class Within:
    """What the rows of each group say beside their mean."""

    scatter: Floats  # weighted cross-products around the group's mean; (q + 1, q + 1, g)
    count: Floats  # number of rows; (g,)
    log_weight: Floats  # sum of log ω; (g,)

    @classmethod
    def of(cls, tree: Tree, rows: Rows) -> Within:
        """Gather the rows by group."""
        size, c = tree.mean.shape
        away = rows.z - tree.mean[rows.group]
        count = np.bincount(rows.group, minlength=size)
        scatter = np.empty((c, c, size))
        for i, j in np.ndindex(c, c):
            products = rows.weight * away[:, i] * away[:, j]
            scatter[i, j] = np.bincount(rows.group, weights=products, minlength=size)
        scatter[:, :, count == 1] = 0.0
        log_weight = np.bincount(rows.group, weights=np.log(rows.weight), minlength=size)
        return cls(scatter, count.astype(float), log_weight)

    @classmethod
    def of_single_rows(cls, tree: Tree) -> Within:
        """Groups of one row each: their mean is all there is to know."""
        size, c = tree.mean.shape
        return cls(np.zeros((c, c, size)), np.ones(size), np.log(tree.weight))


@dataclass(frozen=True)
class Densities:
    """Log densities of units' rows at the nodes.

    Attributes
    ----------
    left_out : (n, u)
        Given all other rows.
    again : (n, u)
        Given all rows, of other rows with the same outcomes: of a row's group, of a new unit under
        the same parent.
    kept : (n, u)
        What is left of the data's information on β, as a ratio of determinants, without the unit.
    """

    left_out: Floats
    again: Floats
    kept: Floats
