"""What the rows of each group say beside their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.records import Rows
from hiermodels.exact.kernels.tree.tree import Tree


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
        deviation = rows.z - tree.mean[rows.group]
        count = np.bincount(rows.group, minlength=size)
        scatter = np.empty((c, c, size))
        for i, j in np.ndindex(c, c):
            products = rows.weight * deviation[:, i] * deviation[:, j]
            scatter[i, j] = np.bincount(rows.group, weights=products, minlength=size)
        scatter[:, :, count == 1] = 0.0
        log_weight = np.bincount(rows.group, weights=np.log(rows.weight), minlength=size)
        return cls(scatter, count.astype(float), log_weight)

    @classmethod
    def of_single_rows(cls, tree: Tree) -> Within:
        """Groups of one row each: their mean is all there is to know."""
        size, c = tree.mean.shape
        return cls(np.zeros((c, c, size)), np.ones(size), np.log(tree.weight))
