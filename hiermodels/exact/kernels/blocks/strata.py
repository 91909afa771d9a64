"""Strata of the rows, each with a residual sd of its own.

Rows of stratum k have the noise ``N(0, σ² δ_k²/ω)``.  They are rows of the noise σ²/ω whose columns
z, x and y were all divided by δ_k, and by the change of variables

    log p(y | δ) = log p(y/δ) − Σ_k n_k log δ_k.

So all that is made of the rows of one stratum, its triangles [R | D] and the rows that are free of
effects, is divided by δ_k as it stands, at each node.

A group with rows of several strata has a triangle for each: its *cells*.  They stand below the
groups, as one more level whose members have no effects of their own (L = 0), so that pooling them
gives what all rows of the group say.

Shapes: K strata, k designs, n nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices


@dataclass(frozen=True, eq=False)
class Strata:
    """Which stratum each part of the rows belongs to, and 1/δ.

    Attributes
    ----------
    design : (k,)
        Of each design; groups of one design are of one stratum.
    rest : (m,)
        Of each row that is free of all effects.
    n_rows : (K,)
    inverse : (K, n)
        ``1/δ`` at each node; (K, 1) if it is 1 at all of them.
    """

    design: Indices
    rest: Indices
    n_rows: Floats
    inverse: Floats

    @classmethod
    def of(cls, design: Indices, rest: Indices, n_rows: Floats) -> Strata:
        """With δ = 1."""
        return cls(design, rest, n_rows, np.ones((len(n_rows), 1)))

    @property
    def log_det(self) -> Floats:
        """``− Σ_k n_k log δ_k``; (n,)."""
        return self.n_rows @ np.log(self.inverse)

    def squares(self, rest: Floats) -> Floats:
        """Cross-products (q + 1, q + 1, n) of the rows (m, q + 1) that are free of all effects."""
        total = np.zeros((rest.shape[1], rest.shape[1], self.inverse.shape[1]))
        for k, inverse in enumerate(self.inverse):
            own = rest[self.rest == k]
            total += (own.T @ own)[:, :, None] * inverse**2
        return total


def cells(group: Indices, stratum: Indices) -> tuple[Indices, Indices]:
    """Which cell each row is in, and the group (c,) of each cell.

    Parameters
    ----------
    group, stratum : (n,)
        All groups from 0 on have rows.
    """
    keys, cell = np.unique(np.column_stack([group, stratum]), axis=0, return_inverse=True)
    return cell.ravel(), keys[:, 0]


def is_shared(group: Indices, stratum: Indices) -> bool:
    """Whether some group has rows of several strata."""
    return len(cells(group, stratum)[1]) > int(group.max()) + 1


def restricted(some: Flags, of: Indices, array: Floats) -> Floats:
    """An array (..., k) with 0 where its last axis is of other strata than some (K,)."""
    return np.where(some[of], array, 0.0)
