"""Exact draws by rejection from a lattice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.lattice import Lattice, LogDensity


@dataclass(frozen=True)
class Draws:
    """Independent draws and how the rejection step went.

    Attributes
    ----------
    points : (size, d)
    log_density : (size,)
        At the points.
    largest_ratio : float
        Largest ratio of density to interpolant that was met.
    bound : float
        The constant above which no ratio may be, for the draws to be exact.
    acceptance : float
        Share of the proposals that were accepted.
    """

    points: Floats
    log_density: Floats
    largest_ratio: float
    bound: float
    acceptance: float


@dataclass(frozen=True, eq=False)
class DrawnFrom[L]:
    """A base of draws that say where they come from.

    Attributes
    ----------
    lattice : Lattice or ProductLattice
    drawn : Draws
        Points of the lattice's coordinates, and how rejection went.
    """

    lattice: L
    drawn: Draws


class Proposal(Protocol):
    """What can be drawn from, with a density that is near the one that is wanted."""

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""

    @property
    def spacing(self) -> Floats:
        """Of the lattice of which it is the multilinear interpolant; (d,)."""

    def propose(self, size: int, rng: np.random.Generator) -> Floats:
        """Draw points (size, d)."""

    def log_interpolant(self, points: Floats) -> Floats:
        """Logarithm of the density at points (n, d), in the units of the one wanted; (n,)."""


@dataclass(frozen=True)
class _Interpolant:
    """That of a lattice."""

    lattice: Lattice

    @property
    def dimension(self) -> int:
        return len(self.lattice.step)

    @property
    def spacing(self) -> Floats:
        return self.lattice.spacing

    def propose(self, size: int, rng: np.random.Generator) -> Floats:
        return propose(self.lattice, size, rng)

    def log_interpolant(self, points: Floats) -> Floats:
        return _log_interpolant(self.lattice, points)


def draw(
    lattice: Lattice,
    log_density: LogDensity,
    size: int,
    rng: np.random.Generator,
) -> Draws:
    """Draw independently from a density, by rejection from its multilinear interpolant.

    A point of the lattice, chosen by its weight, plus noise that is triangular on ±1 step
    along each axis has the multilinear interpolant for density.  It is accepted with
    probability ``ratio / bound``, where ``ratio = p / interpolant``, at most about
    ``Π (1 + h_j²/8)`` for a normal density with spacings h_j.  A ratio above the bound starts the
    whole draw again with a larger one.
    """
    if lattice.step.shape[0] == 0:
        return Draws(np.empty((size, 0)), np.repeat(lattice.log_density, size), 1.0, 1.0, 1.0)
    return draw_from(_Interpolant(lattice), log_density, size, rng)


def draw_from(
    proposal: Proposal, log_density: LogDensity, size: int, rng: np.random.Generator
) -> Draws:
    """Draw independently from a density, as :func:`draw` does, by rejection from a proposal."""
    d = proposal.dimension
    bound = 1.05 * float(np.prod(1 + proposal.spacing**2 / 8))
    largest = np.inf
    while largest > bound:
        largest, accepted, tried = 0.0, 0, 0
        points, logs = [np.empty((0, d))], [np.empty(0)]
        while accepted < size and largest <= bound:
            proposals = proposal.propose(int((size - accepted) * bound * 1.1) + 16, rng)
            log_values = log_density(proposals)
            ratio = np.exp(log_values - proposal.log_interpolant(proposals))
            largest = max(largest, float(ratio.max()))
            kept = rng.random(len(ratio)) * bound < ratio
            points.append(proposals[kept])
            logs.append(log_values[kept])
            accepted, tried = accepted + int(kept.sum()), tried + len(ratio)
        if largest > bound:
            bound, largest = 1.05 * largest, np.inf
    acceptance = accepted / max(tried, 1)
    return Draws(
        np.concatenate(points)[:size], np.concatenate(logs)[:size], largest, bound, acceptance
    )


def propose(lattice: Lattice, size: int, rng: np.random.Generator) -> Floats:
    """Draw from the multilinear interpolant; (size, d)."""
    ends = np.cumsum(lattice.weights)
    node = np.searchsorted(ends, rng.random(size) * ends[-1], side="right")
    return moved(lattice, node, rng)


def moved(lattice: Lattice, nodes: Indices, rng: np.random.Generator) -> Floats:
    """Points of a lattice plus triangular noise."""
    shape = len(nodes), len(lattice.origin)
    noise = rng.random(shape) - rng.random(shape)
    return lattice.origin + (lattice.index[nodes] + noise) @ lattice.step.T


def corners(
    lattice: Lattice, points: Floats
) -> Iterator[tuple[Floats, Indices, NDArray[np.bool_]]]:
    """Yield shares, places and whether they are there, of the corners around points (k, d)."""
    position = np.linalg.solve(lattice.step, (points - lattice.origin).T).T
    corner = np.floor(position).astype(np.int64)
    inside = position - corner
    for offset in np.ndindex((2,) * points.shape[1]):
        place, there = lattice.places(corner + offset)
        yield np.where(offset, inside, 1 - inside).prod(axis=1), place, there


def _log_interpolant(lattice: Lattice, points: Floats) -> Floats:
    """Logarithm of the multilinear interpolant of the density."""
    top = lattice.log_density.max()
    total = np.zeros(len(points))
    for share, place, there in corners(lattice, points):
        log_density = np.where(there, lattice.log_density[place], -np.inf)
        total += share * np.exp(log_density - top)
    return np.log(total) + top
