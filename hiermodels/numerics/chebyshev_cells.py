"""A smooth function of two numbers at very many places, from its values at few.

The plane is cut into cells.  In a cell a function that is analytic around it is, to rounding, the
polynomial through its values at a product of Chebyshev points (x_a, y_b), with Lagrange's
polynomials L_a and L_b:

    f(x, y) = Σ_ab L_a(x) f(x_a, y_b) L_b(y).

The transpose of this moves amounts from the places to the points,

    Σ_i c_i f(x_i, y_i) = Σ_ab C_ab f(x_a, y_b),    C_ab = Σ_i c_i L_a(x_i) L_b(y_i),

so that sums of any number of such functions over the places are sums over the points.

References
----------
Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.chebyshev import lagrange_polynomials, unit_points

LENGTH = 1.2  # of a cell's side: of functions with singularities at a distance of about π
POINTS = 15  # along each side
ROWS = 1 << 13  # places whose polynomials are held at a time


@dataclass(frozen=True, eq=False)
class Side:
    """The range of one coordinate in a cell; half its length is 0 where all are the same."""

    middle: float
    half: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        """The range of values, which may be an infinity if they are the same."""
        low, high = float(values.min()), float(values.max())
        return cls(low, 0.0) if low == high else cls((low + high) / 2, (high - low) / 2)

    @property
    def points(self) -> Floats:
        """Chebyshev points, or the one value; (N,)."""
        if self.half == 0:
            return np.array([self.middle])
        return self.middle + self.half * unit_points(POINTS)

    def polynomials(self, values: Floats) -> Floats:
        """Lagrange's polynomials at values (n,); (n, N)."""
        if self.half == 0:
            return np.ones((len(values), 1))
        return lagrange_polynomials((values - self.middle) / self.half, POINTS)


@dataclass(frozen=True, eq=False)
class Cell:
    """Some of the places, in a rectangle.

    Attributes
    ----------
    members : (n,)
        Which places.
    sides : (2,)
    """

    members: Indices
    sides: tuple[Side, Side]

    @cached_property
    def points(self) -> Floats:
        """Product of the sides' points; (N·N', 2)."""
        x, y = np.meshgrid(*(side.points for side in self.sides), indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)


@dataclass(frozen=True, eq=False)
class CellInterpolation:
    """Points that stand for many places: first places that stand for themselves.

    Attributes
    ----------
    places : (k, 2)
    alone : (a,)
        Places that stand for themselves, as they have few others near.
    cells : tuple of Cell
        Of the other places.
    """

    places: Floats
    alone: Indices
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, places: Floats) -> Self:
        """Divide places (k, 2); −∞ is a coordinate like others."""
        alone, cells = [np.empty(0, dtype=np.intp)], []
        for members in _by_cell(places):
            cell = Cell(members, (Side.of(places[members, 0]), Side.of(places[members, 1])))
            if len(cell.points) < len(members):
                cells.append(cell)
            else:
                alone.append(members)
        return cls(places, np.concatenate(alone), tuple(cells))

    def __len__(self) -> int:
        return len(self.alone) + sum(len(cell.points) for cell in self.cells)

    @cached_property
    def points(self) -> Floats:
        """The points, v of them; (v, 2)."""
        return np.concatenate([self.places[self.alone], *(cell.points for cell in self.cells)])

    def moved(self, amounts: Floats) -> Floats:
        """The amounts C at the points that stand for amounts c at the places; (k,) to (v,)."""
        moved = [amounts[self.alone]]
        for cell in self.cells:
            parts = [(amounts[some] * x.T) @ y for some, x, y in self._polynomials(cell)]
            moved.append(np.sum(parts, axis=0).ravel())
        return np.concatenate(moved)

    def interpolated(self, values: Floats) -> Floats:
        """A function at the places, from its values at the points; (m, v) to (m, k)."""
        found = np.empty((len(values), len(self.places)))
        found[:, self.alone] = values[:, : len(self.alone)]
        first = len(self.alone)
        for cell in self.cells:
            own = values[:, first : (first := first + len(cell.points))]
            for some, x, y in self._polynomials(cell):
                known = own.reshape(len(own), x.shape[1], y.shape[1])
                found[:, some] = ((x @ known) * y).sum(axis=2)
        return found

    def _polynomials(self, cell: Cell) -> Iterator[tuple[Indices, Floats, Floats]]:
        """Yield some places of a cell, and Lagrange's polynomials there of either coordinate."""
        for first in range(0, len(cell.members), ROWS):
            some = cell.members[first : first + ROWS]
            x, y = (
                side.polynomials(values)
                for side, values in zip(cell.sides, self.places[some].T, strict=True)
            )
            yield some, x, y


def _by_cell(places: Floats) -> Iterator[Indices]:
    """Yield the places in each cell that has any."""
    finite = np.where(np.isfinite(places), places, np.inf)
    low = finite.min(axis=0, initial=np.inf)
    with np.errstate(invalid="ignore"):
        along = np.floor((places - np.where(np.isfinite(low), low, 0.0)) / LENGTH)
    number = np.where(np.isfinite(along), along, -1.0).astype(np.int64) + 1
    key = number[:, 0] * (number[:, 1].max(initial=0) + 1) + number[:, 1]
    order = np.argsort(key, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(key[order])) + 1)
