"""Rows and groups left out of a posterior of groups with several effects, or of many levels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_data import block_model
from hiermodels.exact.block_rows import BlockRows, rows_of_units
from hiermodels.exact.blocks.left_out import BlockUnits, LeftOut, SigmaAtNodes
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.pair_refinement import Mass
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import SdMarginal
from hiermodels.exact.correlated_rows import is_turned
from hiermodels.exact.kernels.blocks.leave_out import SingleRows, Unit
from hiermodels.exact.left_out import (
    WEIGHTY,
    Integral,
    OnLattice,
    Refit,
    Rule,
    leave_out_by_nodes,
    leave_out_by_quadrature,
)
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units


def leave_out_of_blocks(
    reference: OnLattice, marginal: BlockMarginal, units: Units, refit: Refit
) -> LogDensities:
    """Log density of each unit given all others."""
    rows = BlockRows.of(reference.spec, reference.data, marginal.anchor)
    of = _units(reference.spec, rows, reference.data, units)
    if isinstance(of.units, SingleRows):
        log_weight = np.log(rows.weight_given_others[np.argsort(units.index)])
    else:
        log_weight = np.array([unit.blocks.log_weight for unit in of.units])
    constant = (log_weight - of.n_rows * LOG_2PI) / 2
    evaluate = partial(sums_over, marginal, of, constant)
    if isinstance(reference.lattice, PairNodes):
        rule, mass = _rule(reference.lattice), partial(_mass, reference.spec, refit)
        return leave_out_by_nodes(reference, units, rule, evaluate, mass)
    return leave_out_by_quadrature(reference, units, evaluate, refit)


def _mass(spec: Spec, refit: Refit, data: GroupedData) -> Integral:
    """The integral of a posterior, by two lattices where there are two parts."""
    marginal = BlockMarginal.of(block_model(spec, data))
    return refit(data) if marginal.cut is None else Mass.of(marginal)


def _rule(nodes: PairNodes) -> Rule:
    """Nodes, with half of the lattices and the coarser nodes for rougher rules."""
    edge = np.zeros(len(nodes), dtype=bool)
    return Rule(nodes.points, nodes.every, np.ones(len(nodes.every) - 1), edge)


class UnitsLeftOut[M: SdMarginal[Any]](Protocol):
    """Units that can be left out."""

    def left_out(
        self, marginal: M, values: Values, sigma: SigmaAtNodes, some: Indices
    ) -> Iterator[tuple[slice, Indices, LeftOut]]:
        """Yield nodes, places among ``some`` and densities, at n nodes with σ's law there."""


def sums_over[M: SdMarginal[Any]](
    marginal: M, of: UnitsLeftOut[M], constant: Floats, rule: Rule, some: Indices
) -> LogDensities:
    """Sum over the points of a rule, for some units.

    Parameters
    ----------
    marginal : SdMarginal
    of : UnitsLeftOut
    constant : (u,)
        Of each unit's log density.
    rule : Rule
    some : (v,)
        Which units.
    """
    size = len(some)
    middle, again, kept = np.empty((2, size)), np.zeros(size), np.full(size, np.inf)
    share = rule.shares
    sums = np.zeros((len(share), size))
    with np.errstate(all="ignore"):
        for _, part, at in left_out_at(marginal, of, rule.heaviest, some):
            middle[:, part] = at.less[:, 0], at.more[:, 0]
        for nodes, part, at in left_out_at(marginal, of, rule.points, some):
            sums[:, part] += share[:, nodes] @ np.exp(at.less - middle[0, part, None]).T
            again[part] += np.exp(at.more - middle[1, part, None]) @ share[0, nodes]
            weighty = share[0, nodes] > WEIGHTY
            lowest = at.kept[:, weighty].min(axis=1, initial=np.inf)
            kept[part] = np.minimum(kept[part], lowest)
        log_mean = np.log(sums[0])
    left_out = constant[some] - middle[0] - log_mean
    more = constant[some] + middle[1] + np.log(again)
    return LogDensities(left_out, more, rule.error(sums, kept))


def left_out_at[M: SdMarginal[Any]](
    marginal: M, of: UnitsLeftOut[M], points: Floats, some: Indices
) -> Iterator[tuple[slice, Indices, LeftOut]]:
    """Yield nodes, places among ``some`` and densities, at points (n, d)."""
    values = marginal.coordinates.values(points)
    return of.left_out(marginal, values, SigmaAtNodes.of(marginal, values), some)


def _units(spec: Spec, rows: BlockRows, data: GroupedData, units: Units) -> BlockUnits:
    """The units as arrays."""
    n_rows = np.bincount(units.index, minlength=len(units)).astype(float)
    turned = units.level == len(spec.levels) - 1 and is_turned(rows.group, rows.covariance)
    if turned and (n_rows > 1).any():
        outer = f" Leave out whole {spec.groups[0]}, or rows" if units.level else " Leave out rows"
        raise SpecError(
            f"loo: errors of rows of different {units.name} are correlated, and some of these have "
            f"several rows, whose density given all others is not computed.{outer}"
        )
    if units.level == len(spec.levels) or turned:
        return BlockUnits(units.level, rows.single(np.argsort(units.index)), n_rows)
    levels, parent = data.levels[units.level :], data.levels[units.level].parent
    trees = (
        Unit(rows.tree(own, levels), int(above))
        for own, above in zip(rows_of_units(units.index), parent, strict=True)
    )
    return BlockUnits(units.level, tuple(trees), n_rows)
