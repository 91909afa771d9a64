"""The likelihood of groups with several effects in PyTensor, all effects integrated out.

And all coefficients.  What the rows below a member say of its effects θ is, up to a constant,

    exp(−½ (θ'P θ − 2 θ'B (−β, 1) + (−β, 1)'S (−β, 1))),

of a group's array [R | D] with ``P = R'R/σ²``, ``B = R'D/σ²`` and ``S = D'D/σ²``.  With θ around
its parent's by ``F a``, ``a ~ N(0, I)``, and ``I + F'P F = N N'``, they say of the parent

    P ← P − g'g,   B ← B − g'h,   S ← S − h'h,   g = N⁻¹ F'P,  h = N⁻¹ F'B,   log density − log |N|,

and what siblings say adds up.  It is the recursion of :mod:`hiermodels.exact.kernels.blocks.upward`
in precisions, whose differences lose digits where effects vary very much more than errors, but
which is made of products and sums of numbers, with a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.mcmc.block_approximation import BlockApproximation
from hiermodels.mcmc.marginal import integrated

type Message = tuple[list[list[Any]], list[Any]]
"""P, (p, p) times (u,), and B, (p,) times (q + 1, u)."""


@dataclass(frozen=True)
class ResidualSds:
    """The residual sd of all rows, or one for each of their strata.

    Attributes
    ----------
    every : (K,)
        In the order of the arrays; of all rows (1,).
    blocks : Blocks
    """

    every: TensorVariable
    blocks: Blocks

    @property
    def of_sums(self) -> TensorVariable:
        """Sd of each group's sums; a scalar, or (g,)."""
        strata = self.blocks.strata
        return self.every[0] if strata is None else self.every[strata.design[self.blocks.design]]

    @property
    def of_rest(self) -> TensorVariable:
        """Sd of each row that is free of all effects; a scalar, or (m,)."""
        strata = self.blocks.strata
        return self.every[0] if strata is None else self.every[strata.rest]

    @property
    def log_det(self) -> TensorVariable:
        """``Σ log sd`` over all rows."""
        strata = self.blocks.strata
        count = np.array([self.blocks.n_rows]) if strata is None else strata.n_rows
        return (count * pt.log(self.every)).sum()

    @property
    def log_det_of_sums(self) -> TensorVariable:
        """The same over all groups' sums."""
        return self.blocks.p * (pt.log(self.of_sums) * np.ones(len(self.blocks.design))).sum()


def log_likelihood(
    near: BlockApproximation,
    factors: Sequence[list[list[Any]]],
    sigma: ResidualSds,
    sums: Floats | TensorVariable,
    rest: Floats | TensorVariable,
) -> TensorVariable:
    """``log p(y | sds, correlations)``; a scalar.

    Parameters
    ----------
    near : BlockApproximation
        Whose coefficients are taken from the outcome: of squares few digits are then lost.
    factors : sequence of lists
        Rows of F, ``diag(tau) C``, of each level, the outermost first.
    sigma : ResidualSds
    sums : (p, g)
        D_y.
    rest : (m,)
        y of the rows that are free of all effects.
    """
    model = near.marginal.model
    blocks, p, q = model.blocks, model.blocks.p, model.blocks.q
    r, fitted = blocks.designs[:, :, blocks.design], near.mean[: near.mean.size - q]
    known = np.concatenate([blocks.above[:, blocks.fixed], blocks.outcome[:, :-1]], axis=1)
    x, beta = blocks.rest[:, :-1], near.mean[near.mean.size - q :]
    y = pt.as_tensor(sums) - np.einsum("icg,c->ig", known, np.append(fitted, beta))
    sd = sigma.of_sums
    d = [pt.concatenate([blocks.outcome[i, :-1], y[i][None]]) / sd for i in range(p)]
    left = pt.concatenate([pt.as_tensor(x), (pt.as_tensor(rest) - x @ beta)[:, None]], axis=1).T
    squares = _square(left / sigma.of_rest) + sum(_square(row) for row in d)
    precision = [[(r[:, i] * r[:, j]).sum(axis=0) / sd**2 for j in range(p)] for i in range(p)]
    message: Message = (
        precision,
        [sum(r[k, i] * d[k] for k in range(p)) / sd for i in range(p)],
    )
    total = 0.5 * blocks.log_weight - 0.5 * blocks.n_rows * LOG_2PI - sigma.log_det
    if len(blocks.sizes) > len(factors):  # cells of strata
        message = _pooled(message, blocks.parents[-1])
    for level in reversed(range(len(factors))):
        own = near.layout.effects(level)
        message, explained, log_det = _widened(message, factors[level], own)
        if blocks.turned is not None and level == len(factors) - 1:
            ((precision,),), (cross,) = message
            loading = blocks.turned.loading[blocks.design]
            message = [[precision * loading**2]], [cross * loading]
        message = _pooled(message, blocks.parent(level))
        squares, total = squares - explained, total - log_det
    proper = model.precision[model.precision > 0]
    total = total + 0.5 * (np.log(proper) - LOG_2PI).sum()
    quadratic = _quadratic(message, squares, np.flatnonzero(blocks.fixed))
    return total + integrated(quadratic, model.mean - near.mean, np.diag(model.precision))


