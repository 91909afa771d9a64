"""Gauss's rules of many discrete measures at once.

Few places with weights that integrate polynomials as the measure does, up to the degree 2·size − 1.
The orthogonal polynomials' recurrence is found by Stieltjes's procedure, and the rule from the
eigenvectors of its tridiagonal matrix.

References
----------
Golub & Welsch (1969), Mathematics of Computation 23:221.
Gautschi (2004), Orthogonal Polynomials, Oxford, section 2.2.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats


def gauss_rules(places: Floats, weights: Floats, size: int) -> tuple[Floats, Floats]:
    """Rules of measures with weights of sum 1 at places, (n, k) each; (n, size) each."""
    center = (weights * places).sum(axis=1, keepdims=True)
    scale = np.sqrt((weights * (places - center) ** 2).sum(axis=1, keepdims=True))
    t = (places - center) / scale
    matrix = np.zeros((len(t), size, size))
    before, now = np.zeros_like(t), np.ones_like(t)
    for i in range(size):
        alpha = (weights * t * now**2).sum(axis=1)
        matrix[:, i, i] = alpha
        if i + 1 == size:
            break
        beta = matrix[:, i - 1, i, None] if i else 0.0
        ahead = (t - alpha[:, None]) * now - beta * before
        norm = np.sqrt((weights * ahead**2).sum(axis=1))
        matrix[:, i, i + 1] = matrix[:, i + 1, i] = norm
        before, now = now, ahead / norm[:, None]
    nodes, vectors = np.linalg.eigh(matrix)
    return center + scale * nodes, vectors[:, 0] ** 2
