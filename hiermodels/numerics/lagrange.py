"""Interpolation between even places by Lagrange's formula."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats


def lagrange_weights(inside: Floats, half: int) -> list[Floats]:
    """Lagrange's weights of the places ``1 − half, …, half`` for points in [0, 1).

    Of the differences to all other places the products before and after are built up.

    Parameters
    ----------
    inside : (...)
    half : int
        Number of places to either side.

    Returns
    -------
    list of (...)
        One for each of the ``2·half`` places.
    """
    offsets = range(1 - half, half + 1)
    differences = [inside - j for j in offsets]
    before, after = [np.ones_like(inside)], [np.ones_like(inside)]
    for left, right in zip(differences[:-1], differences[:0:-1], strict=True):
        before.append(before[-1] * left)
        after.append(after[-1] * right)
    scale = [float(np.prod([k - j for j in offsets if j != k])) for k in offsets]
    return [p * q / s for p, q, s in zip(before, reversed(after), scale, strict=True)]
