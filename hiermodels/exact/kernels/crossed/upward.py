"""Effects of crossed groups integrated out, at each node of their sds relative to σ.

With the members a of the eliminated factor integrated out, rows [z | x | y] have the information

    M = E + Σ_a c_a c_a' / (n_a (1 + θ_a² n_a)),

a sum without differences.  With D the sds θ of the other members, diagonal,

    S = I + D M_zz D = L L',    half the log determinant = ½ Σ_a log(1 + θ_a² n_a) + Σ log L_ii,

and what is left of the coefficients and of y is ``M_rr − B'B``, with ``B = L⁻¹ D M_zr``.  Nothing
is divided by θ, which may be 0.

Where the sd θ_k of another factor is large, what is left is small beside M_rr.  There r is parted
into its means t by members of this factor, and the rest r̃, ``r = z't + r̃``; with V the rows'
covariance

    r'V⁻¹r = t'z'V⁻¹r + r̃'V⁻¹z t + r̃'V⁻¹r̃,    t'z'V⁻¹r = (L⁻¹t)' L⁻¹ D M_zr / θ_k,

in which the differences are those of r̃ alone.  This is done for the largest θ_k, if it is above 1.

The log likelihood is then right to 1e-11 where but one sd is up to 100: what is left is lost where
two of them are so large, by ``ε n θ²`` with the smaller, that only contrasts between members of all
factors say anything of the coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import scipy_linalg
from hiermodels.exact.kernels.blocks.root import Root, cholesky
from hiermodels.exact.kernels.blocks.rotations import triangularize
from hiermodels.exact.kernels.crossed.design import CrossedDesign
from hiermodels.exact.kernels.crossed.large import factor_in_place, inverse_of, put_dense

NUMBERS = 1 << 18  # of matrices that are held at a time
INVERTED = 14  # rows of a triangle, beyond which LAPACK inverts it faster than row by row
LOOPED = 64  # rows of a triangle that are solved for one by one, at all nodes at once


@dataclass(frozen=True, eq=False)
class Eliminated:
    """All effects integrated out, at n nodes.

    Attributes
    ----------
    design : CrossedDesign
    theta : (K, n)
        Sd of each factor relative to σ.
    factor : (n, z, z)
        L, lower triangular.
    border : (n, z, w)
        B, of all columns behind z.
    left : (n, c + 1, c + 1)
        What is left of [x | y].
    """

    design: CrossedDesign
    theta: Floats
    factor: Floats
    border: Floats
    left: Floats

    @classmethod
    def of(cls, design: CrossedDesign, theta: Floats) -> Eliminated:
        """Eliminate at n nodes, which have to be few: see :func:`batches`."""
        z, pooled = design.n_others, design.pooled
        if pooled is None:
            triangle, rows = _triangles_in_place(design, theta)
        else:
            triangle, rows = _triangles(design, theta, pooled)
        factor, border = triangle[:, :z, :z], triangle[:, z:, :z].swapaxes(1, 2)
        left = _left(design, theta, factor, border, rows)
        return cls(design, theta, factor, border, left)

    @cached_property
    def widened(self) -> Floats:
        """``1 + θ_a² n_a`` of the eliminated factor; (n, a)."""
        theta = self.theta[self.design.eliminated]
        return np.asarray(1 + np.multiply.outer(theta**2, self.design.count))

    def root(self) -> Root:
        """What all rows say of the coefficients, less the anchor, and of σ.

        Where rounding errors leave no Cholesky factor, or nothing of a coefficient, the likelihood
        counts as 0.
        """
        diagonal = np.einsum("nzz->nz", self.factor)
        log_det = -np.log(diagonal).sum(axis=1) - 0.5 * np.log(self.widened).sum(axis=1)
        triangle = cholesky(np.ascontiguousarray(np.moveaxis(self.left, 0, 2)))
        c = self.design.n_coefficients
        triangle[:, :c] = np.einsum("ijn,jk->ikn", triangle[:, :c], self.design.turn)
        triangularize(triangle, c)
        lost = ~np.isfinite(triangle).all(axis=(0, 1))
        lost |= (np.einsum("iin->in", triangle[:c, :c]) == 0).any(axis=0)
        triangle[:, :, lost] = np.eye(len(triangle))[:, :, None]
        return Root(triangle, np.where(lost, -np.inf, log_det))


def batches(design: CrossedDesign, n: int) -> Iterator[slice]:
    """Nodes whose matrices can be held at a time."""
    size = len(design.within)
    step = max(1, NUMBERS // (size**2 + design.sizes[design.eliminated]))
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def evaluate(design: CrossedDesign, theta: Floats) -> Root:
    """What all rows say of the coefficients, less the anchor, and of σ at nodes θ (K, n)."""
    parts = [
        Eliminated.of(design, theta[:, part]).root() for part in batches(design, theta.shape[1])
    ]
    return Root.joined(parts)


def _left(
    design: CrossedDesign, theta: Floats, factor: Floats, border: Floats, rows: Floats
) -> Floats:
    """What is left of [x | y], of M's part (n, w, w) behind z; (n, c + 1, c + 1)."""
    width = design.width
    own = border[:, :, :width]
    left = rows[:, :width, :width] - own.swapaxes(1, 2) @ own
    if not design.others:
        return left
    others = theta[list(design.others)]
    largest = np.where(others.max(axis=0) > 1, others.argmax(axis=0), -1)
    for number, (k, means) in enumerate(design.means.items()):
        some = np.flatnonzero(largest == number)
        if not len(some):
            continue
        parted = np.zeros((len(some), design.n_others, width))
        parted[:, design.starts[k] :][:, : len(means)] = means
        at = solve(factor[some], parted).swapaxes(1, 2) / theta[k, some, None, None]
        first = width * (1 + number)
        rest = border[some, :, first : first + width]
        alone = rows[some, first : first + width, first : first + width]
        total = at @ own[some] + (at @ rest).swapaxes(1, 2) + alone - rest.swapaxes(1, 2) @ rest
        left[some] = (total + total.swapaxes(1, 2)) / 2
    return left


