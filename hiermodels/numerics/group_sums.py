"""Sums over groups."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices


def starts(parent: Indices) -> Indices:
    """First position of each value of an ascending index that runs 0, 1, 2, … without gaps."""
    return np.searchsorted(parent, np.arange(int(parent[-1]) + 1))


def sum_by(index: Indices, values: Floats, size: int) -> Floats:
    """Sum the rows of ``values`` that share an index; shape ``(size, columns)``."""
    total = np.empty((size, values.shape[1]))
    for j, column in enumerate(values.T):
        total[:, j] = np.bincount(index, weights=column, minlength=size)
    return total


def group_means(
    rows: Floats, weight: Floats, group: Indices, size: int
) -> tuple[Floats, Floats, Floats]:
    """Weights of the groups (size,), a row of each, and their mean as seen from it; (size, c)."""
    total = np.bincount(group, weights=weight, minlength=size)
    share = (weight / total[group])[:, None]
    first = np.empty(size, dtype=np.intp)
    first[group[::-1]] = np.arange(len(rows))[::-1]
    some = rows[first]
    return total, some, sum_by(group, share * (rows - some[group]), size)


def two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """``a + b``, and what rounding took from it.

    References
    ----------
    Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B.
    """
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def symmetric(product: Floats) -> Floats:
    """Make cross-products symmetric to the last digit."""
    return (product + product.T) / 2
