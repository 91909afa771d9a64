"""Draws of the intercept and of all effects, given the hyperparameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.threads import for_each
from hiermodels.exact.kernels.records import UpperDraws
from hiermodels.exact.kernels.tree.conditional import data_weight, root_conditional, shrinkage
from hiermodels.exact.kernels.tree.marginal import batches, to_children, upward
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances

GROUPS_PER_STREAM = 16  # groups that share a random stream


def draw_upper(
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
    seed: np.random.SeedSequence,
) -> UpperDraws:
    """Draw β, the intercept and the effects above the groups, from the top downwards.

    Once for each node.  Each level has a random stream of its own.  The upward pass is computed in
    blocks of nodes: for all of them together it would take several times the draws' memory.
    """
    streams = [np.random.default_rng(child) for child in seed.spawn(len(tree.sizes) + 1)]
    n = len(variances)
    beta = streams[0].standard_normal((n, tree.n_covariates)).T
    levels = [streams[1].standard_normal((1, n))]
    for stream, size in zip(streams[2:], tree.sizes[:-1], strict=True):
        levels.append(stream.standard_normal((size, n)))
    for part in batches(tree, variances):
        block = [level[:, part] for level in levels]
        _turn_into_draws(beta[:, part], block, tree, variances[part], prior)
    return UpperDraws(tuple(levels), beta)


def _turn_into_draws(
    beta: Floats,
    levels: Sequence[Floats],
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
) -> None:
    """Turn standard normal noise, β (q, n) and levels (u, n) from the root down, into draws."""
    up = upward(tree, variances, prior)
    factor = np.linalg.cholesky(up.beta_covariance)
    beta[:] = (up.beta + np.einsum("nij,nj->ni", factor, beta.T)).T
    top = root_conditional(up, prior)
    levels[0][:] = (_residual(top.row, beta) + np.sqrt(top.own) * levels[0].T).T
    for level, (above, effects) in enumerate(pairwise(levels)):
        below, between = up.below(level), variances.between[level][:, None]
        keep = data_weight(below.error, between)
        mean = shrinkage(below.error, between) * to_children(above.T, tree.parent(level))
        mean += keep * _residual(below.mean, beta)
        effects *= np.sqrt(keep * below.error).T
        effects += mean.T


def _residual(row: Floats, beta: Floats) -> Floats:
    """``row_y − row_x'β`` for rows (n, u, q + 1) and β (q, n); shape (n, u)."""
    if not len(beta):
        return row[:, :, -1]
    return row[:, :, -1] - np.einsum("nui,in->nu", row[:, :, :-1], beta)


def draw_groups(
    tree: Tree,
    variances: Variances,
    upper: UpperDraws,
    seed: np.random.SeedSequence,
    unit: tuple[float, Floats],
    groups: Indices | None = None,
) -> Floats:
    """Draw the effects of groups given all above them, one for each node.

    Parameters
    ----------
    unit : (float, (n,))
        Scale and location of each draw: effects come out as ``location + scale·effect``.
    groups : (g',), optional
        Which groups; all by default.  Blocks of groups have random streams of their own, so
        that a group's draws are the same whichever others are drawn.

    Returns
    -------
    (g', n)
        A group's draws are side by side in memory.
    """
    n, n_groups = len(variances), tree.n_groups
    block = _GroupDraws(tree, variances, upper, seed, unit)
    if groups is None:
        out = np.empty((n_groups, n))

        def draw(number: int) -> None:
            block.draw(number, out[number * GROUPS_PER_STREAM :][:GROUPS_PER_STREAM])

        for_each(draw, range(-(-n_groups // GROUPS_PER_STREAM)))
        return out
    out = np.empty((len(groups), n))
    for number in np.unique(groups // GROUPS_PER_STREAM):
        first = int(number) * GROUPS_PER_STREAM
        drawn = np.empty((min(GROUPS_PER_STREAM, n_groups - first), n))
        block.draw(int(number), drawn)
        here = groups // GROUPS_PER_STREAM == number
        out[here] = drawn[groups[here] - first]
    return out


class _GroupDraws:
    """Draws blocks of groups: ``B·φ + (1 − B)·mean + √((1 − B)·error)·noise``."""

    def __init__(
        self,
        tree: Tree,
        variances: Variances,
        upper: UpperDraws,
        seed: np.random.SeedSequence,
        unit: tuple[float, Floats],
    ) -> None:
        self._tree, self._variances, self._upper = tree, variances, upper
        self._seed, self._unit = seed, unit
        distinct, self._kind = np.unique(tree.weight, return_inverse=True)
        few = 2 * len(distinct) <= len(tree.weight)  # else a table would save nothing
        self._table = self._shares_and_scale(distinct) if few else None

    def _shares_and_scale(self, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """``B``, ``1 − B`` and ``√((1 − B)·error)`` for groups with these weights, all (b, n)."""
        error, between = self._variances.sigma2 / weight[:, None], self._variances.between[-1]
        keep = data_weight(error, between)
        return shrinkage(error, between), keep, np.sqrt(keep * error)

    def draw(self, number: int, out: Floats) -> None:
        """Draw the block with this number into (b, n)."""
        part = slice(number * GROUPS_PER_STREAM, number * GROUPS_PER_STREAM + len(out))
        if self._table is None:
            shrink, keep, scale = self._shares_and_scale(self._tree.weight[part])
        else:
            shrink, keep, scale = (values[self._kind[part]] for values in self._table)
        own = self._tree.mean[part, -1:] - self._tree.mean[part, :-1] @ self._upper.beta
        own *= keep
        pulled = self._upper.levels[-1][self._tree.group_parent[part]]
        pulled *= shrink
        pulled += own
        key = (*self._seed.spawn_key, number)
        stream = np.random.SeedSequence(self._seed.entropy, spawn_key=key)
        np.random.default_rng(stream).standard_normal(out=out)
        out *= scale
        out += pulled
        out *= self._unit[0]
        out += self._unit[1]
