"""The intercept, and effects given those above them: from the root downwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.tree.marginal import Upward
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances

BLOCK = 1 << 15  # numbers in the largest temporary array: 256 KiB stay in the cache


def shrinkage(error: Floats, between: Floats | float) -> Floats:
    """Weight of the parent in a member's conditional mean: ``B = error / (error + between)``.

    1 where the variance between is 0 (complete pooling), 0 where it is infinite (no pooling).
    """
    return error / (error + between)


def data_weight(error: Floats, between: Floats) -> Floats:
    """Weight of a member's own mean: ``1 − B``, with all its digits where B is nearly 1."""
    return between / (error + between)


@dataclass(frozen=True)
class Conditional:
    """The intercept, or effects of a level, given the variances, as functions of β.

    Attributes
    ----------
    row : (n, u, q + 1)
        The mean given β is ``row_y − row_x'β``.
    own : (n, u)
        The variance given β.
    """

    row: Floats
    own: Floats

    def of(self, members: Indices) -> Conditional:
        """The same for some of the members."""
        return Conditional(self.row[:, members], self.own[:, members])

    def moments(self, up: Upward, origin: Floats) -> tuple[Floats, Floats]:
        """Mean and variance at ``x = −origin``, (q,) or (u, q), with β integrated out; (n, u).

        Both belong to x = 0 in the tree's coordinates, which may have been centred.
        """
        if not origin.shape[-1]:
            return self.row[:, :, 0], self.own
        x, y = self.row[:, :, :-1] + origin, self.row[:, :, -1]
        mean = y - (x @ up.beta[:, :, None])[:, :, 0]
        return mean, self.own + ((x @ up.beta_covariance) * x).sum(axis=2)

    def covariance(self, up: Upward) -> Floats:
        """Covariance of the same with β, at x = 0; (n, u, q)."""
        return -self.row[:, :, :-1] @ up.beta_covariance


def root_conditional(up: Upward, prior: Coefficients) -> Conditional:
    """The intercept given the variances: its prior shrinks the root's mean.

    Its variance is ``(1 − B)·error``; B is 1 for a root whose value is known, 0 for a flat prior.
    """
    root = up.pooled[0]
    shrink = shrinkage(root.error, prior.root_spread)
    with np.errstate(divide="ignore"):
        keep = 1 / (1 + root.error / prior.root_spread)
    row = shrink[:, :, None] * prior.root_row + keep[:, :, None] * root.mean
    return Conditional(row, keep * root.error)


def child_conditional(
    parent: Conditional, mean: Floats, error: Floats, between: Floats, index: Indices
) -> Conditional:
    """One level down: from parents' effects to their children's.

    With ``B = error / (error + between)`` a child's effect given its parent's effect φ is
    N(B·φ + (1 − B)·mean, (1 − B)·error), and the variance of φ comes down as B² of it.

    Parameters
    ----------
    parent : Conditional
        The parents.
    mean : (n, u, q + 1) or (1, u, q + 1)
        What lies below each child says of it.
    error : (n, u)
        Variance of ``mean``.
    between : (n,)
        Variance of the children around their parent.
    index : (u,)
        Each child's parent.
    """
    shrink, keep = shrinkage(error, between[:, None]), data_weight(error, between[:, None])
    row = parent.row[:, index] * shrink[:, :, None]
    row += keep[:, :, None] * mean
    own = shrink**2
    own *= parent.own[:, index]
    keep *= error
    own += keep
    return Conditional(row, own)


def downward(
    tree: Tree,
    variances: Variances,
    up: Upward,
    prior: Coefficients,
    groups: Indices | None = None,
) -> Iterator[tuple[int, slice, Conditional]]:
    """Yield the intercept, then every level's effects, given the variances.

    Parameters
    ----------
    groups : (g',), optional
        Which groups; all by default.

    Yields
    ------
    level : int
        ``ROOT`` first; then 0, the outermost, and those below it.
    members : slice
        The members that this part holds: the groups come in blocks.
    conditional : Conditional
    """
    above = root_conditional(up, prior)
    yield ROOT, slice(0, 1), above
    for level in range(tree.innermost):
        below, between = up.below(level), variances.between[level]
        above = child_conditional(above, below.mean, below.error, between, tree.parent(level))
        yield level, slice(0, tree.sizes[level]), above
    parent, between = tree.group_parent, variances.between[-1]
    size = tree.n_groups if groups is None else len(groups)
    step = max(1, BLOCK // (len(variances) * tree.mean.shape[1]))
    for i in range(0, size, step):
        part = slice(i, min(i + step, size))
        own = part if groups is None else groups[part]
        error = variances.sigma2[:, None] / tree.weight[own]
        mean = tree.mean[None, own]
        yield tree.innermost, part, child_conditional(above, mean, error, between, parent[own])
