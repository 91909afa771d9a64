"""Lattices over inner and outer covariances, and the density on all their pairs.

Each lattice is laid over the largest density among several settings of the other part: the mode,
and places around it along each of its axes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.pairs import Lines, PairMarginal
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.blocks.upward import Below
from hiermodels.numerics.cross_approximation import (
    CrossApproximation,
    Pairs,
    cross_approximate,
)
from hiermodels.numerics.lattice import Lattice, LogWeight, ModesAndScale, grow_weighted
from hiermodels.numerics.product_lattice import ProductLattice

SCAN_STEP = 3.0  # of the pilot grid
ASIDE = 2.0  # standard deviations from the mode of the settings of the other part
JUDGES = 8000  # pairs that say how good the approximation is
JUDGED = 2000  # points of the inner lattice that these have
MAX_ROUNDS = 12  # of such pairs
SEED = 1  # of these


@dataclass(frozen=True, eq=False)
class Laid:
    """Lattices, and what is said of the members at the cut at the points of the inner one."""

    product: ProductLattice
    below: Below


@dataclass(frozen=True, eq=False)
class PairLattices:
    """How lattices are laid over a posterior's inner and outer coordinates.

    Attributes
    ----------
    pairs : PairMarginal
    """

    pairs: PairMarginal

    @classmethod
    def of(cls, marginal: BlockMarginal) -> PairLattices:
        """Of a posterior that has a cut."""
        assert marginal.cut is not None
        return cls(PairMarginal(marginal, marginal.cut))

    def laid(self, spacing: Floats, drop: float, tol: float, max_rank: int) -> Laid:
        """Lay both.

        Parameters
        ----------
        spacing : (d,)
        drop : float
            Of the log density, at which the lattices end.
        tol : float
            Mean error of the density, as a part of itself, of its approximation.
        max_rank : int
            Most terms of that.
        """
        cut = self.pairs.cut
        with self.pairs.marginal.within_range():
            below, first = self._inner(spacing[cut.inner], drop)
            second = self._outer(spacing[cut.outer], drop)
        lines = Lines(self.pairs, below, first.points, second.points)
        approximation = _Approximation.of(lines, first, second, max_rank)
        return Laid(approximation.product((cut.inner, cut.outer), tol), below)

    def _inner(self, spacing: Floats, drop: float) -> tuple[Below, Lattice]:
        """The lattice of the inner part, with what is said at its points of members at the cut."""
        pairs, settings = self.pairs, self._settings(self.pairs.cut.outer)
        parts: list[Below] = []

        def evaluate(points: Floats) -> tuple[Floats, LogWeight]:
            below = pairs.below(points)
            parts.append(below)
            return self._largest(pairs.at(below, points, s[None]) for s in settings)

        scale = self._scale(pairs.cut.inner)
        lattice = grow_weighted(evaluate, scale, spacing, drop)
        return Below.joined(parts), lattice

    def _outer(self, spacing: Floats, drop: float) -> Lattice:
        """The lattice of the outer part."""
        pairs, settings = self.pairs, self._settings(self.pairs.cut.inner)
        below = pairs.below(settings)
        each = [(below.at([k]), settings[[k]]) for k in range(len(settings))]

        def evaluate(points: Floats) -> tuple[Floats, LogWeight]:
            return self._largest(pairs.at(own, s, points) for own, s in each)

        return grow_weighted(evaluate, self._scale(pairs.cut.outer), spacing, drop)

    def _largest(self, each: Iterable[tuple[Floats, Values, Root]]) -> tuple[Floats, LogWeight]:
        """The largest log density, and how much larger with the weights of moments of sds."""
        marginal, found = self.pairs.marginal, []
        orders, at_mode = marginal.tails.orders[:, None], self._log_sds_at_mode
        for log_density, values, root in each:
            ratio = marginal.log_sds_of(values, root) - at_mode
            weight = (orders * ratio).max(axis=0, initial=0.0)
            found.append((log_density, log_density + weight))
        largest, weighted = np.max(found, axis=0)
        return largest, lambda some: (weighted - largest)[some]

    @cached_property
    def _found(self) -> ModesAndScale:
        """Where the posterior lies: from the peaks on a coarse grid of all pairs."""
        pairs, marginal = self.pairs, self.pairs.marginal
        places = marginal.coordinates.pilot_places(SCAN_STEP)
        inner, outer = (
            _grid([places[j] for j in part]) for part in (pairs.cut.inner, pairs.cut.outer)
        )
        with marginal.within_range():
            below = pairs.below(inner)
            rows = [pairs.log_density(below.at([i]), inner[[i]], outer) for i in range(len(inner))]
        order = [*pairs.cut.inner, *pairs.cut.outer]
        shape = [len(places[j]) for j in order]
        back = np.argsort(order)
        grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
        return marginal.modes_near(grid, np.reshape(rows, shape).transpose(back))

    @cached_property
    def _log_sds_at_mode(self) -> Floats:
        marginal = self.pairs.marginal
        values = marginal.coordinates.values(self._found.modes[:1])
        return marginal.log_sds_of(values, marginal.root(values))

    def _settings(self, coordinates: Indices) -> Floats:
        """The mode and places around it, of one part of the coordinates; (k, .)."""
        found = self._found
        covariance = found.basis @ found.basis.T
        axes = np.linalg.cholesky(covariance[np.ix_(coordinates, coordinates)]).T
        around = ASIDE * np.vstack([np.zeros((1, len(axes))), axes, -axes])
        return found.modes[0, coordinates] + around

    def _scale(self, coordinates: Indices) -> ModesAndScale:
        """Modes, and the scale given the other part, of one part of the coordinates."""
        found = self._found
        inverse = np.linalg.inv(found.basis)
        precision = (inverse.T @ inverse)[np.ix_(coordinates, coordinates)]
        basis = np.linalg.cholesky(np.linalg.inv(precision))
        return ModesAndScale(found.modes[:, coordinates], basis)


def _grid(places: list[Floats]) -> Floats:
    """All points (n, d) with coordinates of these places."""
    return np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, len(places))


@dataclass(frozen=True, eq=False)
class _Approximation:
    """The density on all pairs of the points of two lattices, by few of their rows and columns.

    Attributes
    ----------
    lines : Lines
    first, second : Lattice
    height : float
    max_rank : int
    """

    lines: Lines
    first: Lattice
    second: Lattice
    height: float
    max_rank: int

    @classmethod
    def of(cls, lines: Lines, first: Lattice, second: Lattice, max_rank: int) -> _Approximation:
        """With the height of the first lattice's largest density."""
        height = float(first.log_density.max())
        return cls(lines, first, second, height, min(max_rank, len(first), len(second)))

    @cached_property
    def _parts(self) -> tuple[Floats, Floats]:
        return self.first.log_density - self.height, self.second.log_density - self.height

    def product(self, coordinates: tuple[Indices, Indices], tol: float) -> ProductLattice:
        """Approximate until pairs that are drawn from the result find it right, too.

        The first pairs are drawn from the product of both lattices' densities: they see where the
        density is, but hardly where there is some by mistake.
        """
        a, b = self._parts
        rng = np.random.default_rng(SEED)
        judges, mass = self._first_judges(rng)
        cross = CrossApproximation.empty(len(a), len(b))
        rows = (self._row, self._column)
        scales = np.exp(a / 2), np.exp(b / 2)
        for _ in range(MAX_ROUNDS):
            cross = cross_approximate(cross, rows, scales, judges, tol, self.max_rank)
            found = ProductLattice(self.first, self.second, coordinates, cross, self.height)
            some = np.sort(rng.permutation(len(a))[:JUDGED])
            part = found.some(some)
            i, j = part.drawn_pairs(JUDGES, rng)
            i = some[i]
            values = self._values(i, j)
            off, far = values + a[i] + b[j] - found.logs(i, j), self._distance(i, j)
            with np.errstate(over="ignore"):
                amiss = float((far * np.abs(np.expm1(off))).mean())
            if amiss <= 2 * tol or cross.left.shape[1] >= self.max_rank:
                break
            total = part.sums.sum() * len(a) / len(some)
            log_ratio = np.log(total / mass / len(i))
            judges = judges.joined(Pairs(i, j, values, far * np.exp(off + log_ratio)))
        return replace(found, cross=replace(cross, error=max(cross.error, amiss)))

    def _row(self, i: int) -> Floats:
        a, b = self._parts
        return self.lines.row(i) - self.height - a[i] - b

    def _column(self, j: int) -> Floats:
        a, b = self._parts
        return self.lines.column(j) - self.height - a - b[j]

    def _values(self, i: Indices, j: Indices) -> Floats:
        a, b = self._parts
        return self.lines.some(i, j) - self.height - a[i] - b[j]

    def _first_judges(self, rng: np.random.Generator) -> tuple[Pairs, float]:
        """Pairs that are drawn from the product of both densities, and about all pairs' mass."""
        densities = [np.exp(part) for part in self._parts]
        i, j = (_drawn(density, rng) for density in densities)
        values = self._values(i, j)
        ratios = np.exp(values)
        mass = float(ratios.mean() * densities[0].sum() * densities[1].sum())
        return Pairs(i, j, values, self._distance(i, j) * ratios / ratios.sum()), mass

    def _distance(self, i: Indices, j: Indices) -> Floats:
        """What an error counts for second moments: the squared distance from the mode, plus 1."""
        parts = (self.first, i), (self.second, j)
        away = [lattice.index[some] * lattice.spacing for lattice, some in parts]
        return np.asarray(1 + (np.hstack(away) ** 2).max(axis=1))


def _drawn(weights: Floats, rng: np.random.Generator) -> Indices:
    ends = np.cumsum(weights)
    return np.searchsorted(ends, rng.random(JUDGES) * ends[-1], side="right")