def _square(rows: TensorVariable) -> TensorVariable:
    """Sums of products of rows (c, n); (c, c)."""
    return (rows[:, None] * rows[None]).sum(axis=-1)


def _widened(
    message: Message, factor: list[list[Any]], own: Indices
) -> tuple[Message, TensorVariable, TensorVariable]:
    """Integrate out effects given their parents'.

    Parameters
    ----------
    factor : e rows
        F, below the diagonal and on it.
    own : (e,)
        Which of the p effects vary.

    Returns
    -------
    message
        P and B as said of the parents' effects, not yet added up.
    h'h : (q + 1, q + 1)
    log det : scalar
        ``Σ log |N|``.
    """
    precision, cross = message
    p, e = len(precision), len(own)
    turned = [
        (
            [_along(factor, k, [precision[i][j] for i in own]) for j in range(p)],
            _along(factor, k, [cross[i] for i in own]),
        )
        for k in range(e)
    ]  # F'P and F'B
    root: list[list[Any]] = []
    solved: list[tuple[list[Any], Any]] = []
    for k in range(e):
        row: list[Any] = []
        for m in range(k):
            product = _along(factor, m, [turned[k][0][j] for j in own])
            row.append((product - sum(row[n] * root[m][n] for n in range(m))) / root[m][m])
        diagonal = 1.0 + _along(factor, k, [turned[k][0][j] for j in own])
        row.append(pt.sqrt(diagonal - sum(value**2 for value in row)))
        root.append(row)
        g, h = turned[k]
        for m in range(k):
            g = [one - row[m] * other for one, other in zip(g, solved[m][0], strict=True)]
            h = h - row[m] * solved[m][1]
        solved.append(([one / row[k] for one in g], h / row[k]))
    left = [
        [precision[i][j] - sum(g[i] * g[j] for g, _ in solved) for j in range(p)] for i in range(p)
    ]
    crossed = [cross[i] - sum(g[i] * h for g, h in solved) for i in range(p)]
    log_det = sum(pt.log(root[k][k]).sum() for k in range(e))
    return (left, crossed), sum(_square(h) for _, h in solved), log_det


def _along(factor: list[list[Any]], k: int, values: Sequence[Any]) -> Any:
    """``Σ_i F_ik v_i``, of F lower triangular."""
    return sum(factor[i][k] * values[i] for i in range(k, len(factor)))


def _pooled(message: Message, parent: Indices) -> Message:
    """Add up what siblings say of their parents."""
    size = int(parent[-1]) + 1

    def add_up(values: TensorVariable) -> TensorVariable:
        if size == 1:
            return values.sum(axis=-1, keepdims=True)
        zeros = pt.zeros((*values.type.shape[:-1], size))
        return pt.inc_subtensor(zeros[..., parent], values)

    precision, cross = message
    return [[add_up(value) for value in row] for row in precision], [add_up(b) for b in cross]


def _quadratic(message: Message, squares: TensorVariable, fixed: Indices) -> TensorVariable:
    """Cross-products of the root's rows, in the order of the coefficients and y."""
    precision, cross = message
    if not len(fixed):
        return squares
    top = pt.stack([pt.stack([precision[i][j][0] for j in fixed]) for i in fixed])
    side = pt.stack([cross[i][:, 0] for i in fixed])
    return pt.concatenate(
        [pt.concatenate([top, side], axis=1), pt.concatenate([side.T, squares], axis=1)]
    )
