"""A few nodes that stand for the whole lattice where many values are summed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.tree.tree import Tree
from hiermodels.exact.precision import both_weights
from hiermodels.numerics.cubature import compress
from hiermodels.numerics.lattice import Lattice

PROBE_GROUPS = 32  # groups on whom they are compared, by each of several orders


@dataclass(frozen=True)
class Few:
    """Few points that stand for a lattice in sums over them.

    Attributes
    ----------
    points : (n, d)
    weights : (2, n)
        For the whole lattice, and for half of it.
    error : float
        By how much values differ between this degree and the one before, in posterior sds.
    """

    points: Floats
    weights: Floats
    error: float

    @property
    def whole(self) -> tuple[Floats, Floats]:
        """Points and weights that stand for the whole lattice."""
        some = self.weights[0] > 0
        return self.points[some], self.weights[0, some]


def with_half(lattice: Lattice, rule: tuple[Indices, Floats], degree: int) -> tuple[Floats, Floats]:
    """Few points (n, d) of a lattice, and their weights (2, n) for the whole of it and for half.

    The rule for the whole is given.
    """
    rules = [rule, compress(lattice.points, both_weights(lattice)[1], degree)]
    chosen = np.unique(np.concatenate([places for places, _ in rules]))
    weights = np.zeros((2, len(chosen)))
    for row, (places, part) in zip(weights, rules, strict=True):
        row[np.searchsorted(chosen, places)] = part
    return lattice.points[chosen], weights


def probe_groups(tree: Tree) -> Indices:
    """Groups that stand for all: from the least to the largest in each respect that matters."""
    parent = tree.group_parent
    deviation = tree.residual_mean - tree.by_weight.centre[parent]
    siblings = np.bincount(parent)[parent]
    respects = (tree.weight, siblings, *deviation.T, np.sqrt(tree.weight) * deviation[:, -1])
    ranks = np.linspace(0, len(parent) - 1, min(PROBE_GROUPS, len(parent))).astype(np.intp)
    return np.unique([np.argpartition(values, ranks)[ranks] for values in respects])
