"""One effect for each group: the upward pass by weight.

With a single effect R is a number r, and all that is said of a member is its mean ``D/r`` with
precision ``w = r²``.  Then widening is ``1/w ← 1/w + θ²``, and groups of equal weight under one
parent are summed by products of matrices, as in :mod:`hiermodels.exact.kernels.tree.marginal`,
whose formulas these are: with σ = 1, and θ² for the variances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.tree.marginal import Pooled, pool, pool_groups
from hiermodels.exact.kernels.tree.tree import Tree, Variances


def pooled_scalars(
    tree: Tree, factors: Sequence[Floats]
) -> tuple[tuple[Pooled, ...], Floats, Floats]:
    """Integrate out all effects.

    Parameters
    ----------
    tree : Tree
    factors : sequence of (1, 1, n)
        θ of each level, the outermost first.

    Returns
    -------
    pooled : tuple of Pooled
        What the rows say of the root, and below it of the members of each level above the groups.
    squares : (q + 1, q + 1, n)
        Cross-products of what is free of all effects.
    log_det : (n,)
        ``−½ Σ log(1 + w θ²)`` over all members.
    """
    theta2 = [factor[0, 0] ** 2 for factor in factors]
    variances = Variances(tuple(theta2), np.ones(len(theta2[0])))
    above, squares = pool_groups(tree, variances)
    squares += tree.scatter
    weight, groups = tree.by_weight.weight, tree.by_weight.groups
    log_det = -0.5 * np.log1p(theta2[-1][:, None] * weight) @ groups
    pooled = [above]
    for level in reversed(range(tree.innermost)):
        log_det -= 0.5 * np.log1p(theta2[level][:, None] / above.error).sum(axis=1)
        above, product = pool(above, theta2[level], tree.parent(level))
        squares += product
        pooled.insert(0, above)
    return tuple(pooled), squares.transpose(1, 2, 0), log_det


def as_message(pooled: Pooled) -> Floats:
    """``[R | D]`` of means and their variances; (1, q + 2, u, n)."""
    r = 1 / np.sqrt(pooled.error)
    rows = np.concatenate([r[:, :, None], pooled.mean * r[:, :, None]], axis=2)
    return np.ascontiguousarray(rows.transpose(2, 1, 0))[None]
