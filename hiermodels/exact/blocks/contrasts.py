"""How much groups say of effects: numbers of independent contrasts, by ranks of their designs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks

RANK_TOLERANCE = 1e-9  # of a column's size
ROUNDED = 1e-6  # part of a direction that is none
DIRECTIONS = 3  # within groups that most groups share


@dataclass(frozen=True)
class Contrasts:
    """What rows say of members' effects Z beside the coefficients X, and of X beside Z.

    Attributes
    ----------
    number : int
        ``rank [X Z] − rank X``.
    free : (c,)
        Which coefficients are not identified where Z may be anything: those that are not 0 in
        some direction that is fitted by Z exactly.
    """

    number: int
    free: Flags


def contrasts(blocks: Blocks, columns: Sequence[tuple[int, Floats]], flat: Flags) -> Contrasts:
    """Contrasts of Z, which has members' effects times columns (p, k) of some levels.

    Coefficients that are not ``flat`` (c,) have priors, and leave contrasts as they are.
    """
    rank, left, size = _without_effects(blocks, columns, flat)
    null = _null_space(left, size)
    number = rank + len(size) - len(null) - coefficient_rank(blocks, flat)
    free = np.zeros(len(flat), dtype=bool)
    free[flat] = (np.abs(null) > ROUNDED).any(axis=0)
    return Contrasts(number, free)


def residual_share(blocks: Blocks, columns: Sequence[tuple[int, Floats]]) -> float:
    """What [X Z] leaves of the outcome by least squares, as a part of its length; 0 of nothing."""
    every = replace(
        blocks,
        outcome=np.concatenate([blocks.outcome, blocks.outcome[:, -1:]], axis=1),
        rest=np.concatenate([blocks.rest, blocks.rest[:, -1:]], axis=1),
    )  # the outcome is one more covariate
    _, left, size = _without_effects(every, columns, np.ones(every.n_coefficients, dtype=bool))
    x, y = left[:, :-1] / np.where(size[:-1] > 0, size[:-1], 1.0), left[:, -1]
    axes, values, _ = np.linalg.svd(x, full_matrices=False)
    axes = axes[:, values > RANK_TOLERANCE]
    residual = y - axes @ (axes.T @ y)
    return float(np.linalg.norm(residual) / size[-1]) if size[-1] else 0.0


def _without_effects(
    blocks: Blocks, columns: Sequence[tuple[int, Floats]], some: Flags
) -> tuple[int, Floats, Floats]:
    """Rank of Z, what it leaves of some columns of rows [X] by least squares, and their sizes.

    From the innermost level outwards what a member's columns explain is taken from all others.
    """
    rows = _coefficient_rows(blocks)[:, some]
    of_groups = blocks.p * blocks.sizes[-1]
    top = rows[:of_groups].reshape(blocks.sizes[-1], blocks.p, rows.shape[1])
    size, rank = _sizes(rows), 0
    z = [_designs(blocks, level) for level, _ in columns]
    widths = [c.shape[1] for _, c in columns]
    ends = np.cumsum([0, *widths])
    summands = [  # of what rounding errors are a part
        np.abs(own) @ np.abs(c) for own, (_, c) in zip(z, columns, strict=True)
    ]
    units = [np.where((u := own.max(axis=(0, 1))) > 0, u, 1.0) for own in summands]
    scaled = [own @ c / unit for own, (_, c), unit in zip(z, columns, units, strict=True)]
    every = np.concatenate([*scaled, top], axis=2)
    for k in reversed(range(len(columns))):
        member = _member(blocks, columns[k][0])
        for own in _of_each(member):
            together = every[own].reshape(len(own), -1, every.shape[2])  # rows of a member together
            sizes = (summands[k][own] / units[k]).reshape(len(own), -1).max(axis=1)
            found, together = _without(together, slice(ends[k], ends[k + 1]), sizes)
            rank += found
            every[own] = together.reshape(every[own].shape)
    above = every[:, :, ends[-1] :].reshape(of_groups, rows.shape[1])
    left = np.concatenate([above, rows[of_groups:]])
    return rank, left, size


def directions(blocks: Blocks, effects: Sequence[int]) -> list[Floats]:
    """Directions of effects that matter: a general one, and those that many groups leave open."""
    e = len(effects)
    general = np.cos(np.arange(1.0, e + 1))
    null = []
    every = blocks.designs[:, effects]
    unit = np.sqrt((every**2).sum(axis=(0, 2)))
    unit = np.where(unit > 0, unit, 1.0)
    for kind in range(every.shape[2]):
        _, size, axes = np.linalg.svd(every[:, :, kind] / unit)
        null += [(axes[k], kind) for k in range(e) if size[k] <= RANK_TOLERANCE * size[0]]
    if not null:
        return [general / unit]
    signed = [axis * np.sign(axis[np.abs(axis).argmax()]) for axis, _ in null]
    rounded, of = np.unique(np.round(signed, 9) + 0.0, axis=0, return_inverse=True)
    groups = np.bincount(blocks.design, minlength=blocks.designs.shape[2])
    count = np.bincount(of.ravel(), [groups[kind] for _, kind in null])
    return [general / unit, *(rounded / unit)[np.argsort(-count, kind="stable")[:DIRECTIONS]]]


def _coefficient_rows(blocks: Blocks) -> Floats:
    """Rows [R_fixed | D_x] of all groups, then those that are free of effects."""
    fixed = blocks.above[:, blocks.fixed]
    top = np.concatenate([fixed, blocks.outcome[:, :-1]], axis=1).transpose(2, 0, 1)
    rest = np.hstack([np.zeros((len(blocks.rest), fixed.shape[1])), blocks.rest[:, :-1]])
    return np.concatenate([top.reshape(blocks.p * blocks.sizes[-1], top.shape[2]), rest])


def coefficient_rank(blocks: Blocks, some: Flags | None = None) -> int:
    """``rank X``, or that of some of its columns."""
    rows = _coefficient_rows(blocks)
    rows = rows if some is None else rows[:, some]
    return rows.shape[1] - len(_null_space(rows, _sizes(rows)))


def full_rank(blocks: Blocks, level: int) -> Flags:
    """Whether the rows below each member of a level say something of all its effects; (u,)."""
    z = _designs(blocks, level)
    size = np.where((own := _sizes(z.reshape(-1, blocks.p))) > 0, own, 1.0)
    member = _member(blocks, level)
    full = np.zeros(int(member.max()) + 1, dtype=bool)
    for groups in _of_each(member):
        rows = z[groups].reshape(len(groups), -1, blocks.p) / size
        values = np.linalg.svd(rows, compute_uv=False)
        full[member[groups[:, 0]]] = values[:, -1] > RANK_TOLERANCE
    return full


def _designs(blocks: Blocks, level: int) -> Floats:
    """What the rows of each group say of the effects of the members of a level; (g, p, p)."""
    own = blocks.designs[:, :, blocks.design] if level == len(blocks.sizes) - 1 else blocks.above
    return own.transpose(2, 0, 1)


def _sizes(rows: Floats) -> Floats:
    return np.sqrt((rows**2).sum(axis=0))


def _null_space(rows: Floats, size: Floats) -> Floats:
    """Directions (k, c) of coefficients, in units of columns' sizes, in which rows are 0."""
    if not len(size):
        return np.zeros((0, 0))
    scaled = np.vstack([rows / np.where(size > 0, size, 1.0), np.zeros((len(size), len(size)))])
    _, values, axes = np.linalg.svd(scaled, full_matrices=False)
    return axes[values <= RANK_TOLERANCE]


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
    own = rows[:, :, columns]
    if own.shape[2] == 1:  # its only axis is the column itself
        values = np.sqrt((own**2).sum(axis=1))
        axes = own / np.where(values > 0, values, 1.0)[:, None]
    else:
        axes, values, _ = np.linalg.svd(own, full_matrices=False)
    used = values > RANK_TOLERANCE * sizes[:, None]
    axes = axes * used[:, None]
    return int(used.sum()), rows - axes @ (axes.swapaxes(1, 2) @ rows)
