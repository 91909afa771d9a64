"""A density on all pairs of the points of two lattices.

With lattices of n and m points over the first and the second part of the coordinates, the density
at their pairs is known through a cross approximation of its logarithm,

    log p(i, j) = height + a_i + b_j + Σ_k c_k(i) r_k(j),

so it is positive, and a block of it costs a product of matrices.  With ``exp(a_i)`` about the
largest density in a row, and ``exp(b_j)`` in a column, it is nowhere far above either: so it is cut
there.  Sums run over all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.cross_approximation import CrossApproximation
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.rejection import corners, moved

MAX_NUMBERS = 1 << 21  # of pairs that are held at a time
SLACK = 3.0  # above a and b, to where the log density of a pair may reach


@dataclass(frozen=True, eq=False)
class ProductLattice:
    """Two lattices, and the density on their pairs.

    Attributes
    ----------
    first, second : Lattice
        Their log densities are ``height + a`` and ``height + b``, about the largest of all pairs.
    coordinates : tuple of Indices
        Of a point of d numbers, those of the first and those of the second lattice.
    cross : CrossApproximation
        Of ``log p − height − a − b``.
    height : float
        About the largest log density.
    """

    first: Lattice
    second: Lattice
    coordinates: tuple[Indices, Indices]
    cross: CrossApproximation
    height: float

    def __len__(self) -> int:
        return len(self.first) * len(self.second)

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return len(self.coordinates[0]) + len(self.coordinates[1])

    @property
    def spacing(self) -> Floats:
        """Of both lattices, by coordinate; (d,)."""
        return self.joined(self.first.spacing[None], self.second.spacing[None])[0]

    def joined(self, first: Floats, second: Floats) -> Floats:
        """Points (k, d) from their parts (k, d₁) and (k, d₂)."""
        points = np.empty((max(len(first), len(second)), self.dimension))
        points[:, self.coordinates[0]] = first
        points[:, self.coordinates[1]] = second
        return points

    def rows(self) -> Iterator[tuple[slice, Floats]]:
        """Yield rows and their densities (k, m), relative to the height."""
        step = max(1, MAX_NUMBERS // len(self.second))
        for begin in range(0, len(self.first), step):
            part = slice(begin, min(begin + step, len(self.first)))
            yield part, self.densities(part)

    def densities(self, rows: slice | Indices) -> Floats:
        """Densities (k, m) of some rows, relative to the height."""
        a, b = (self.first.log_density[rows] - self.height)[:, None], self._b
        logs = self.cross.left[rows] @ self.cross.right
        logs += a
        logs += b
        np.minimum(logs, a + SLACK, out=logs)
        np.minimum(logs, b + SLACK, out=logs)
        return np.asarray(np.exp(logs, out=logs))

    def column(self, j: int) -> Floats:
        """Densities of all rows in one column; (n,)."""
        a, b = self.first.log_density - self.height, self._b[j]
        logs = a + b + self.cross.left @ self.cross.right[:, j]
        return np.asarray(np.exp(np.minimum(logs, np.minimum(a, b) + SLACK)))

    def logs(self, i: Indices, j: Indices) -> Floats:
        """Log densities of pairs (t,), relative to the height."""
        a, b = self.first.log_density[i] - self.height, self._b[j]
        return np.minimum(a + b + self.cross.at(i, j), np.minimum(a, b) + SLACK)

    @property
    def _b(self) -> Floats:
        return self.second.log_density - self.height

    @cached_property
    def sums(self) -> Floats:
        """Sums of the density over each row; (n,)."""
        rows = np.empty(len(self.first))
        for part, density in self.rows():
            rows[part] = density.sum(axis=1)
        return rows

    def some(self, rows: Indices) -> ProductLattice:
        """The same with some of the rows."""
        index, log_density = self.first.index[rows], self.first.log_density[rows]
        return replace(
            self,
            first=replace(self.first, index=index, log_density=log_density),
            cross=replace(self.cross, left=self.cross.left[rows]),
        )

    @property
    def log_integral(self) -> float:
        """Logarithm of the density's integral."""
        return self.log_of(float(self.sums.sum()))

    def log_of(self, total: float) -> float:
        """Logarithm of the integral that a sum of the density over pairs stands for."""
        volumes = [np.log(np.diag(part.step)).sum() for part in (self.first, self.second)]
        return float(self.height + np.log(total) + sum(volumes))

    def drawn_pairs(self, size: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw pairs of points, ordered by the first; (size,) each."""
        ends = np.cumsum(self.sums)
        i = np.sort(np.searchsorted(ends, rng.random(size) * ends[-1], side="right"))
        j, share = np.empty(size, dtype=np.intp), rng.random(size)
        rows, begin = np.unique(i, return_index=True)
        last = np.append(begin[1:], size)
        step = max(1, MAX_NUMBERS // len(self.second))
        for k in range(0, len(rows), step):
            some = slice(k, k + step)
            below = np.cumsum(self.densities(rows[some]), axis=1)
            for r, (one, other) in enumerate(zip(begin[some], last[some], strict=True)):
                wanted = share[one:other] * below[r, -1]
                j[one:other] = np.searchsorted(below[r], wanted, side="right")
        return i, j

    def propose(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw from the multilinear interpolant; (size, d)."""
        i, j = self.drawn_pairs(size, rng)
        order = rng.permutation(size)
        return self.joined(moved(self.first, i[order], rng), moved(self.second, j[order], rng))

    def log_interpolant(self, points: Floats) -> Floats:
        """Logarithm of the multilinear interpolant of the density at points (k, d); (k,)."""
        own, other = (
            list(corners(lattice, points[:, some]))
            for lattice, some in zip((self.first, self.second), self.coordinates, strict=True)
        )
        total = np.zeros(len(points))
        for share, i, there in own:
            for rest, j, too in other:
                density = np.exp(self.logs(i, j))
                total += np.where(there & too, share * rest * density, 0.0)
        return self.height + np.log(total)
