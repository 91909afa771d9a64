"""Few pairs of inner and outer points that stand for all pairs of two lattices.

With interpolation between few points of each lattice (A, of k and B, of l points),

    Σ_ij p(i, j) f(i, j) ≈ Σ_kl G_kl f(i_k, j_l),    G = A p B',

for all functions f that A and B interpolate: those of
:class:`~hiermodels.exact.blocks.pair_functions.PairFunctions` and their like.  Weights G of some
pairs are negative; in size they sum to about 1.5.  Rougher weights, of every second point as on a
checkerboard of both lattices and of a coarser interpolation, say how right sums are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.pair_functions import PairFunctions
from hiermodels.exact.kernels.blocks.upward import Below
from hiermodels.numerics.axis_projection import axis_projection
from hiermodels.numerics.cubature import heaviest, orthonormal
from hiermodels.numerics.interpolation_nodes import Interpolation, Span
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.numerics.product_sums import ProductSums

COARSER = 8.0  # times the tolerance of the coarser interpolation
DEGREE = 3  # of polynomials that are interpolated beside the functions
MIXED = 300  # sums of all functions with random factors, which span what these span
TYPICAL = 256  # points that say what is typical
ASIDE = 1.7  # standard deviations from the mean of the settings of the other part
NEGLIGIBLE = 1e-11  # size of all weights that are left out
SEED = 1  # of what is random


@dataclass(frozen=True, eq=False)
class PairNodes:
    """Points and weights, some of them negative.

    Attributes
    ----------
    sums : ProductSums
        Over all pairs, which they stand for.
    errors : (d,)
        Of that, by coordinate, in posterior sds.
    points : (n, d)
    every : (3, n)
        Weights: those that count, then those of half of all pairs, and of a coarser interpolation.
    place : (n, 2)
        Which point of each interpolation a node has.
    interpolations : tuple of Interpolation
        Of both lattices, of the weights that count.
    """

    sums: ProductSums
    errors: Floats
    points: Floats
    every: Floats
    place: Indices
    interpolations: tuple[Interpolation, Interpolation]

    @classmethod
    def of(
        cls, below: Below, sums: ProductSums, functions: PairFunctions, errors: Floats, tol: float
    ) -> PairNodes:
        """Choose nodes at which sums are right to about the tolerance."""
        product = sums.product
        parts = [_Part.of(below, sums, functions, which) for which in (0, 1)]
        a, b = (part.interpolation(tol) for part in parts)
        rough_a, rough_b = (part.interpolation(COARSER * tol) for part in parts)
        whole, half = _weights(sums, a.matrix, b.matrix)
        rough = rough_a.matrix[:, a.chosen] @ whole @ rough_b.matrix[:, b.chosen].T
        weights = np.zeros((3, whole.size + rough.size))
        weights[:2, : whole.size] = whole.ravel(), half.ravel()
        weights[2, whole.size :] = rough.ravel()
        weights /= weights.sum(axis=1, keepdims=True)
        both = [_grid(product, a, b), _grid(product, rough_a, rough_b)]
        kept = _matter(weights)
        points, place = (np.concatenate(own)[kept] for own in zip(*both, strict=True))
        return cls(sums, errors, points, weights[:, kept], place, (a, b))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def product(self) -> ProductLattice:
        """Both lattices."""
        return self.sums.product

    @property
    def weights(self) -> Floats:
        """Those that count; of sum 1."""
        return self.every[0]

    @property
    def spacing(self) -> Floats:
        """Of both lattices, by coordinate; (d,)."""
        return self.product.spacing

    @property
    def log_integral(self) -> float:
        """Logarithm of the density's integral."""
        return self.sums.log_integral

    def cdf(self, axis: int, values: Floats) -> Floats:
        """Probability that a coordinate is at most each of the values."""
        lattice, own = self._of(axis)
        return lattice.cdf(own, values)

    def density(self, axis: int, values: Floats) -> Floats:
        """Marginal density of a coordinate."""
        lattice, own = self._of(axis)
        return lattice.density(own, values)

    def quantile(self, axis: int, probabilities: Floats) -> Floats:
        """Quantiles of a coordinate; (p,)."""
        lattice, own = self._of(axis)
        return lattice.quantile(own, probabilities)

    def summed(self, axis: int, values: Floats) -> tuple[Floats, float, Floats]:
        """Functions that are known at the nodes, summed across all axes but one.

        A point of the axis's own lattice gives its functions, interpolated, times the density
        summed over the other lattice, to the point's coordinate.

        Parameters
        ----------
        axis : int
        values : (n, s)
            At the nodes.

        Returns
        -------
        places : (f,)
            On a fine even grid along the axis.
        spacing : float
            Of the lattice along it.
        sums : (f, s)
        """
        which = int(axis in self.product.coordinates[1])
        lattice, own = self._of(axis)
        places, spread, gather = axis_projection(lattice, own)
        matrix, outward = self.interpolations[which].matrix, self._outwards[which]
        kept, place = self.weights != 0, self.place
        sizes = [len(part.chosen) for part in self.interpolations]
        every = np.zeros((*sizes, values.shape[1]))
        every[place[kept, 0], place[kept, 1]] = values[kept]
        at = every.swapaxes(0, which).reshape(len(matrix) * outward.shape[1], -1)
        order = np.argsort(gather.indices, kind="stable")
        ends = np.cumsum(np.bincount(gather.indices, minlength=gather.shape[0]))
        sums = np.empty((gather.shape[0], values.shape[1]))
        for row, points in zip(sums, np.split(order, ends[:-1]), strict=True):
            row[:] = (matrix[:, points] @ outward[points]).ravel() @ at
        return places, float(lattice.step[own, own]), spread @ sums

    @cached_property
    def _outwards(self) -> tuple[Floats, Floats]:
        """``p B'`` and ``p' A'``; (n₁, l) and (n₂, k)."""
        a, b = (own.matrix for own in self.interpolations)
        return self.sums.outward(b), self.sums.inward(a)

    def _of(self, axis: int) -> tuple[Lattice, int]:
        """The lattice that has a coordinate, with its marginal density, and which of its axes."""
        which = int(axis in self.product.coordinates[1])
        own = self.product.coordinates[which].tolist().index(axis)
        return self.sums.marginals[which], own


