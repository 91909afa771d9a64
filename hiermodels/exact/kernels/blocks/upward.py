"""From the rows upwards: effects integrated out given the covariances, relative to σ².

With σ = 1, ``V = I + (R L)(R L)'`` is the covariance of a member's D given its parent's θ.
*Widening* integrates the member's own effects out: with ``V = U U'``, U upper triangular,

    [R | D] ← U⁻¹ [R | D],    log likelihood − Σ log U_ii,

after which the rows speak of the parent's θ, R still upper triangular.  *Pooling* rotates the rows
of all children of one parent into p rows; what is left of them is free of θ and joins the
regression on β.  So are the scatters of D within classes, whose R is common.

Nothing is divided by L, which may be 0 or of any rank, or by R; no information matrices are
subtracted.  σ, if it is not 1, is put in at the end, by
:class:`~hiermodels.exact.kernels.blocks.root.Root`.

The nodes, n settings of the covariances, are the last axis of all arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.children import Children
from hiermodels.exact.kernels.blocks.root import Root, root_triangle
from hiermodels.exact.kernels.blocks.rotations import merge, product, solve_upper, upper_root
from hiermodels.exact.kernels.blocks.scalar import as_message, pooled_scalars
from hiermodels.exact.kernels.tree.marginal import Pooled

NUMBERS = 1 << 17  # in the largest temporary array: they stay in the cache


@dataclass(frozen=True)
class Upward:
    """The result of the upward pass.

    Attributes
    ----------
    root : Root
        What all rows say of the coefficients and of σ.
    members : tuple of (p, p + q + 1, u, n) or Pooled
        For each level above the groups, the outermost first: what the rows below each member say
        of its effects.
    """

    root: Root
    members: tuple[Floats | Pooled, ...]

    @cached_property
    def messages(self) -> tuple[Floats, ...]:
        """The same as rows [R | D_x | D_y]; (p, p + q + 1, u, n) each."""
        return tuple(as_message(m) if isinstance(m, Pooled) else m for m in self.members)


@dataclass(frozen=True)
class Below:
    """What all rows say of the effects of one level, all below being integrated out.

    Attributes
    ----------
    message : (p, p + q + 1, u, n)
        Rows [R | D_x | D_y] of each member; of the root, with u = 1, above the outermost level.
    squares : (q + 1, q + 1, n)
        Cross-products of rows [x | y] that are free of effects.
    log_det : (n,)
    """

    message: Floats
    squares: Floats
    log_det: Floats

    @classmethod
    def joined(cls, parts: Sequence[Below]) -> Below:
        """Put the nodes of several parts one behind the other."""
        return cls(
            np.concatenate([part.message for part in parts], axis=-1),
            np.concatenate([part.squares for part in parts], axis=-1),
            np.concatenate([part.log_det for part in parts]),
        )

    def at(self, nodes: Indices | slice | list[int]) -> Below:
        """The same at some nodes."""
        return Below(self.message[..., nodes], self.squares[..., nodes], self.log_det[nodes])

    def rise(self, blocks: Blocks, factor: Floats, level: int) -> Below:
        """Integrate out the level's effects, given L (p, p, n): what is said of their parents.

        A single node meets all n of the factor.
        """
        squares = np.array(
            np.broadcast_to(self.squares, (*self.squares.shape[:2], factor.shape[2]))
        )
        root = upper_root(product(self.message[:, : blocks.p], factor[:, :, None]))
        log_det = self.log_det - _log_diagonal(root).sum(axis=0)
        message = _pooled(solve_upper(root, self.message), blocks.children[level], squares)
        return Below(message, squares, log_det)

    def root(self, blocks: Blocks) -> Root:
        """What is said of the coefficients and of σ, above the outermost level."""
        return root_triangle(self.message[:, :, 0], self.squares, self.log_det, blocks.fixed)


def upward(blocks: Blocks, factors: Sequence[Floats]) -> Upward:
    """Integrate out all effects.

    Parameters
    ----------
    blocks : Blocks
    factors : sequence of (p, p, n)
        Lower triangular L of each level, the outermost first.
    """
    if blocks.tree is not None:
        (top, *below), squares, log_det = pooled_scalars(blocks.tree, factors)
        top_rows = as_message(top)[:, :, 0]
        return Upward(root_triangle(top_rows, squares, log_det, blocks.fixed), tuple(below))
    said, messages = from_groups(blocks, factors[-1]), []
    for level in reversed(range(len(blocks.parents))):
        messages.append(said.message)
        said = said.rise(blocks, factors[level], level)
    return Upward(said.root(blocks), (*messages[::-1],))


def from_groups(blocks: Blocks, factor: Floats) -> Below:
    """Integrate out the effects of the groups, given L (p, p, n): what is said of their parents."""
    classes, q, n = blocks.classes, blocks.q, factor.shape[-1]
    designs = blocks.scaled(blocks.designs)
    root = upper_root(product(designs, factor[:, :, None]))
    log_det = -classes.design_count @ _log_diagonal(root)
    if blocks.strata:
        log_det = log_det + blocks.strata.log_det
    squares = np.broadcast_to(blocks.rest_squares, (q + 1, q + 1, n)).copy()
    if classes.scatter.shape[1]:
        scatter = solve_upper(root, blocks.scaled(classes.scatter))
        _add_squares(squares, scatter.reshape(blocks.p, -1, q + 1, scatter.shape[2], n))
    top, of_class = solve_upper(root, designs), classes.design
    if blocks.turned is not None:
        top = top * blocks.turned.loading[:, None]
    if len(of_class) != designs.shape[2] or (of_class != np.arange(len(of_class))).any():
        root, top = root[:, :, of_class], top[:, :, of_class]
    outcome = solve_upper(root, blocks.scaled(classes.mean, of_class))
    message = np.concatenate([top, outcome], axis=1)
    message *= np.sqrt(classes.count)[:, None]
    return Below(_pooled(message, blocks.children[-1], squares), squares, log_det)


def messages(blocks: Blocks, factors: Sequence[Floats]) -> tuple[Floats, ...]:
    """What the rows below each member of the levels above the groups say of its effects."""
    return upward(blocks, factors).messages if blocks.parents else ()


def said_of_groups(blocks: Blocks, factors: Sequence[Floats], level: int) -> Floats:
    """What the rows below each member of a level say of it; (p, p + q + 1, u, 1 or n)."""
    if level < len(blocks.parents):
        return messages(blocks, factors)[level]
    return blocks.scaled(blocks.alone, blocks.design)


def batches(blocks: Blocks, n: int) -> Iterator[slice]:
    """Cut n nodes so that temporary arrays stay in the cache."""
    of_groups = blocks.designs.shape[2]
    if blocks.tree is None:
        of_groups = max(of_groups, len(blocks.classes.design))
    width = (blocks.p + blocks.q + 1) * max(of_groups, *blocks.sizes[:-1], 1)
    step = max(16, NUMBERS // (width * blocks.p))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def evaluate(blocks: Blocks, factors: Sequence[Floats]) -> Root:
    """What all rows say of the coefficients and of σ, at any number of nodes."""
    parts = batches(blocks, factors[-1].shape[-1])
    return Root.joined(
        [upward(blocks.at(part), [f[..., part] for f in factors]).root for part in parts]
    )


def _log_diagonal(root: Floats) -> Floats:
    """``Σ_i log U_ii``; (u, n)."""
    total = root[0, 0].copy()
    for i in range(1, len(root)):
        total *= root[i, i]
    return np.log(total)


def _pooled(message: Floats, children: Children, squares: Floats) -> Floats:
    """Rotate the rows (p, p + q + 1, u, n) of all children of one parent into p rows.

    To the squares (q + 1, q + 1, n) comes what is free of θ.
    """
    if len(message) == 1:
        return _pooled_rows(message[0], children, squares)[None]
    p = len(message)
    for stays, merges in children.plan:
        upper, lower = message[:, :, stays[merges]], message[:, :, stays[merges] + 1]
        merge(upper, lower)
        _add_squares(squares, lower[:, None, p:])
        message = message[:, :, stays]
        message[:, :, merges] = upper
    return message


def _pooled_rows(message: Floats, children: Children, squares: Floats) -> Floats:
    """The same of one effect: all children of a parent at once.

    Rows [r | d] become ``R = √Σ r²`` and ``D = Σ r d/R``; what is left is ``Σ (d − r D/R)²``.
    """
    if len(children.first) == len(children.parent):
        return message
    r, d = message[0], message[1:]
    total = np.sqrt(np.add.reduceat(r * r, children.first, axis=0))
    inverse = 1 / np.where(total > 0, total, 1.0)
    mean = np.add.reduceat(r * d, children.first, axis=1) * inverse
    left = d - r * (mean * inverse)[:, children.parent]
    _add_squares(squares, left[None, None])
    return np.concatenate([total[None], mean])


def _add_squares(squares: Floats, rows: Floats) -> None:
    """Add cross-products of the rows (p, s, q + 1, u, n) to squares (q + 1, q + 1, n)."""
    for a in range(rows.shape[2]):
        for b in range(a + 1):
            added = np.einsum("psun,psun->n", rows[:, :, a], rows[:, :, b])
            squares[a, b] += added
            if a != b:
                squares[b, a] += added
