"""Rows of several strata decomposed: those of each by themselves, then put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.strata import Strata, cells


def stratified(
    columns: tuple[Floats, Floats, Floats],
    group: Indices,
    parents: tuple[Indices, ...],
    weight: Floats | None,
    fixed: Sequence[bool] | None,
    strata: tuple[Indices, int, bool],
) -> Blocks:
    """Decompose the rows of each group and stratum.

    Parameters
    ----------
    columns, group, parents, weight, fixed
        As in :meth:`Blocks.of`.
    strata : (n,), int and bool
        Each row's stratum, the number of strata, and whether groups have rows of several: then
        their cells are one more level.
    """
    stratum, size, has_cells = strata
    if has_cells:
        group, parent = cells(group, stratum)
        parents = (*parents, parent)
    own = np.zeros(int(group.max()) + 1, dtype=np.intp)
    own[group] = stratum
    weight = np.ones(len(group)) if weight is None else weight
    parts = []
    for k in np.unique(own):
        rows = own[group] == k
        some = tuple(column[rows] for column in columns)
        number = np.cumsum(own == k) - 1  # of each group, among those of the stratum
        parts.append((k, Blocks.of(some, number[group[rows]], (), weight[rows], fixed)))
    return together(parts, own, size, parents)


def together(
    parts: list[tuple[int, Blocks]], own: Indices, size: int, parents: tuple[Indices, ...]
) -> Blocks:
    """Put together what rows of each stratum say of the groups, whose strata are own (g,)."""
    (_, first), *_ = parts
    design = np.empty(len(own), dtype=np.intp)
    outcome = np.empty((*first.outcome.shape[:2], len(own)))
    of_design: list[int] = []
    of_rest: list[int] = []
    count = np.zeros(size)
    for k, part in parts:
        design[own == k] = part.design + len(of_design)
        outcome[:, :, own == k] = part.outcome
        of_design += [k] * part.designs.shape[2]
        of_rest += [k] * len(part.rest)
        count[k] = part.n_rows
    return replace(
        first,
        designs=np.concatenate([part.designs for _, part in parts], axis=2),
        design=design,
        outcome=outcome,
        rest=np.concatenate([part.rest for _, part in parts]),
        n_rows=sum(part.n_rows for _, part in parts),
        log_weight=sum(part.log_weight for _, part in parts),
        parents=parents,
        strata=Strata.of(
            np.array(of_design, dtype=np.intp), np.array(of_rest, dtype=np.intp), count
        ),
    )