@dataclass(frozen=True, eq=False)
class _Part:
    """One of both lattices, and what functions span at its points that matter.

    Attributes
    ----------
    size : int
        Number of all its points.
    kept : Indices
    span : Span
    """

    size: int
    kept: Indices
    span: Span

    @classmethod
    def of(cls, below: Below, sums: ProductSums, functions: PairFunctions, which: int) -> _Part:
        """Take functions at settings of the other part."""
        lattice, other = (sums.marginals[k] for k in (which, 1 - which))
        kept = heaviest(lattice.weights)
        points, weights = lattice.points[kept], lattice.weights[kept] / lattice.weights[kept].sum()
        rng, mixed = np.random.default_rng(SEED), np.zeros((len(kept), MIXED))
        for setting in _settings(other):
            if which:
                own = functions.pairs.below(setting[None]), setting[None], points
            else:
                own = below.at(kept), points, setting[None]
            values = functions(*own)
            mixed += values @ rng.standard_normal((values.shape[1], MIXED))
        polynomials = orthonormal(points, weights, DEGREE).T
        columns = np.hstack([polynomials, mixed / np.sqrt(MIXED)])
        return cls(len(lattice), kept, Span.of(columns, weights))

    def interpolation(self, tol: float) -> Interpolation:
        """Between some of the lattice's points; nothing of those that do not matter."""
        own = self.span.interpolation(tol)
        matrix = np.zeros((len(own.chosen), self.size))
        matrix[:, self.kept] = own.matrix
        return Interpolation(self.kept[own.chosen], matrix)


def _settings(lattice: Lattice) -> Floats:
    """The mean and places around it, along each axis."""
    mean = lattice.weights @ lattice.points
    away = lattice.points - mean
    axes = np.linalg.cholesky((lattice.weights[:, None] * away).T @ away).T
    return mean + ASIDE * np.vstack([np.zeros((1, len(axes))), axes, -axes])


def _grid(product: ProductLattice, a: Interpolation, b: Interpolation) -> tuple[Floats, Indices]:
    """All pairs of the points of two interpolations: points (k·l, d), and places (k·l, 2)."""
    shape = len(a.chosen), len(b.chosen)
    place = np.stack(np.unravel_index(np.arange(shape[0] * shape[1]), shape), axis=1)
    first, second = a.chosen[place[:, 0]], b.chosen[place[:, 1]]
    return product.joined(product.first.points[first], product.second.points[second]), place


def _weights(sums: ProductSums, a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """``A p B'`` of all pairs, and of every second point of both lattices; (k, l) each."""
    left, right = a @ sums.left.T, sums.right @ b.T
    rows, columns = sums.product.first.checkerboard, sums.product.second.checkerboard
    half = a[:, rows] @ sums.left[:, rows].T, sums.right[:, columns] @ b[:, columns].T
    return left @ right, half[0] @ half[1]


def _matter(weights: Floats) -> Indices:
    """Nodes that are more than a negligible part of all weights (m, n)."""
    size = np.abs(weights).max(axis=0)
    order = np.argsort(size)
    return np.sort(order[np.cumsum(size[order]) > NEGLIGIBLE])
