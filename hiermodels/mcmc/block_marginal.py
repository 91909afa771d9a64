"""The likelihood of groups with several effects in PyTensor, all effects integrated out.

And all coefficients.  The sums D of the groups under one outermost group have, given the
coefficients γ, the covariance

    V = σ² I + Σ_ℓ A_ℓ ∘ (Z T_ℓ Z'),

with their rows of R in Z, and 1 in A_ℓ where two sums belong to the same member of level ℓ.  All
outermost groups have matrices of one size, filled up with sums that are 0 and say nothing.  With
``V = L L'`` the rows ``L⁻¹ [Z_fixed | D_x | D_y]`` and those that are free of all effects, divided
by σ, are a regression on γ, which is integrated out by its Cholesky factor.  Dense: for data of
moderate size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Flags, Floats
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.mcmc.block_approximation import BlockApproximation
from hiermodels.mcmc.marginal import integrated

MAX_SIDE = 200  # of a matrix
MAX_NUMBERS = 1_000_000  # in all of them


@dataclass(frozen=True)
class Padded:
    """The sums of the groups by outermost group; m for each.

    Attributes
    ----------
    place : (p, g)
        Where each sum stands among (s, m), flattened.
    design : (s, m, p)
        Z.
    x : (s, m, q)
        D_x.
    same : tuple of (s, m, m)
        A of each level, the outermost first.
    """

    place: np.ndarray
    design: Floats
    x: Floats
    same: tuple[Flags, ...]

    @classmethod
    def of(cls, blocks: Blocks) -> Padded:
        """Lay them out.

        Raises
        ------
        SpecError
            If the matrices would be too large.
        """
        members = [np.arange(blocks.sizes[-1])]
        for parent in reversed(blocks.parents):
            members.insert(0, parent[members[0]])
        size = np.bincount(members[0])
        side = blocks.p * int(size.max())
        if side > MAX_SIDE or len(size) * side**2 > MAX_NUMBERS:
            raise SpecError(
                f"parameterization='marginal' needs a dense matrix for each of {len(size):,} "
                f"outermost groups, with {side:,} rows; at most {MAX_SIDE} rows and "
                f"{MAX_NUMBERS:,} numbers are worth it. Take 'centered' or 'noncentered', or "
                f"engine='exact', which needs no such matrix"
            )
        first = np.concatenate([[0], np.cumsum(size)[:-1]])
        rank = np.arange(blocks.sizes[-1]) - first[members[0]]
        place = members[0] * side + rank * blocks.p + np.arange(blocks.p)[:, None]
        rows = blocks.designs[:, :, blocks.design]
        return cls(
            place,
            cls._filled(rows.transpose(0, 2, 1), place, len(size), side),
            cls._filled(blocks.outcome[:, :-1].transpose(0, 2, 1), place, len(size), side),
            tuple(cls._same(own, place, len(size), side) for own in members),
        )

    @staticmethod
    def _filled(values: Floats, place: np.ndarray, count: int, side: int) -> Floats:
        """Values (p, g, k) at their places; (s, m, k)."""
        padded = np.zeros((count * side, values.shape[2]))
        padded[place] = values
        return padded.reshape(count, side, -1)

    @staticmethod
    def _same(member: np.ndarray, place: np.ndarray, count: int, side: int) -> Flags:
        flat = np.full(count * side, -1)
        flat[place] = member
        own = flat.reshape(count, side)
        return (own[:, :, None] == own[:, None, :]) & (own[:, :, None] >= 0)


def log_likelihood(
    near: BlockApproximation,
    factors: Sequence[list[list[Any]]],
    sigma: TensorVariable | float,
    sums: Floats | TensorVariable,
    rest: Floats | TensorVariable,
) -> TensorVariable:
    """``log p(y | sds, correlations)``; a scalar.

    Parameters
    ----------
    factors : sequence of lists
        Rows of ``diag(tau) C`` of each level, the outermost first.
    sigma : scalar
    sums : (p, g)
        D_y.
    rest : (m,)
        y of the rows that are free of all effects.
    """
    model = near.marginal.model
    blocks, padded = model.blocks, Padded.of(model.blocks)
    count, side = padded.design.shape[:2]
    covariance: Any = sigma**2 * np.eye(side)
    for number, factor in enumerate(factors):
        columns = near.layout.effects(number)
        for k in range(len(factor)):
            loading: Any = sum(
                factor[i][k] * padded.design[:, :, columns[i]] for i in range(k, len(factor))
            )
            product = loading[:, :, None] * loading[:, None, :]
            covariance = covariance + padded.same[number] * product
    root = pt.linalg.cholesky(pt.as_tensor(covariance))
    known = np.concatenate([padded.design[:, :, blocks.fixed], padded.x], axis=2)
    outcome = pt.zeros(count * side)[padded.place.ravel()]
    outcome = pt.set_subtensor(outcome, pt.as_tensor(sums).ravel()).reshape((count, side))
    outcome = outcome - known @ near.mean
    rows = pt.concatenate([pt.as_tensor(known), outcome[:, :, None]], axis=2)
    white = pt.linalg.solve_triangular(root, rows, lower=True)
    square = (white[..., :, None] * white[..., None, :]).sum(axis=(0, 1))
    free = np.zeros((len(blocks.rest), known.shape[2]))
    free[:, known.shape[2] - blocks.q :] = blocks.rest[:, :-1]
    outcome = pt.as_tensor(rest - free @ near.mean)
    left = pt.concatenate([pt.as_tensor(free), outcome[:, None]], axis=1) / sigma
    square = square + (left[:, :, None] * left[:, None, :]).sum(axis=0)
    log_det: Any = 2 * pt.log(pt.diagonal(root, axis1=-2, axis2=-1)).sum()
    spare = blocks.n_rows - count * side
    proper = model.precision[model.precision > 0]
    total = 0.5 * (blocks.log_weight - log_det) - 0.5 * blocks.n_rows * LOG_2PI
    total = total + 0.5 * (np.log(proper) - LOG_2PI).sum()
    return (
        total
        - spare * pt.log(sigma)
        + integrated(square, model.mean - near.mean, np.diag(model.precision))
    )
