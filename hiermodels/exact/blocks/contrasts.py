"""How much groups say of effects: numbers of independent contrasts, by ranks of their designs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks

RANK_TOLERANCE = 1e-9  # of a column's size
DIRECTIONS = 3  # within groups that most groups share


def contrasts(blocks: Blocks, columns: Sequence[tuple[int, Floats]]) -> int:
    """``rank [X Z] − rank X``, Z having members' effects times columns (p, k) of some levels.

    From the innermost level outwards what a member's columns explain is taken from all others.
    """
    rows = _coefficient_rows(blocks)
    top = rows[: blocks.p * blocks.sizes[-1]].reshape(blocks.sizes[-1], blocks.p, -1)
    full, rank = _rank(rows), 0
    z = blocks.designs[:, :, blocks.design].transpose(2, 0, 1)
    widths = [c.shape[1] for _, c in columns]
    ends = np.cumsum([0, *widths])
    every = np.concatenate([*(z @ c for _, c in columns), top], axis=2)
    for k in reversed(range(len(columns))):
        member = _member(blocks, columns[k][0])
        for own in _of_each(member):
            flat = every[own].reshape(len(own), -1, every.shape[2])  # rows of a member together
            sizes = np.abs(z[own]).reshape(len(own), -1).max(axis=1)
            found, flat = _without(flat, slice(ends[k], ends[k + 1]), sizes)
            rank += found
            every[own] = flat.reshape(every[own].shape)
    left = np.concatenate(
        [every[:, :, ends[-1] :].reshape(-1, rows.shape[1]), rows[blocks.p * blocks.sizes[-1] :]]
    )
    return rank + _rank(left, np.sqrt((rows**2).sum(axis=0))) - full


def directions(blocks: Blocks, effects: Sequence[int]) -> list[Floats]:
    """Directions of effects that matter: a general one, and those that many groups leave open."""
    e = len(effects)
    general = np.cos(np.arange(1.0, e + 1))
    null = []
    for kind in range(blocks.designs.shape[2]):
        _, size, axes = np.linalg.svd(blocks.designs[:, effects, kind])
        null += [(axes[k], kind) for k in range(e) if size[k] <= RANK_TOLERANCE * size[0]]
    if not null:
        return [general]
    signed = [axis * np.sign(axis[np.abs(axis).argmax()]) for axis, _ in null]
    rounded, of = np.unique(np.round(signed, 9) + 0.0, axis=0, return_inverse=True)
    groups = np.bincount(blocks.design, minlength=blocks.designs.shape[2])
    count = np.bincount(of.ravel(), [groups[kind] for _, kind in null])
    return [general, *rounded[np.argsort(-count, kind="stable")[:DIRECTIONS]]]


def _coefficient_rows(blocks: Blocks) -> Floats:
    """Rows [R_fixed | D_x] of all groups, then those that are free of effects."""
    fixed = blocks.designs[:, blocks.fixed][:, :, blocks.design]
    top = np.concatenate([fixed, blocks.outcome[:, :-1]], axis=1).transpose(2, 0, 1)
    rest = np.hstack([np.zeros((len(blocks.rest), fixed.shape[1])), blocks.rest[:, :-1]])
    return np.concatenate([top.reshape(-1, top.shape[2]), rest])


def coefficient_rank(blocks: Blocks) -> int:
    """``rank X``."""
    return _rank(_coefficient_rows(blocks))


def _rank(rows: Floats, size: Floats | None = None) -> int:
    """Rank of rows whose columns have these sizes before something was taken from them."""
    size = np.sqrt((rows**2).sum(axis=0)) if size is None else size
    if not rows.shape[1]:
        return 0
    scaled = rows / np.where(size > 0, size, 1.0)
    return int((np.linalg.svd(scaled, compute_uv=False) > RANK_TOLERANCE).sum())


def _member(blocks: Blocks, level: int) -> Indices:
    """The member of a level above, or at, each group."""
    member = np.arange(blocks.sizes[-1])
    for above in reversed(range(level, len(blocks.sizes) - 1)):
        member = blocks.parent(above + 1)[member]
    return member


def _of_each(member: Indices) -> list[Indices]:
    """Groups (m, k) of m members, for all members of k groups."""
    order, size = np.argsort(member, kind="stable"), np.bincount(member)
    first = np.cumsum(size) - size
    return [order[first[size == k][:, None] + np.arange(k)] for k in np.unique(size)]


def _without(rows: Floats, columns: slice, sizes: Floats) -> tuple[int, Floats]:
    """Take what some columns explain from all columns of rows (m, r, w), and count their ranks.

    What is less than a rounding error of the members' sizes (m,) counts as 0.
    """
    axes, values, _ = np.linalg.svd(rows[:, :, columns], full_matrices=False)
    used = values > RANK_TOLERANCE * sizes[:, None]
    axes = axes * used[:, None]
    return int(used.sum()), rows - axes @ (axes.swapaxes(1, 2) @ rows)
