"""Rows of crossed groups, and what least squares leave of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.crossed.design import CrossedDesign, Scatter

PRECISION = 1e-13  # of least squares on effects
STEPS = 20_000  # that these may take
RANK_TOLERANCE = 1e-8  # of a column's size


@dataclass(frozen=True, eq=False)
class CrossedRows:
    """What is observed.

    Attributes
    ----------
    x : (N, c)
        Columns of all coefficients.
    y : (N,)
    members : tuple of (N,)
        Member of each factor that each row has.
    sizes : tuple of int
        Members of each factor.
    weights : (N,)
        ω; ``1/se²`` if errors are known.
    scatter : Scatter, optional
        Within cells, if rows are means of these.
    """

    x: Floats
    y: Floats
    members: tuple[Indices, ...]
    sizes: tuple[int, ...]
    weights: Floats
    scatter: Scatter | None = None

    @cached_property
    def design(self) -> CrossedDesign:
        """What these say of effects and coefficients."""
        return CrossedDesign.of(
            self.x, self.y, self.members, self.sizes, self.weights, self.scatter
        )

    @cached_property
    def weighted(self) -> Floats:
        """``√ω [x | y]``, those without effects last; (N + m, c + 1)."""
        own = np.column_stack([self.x, self.y]) * np.sqrt(self.weights)[:, None]
        return own if self.scatter is None else np.vstack([own, self.scatter.rows])

    @property
    def residual(self) -> Floats:
        """What least squares of the coefficients leave of ``√ω y``; (N + m,)."""
        return np.asarray(self.weighted @ np.append(-self.design.anchor, 1.0))

    def used(self, factor: int) -> int:
        """Members of a factor that have rows."""
        return int(np.count_nonzero(np.bincount(self.members[factor])))

    def parts(self, first: int, second: int) -> Indices:
        """Part of each member of two factors, of which no others share rows; (u + v,)."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        size = self.sizes[first] + self.sizes[second]
        ends = self.members[first], self.members[second] + self.sizes[first]
        graph = coo_array((np.ones(len(self.y)), ends), (size, size))
        return np.asarray(connected_components(graph, directed=False)[1])

    def rank_of_effects(self, factors: Sequence[int]) -> int:
        """Rank of the columns of all members of some factors."""
        sizes = [self.used(k) for k in factors]
        if len(factors) < 2:
            return sum(sizes)
        if len(factors) == 2:
            parts = self.parts(*factors)
            first, second = factors
            some = np.concatenate(
                [
                    np.unique(self.members[first]),
                    np.unique(self.members[second]) + self.sizes[first],
                ]
            )
            return sum(sizes) - len(np.unique(parts[some]))
        return self._numerical_rank(factors)

    def _numerical_rank(self, factors: Sequence[int]) -> int:
        own = [self.members[k] for k in factors]
        only = CrossedDesign.of(
            np.empty((len(self.y), 0)), self.y, own, [self.sizes[k] for k in factors]
        )
        z = only.n_others
        size = np.linalg.eigvalsh(only.within[:z, :z])
        many = int(np.count_nonzero(size > RANK_TOLERANCE * max(size[-1], 1.0)))
        return int(np.count_nonzero(only.count)) + many

    def without_effects(self, factors: Sequence[int], columns: Floats) -> Floats:
        """What least squares on effects of some factors leave of columns as :attr:`weighted`."""
        from scipy.sparse.linalg import lsmr

        left = columns.copy()
        size = np.linalg.norm(left, axis=0)
        if not factors:
            return left
        z = self._indicators(factors)
        for j in range(left.shape[1]):
            for _ in range(2):  # what is left of a column in the span is rounding errors alone
                length = np.linalg.norm(left[:, j])
                if length > PRECISION * size[j]:
                    fit = lsmr(z, left[:, j], atol=PRECISION, btol=PRECISION, maxiter=STEPS)[0]
                    left[:, j] -= z @ fit
        return np.asarray(left)

    def _indicators(self, factors: Sequence[int]) -> Any:
        """``√ω`` times the columns of effects, each of length 1; (N + m, u) sparse."""
        from scipy.sparse import csr_array, hstack

        n, parts, size = len(self.y), [], len(self.weighted)
        for k in factors:
            own = self.members[k]
            length = np.sqrt(np.bincount(own, self.weights, self.sizes[k]))
            values = np.sqrt(self.weights) / length[own]
            parts.append(csr_array((values, (np.arange(n), own)), (size, self.sizes[k])))
        return hstack(parts, format="csr")
