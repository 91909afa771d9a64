"""Data on the standardised scale of the outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.tree.tree import Tree


@dataclass(frozen=True)
class Standardized:
    """A tree of ``(y − location)/scale`` and of ``(x − centre) @ basis``.

    Without an intercept, location and centre are 0: the root's value is 0 there.

    The posterior is equivariant under both changes, floating-point arithmetic is not: sums of
    squares keep their digits only around a centre, stay in range only on a unit scale, and can
    be solved for β only if the columns of x are not nearly parallel.

    Attributes
    ----------
    tree : Tree
    location : float
        Centre of the outcome.
    scale : float
        Typical size of its deviations and errors: a power of two, so that dividing by it is
        exact.
    centre : (q,)
        Weighted means of the covariates.
    basis : (q, q)
        Makes the centred columns orthonormal: ``β = scale · basis @ β_tree``.
    level : (q,)
        The level that each column of the tree belongs to: that of the rows, below the groups', if
        it varies within groups; the groups' if it varies only between groups of one parent, …;
        ``ROOT`` if it does not vary, or one less if, without an intercept, it is 0 in every row.
    explained : tuple of bool
        Of the root and of each level, the outermost first: whether the mean at the top, or the
        level's members, and the covariates leave nothing of the outcome but rounding errors.
    """

    tree: Tree
    location: float
    scale: float
    centre: Floats
    basis: Floats
    level: Indices
    explained: tuple[bool, ...]

    @property
    def origin(self) -> Floats:
        """Where the tree's covariates have their 0, seen from the covariates' own 0; (q,)."""
        return self.origin_at(np.zeros_like(self.centre))

    def origin_at(self, x: Floats) -> Floats:
        """Where the tree's covariates have their 0, seen from covariates x (..., q); (..., q)."""
        return (self.centre - x) @ self.basis

    @property
    def group_means(self) -> Floats:
        """Raw mean of each group's outcomes, in the outcome's unit; shape (g,)."""
        return self.location + self.scale * self.tree.mean[:, -1]

    @property
    def log_jacobian(self) -> float:
        """What ``log p(y)`` has over the log density of the standardised outcome."""
        return -self.tree.n_rows * float(np.log(self.scale))
