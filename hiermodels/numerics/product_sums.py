"""Sums over all pairs of two lattices' points, by few products.

The density itself, too, is nearly a sum of few products,

    p(i, j) ≈ Σ_k l_k(i) r_k(j),

so sums over all pairs are sums of products of sums, and no pair is looked at.  Terms are found as
in :mod:`~hiermodels.numerics.cross_approximation`, from rows and columns of the density on the
lattices, each with a pivot where the last column was largest.  Whole rows that are drawn beforehand
say how good the result is.  It may be a little below 0 where there is nothing: draws take the
density as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice

MAX_RANK = 500
EVERY = 10  # terms the error is looked at
ROWS = 64  # that say what it is
SEED = 1  # of these


@dataclass(frozen=True, eq=False)
class ProductSums:
    """A density on pairs as a sum of products.

    Attributes
    ----------
    product : ProductLattice
    left, right : (r, n) and (r, m)
        ``p ≈ left' right``, relative to the product's height.
    error : float
        What sums over rows are off by, all together, as a part of all.
    """

    product: ProductLattice
    left: Floats
    right: Floats
    error: float

    @classmethod
    def of(cls, product: ProductLattice, tol: float) -> Self:
        """Add terms until the error is below the tolerance, or their number at its limit."""
        n, m = len(product.first), len(product.second)
        most = min(MAX_RANK, n, m)
        left, right, free = np.empty((most, n)), np.empty((most, m)), np.ones(n)
        judged, rank, row = _Judged.of(product), 0, int(product.first.log_density.argmax())
        while rank < most:
            own = product.densities(np.array([row]))[0] - left[:rank, row] @ right[:rank]
            free[row] = 0.0
            column = int(np.abs(own).argmax())
            if not own[column]:
                break
            rest = product.column(column) - right[:rank, column] @ left[:rank]
            right[rank], left[rank] = own, rest / own[column]
            row, rank = int((np.abs(left[rank]) * free).argmax()), rank + 1
            if rank % EVERY == 0 and judged.error(left[:rank], right[:rank]) <= tol:
                break
        left, right = left[:rank].copy(), right[:rank].copy()
        return cls(product, left, right, judged.error(left, right))

    def __len__(self) -> int:
        return len(self.product)

    @cached_property
    def sums(self) -> tuple[Floats, Floats]:
        """Sums of the density over each row (n,), and over each column (m,)."""
        return self.right.sum(axis=1) @ self.left, self.left.sum(axis=1) @ self.right

    @property
    def log_integral(self) -> float:
        """Logarithm of the density's integral."""
        return self.product.log_of(float(self.sums[0].sum()))

    @cached_property
    def marginals(self) -> tuple[Lattice, Lattice]:
        """Both lattices with the marginal densities of their points, at least 0."""
        with np.errstate(divide="ignore"):
            first, second = (np.log(np.maximum(part, 0.0)) for part in self.sums)
        product = self.product
        return (
            replace(product.first, log_density=first),
            replace(product.second, log_density=second),
        )

    def outward(self, b: Floats) -> Floats:
        """``p b'`` for functions (l, m) on the second lattice; (n, l)."""
        return self.left.T @ (self.right @ b.T)

    def inward(self, a: Floats) -> Floats:
        """``p' a'`` for functions (k, n) on the first lattice; (m, k)."""
        return self.right.T @ (self.left @ a.T)


@dataclass(eq=False)
class _Judged:
    """What is left of some rows of a density, after terms that were put in already.

    Attributes
    ----------
    rows : (t,)
    left_over : (t, m)
    counts : (t,)
        What errors count there.
    done : int
        Number of terms.
    """

    rows: Indices
    left_over: Floats
    counts: Floats
    done: int = 0

    @classmethod
    def of(cls, product: ProductLattice) -> Self:
        """Draw rows by the roots of their largest densities: tails have some."""
        share = np.exp((product.first.log_density - product.first.log_density.max()) / 2)
        share /= share.sum()
        rng, size = np.random.default_rng(SEED), min(ROWS, len(share))
        rows = rng.choice(len(share), size, p=share)
        density, counts = product.densities(rows), 1 / share[rows]
        return cls(rows, density, counts / (density.sum(axis=1) @ counts))

    def error(self, left: Floats, right: Floats) -> float:
        """Of all terms (r, .) there are by now."""
        self.left_over -= left[self.done :, self.rows].T @ right[self.done :]
        self.done = len(left)
        return float(self.counts @ np.abs(self.left_over.sum(axis=1)))
