"""What the rows say of the coefficients and of σ, all effects integrated out.

The coefficients are γ: the root's θ, then β.  At each node there is a triangle ``[C d; 0 s]`` with

    log p(y | Θ, σ, γ) = constant + log_det − n log σ − (‖d − C γ‖² + s²)/(2σ²),

where ``log_det = − Σ log U_ii`` over all members.  With flat priors of all c coefficients

    log p(y | Θ, σ) = constant + log_det − Σ log C_ii − (n − c) log σ − S/(2σ²),    S = s²,

and ``γ | Θ, σ, y ~ N(C⁻¹ d, σ² C⁻¹ C⁻¹')``.  A prior N(m, 1/P) is a row ``σ √P [1 | m]`` more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.exact.kernels.blocks.rotations import (
    product,
    rotate,
    solve_upper,
    triangularize,
)


@dataclass(frozen=True)
class Root:
    """A triangle at each node.

    Attributes
    ----------
    triangle : (c + 1, c + 1, n)
        ``[C d; 0 s]``.
    log_det : (n,)
    """

    triangle: Floats
    log_det: Floats

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put the nodes of several parts one behind the other."""
        return cls(
            np.concatenate([part.triangle for part in parts], axis=2),
            np.concatenate([part.log_det for part in parts]),
        )

    def at(self, nodes: slice | Indices) -> Root:
        """The same at some nodes."""
        return Root(self.triangle[..., nodes], self.log_det[nodes])

    def at_each(self, times: int) -> Root:
        """Each node as often as this, one behind the other."""
        return Root(np.repeat(self.triangle, times, axis=2), np.repeat(self.log_det, times))

    def moved(self, center: Floats, axes: Floats | None) -> Root:
        """The same of x and y, from that of ``x − z'center`` and ``y − z'center``.

        Parameters
        ----------
        center : (f, q + 1)
            What was taken of the root's effects z.
        axes : (q, q), optional
            The coefficients are ``axes β``; by default β itself.
        """
        f, triangle = len(center), self.triangle.copy()
        if axes is not None:
            triangle[:, f:-1] = np.einsum("ijn,jk->ikn", self.triangle[:, f:-1], axes)
            triangularize(triangle[f:, f:], len(axes) + 1)
        triangle[:f, f:] += np.einsum("ijn,jk->ikn", self.triangle[:f, :f], center)
        return Root(triangle, self.log_det)

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients, c."""
        return len(self.triangle) - 1

    @cached_property
    def log_scale(self) -> Floats:
        """``log_det − Σ log C_ii``: a log likelihood's part that is free of σ; (n,).

        Where a C_ii is lost in rounding, as far out as that, the likelihood counts as 0.
        """
        diagonal = np.einsum("iin->in", self.triangle)[:-1]
        with np.errstate(divide="ignore"):
            total = np.log(np.abs(diagonal)).sum(axis=0)
        return np.where(total > -np.inf, self.log_det - total, -np.inf)

    @property
    def square(self) -> Floats:
        """``S = s²``; (n,)."""
        return self.triangle[-1, -1] ** 2

    @cached_property
    def inverse(self) -> Floats:
        """``C⁻¹``; (c, c, n)."""
        return solve_upper(self.triangle[:-1, :-1], np.eye(self.n_coefficients)[..., None])

    @cached_property
    def mean(self) -> Floats:
        """Mean of γ; (c, n)."""
        return product(self.inverse, self.triangle[:-1, -1:])[:, 0]

    @cached_property
    def covariance(self) -> Floats:
        """Covariance of γ at σ = 1; (c, c, n)."""
        return product(self.inverse, self.inverse.swapaxes(0, 1))

    def with_prior(self, mean: Floats, precision: Floats, sigma: Floats) -> Root:
        """Add independent normal priors of γ, (c,) each, at σ (n,); precision 0 is flat.

        The constants of the priors' densities go into ``log_det``: then :meth:`log_likelihood` is
        the same formula.
        """
        triangle, c = self.triangle.copy(), self.n_coefficients
        log_det = self.log_det
        for j in np.flatnonzero(precision):
            root = np.sqrt(precision[j])
            row = np.zeros((c + 1, len(sigma)))
            row[j], row[-1] = root * sigma, root * mean[j] * sigma
            for i in range(j, c + 1):
                rotate(triangle[i], row, i, slice(i + 1, None))
            log_det = log_det + np.log(root) - 0.5 * LOG_2PI
        return Root(triangle, log_det)

    def log_likelihood(self, sigma: Floats, n_rows: int, log_weight: float) -> Floats:
        """``log p(y | Θ, σ)`` at σ (n,) or (n, k), flat priors having the density 1; as σ."""
        shape, df = (-1,) + (1,) * (sigma.ndim - 1), n_rows - self.n_coefficients
        square = (self.triangle[-1, -1].reshape(shape) / sigma) ** 2
        log_sigma = np.log(sigma) + 0.5 * LOG_2PI
        return self.log_scale.reshape(shape) + 0.5 * (log_weight - square) - df * log_sigma


def root_triangle(message: Floats, squares: Floats, log_det: Floats, fixed: Flags) -> Root:
    """Put together what pooling leaves of all rows.

    Parameters
    ----------
    message : (p, p + q + 1, n)
        Rows [R | D_x | D_y] of the root's θ.
    squares : (q + 1, q + 1, n)
        Cross-products of rows [x | y] that are free of θ.
    log_det : (n,)
    fixed : (p,)
        Which of the root's θ are coefficients.
    """
    p, f, size = len(fixed), int(fixed.sum()), len(squares)
    if f < p:
        order = [*np.flatnonzero(fixed), *range(p, message.shape[1])]
        message = message[:, order]
        triangularize(message, f)
        left = message[f:, f:]
        squares = squares + np.einsum("ian,ibn->abn", left, left)
    triangle = np.zeros((f + size, f + size, message.shape[-1]))
    triangle[:f] = message[:f]
    triangle[f:, f:] = cholesky(squares)
    return Root(triangle, log_det)


def cholesky(squares: Floats) -> Floats:
    """Upper triangular N with ``N'N`` the squares (k, k, n); what is 0 to rounding counts as 0."""
    root = np.zeros_like(squares)
    for j in range(len(squares)):
        row = squares[j, j:] - np.einsum("in,ikn->kn", root[:j, j], root[:j, j:])
        root[j, j] = np.sqrt(np.maximum(row[0], 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            root[j, j + 1 :] = np.where(root[j, j] > 0, row[1:] / root[j, j], 0.0)
    return root
