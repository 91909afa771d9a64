"""Rows whose known errors are correlated, as rows whose errors are not.

    y = Z θ + X β + e,    e ~ N(0, V),    V block-diagonal.

Where only rows of one group are correlated, they are whitened: with ``V = C C'`` the rows
``C⁻¹ [Z X y]`` have independent errors of variance 1.  Where rows of several groups of one parent
are, that ties the effects of these groups together.  With singular values ``C⁻¹ Z = P S Q'`` the
rows ``P' C⁻¹ [X y]`` have independent errors, and so have ``a = Q'θ`` their noise, on which they
are by S: see :class:`hiermodels.exact.kernels.blocks.turned.Turned`.  Where there are more rows
than groups, the others are free of effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.turned import Turned

type Columns = tuple[Floats, Floats, Floats]


def blocks_of_correlated(
    columns: Columns,
    group: Indices,
    parents: tuple[Indices, ...],
    covariance: SamplingCovariance,
    fixed: Sequence[bool] | None = None,
) -> Blocks:
    """Blocks of rows with errors of this covariance.

    Parameters
    ----------
    columns : (n, p), (n, q) and (n,)
        z, x and y.
    group, parents, fixed
        As :meth:`Blocks.of` takes them.
    covariance : SamplingCovariance

    Raises
    ------
    SpecError
        If rows of several groups are correlated, and these have different parents, or more than an
        intercept.
    """
    z, x, y = columns
    log_weight = -float(covariance.log_dets.sum())
    if covariance.is_within(group):
        white = covariance.whiten(np.column_stack([z, x, y]))
        parts = white[:, : z.shape[1]], white[:, z.shape[1] : -1], white[:, -1]
        return replace(Blocks.of(parts, group, parents, fixed=fixed), log_weight=log_weight)
    _require_turnable(z, group, parents, covariance)
    if len(np.unique(group)) == len(group):
        rows = _turned(np.column_stack([x, y]), group, covariance)
    else:
        rows = _turned_groups(np.column_stack([z, x, y]), group, covariance)
    of_each = np.column_stack([rows.root, rows.loading])
    kinds, design = np.unique(of_each, axis=0, return_inverse=True)
    return Blocks(
        designs=kinds[:, 0][None, None],
        design=design.ravel(),
        outcome=np.ascontiguousarray(rows.columns.T[None]),
        rest=rows.rest,
        n_rows=len(group),
        log_weight=log_weight,
        fixed=np.ones(1, dtype=bool) if fixed is None else np.array(fixed, dtype=bool),
        parents=parents,
        turned=Turned(kinds[:, 1], _block_diagonal(rows.axes)),
    )


def is_turned(group: Indices, covariance: SamplingCovariance | None) -> bool:
    """Whether rows of several groups are correlated."""
    return covariance is not None and not covariance.is_within(group)


def _require_turnable(
    z: Floats, group: Indices, parents: tuple[Indices, ...], covariance: SamplingCovariance
) -> None:
    """Raise SpecError unless groups have intercepts and those with correlated rows one parent."""
    below = parents[-1][group] if parents else np.zeros(len(group), dtype=np.intp)
    if z.shape[1] == 1 and covariance.is_within(below):
        return
    several = z.shape[1] > 1
    why = f"{z.shape[1]} effects vary, not one" if several else "their parents differ"
    raise SpecError(
        f"covariance: errors of rows of different innermost groups are correlated, and {why}. They "
        f"may be correlated within innermost groups, or with intercepts between those of one "
        f"parent. Leave a column of groups or a slope out, or write a PyMC model of your own"
    )


@dataclass(frozen=True)
class _TurnedRows:
    """A row for each of g groups, with an error of its own.

    Attributes
    ----------
    root, loading : (g,)
        S, by which each row is on its turned effect a, and ``Q'1``, by which a is on the parent's.
    columns : (g, q + 1)
        [x | y].
    axes : list of (members, axes)
        Of each set of groups that V ties together.
    rest : (r, q + 1)
        Rows that are free of effects.
    """

    root: Floats
    loading: Floats
    columns: Floats
    axes: list[tuple[Indices, Floats]]
    rest: Floats


def _turned(rows: Floats, group: Indices, covariance: SamplingCovariance) -> _TurnedRows:
    """Single rows [x | y], turned into the axes of their covariance.

    By singular values of C, which are the roots of Λ: these keep twice the digits that the
    eigenvalues of ``V = C C'`` have where variances differ very much.
    """
    n = len(rows)
    turned, root, loading = np.empty(rows.shape), np.empty(n), np.empty(n)
    blocks = []
    for own, factor in covariance.roots:
        axes, sds, _ = np.linalg.svd(factor)
        place = group[own]
        turned[place], root[place] = axes.T @ rows[own], 1 / sds
        loading[place] = axes.sum(axis=0)
        blocks.append((place, axes))
    rest = np.zeros((0, rows.shape[1]))
    return _TurnedRows(root, loading, turned * root[:, None], blocks, rest)


def _turned_groups(rows: Floats, group: Indices, covariance: SamplingCovariance) -> _TurnedRows:
    """Groups of any number of rows [z | x | y], those that V ties together turned."""
    tied, size = _tied(group, covariance), int(group.max()) + 1
    place, on = np.empty(size, dtype=np.intp), np.zeros((len(rows), max(len(m) for _, m in tied)))
    for _, members in tied:
        place[members] = np.arange(len(members))
    on[np.arange(len(rows)), place[group]] = rows[:, 0]
    z, columns = covariance.whiten(on), covariance.whiten(rows[:, 1:])
    turned, root, loading = np.empty((size, rows.shape[1] - 1)), np.empty(size), np.empty(size)
    blocks, rest = [], []
    for own, members in tied:
        g = len(members)
        left, root[members], axes = np.linalg.svd(z[own, :g])
        both = left.T @ columns[own]
        turned[members], loading[members] = both[:g], axes.sum(axis=1)
        rest.append(both[g:])
        blocks.append((members, axes.T))
    free = np.linalg.qr(np.concatenate(rest), mode="r")
    return _TurnedRows(root, loading, turned, blocks, free)


def _tied(group: Indices, covariance: SamplingCovariance) -> list[tuple[Indices, Indices]]:
    """Rows and groups that V ties together, directly or by way of others, each by itself."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    block, size = np.empty(len(group), dtype=np.intp), int(group.max()) + 1
    for number, (rows, _) in enumerate(covariance.blocks):
        block[rows] = size + number
    n = size + len(covariance.blocks)
    links = csr_array((np.ones(len(group)), (group, block)), shape=(n, n))
    count, part = connected_components(links, directed=False)
    members, rows = part[:size], part[group]
    return [(np.flatnonzero(rows == k), np.flatnonzero(members == k)) for k in range(count)]


def rows_given_others(z: Floats, group: Indices, covariance: SamplingCovariance) -> Any:
    """How each row, given all others, follows all groups' effects; sparse (n, g).

    With ``Q = V⁻¹``, ``Q_i· Z/√Q_ii``: of the row in units of its sd; z (n,) is its own covariate.
    """
    from scipy.sparse import csr_array

    blocks = []
    for own, v in covariance.blocks:
        inverse = np.linalg.inv(v)
        blocks.append((own, inverse / np.sqrt(np.diag(inverse))[:, None]))
    shape = len(group), int(group.max()) + 1
    return _block_diagonal(blocks) @ csr_array((z, (np.arange(len(group)), group)), shape=shape)


def _block_diagonal(blocks: Sequence[tuple[Indices, Floats]]) -> Any:
    """A sparse matrix of blocks, each with its places among rows and columns."""
    from scipy.sparse import csr_array

    rows = np.concatenate([np.repeat(place, len(place)) for place, _ in blocks])
    columns = np.concatenate([np.tile(place, len(place)) for place, _ in blocks])
    entries = np.concatenate([matrix.ravel() for _, matrix in blocks])
    n = sum(len(place) for place, _ in blocks)
    return csr_array((entries, (rows, columns)), shape=(n, n))
