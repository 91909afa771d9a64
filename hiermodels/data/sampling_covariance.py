"""Known covariances of the errors of rows, block by block.

The errors of the rows of one outermost group, such as a study, are correlated; those of different
ones are not:

    y = η + e,    e ~ N(0, V),    V = diag(V_1, …, V_S),

with every V_s known and positive definite.  ``V = C C'`` turns into rows with independent errors,
``C⁻¹ y ~ N(C⁻¹ η, I)``, and a row given the others of its study is

    y_i | y_(−i) ~ N(η_i − Σ_(j≠i) Q_ij (y_j − η_j)/Q_ii, 1/Q_ii),    Q = V⁻¹.

References
----------
Berkey et al. (1998), Statistics in Medicine 17:2537.
Bürkner, Gabry & Vehtari (2021), Computational Statistics 36:1243 (rows given the others).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.blas import scipy_linalg
from hiermodels.core.codec import storable


@storable
@dataclass(frozen=True, eq=False)
class SamplingCovariance:
    """V of n rows, as blocks.

    Attributes
    ----------
    order : (n,)
        The rows, those of one block together.
    size : (b,)
        Number of rows of each block.
    entries : (Σ size²,)
        The numbers of the blocks, one behind the other.
    """

    order: Indices
    size: Indices
    entries: Floats

    @classmethod
    def of_blocks(cls, blocks: Sequence[tuple[Indices, Floats]]) -> Self:
        """From the rows and the matrix of each block, which are split where they can be."""
        blocks = [part for rows, matrix in blocks for part in _split(rows, matrix)]
        return cls(
            np.concatenate([rows for rows, _ in blocks]),
            np.array([len(rows) for rows, _ in blocks]),
            np.concatenate([matrix.ravel() for _, matrix in blocks]),
        )

    @cached_property
    def blocks(self) -> list[tuple[Indices, Floats]]:
        """Rows (m,) and matrix (m, m) of each block."""
        rows = np.split(self.order, np.cumsum(self.size)[:-1])
        matrices = np.split(self.entries, np.cumsum(self.size**2)[:-1])
        return [(own, v.reshape(len(own), -1)) for own, v in zip(rows, matrices, strict=True)]

    @cached_property
    def variances(self) -> Floats:
        """The diagonal; (n,)."""
        return self._filled(lambda v: np.diag(v))

    @cached_property
    def roots(self) -> list[tuple[Indices, Floats]]:
        """Rows and lower triangular C of each block."""
        return [(rows, np.linalg.cholesky(v)) for rows, v in self.blocks]

    @cached_property
    def given_others(self) -> Floats:
        """Q_ii, the inverse variance of each row given the others; (n,)."""
        return self._filled(lambda v: np.diag(np.linalg.inv(v)))

    @cached_property
    def log_dets(self) -> Floats:
        """``log |V_s|`` of each block; (b,)."""
        return np.array([2 * np.log(np.diag(root)).sum() for _, root in self.roots])

    def _filled(self, of: Callable[[Floats], Floats]) -> Floats:
        """A number for each row, from the blocks' matrices."""
        values = np.empty(len(self.order))
        for rows, v in self.blocks:
            values[rows] = of(v)
        return values

    def whiten(self, columns: Floats) -> Floats:
        """``C⁻¹`` times columns (n, k)."""
        solve = scipy_linalg().solve_triangular
        white = np.empty(columns.shape)
        for rows, root in self.roots:
            white[rows] = solve(root, columns[rows], lower=True)
        return white

    def times_inverse(self, columns: Floats) -> Floats:
        """``V⁻¹`` times columns (n, k)."""
        solved = np.empty(columns.shape)
        for rows, v in self.blocks:
            solved[rows] = np.linalg.solve(v, columns[rows])
        return solved

    def log_density(self, residual: Floats) -> Floats:
        """``log N(r; 0, V)`` of residuals (..., n); (...,)."""
        white = self.whiten(residual.reshape(-1, residual.shape[-1]).T)
        squares = (white**2).sum(axis=0).reshape(residual.shape[:-1])
        return -0.5 * (squares + self.log_dets.sum() + len(self.order) * LOG_2PI)

    def log_densities_given_others(self, residual: Floats) -> Floats:
        """Log density of each row given the others of its block, of residuals (..., n)."""
        flat = self.times_inverse(residual.reshape(-1, residual.shape[-1]).T)
        deviation = flat.T.reshape(residual.shape)
        precision = self.given_others
        return 0.5 * (np.log(precision) - LOG_2PI - deviation**2 / precision)

    def draw(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw errors; (size, n)."""
        noise = rng.standard_normal((size, len(self.order)))
        for rows, root in self.roots:
            noise[:, rows] = noise[:, rows] @ root.T
        return noise

    def of_rows(self, some: Indices) -> Self:
        """The same of some rows (m,), in their order, numbered anew."""
        place = np.full(len(self.order), -1)
        place[some] = np.arange(len(some))
        blocks = []
        for rows, v in self.blocks:
            kept = place[rows] >= 0
            if kept.any():
                blocks.append((place[rows[kept]], v[np.ix_(kept, kept)]))
        return self.of_blocks(blocks)

    def is_within(self, group: Indices) -> bool:
        """Whether only rows of the same group (n,) are correlated."""
        return all(not v[group[rows][:, None] != group[rows]].any() for rows, v in self.blocks)


def _split(rows: Indices, matrix: Floats) -> list[tuple[Indices, Floats]]:
    """Parts of a block with no covariance between them."""
    if matrix.all():
        return [(rows, matrix)]
    from scipy.sparse.csgraph import connected_components

    count, part = connected_components(matrix != 0, directed=False)
    every = [np.flatnonzero(part == number) for number in range(count)]
    return [(rows[own], matrix[np.ix_(own, own)]) for own in every]
