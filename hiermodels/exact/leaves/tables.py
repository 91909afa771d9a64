"""Integrals of groups with similar covariates at many nodes, from polynomials on lines of equal τ.

With several coefficients very many nodes of a lattice share each τ, and a group with covariates x
sees of a node only ``μ = x'γ`` and τ.  As a function of μ at one τ,

    log m_i(μ, τ) = log ∫ L_i(θ) N(θ | μ, τ²) dθ

is smooth over about ``w = √(τ² + 4h²)``, with h the step at which the leaves are smooth.  On each
line a window holds ``x'γ`` at all nodes and for all groups whose covariates are similar.  It is cut
into cells, so that small values in one are known as well as large ones in another.  In a cell the
logarithm is taken as the polynomial through its values at Chebyshev points μ_q,

    log m_i(μ, τ) = Σ_n c_in T_n(y),    y = (μ − middle)/half.

The transpose of this interpolation gathers the nodes' weights at the points: sums over nodes of
what depends on μ and τ smoothly, such as an effect's moments given both, are sums over far fewer
points, which all these groups share.

References
----------
Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.model import Alike, Gathered
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.chebyshev import lagrange_shares, unit_points

FEWEST, PER_WIDTH = 10, 7.0  # points of a window, and as many more for each w of half its length
REACH = 8.0  # about sds of γ given τ, that a window holds at first
LONGEST = 3.0  # w, of half a cell
WIDER = 1.25  # times what is asked for, when a window is made wider
LONGER, APART = 1.6, 0.3  # times, and besides typical sds, that a window is longer than a group's
MAX_NUMBERS = 1 << 16  # that are held at a time


@dataclass(frozen=True, eq=False)
class _Line:
    """The integrals at one τ, in a window of μ that is cut into C cells of the same length.

    Attributes
    ----------
    tau, low, high : float
        And the window's ends.
    values : (g, C, N)
        ``log m_i`` at each cell's Chebyshev points.
    """

    tau: float
    low: float
    high: float
    values: Floats

    @property
    def half(self) -> float:
        """Half the length of a cell."""
        return (self.high - self.low) / (2 * self.values.shape[1])

    @cached_property
    def middles(self) -> Floats:
        """Middles of the cells; (C,)."""
        cells: Floats = np.arange(self.values.shape[1], dtype=float)
        return self.low + self.half * (2 * cells + 1)

    @property
    def mu(self) -> Floats:
        """All Chebyshev points, cell by cell; (C·N,)."""
        return (self.middles[:, None] + self.half * unit_points(self.values.shape[2])).ravel()

    @cached_property
    def coefficients(self) -> Floats:
        """Of Chebyshev's polynomials; (g, C, N)."""
        return self.values @ lagrange_shares(self.values.shape[2])


@dataclass(frozen=True, eq=False)
class _Places:
    """Where a sets of groups see J nodes, line after line.

    Attributes
    ----------
    nodes : (J,)
        In their order.
    cell : (a, J)
        Counted through all lines.
    y : (a, J)
        Place in the cell, from −1 to 1.
    segments : list of (slice, range)
        Nodes of each line, and the line's cells.
    """

    nodes: Indices
    cell: Indices
    y: Floats
    segments: list[tuple[slice, range]]


