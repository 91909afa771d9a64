"""Large matrices of crossed groups, node by node and in place.

Of ``S = I + D M_zz D`` and its border only one triangle is made, from the sums that are not 0:

    (M_zz)_jk = E_jk + Σ_a share_a c_aj c_ak,

a product of a sparse matrix with the shares; or, where this would be larger than the dense rows
``√share_a c_a``, from products of these, some members a at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import scipy_linalg

MAX_PRODUCTS = 1 << 25  # that are held once for all nodes, 12 bytes each
DENSE_NUMBERS = 1 << 21  # of dense rows at a time


@dataclass(frozen=True, eq=False)
class Products:
    """``Σ_a share_a c_a c_a'`` of given c, the upper triangle.

    Attributes
    ----------
    places : (p,)
        Flat places (j, k), j ≤ k, of the sums that are not 0 in an m × m matrix.
    sums : scipy.sparse.csr_array (p, a)
        ``c_aj c_ak``.
    within : (p,)
        E_jk.
    size : int
        m.
    """

    places: Indices
    sums: Any
    within: Floats
    size: int

    @classmethod
    def of(cls, sums: Any, within: Floats) -> Self | None:
        """Of c (a, z), sparse, and E (m, m); None where there are too many products."""
        from scipy.sparse import csr_array

        ordered, z = sums.sorted_indices(), sums.shape[1]
        size = np.diff(ordered.indptr).astype(np.int64)
        if (size * (size + 1) // 2).sum() > MAX_PRODUCTS:
            return None
        place = np.arange(len(ordered.indices))
        behind = np.repeat(ordered.indptr[1:], size) - place  # sums of the same a, from one on
        one = np.repeat(place, behind)
        other = one + np.arange(len(one)) - np.repeat(np.cumsum(behind) - behind, behind)
        flat = ordered.indices[one].astype(np.int64) * z + ordered.indices[other]
        distinct, code = np.unique(flat, return_inverse=True)
        member = np.repeat(np.arange(len(size)), size)[one]
        values = ordered.data[one] * ordered.data[other]
        products = csr_array((values, (code, member)), (len(distinct), len(size)))
        j, k = np.divmod(distinct, z)
        return cls(j * len(within) + k, products, within[j, k], len(within))

    def put(self, share: Floats, total: Floats) -> None:
        """Put E and the sums with shares (a,) into a matrix (m, m) of zeros."""
        total.reshape(-1)[self.places] = self.within + self.sums @ share

    def squares(self, matrix: Floats) -> Floats:
        """``c_a Q c_a'`` of each a, with a symmetric matrix Q (z, z); (a,)."""
        j, k = np.divmod(self.places, self.size)
        return np.asarray(self.sums.T @ (np.where(j < k, 2.0, 1.0) * matrix[j, k]))


def put_dense(sums: Any, within: Floats, share: Floats, total: Floats) -> None:
    """Put the same into a matrix, with c (a, z) and E (m, m), without products that are held."""
    z = sums.shape[1]
    own = np.triu(within[:z, :z])
    rows = max(1, DENSE_NUMBERS // z)
    for first in range(0, len(share), rows):
        part = slice(first, first + rows)
        root = sums[part].toarray() * np.sqrt(share[part, None])
        own += np.triu(root.T @ root)
    total[:z, :z] = own


def factor_in_place(upper: Floats) -> None:
    """Turn the upper triangle of a matrix into L'; into nan where rounding leaves it none.

    What is below the diagonal has to be 0.
    """
    _, failed = scipy_linalg().lapack.dpotrf(upper.T, lower=1, overwrite_a=1, clean=0)
    if failed:
        upper[:] = np.nan


def inverse_of(factor: Floats) -> Floats:
    """``(L L')⁻¹`` of L (z, z), which is 0 above the diagonal."""
    if not np.isfinite(factor[0, 0]):
        return np.full_like(factor, np.nan)
    lower, _ = scipy_linalg().lapack.dpotri(factor, lower=1)
    whole = np.asarray(lower + lower.T)
    np.einsum("ii->i", whole)[:] /= 2
    return whole
