"""Units left out of a posterior of intercepts, by the kernel of trees."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.group_likelihood import standardized_rows
from hiermodels.exact.kernels.records import Densities, Rows
from hiermodels.exact.lattice_mixture import LatticeMixture
from hiermodels.exact.left_out import (
    WEIGHTY,
    Refit,
    Rule,
    leave_out_by_quadrature,
)
from hiermodels.exact.standardized import Standardized
from hiermodels.numerics.group_sums import starts
from hiermodels.posterior.left_out import LogDensities, Units

HEAVIEST = 1e-6  # share of its siblings in the weight, below which a unit is alone in what it says


def leave_out_of_tree(reference: LatticeMixture, units: Units, refit: Refit) -> LogDensities:
    """Log density of each unit given all others."""
    evaluate = partial(_evaluate, reference, units)
    return leave_out_by_quadrature(reference, units, evaluate, refit)


def _evaluate(reference: LatticeMixture, units: Units, rule: Rule, some: Indices) -> LogDensities:
    """Sum over the points of a rule, for some units."""
    standard = reference.marginal.data
    of, level = _rows_or_within(reference, units), units.level

    def densities(points: Floats) -> Iterator[tuple[slice, slice, Densities]]:
        return reference.marginal.given(points).left_out(of, level, some)

    middle, again = np.empty((2, len(some))), np.zeros(len(some))
    share = rule.shares
    sums, kept = np.zeros((len(share), len(some))), np.full(len(some), np.inf)
    with np.errstate(all="ignore"):
        for _, part, values in densities(rule.heaviest):
            middle[:, part] = values.left_out[0], values.again[0]
        for nodes, part, values in densities(rule.points):
            sums[:, part] += share[:, nodes] @ np.exp(middle[0, part] - values.left_out)
            again[part] += share[0, nodes] @ np.exp(values.again - middle[1, part])
            weighty = share[0, nodes] > WEIGHTY
            kept[part] = np.minimum(kept[part], values.kept[weighty].min(axis=0, initial=np.inf))
        log_mean = np.log(sums[0])
    bad = _dominates(standard, of, level)[some]
    jacobian = _sizes(reference.data, units)[some] * np.log(standard.scale)
    left_out, again = middle[0] - log_mean - jacobian, middle[1] + np.log(again) - jacobian
    return LogDensities(left_out, again, np.where(bad, np.inf, rule.error(sums, kept)))


def _rows_or_within(reference: LatticeMixture, units: Units) -> Any:
    """What the densities need: rows, or what the kernel makes of them."""
    marginal = reference.marginal
    if not reference.data.has_rows:
        return marginal.kernel.within(None)
    rows = standardized_rows(reference.data, marginal.data)
    are_rows = units.level > marginal.data.tree.innermost
    return rows if are_rows else marginal.kernel.within(rows)


def _sizes(data: GroupedData, units: Units) -> Floats:
    """Number of rows of each unit."""
    return np.bincount(units.index, minlength=len(units)).astype(float)


def _dominates(standard: Standardized, of: Any, level: int) -> NDArray[np.bool_]:
    """Units that have nearly all the weight among their siblings, or are in one that has.

    What is left without them is lost in rounding when it is formed as a difference.
    """
    tree = standard.tree
    weights = [tree.weight]  # of the root and of each level, the outermost first
    for current in range(tree.innermost, ROOT, -1):
        weights.insert(0, np.add.reduceat(weights[0], starts(tree.parent(current))))
    dominates = np.zeros(1, dtype=bool)
    for current, (total, weight) in enumerate(pairwise(weights[: level - ROOT + 1])):
        parent = tree.parent(current)
        several = np.bincount(parent)[parent] > 1
        alone = several & (total[parent] - weight < HEAVIEST * weight)
        dominates = dominates[parent] | alone
    if not isinstance(of, Rows):
        return dominates
    total = tree.weight[of.group]
    alone = (total > of.weight) & (total - of.weight < HEAVIEST * of.weight)
    return dominates[of.group] | alone
