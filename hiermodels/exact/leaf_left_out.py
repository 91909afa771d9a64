"""Groups of counts, or rows of them, left out, one at a time, without fitting anew.

The posterior without a group is the whole one divided by the group's own integral m, so that

    log p(y_i | y_−i) = −log E[1/m_i | y].

With three levels m is that of the group given its outer group's effect, or that of all groups of an
outer one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.leaf_data import leaf_design
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.exact.leaf_propriety import check
from hiermodels.exact.leaf_rows_left_out import DistinctRows, change_rows
from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.model.spec import Spec
from hiermodels.numerics.group_sums import sum_by
from hiermodels.posterior.left_out import LogDensities, Units

SIDES = ((False, False), (False, True), (True, False), (True, True))  # below, above


def leave_out_units(spec: Spec, data: GroupedData, laws: LeafLaws, units: Units) -> LogDensities:
    """Log density of each group's rows, or of each row, given all others."""
    design = leaf_design(spec, data, laws.leaves, laws.x)
    if units.level < len(spec.levels):
        return _groups(design, laws, _members(data, units.level), units.level)
    return _rows(design, laws, DistinctRows.of(spec.family, require_rows(data, "loo")))


def _members(data: GroupedData, level: int) -> Indices:
    """The group of a level that each innermost group is in; (k,)."""
    member = np.arange(data.n_groups)
    for below in reversed(data.levels[level + 1 :]):
        member = below.parent[member]
    return member


def _groups(design: LeafDesign, laws: LeafLaws, member: Indices, level: int) -> LogDensities:
    """Log density of each group's rows given all other groups, and of another group like it."""
    left_out, error = laws.leave_out(level)
    no = np.zeros(len(left_out), dtype=bool)
    reasons = _reasons(design, member, np.arange(len(member)), no, no)
    return _known(left_out, laws.again(level), error, len(laws.posterior.lattice), reasons)


def _rows(design: LeafDesign, laws: LeafLaws, rows: DistinctRows) -> LogDensities:
    """Log density of each row given all others, and of another row of its group like it."""
    every, some = np.arange(len(rows.group)), np.flatnonzero(~rows.is_alone)
    left_out, error = (part[rows.group] for part in laws.leave_out(laws.innermost))
    falls = np.zeros((2, len(every)), dtype=bool)
    less = change_rows(laws, rows, some, -1)
    left_out[some], error[some] = -less.log_ratio, less.error
    falls[:, some] = less.falls_below, less.falls_above
    again = change_rows(laws, rows, every, 1).log_ratio
    of_kind = _reasons(design, every, rows.group, *falls)
    reasons = {
        row: of_kind[kind] for row, kind in enumerate(rows.of_row.tolist()) if kind in of_kind
    }
    left_out, again, error = (part[rows.of_row] for part in (left_out, again, error))
    return _known(left_out, again, error, len(laws.posterior.lattice), reasons)


def _known(
    left_out: Floats, again: Floats, error: Floats, n_points: int, reasons: dict[int, str]
) -> LogDensities:
    """Log densities, nan of what cannot be left out."""
    lost = np.isin(np.arange(len(again)), list(reasons))
    left_out, again, error = np.where(lost, np.nan, [left_out, again, error])
    return LogDensities(left_out, again, error, n_points=n_points, reasons=reasons)


def _reasons(
    design: LeafDesign, unit: Indices, group: Indices, falls_below: Flags, falls_above: Flags
) -> dict[int, str]:
    """Why units cannot be left out: the posterior of the others does not exist.

    That depends on the sides to which the likelihood of a unit's group falls with and without it,
    on the group's covariates, and on what else is in its outer group.

    Parameters
    ----------
    design : LeafDesign
        Of all that was observed.
    unit, group : (n,)
        Pairs of a unit, one of u, and a group in which it is, or which is in it.
    falls_below, falls_above : (u,)
        Of the likelihood of the unit's group without it.
    """
    own = np.column_stack([*_sides(design), design.x])
    sums = sum_by(unit, own[group], len(falls_below))
    kinds = np.column_stack([sums, falls_below, falls_above])
    if design.parent is not None:
        of_parents = sum_by(design.parent, own, design.n_parents)
        parent = np.zeros(len(sums), dtype=np.intp)
        parent[unit] = design.parent[group]
        kinds = np.column_stack([kinds, (of_parents[parent] - sums)[:, : len(SIDES)] > 0])
    _, first, kind = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    reasons: dict[int, str] = {}
    for number, one in enumerate(first.tolist()):
        changed = _changed(design, group[unit == one], falls_below[one], falls_above[one])
        try:
            check(changed)
        except ImproperPosteriorError as error:
            alike = np.flatnonzero(kind.ravel() == number)
            reasons |= dict.fromkeys(alike.tolist(), str(error))
    return reasons


def _sides(design: LeafDesign) -> list[Flags]:
    """Which groups' likelihoods fall to neither side, above alone, below alone, and to both."""
    below, above = design.falls_below, design.falls_above
    return [(below == low) & (above == high) for low, high in SIDES]


def _changed(
    design: LeafDesign, groups: Indices, falls_below: bool, falls_above: bool
) -> LeafDesign:
    """The same, but for where groups' likelihoods fall; without the groups if they do nowhere."""
    below, above = design.falls_below.copy(), design.falls_above.copy()
    below[groups], above[groups] = falls_below, falls_above
    gone = np.array([], dtype=np.intp) if falls_below or falls_above else groups
    kept = np.delete(np.arange(len(below)), gone)
    parent, n_parents = design.parent, design.n_parents
    if parent is not None:
        left, parent = np.unique(parent[kept], return_inverse=True)
        n_parents = len(left)
    return replace(
        design,
        falls_below=below[kept],
        falls_above=above[kept],
        x=design.x[kept],
        labels=[design.labels[i] for i in kept.tolist()],
        parent=parent,
        n_parents=n_parents,
    )