def _triangles(
    design: CrossedDesign, theta: Floats, pooled: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Cholesky factors [L 0; B' ·] (n, m, m), and M behind z (n, w, w), at all nodes at once."""
    z, size, (distinct, squares) = design.n_others, len(design.within), pooled
    share = _shares(theta[design.eliminated] ** 2, distinct)
    information = (share @ squares).reshape(-1, size, size) + design.within
    rows = information[:, z:, z:].copy()
    spread = theta[design.factor_of].T
    information[:, :z] *= spread[:, :, None]
    information[:, :, :z] *= spread[:, None, :]
    diagonal, behind = np.arange(z), np.arange(z, size)
    information[:, diagonal, diagonal] += 1
    information[:, z:, z:] = 0
    information[:, behind, behind] = _enough(rows)[:, None]
    return _factors(information), rows


def _triangles_in_place(design: CrossedDesign, theta: Floats) -> tuple[Floats, Floats]:
    """The same, node by node."""
    z, size, n = design.n_others, len(design.within), theta.shape[1]
    upper, rows = np.zeros((n, size, size)), np.empty((n, size - z, size - z))
    for total, left, own in zip(upper, rows, theta.T, strict=True):
        share = _shares(own[design.eliminated] ** 2, design.count)
        if design.products is None:
            put_dense(design.sums, design.within, share, total)
        else:
            design.products.put(share, total)
        spread, shared = own[design.factor_of], share[:, None] * design.own
        left[:] = design.within[z:, z:] + design.own.T @ shared
        total[:z, z:] = design.within[:z, z:] + design.sums.T @ shared
        total[:z] *= spread[:, None]
        total[:, :z] *= spread
        diagonal = np.einsum("ii->i", total)
        diagonal[:z] += 1
        diagonal[z:] = _enough(left)
        factor_in_place(total)
    return upper.swapaxes(1, 2), rows


def _enough(rows: Floats) -> Floats:
    """What stands behind z, large enough for a Cholesky factor, whose B it does not change."""
    return np.asarray(1 + 2 * np.einsum("...ii->...", rows))


def _shares(spread: Floats, count: Floats) -> Floats:
    """``1/(n (1 + θ² n))``, 0 of members without rows; (n, a)."""
    safe = np.where(count > 0, count, 1.0)
    return np.where(count > 0, 1 / (safe * (1 + np.multiply.outer(spread, safe))), 0.0)


def _factors(matrices: Floats) -> Floats:
    """Cholesky factors (n, z, z); nan where rounding errors leave a matrix none."""
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.full_like(matrices, np.nan)
        return np.concatenate([_factors(half) for half in np.array_split(matrices, 2)])


def solve(factor: Floats, rows: Floats) -> Floats:
    """``L⁻¹ rows``; (n, z, k)."""
    if not rows.size:
        return rows
    if _is_large(factor):
        triangular = scipy_linalg().solve_triangular
        each = zip(factor, rows, strict=True)
        return np.array([triangular(f, r, lower=True, check_finite=False) for f, r in each])
    solved = np.empty_like(rows)  # row by row, at all nodes at once
    for j in range(factor.shape[1]):
        known = factor[:, None, j, :j] @ solved[:, :j]
        solved[:, j] = (rows[:, j] - known[:, 0]) / factor[:, j, j, None]
    return solved


def solve_transposed(factor: Floats, rows: Floats) -> Floats:
    """``L'⁻¹ rows``; (n, z) or (n, z, k)."""
    if _is_large(factor):
        triangular = scipy_linalg().solve_triangular
        each = zip(factor, rows, strict=True)
        found = [triangular(f, r, lower=True, trans=1, check_finite=False) for f, r in each]
        return np.array(found)
    solved = np.empty_like(rows)
    for j in reversed(range(factor.shape[1])):
        known = np.einsum("nk,nk...->n...", factor[:, j + 1 :, j], solved[:, j + 1 :])
        diagonal = factor[:, j, j].reshape(-1, *[1] * (rows.ndim - 2))
        solved[:, j] = (rows[:, j] - known) / diagonal
    return solved


def inverse(factor: Floats) -> Floats:
    """``(L L')⁻¹``; (n, z, z)."""
    if _is_large(factor):
        return np.array([inverse_of(own) for own in factor])
    if factor.shape[1] > INVERTED:
        half = np.linalg.inv(factor)
    else:
        half = solve(factor, np.broadcast_to(np.eye(factor.shape[1]), factor.shape))
    return np.asarray(half.swapaxes(1, 2) @ half)


def _is_large(factor: Floats) -> bool:
    """Whether factors (n, z, z) are better taken one by one than row by row at all nodes."""
    return factor.shape[1] > max(len(factor), LOOPED)
