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
from hiermodels.numerics.normal_mixture import cdf

DEGREES = {1: range(4, 31, 4), 2: range(2, 15, 2), 3: range(4, 9, 2)}  # that are tried
AGREE = 1e-10  # posterior sds, or probability, that two degrees may differ by
AT = np.array([-3.0, -1.0, 1.0, 3.0])[:, None]  # sds from the mean, where these are compared
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


def few_nodes(
    lattice: Lattice,
    laws: Callable[[Indices], tuple[Floats, Floats]],
    agree: float | None = None,
) -> Few | None:
    """Few nodes of a lattice on which laws of some effects of two degrees agree, if there are any.

    The difference falls geometrically: where it falls too slowly, no degree is good enough.

    Parameters
    ----------
    lattice : Lattice
    laws : callable
        From nodes (n,) to means and sds (n, u) of normal effects there.
    agree : float, optional
        Posterior sds, or probability, that two degrees may differ by, ``AGREE`` by default.
    """
    agree = AGREE if agree is None else agree
    unit = laws(np.array([lattice.weights.argmax()]))
    degrees = DEGREES.get(lattice.points.shape[1], range(0))
    found: list[Floats] = []
    errors: list[float] = []
    for left, degree in zip(reversed(range(len(degrees))), degrees, strict=True):
        rule = compress(lattice.points, lattice.weights, degree)
        found.append(_compared(unit, laws(rule[0]), rule[1]))
        if len(found) < 2:
            continue
        errors.append(float(np.abs(found[-1] - found[-2]).max()))
        if errors[-1] <= agree:
            return Few(*_with_half(lattice, rule, degree), errors[-1])
        if len(errors) > 1 and errors[-1] * (errors[-1] / errors[-2]) ** left > agree:
            return None
    return None


def _compared(unit: tuple[Floats, Floats], laws: tuple[Floats, Floats], weights: Floats) -> Floats:
    """Means, log sds and distribution functions of mixtures, in sds ``unit`` of a single node."""
    mean, sd = (laws[0] - unit[0]) / unit[1], laws[1] / unit[1]
    center = weights @ mean
    spread = np.sqrt(weights @ ((mean - center) ** 2 + sd**2))
    below = cdf(weights, mean, sd, np.broadcast_to(AT, (len(AT), len(center))))
    return np.concatenate([center, np.log(spread), below.ravel()])


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
