"""Few of many weighted points between which functions of a kind are interpolated.

Functions at n points with weights w span, to a tolerance, few directions: left singular vectors V
of ``√w f``.  Where as many points, chosen by a QR decomposition with pivoting, hold the values

    f(i) = Σ_k A_ki f(i_k),

with A exact for all functions in that span.

References
----------
Drmač & Gugercin (2016), SIAM Journal on Scientific Computing 38:A631 (pivots).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import scipy_linalg


@dataclass(frozen=True)
class Interpolation:
    """Points and what the others are of them.

    Attributes
    ----------
    chosen : (k,)
        Which points.
    matrix : (k, n)
        A.
    """

    chosen: Indices
    matrix: Floats


@dataclass(frozen=True)
class Span:
    """What functions at weighted points span.

    Attributes
    ----------
    axes : (n, m)
        V.
    sizes : (m,)
        Singular values, descending.
    roots : (n,)
        √w.
    """

    axes: Floats
    sizes: Floats
    roots: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats) -> Span:
        """Of functions (n, m), and positive weights (n,) of sum 1."""
        roots = np.sqrt(weights)
        axes, triangle = np.linalg.qr(roots[:, None] * values)
        turned, sizes, _ = np.linalg.svd(triangle)
        return cls(axes @ turned, sizes, roots)

    def interpolation(self, tol: float) -> Interpolation:
        """Interpolate what has a singular value above a tolerance."""
        some = self.axes[:, self.sizes > tol]
        _, _, order = scipy_linalg().qr(some.T, mode="economic", pivoting=True)
        chosen = np.sort(order[: some.shape[1]])
        matrix = np.linalg.solve(some[chosen].T, some.T)
        return Interpolation(chosen, matrix * self.roots[chosen, None] / self.roots)
