"""Groups within groups: the units of each level, numbered, and whether their labels are nested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Indices
from hiermodels.core.messages import listed, short
from hiermodels.errors import DataError


def nest(
    columns: Sequence[NDArray[Any]], n_rows: int
) -> tuple[Indices, tuple[NDArray[Any], ...], tuple[NDArray[Any], ...], tuple[Indices, ...]]:
    """Number the units of each level, children of one parent side by side.

    Labels that repeat under several parents are different units; they are then written
    ``parent/label``.

    Returns
    -------
    group, labels, own_labels, parents
        As in :class:`hiermodels.data.grouped.GroupedData`.
    """
    labels: list[NDArray[Any]] = []
    own_labels: list[NDArray[Any]] = []
    parents: list[Indices] = []
    unit = np.zeros(n_rows, dtype=np.intp)
    for level, column in enumerate(columns):
        codes, values = pd.factorize(column)
        place, keys = pd.factorize(unit * len(values) + codes)
        order = np.argsort(keys // len(values), kind="stable")
        unit, keys = np.argsort(order)[place], keys[order]
        parent, own = keys // len(values), values[keys % len(values)]
        own_labels.append(_plain_labels(own))
        if len(keys) > len(values):
            own = np.array(
                [f"{labels[-1][p]}/{label}" for p, label in zip(parent, own, strict=True)]
            )
        labels.append(_plain_labels(own))
        if level:
            parents.append(parent)
    return unit, tuple(labels), tuple(own_labels), tuple(reversed(parents))


def _plain_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as integers or strings, not as objects."""
    return labels.astype(str) if labels.dtype == object else labels


def _check_numbering(
    names: Sequence[str], parent: Indices, own: NDArray[Any], parents: NDArray[Any]
) -> None:
    """Refuse labels that repeat here and there: they are not numbered anew under each parent.

    Numbers or letters that begin anew have a first one, which stands under most parents.  A
    label that stands under a few is a group that was recorded under two parents.
    """
    outer, inner = names
    repeated, counts = np.unique(own, return_counts=True)
    if len(parents) < 3 or 2 * counts.max() > len(parents):
        return
    label = repeated[np.argmax(counts)]
    where = [parents[p] for p in parent[own == label]]
    raise DataError(
        f"column {inner!r}: label {short(label)} stands under {len(where)} of {len(parents)} "
        f"labels of {outer!r}, {listed(where)}. If it is one group, it is not nested: correct its "
        f"rows. If these are different groups, give each a label of its own"
    )


def _check_distinct(name: str, labels: NDArray[Any]) -> None:
    values, counts = np.unique(labels, return_counts=True)
    if (counts > 1).any():
        raise DataError(
            f"column {name!r}: two different groups would both be called "
            f"{short(values[counts > 1][0])}; rename them so that 'parent/label' is unique"
        )


def check_groups(
    names: Sequence[str],
    labels: Sequence[NDArray[Any]],
    own_labels: Sequence[NDArray[Any]],
    parents: Sequence[Indices],
) -> None:
    """Refuse labels that are not nested.

    Parameters
    ----------
    names : sequence of str
        The columns, from the outermost to the innermost level.
    labels, own_labels, parents
        As :func:`nest` returns them.

    Raises
    ------
    DataError
        If labels stand under some parents as if by mistake, or if two units would have one name.
    """
    for level in range(1, len(names)):
        parent, own = parents[-level], own_labels[level]
        if len(np.unique(own)) < len(own):
            _check_numbering(names[level - 1 : level + 1], parent, own, labels[level - 1])
            _check_distinct(names[level], labels[level])
