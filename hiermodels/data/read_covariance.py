"""Known sampling covariances from what a user gives: a correlation, a matrix, or one per study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.core.messages import short
from hiermodels.data.frame import Frame
from hiermodels.data.nesting import GroupLevel
from hiermodels.data.roles import Roles
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.errors import DataError
from hiermodels.model.formula.columns import Stated
from hiermodels.model.sampling import MATRIX

RTOL = 1e-10  # of numbers that should be equal, as a part of the sds that they belong to
SINGULAR = 1e-13  # of a correlation matrix's eigenvalues


def read_covariance(
    said: Stated,
    roles: Roles,
    frame: Frame,
    keep: Flags,
    se: Floats | None,
    levels: Sequence[GroupLevel],
    group: Indices,
) -> SamplingCovariance | None:
    """Covariance of the rows' errors within outermost groups; None where there is none."""
    if roles.sampling is None:
        return None
    member = group
    for level in reversed(levels[1:]):
        member = level.parent[member]
    if roles.sampling != MATRIX:
        assert se is not None
        return correlated(float(roles.sampling), se, levels[0], member)
    return read_matrix(said.covariance, keep, levels[0], member, frame)


def correlated(r: float, se: Floats, level: GroupLevel, member: Indices) -> SamplingCovariance:
    """``V_ij = r se_i se_j`` of rows of one group of a level.

    Parameters
    ----------
    r : float
    se : (n,)
    level : GroupLevel
    member : (n,)
        Each row's group.

    Raises
    ------
    DataError
        If V is not positive definite.
    """
    blocks = []
    for number, rows in enumerate(_rows_by_member(member)):
        low = -1 / (len(rows) - 1) if len(rows) > 1 else -np.inf
        if not low < r < 1:
            raise DataError(
                f"sampling_correlation: expected a number between {low:.4g} and 1, as "
                f"{level.column} {short(level.labels[number])} has {len(rows)} rows; found {r:g}, "
                f"with which no covariance is positive definite"
            )
        matrix = r * se[rows, None] * se[rows]
        np.fill_diagonal(matrix, se[rows] ** 2)
        blocks.append((rows, matrix))
    return SamplingCovariance.of_blocks(blocks)


def read_matrix(
    given: Any,
    keep: Flags,
    level: GroupLevel,
    member: Indices,
    frame: Frame,
) -> SamplingCovariance:
    """From a matrix over all rows, or one for each group of a level.

    Parameters
    ----------
    given : (N, N) array, sparse matrix or data frame, or mapping of label to (m, m) array
        Over the rows as they stand in the data, before any are dropped; a group's in their order.
    keep : (N,)
        Which rows are kept.
    level : GroupLevel
        The outermost.
    member : (n,)
        Its group of each row that is kept.
    frame : Frame
        The rows that are kept.

    Raises
    ------
    DataError
        If it is of another size, is not symmetric, links rows of two groups, or is not positive
        definite.
    """
    if isinstance(given, Mapping):
        blocks = _of_mapping(given, keep, level, member)
    else:
        blocks = _of_matrix(given, keep, level, member, frame)
    for number, (rows, matrix) in enumerate(blocks):
        _check(matrix, f"{level.column} {short(level.labels[number])}", rows, frame)
    symmetric = [(rows, (matrix + matrix.T) / 2) for rows, matrix in blocks]
    return SamplingCovariance.of_blocks(symmetric)


def _rows_by_member(member: Indices) -> list[Indices]:
    """Rows of each group, in their order."""
    return np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])


def _of_matrix(
    given: Any,
    keep: Flags,
    level: GroupLevel,
    member: Indices,
    frame: Frame,
) -> list[tuple[Indices, Floats]]:
    """Blocks of a matrix over all rows."""
    n, places = len(keep), np.flatnonzero(keep)
    if _is_sparse(given):
        _require_size(given.shape, n)
        entries = given.tocoo()
        place = np.full(n, -1)
        place[places] = np.arange(len(places))
        i, j = place[entries.row], place[entries.col]
        kept = (i >= 0) & (j >= 0) & (entries.data != 0)
        i, j = i[kept], j[kept]
        dense = given.tocsr()[places]
        blocks = [
            (rows, _numbers(dense[rows][:, places[rows]].toarray()))
            for rows in _rows_by_member(member)
        ]
    else:
        matrix = _numbers(given)
        _require_size(matrix.shape, n)
        if isinstance(given, pd.DataFrame):
            _require_order(given, keep, frame)
        matrix = matrix[np.ix_(places, places)]
        i, j = np.nonzero(matrix)
        blocks = [(rows, matrix[np.ix_(rows, rows)]) for rows in _rows_by_member(member)]
    apart = np.flatnonzero(member[i] != member[j])
    if len(apart):
        two = np.array([i[apart[0]], j[apart[0]]])
        labels = " and ".join(short(level.labels[own]) for own in member[two])
        raise DataError(
            f"covariance: expected 0 between rows of different groups of {level.column!r}, the "
            f"outermost; found another number for {frame.show_rows(two)}, of {labels}"
        )
    return blocks