@dataclass(eq=False)
class LineTables:
    """Groups with similar covariates, and their integrals; the tables grow as nodes ask.

    Attributes
    ----------
    sets : tuple of Alike
        Sets of groups with the same covariates, whose leaves are log-concave: the logarithms of
        their integrals are finite everywhere.
    integrals : LeafIntegrals
        Of the distinct leaves of each set, one set after the other; g of them.
    coordinates : Coordinates
        That tell where linear predictors are.
    """

    sets: tuple[Alike, ...]
    integrals: LeafIntegrals
    coordinates: Coordinates
    _lines: dict[float, _Line] = field(default_factory=dict)

    def emptied(self) -> LineTables:
        """The same without lines."""
        return LineTables(self.sets, self.integrals, self.coordinates)

    @cached_property
    def counts(self) -> Floats:
        """How many groups have each of the leaves; (g,)."""
        return np.concatenate([alike.counts for alike in self.sets])

    @cached_property
    def groups(self) -> Indices:
        """Which groups of the model these are; (k',)."""
        return np.concatenate([alike.groups for alike in self.sets])

    @cached_property
    def leaf_of(self) -> Indices:
        """Which of the leaves each of these groups has; (k',)."""
        sizes = [len(alike.counts) for alike in self.sets]
        first = np.cumsum([0, *sizes[:-1]])
        return np.concatenate([f + a.leaf_of for f, a in zip(first, self.sets, strict=True)])

    def of_groups(self, values: Floats) -> Floats:
        """Values of the groups, from those of the leaves; (m, g) to (m, k')."""
        return values[:, self.leaf_of]

    @cached_property
    def _x(self) -> Floats:
        """Covariates of the sets; (a, p)."""
        return np.stack([alike.x for alike in self.sets])

    @cached_property
    def _set_of(self) -> Indices:
        """Which set each of the leaves belongs to; (g,)."""
        return np.repeat(np.arange(len(self.sets)), [len(alike.counts) for alike in self.sets])

    def _of_leaves[Array: (Floats, Indices)](self, values: Array) -> Array:
        """Values of each leaf's set, from those of the sets; (a, …) to (g, …)."""
        return values if len(self._set_of) == len(self.sets) else values[self._set_of]

    def log_integrals(self, tau: Floats, gamma: Floats) -> Floats:
        """``log m_i`` of all the leaves at nodes (J,) and (J, p); (g, J)."""
        log_integrals = np.zeros((len(self._set_of), len(tau)))
        lines, line_of, mu = self._found(tau, gamma)
        ends = np.cumsum([len(line.middles) for line in lines])
        size = max(line.values.shape[2] for line in lines)
        padded = np.zeros((size, len(self._set_of), ends[-1]))
        for line, end in zip(lines, ends, strict=True):
            own = np.moveaxis(line.coefficients, 2, 0)
            padded[: len(own), :, end - own.shape[2] : end] = own
        row = ends[-1] * np.arange(len(self._set_of))[:, None]
        for places in self._places(lines, line_of, mu):
            total = np.zeros((len(row), len(places.nodes)))
            entry = row + self._of_leaves(places.cell)
            for coefficient, polynomial in zip(padded, _polynomials(places.y, size), strict=True):
                total += coefficient.take(entry) * self._of_leaves(polynomial)
            log_integrals[:, places.nodes] = total
        return log_integrals

    def gathered(
        self, tau: Floats, gamma: Floats, weights: Floats, own: Callable[[], Floats]
    ) -> Gathered:
        """Points that stand for the nodes in sums of smooth functions of μ and τ.

        Nodes as in :meth:`~hiermodels.exact.leaves.model.Alike.gathered`; ``own`` is not needed.
        """
        lines, line_of, mu = self._found(tau, gamma)
        size = max(line.values.shape[2] for line in lines)
        cells = sum(len(line.middles) for line in lines)
        sums = np.zeros((size, cells, len(weights), len(self.sets)))
        for places in self._places(lines, line_of, mu):
            of_cells = list(_by_cell(places, weights[:, places.nodes]))
            for total, polynomial in zip(sums, _polynomials(places.y, size), strict=True):
                for cell, some, inside, weight in of_cells:
                    total[cell] += weight @ (polynomial[:, some] * inside).T
        of_lines = np.split(sums, np.cumsum([len(line.middles) for line in lines])[:-1], axis=1)
        gathered = [
            _gathered(own, line.values.shape[2]) for own, line in zip(of_lines, lines, strict=True)
        ]
        flat = [line.values.reshape(len(self._set_of), -1) for line in lines]
        return Gathered(
            np.concatenate([line.mu for line in lines]),
            np.repeat([line.tau for line in lines], [own.shape[1] for own in flat]),
            np.concatenate(gathered, axis=2)[:, self._set_of],
            np.concatenate(flat, axis=1),
        )

    def _places(self, lines: Sequence[_Line], line_of: Indices, mu: Floats) -> Iterator[_Places]:
        """Where nodes on lines (J,), with linear predictors (a, J), are, some at a time."""
        number = np.array([len(line.middles) for line in lines])
        low, half = np.array([(line.low, line.half) for line in lines]).T
        start, order = np.cumsum(number) - number, np.argsort(line_of, kind="stable")
        size = max(1, MAX_NUMBERS // len(self._set_of))
        for first in range(0, len(order), size):
            nodes = order[first : first + size]
            line = line_of[nodes]
            along = (mu[:, nodes] - low[line]) / (2 * half[line])
            cell = np.clip(along.astype(np.intp), 0, number[line] - 1)
            used, begin = np.unique(line, return_index=True)
            segments = [
                (slice(a, b), range(start[r], start[r] + number[r]))
                for r, a, b in zip(used, begin, [*begin[1:], len(nodes)], strict=True)
            ]
            yield _Places(nodes, start[line] + cell, 2 * (along - cell) - 1, segments)

    def _found(self, tau: Floats, gamma: Floats) -> tuple[list[_Line], Indices, Floats]:
        """Lines that nodes are on, after their windows hold them; which one (J,); μ (a, J)."""
        distinct, line_of = np.unique(tau, return_inverse=True)
        mu = self._x @ gamma.T
        low, high = np.full(len(distinct), np.inf), np.full(len(distinct), -np.inf)
        np.minimum.at(low, line_of, mu.min(axis=0))
        np.maximum.at(high, line_of, mu.max(axis=0))
        lines = [self._lines.get(float(t)) for t in distinct]
        is_out = [
            line is None or a < line.low or b > line.high
            for line, a, b in zip(lines, low, high, strict=True)
        ]
        out = np.flatnonzero(is_out)
        if len(out):
            self._add(distinct[out], low[out], high[out])
        return [self._lines[float(t)] for t in distinct], line_of, mu

    def _add(self, tau: Floats, low: Floats, high: Floats) -> None:
        """Tabulate lines at values of τ, in windows that hold what is asked for and more."""
        usual = _windows(self.coordinates, self._x, tau)
        middle, half = (low + high) / 2, WIDER * (high - low) / 2
        low = np.minimum(usual[0].min(axis=1), middle - half)
        high = np.maximum(usual[1].max(axis=1), middle + half)
        high = np.maximum(high, np.nextafter(low, np.inf))
        width = np.hypot(tau, 2 * self.integrals.leaves.step.min())
        cells = np.ceil((high - low) / (2 * LONGEST * width)).astype(int)
        sizes = np.ceil(FEWEST + PER_WIDTH * (high - low) / (2 * cells * width)).astype(int)
        lines = [
            _Line(float(t), float(a), float(b), np.empty((0, c, n)))
            for t, a, b, c, n in zip(tau, low, high, cells, sizes, strict=True)
        ]
        mu = np.concatenate([line.mu for line in lines])
        values = self.integrals.log_integrals(mu, np.repeat(tau, cells * sizes))
        parts = np.split(values, np.cumsum(cells * sizes)[:-1], axis=1)
        for line, own in zip(lines, parts, strict=True):
            shaped = own.reshape(len(own), *line.values.shape[1:])
            self._lines[line.tau] = replace(line, values=shaped)


def line_tables(
    sets: Sequence[Alike], leaves: Leaves, coordinates: Coordinates
) -> tuple[LineTables, ...]:
    """Empty tables of sets of groups, those with similar covariates together.

    Parameters
    ----------
    sets : sequence of Alike
    leaves : Leaves
        Of all groups.
    coordinates : Coordinates
    """
    return tuple(
        LineTables(some, LeafIntegrals.of(leaves.take(_first_groups(some))), coordinates)
        for some in _neighbours(sets, coordinates)
    )


def _first_groups(sets: Sequence[Alike]) -> Indices:
    """A group that has each of the distinct leaves of sets, one set after the other; (g,)."""
    return np.concatenate([alike.first for alike in sets])


def _neighbours(sets: Sequence[Alike], coordinates: Coordinates) -> Iterator[tuple[Alike, ...]]:
    """Divide sets, ordered by their linear predictors, so that each part has a short window."""
    tau = np.array([coordinates.typical_sd])
    low, high = (
        end[0] for end in _windows(coordinates, np.stack([alike.x for alike in sets]), tau)
    )
    order = np.argsort(low + high, kind="stable")
    length, first, window = high - low, 0, (np.inf, -np.inf, np.inf)
    for n, i in enumerate(order):
        start, end, shortest = window
        window = min(start, low[i]), max(end, high[i]), min(shortest, length[i])
        if window[1] - window[0] > LONGER * window[2] + APART * tau[0] and n > first:
            yield tuple(sets[j] for j in order[first:n])
            first, window = n, (low[i], high[i], length[i])
    yield tuple(sets[j] for j in order[first:])


def _windows(coordinates: Coordinates, x: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """Ends of where linear predictors of covariates (a, p) usually are, at values of τ; (R, a)."""
    whitening = coordinates.whitening(tau)
    middle = whitening.b @ x.T
    reach = REACH * np.linalg.norm(np.einsum("ap,rpq->raq", x, whitening.c), axis=2)
    return middle - reach, middle + reach


def _by_cell(
    places: _Places, weights: Floats
) -> Iterator[tuple[int, slice, NDArray[np.bool_], Floats]]:
    """Yield each cell, the nodes of its line, which sets see them in it, and their weights."""
    for some, cells in places.segments:
        for cell in cells:
            yield cell, some, places.cell[:, some] == cell, weights[:, some]


def _polynomials(y: Floats, size: int) -> Iterator[Floats]:
    """Yield Chebyshev's polynomials T_0, …, T_(size−1) at places y."""
    before, now, twice = y, np.ones_like(y), 2 * y
    for _ in range(size):
        yield now
        following = twice * now
        following -= before
        before, now = now, following


def _gathered(sums: Floats, size: int) -> Floats:
    """From sums (N, C, m, a) of weights times polynomials to weights of points; (m, a, C·size)."""
    weights: Floats = np.einsum("ncma,qn->macq", sums[:size], lagrange_shares(size), optimize=True)
    return weights.reshape(*weights.shape[:2], -1)
