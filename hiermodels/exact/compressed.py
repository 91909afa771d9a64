"""A few nodes that stand for the whole lattice where many values are summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.tree.tree import Tree
from hiermodels.exact.precision import both_weights
from hiermodels.numerics.cubature import compress
from hiermodels.numerics.lattice import Lattice

DEGREES = {1: range(4, 31, 4), 2: range(2, 15, 2), 3: range(4, 9, 2)}  # that are tried
AGREE = 1e-10  # posterior sds, or probability, that two degrees may differ by
PROBE_GROUPS = 32  # groups on whom they are compared, by each of several orders


@dataclass(frozen=True)
class Few:
    """Few nodes that stand for a lattice in sums over them.

    Attributes
    ----------
    chosen : (n,)
        Which of the lattice's nodes.
    weights : (2, n)
        For the whole lattice, and for half of it.
    error : float
        By how much values differ between this degree and the one before, in posterior sds.
    """

    chosen: Indices
    weights: Floats
    error: float

    @property
    def whole(self) -> tuple[Indices, Floats]:
        """Nodes and weights that stand for the whole lattice."""
        some = self.weights[0] > 0
        return self.chosen[some], self.weights[0, some]


def few_points(few: Few | None, groups: str) -> list[str]:
    """What is said of the few nodes over which effects of groups are summed, if they are."""
    if few is None:
        return []
    return [
        f"values of {groups}: {len(few.whole[1])} points with the lattice's moments; two degrees "
        f"differ by {few.error:.1e} posterior sd"
    ]


def few_nodes(lattice: Lattice, on_probes: Callable[[Indices, Floats], Floats]) -> Few | None:
    """Few nodes of a lattice on which values of two degrees agree, if there are any.

    The difference falls geometrically: where it falls too slowly, no degree is good enough.

    Parameters
    ----------
    lattice : Lattice
    on_probes : callable
        From nodes and weights to values that are sums over them.
    """
    degrees = DEGREES.get(lattice.points.shape[1], range(0))
    found: list[Floats] = []
    errors: list[float] = []
    for left, degree in zip(reversed(range(len(degrees))), degrees, strict=True):
        rule = compress(lattice.points, lattice.weights, degree)
        found.append(on_probes(*rule))
        if len(found) < 2:
            continue
        errors.append(float(np.abs(found[-1] - found[-2]).max()))
        if errors[-1] <= AGREE:
            return Few(*_with_half(lattice, rule, degree), errors[-1])
        if len(errors) > 1 and errors[-1] * (errors[-1] / errors[-2]) ** left > AGREE:
            return None
    return None


def _with_half(
    lattice: Lattice, rule: tuple[Indices, Floats], degree: int
) -> tuple[Indices, Floats]:
    """Few nodes (n,) of a lattice, and their weights (2, n) for the whole of it and for half.

    The rule for the whole is given.
    """
    rules = [rule, compress(lattice.points, both_weights(lattice)[1], degree)]
    chosen = np.unique(np.concatenate([places for places, _ in rules]))
    weights = np.zeros((2, len(chosen)))
    for row, (places, part) in zip(weights, rules, strict=True):
        row[np.searchsorted(chosen, places)] = part
    return chosen, weights


def probe_groups(tree: Tree) -> Indices:
    """Groups that stand for all: from the least to the largest in each respect that matters."""
    parent = tree.group_parent
    deviation = tree.residual_mean - tree.by_weight.centre[parent]
    siblings = np.bincount(parent)[parent]
    weighted = np.sqrt(tree.weight) * deviation[:, -1]
    return spread_out([tree.weight, siblings, *deviation.T, weighted])


def spread_out(respects: Sequence[Floats | Indices]) -> Indices:
    """Members that are evenly ranked in each respect (u,)."""
    size = len(respects[0])
    ranks = np.linspace(0, size - 1, min(PROBE_GROUPS, size)).astype(np.intp)
    return np.unique([np.argpartition(values, ranks)[ranks] for values in respects])