def _of_mapping(
    given: Mapping[Any, Any], keep: Flags, level: GroupLevel, member: Indices
) -> list[tuple[Indices, Floats]]:
    """Blocks of a mapping from labels to matrices."""
    if not keep.all():
        raise DataError(
            f"covariance: a matrix for each {level.column} is over rows that are kept, and "
            f"{int((~keep).sum())} are dropped. Drop them from the data and from the matrices "
            f"first, or give one matrix over all rows, from which they are dropped too"
        )
    by_label = {str(label): matrix for label, matrix in given.items()}
    labels = [str(label) for label in level.labels.tolist()]
    lacking = [label for label in labels if label not in by_label]
    strange = [label for label in by_label if label not in labels]
    if lacking or strange:
        what = f"none for {short(lacking[0])}" if lacking else f"one for {short(strange[0])}"
        raise DataError(
            f"covariance: expected a matrix for each {level.column} of the data; found {what}"
        )
    blocks = []
    for label, rows in zip(labels, _rows_by_member(member), strict=True):
        matrix = _numbers(by_label[label])
        if matrix.shape != (len(rows), len(rows)):
            raise DataError(
                f"covariance: {level.column} {short(label)} has {len(rows)} rows, which need a "
                f"matrix of shape {(len(rows), len(rows))}; found {matrix.shape}"
            )
        blocks.append((rows, matrix))
    return blocks


def _is_sparse(given: Any) -> bool:
    return hasattr(given, "tocoo") and hasattr(given, "tocsr")


def _numbers(given: Any) -> Floats:
    """A matrix of finite numbers."""
    try:
        matrix = np.array(given.to_numpy() if isinstance(given, pd.DataFrame) else given, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"covariance: expected a matrix of numbers, or a mapping from each outermost group to "
            f"one; found {short(given)}"
        ) from error
    if not np.isfinite(matrix).all():
        raise DataError("covariance: expected finite numbers; some are missing or infinite")
    return matrix


def _require_size(shape: tuple[int, ...], n: int) -> None:
    if shape != (n, n):
        raise DataError(
            f"covariance: expected a matrix over the {n} rows of the data, of shape {(n, n)}; "
            f"found {shape}"
        )


def _require_order(given: pd.DataFrame, keep: Flags, frame: Frame) -> None:
    """Raise DataError if rows or columns have the labels of the data's rows in another order."""
    for labels in (given.index[keep], given.columns[keep]):
        if not labels.equals(frame.index) and set(labels) == set(frame.index):
            raise DataError(
                "covariance: its rows and columns have the labels of the data's rows, in another "
                "order. Give V.loc[df.index, df.index], or V.to_numpy() if the order is right"
            )


def _check(matrix: Floats, where: str, rows: Indices, frame: Frame) -> None:
    """Raise DataError if a matrix is not symmetric, or not positive definite."""
    diagonal = np.diag(matrix)
    if (diagonal <= 0).any():
        bad = rows[[int(np.argmax(diagonal <= 0))]]
        raise DataError(
            f"covariance: expected positive variances on the diagonal; found "
            f"{diagonal.min():g} for {frame.show_rows(bad)}, of {where}"
        )
    sd = np.sqrt(diagonal)
    correlation = matrix / (sd[:, None] * sd)
    off = np.abs(correlation - correlation.T)
    if off.max() > RTOL:
        i, j = np.unravel_index(off.argmax(), off.shape)
        raise DataError(
            f"covariance: expected a symmetric matrix; found {matrix[i, j]:g} and "
            f"{matrix[j, i]:g} for {frame.show_rows(rows[[i, j]])}, of {where}"
        )
    if np.linalg.eigvalsh((correlation + correlation.T) / 2)[0] <= SINGULAR * len(rows):
        raise DataError(
            f"covariance: expected a positive definite matrix; that of {where}, with {len(rows)} "
            f"rows, is not. Rows that say the same twice make it singular"
        )
