"""Exact draws by rejection from a lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.numerics.lattice import Integers, Lattice, LogDensity


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
    d = lattice.step.shape[0]
    if d == 0:
        return Draws(np.empty((size, 0)), np.repeat(lattice.log_density, size), 1.0, 1.0, 1.0)
    bound = 1.05 * float(np.prod(1 + lattice.spacing**2 / 8))
    largest = np.inf
    while largest > bound:
        largest, accepted, tried = 0.0, 0, 0
        points, logs = [np.empty((0, d))], [np.empty(0)]
        while accepted < size and largest <= bound:
            proposals = propose(lattice, int((size - accepted) * bound * 1.1) + 16, rng)
            log_values = log_density(proposals)
            ratio = np.exp(log_values - _log_interpolant(lattice, proposals))
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
    noise = rng.random((size, lattice.step.shape[0])) - rng.random((size, lattice.step.shape[0]))
    return lattice.origin + (lattice.index[node] + noise) @ lattice.step.T


def _log_interpolant(lattice: Lattice, points: Floats) -> Floats:
    """Logarithm of the multilinear interpolant of the density."""
    position = np.linalg.solve(lattice.step, (points - lattice.origin).T).T
    corner = np.floor(position).astype(np.int64)
    inside = position - corner
    top = lattice.log_density.max()
    total = np.zeros(len(points))
    for offset in np.ndindex((2,) * points.shape[1]):
        share = np.where(offset, inside, 1 - inside).prod(axis=1)
        total += share * np.exp(_known_log_density(lattice, corner + offset) - top)
    return np.log(total) + top


def _known_log_density(lattice: Lattice, index: Integers) -> Floats:
    """Log density at the points with these indices (n, d); −inf where there is none; (n,)."""
    low, shape, keys, order = lattice.sorted_keys
    inside = ((index >= low) & (index < low + shape)).all(axis=1)
    key = np.ravel_multi_index(tuple((index[inside] - low).T), tuple(shape))
    place = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    logs = np.full(len(index), -np.inf)
    logs[inside] = np.where(keys[place] == key, lattice.log_density[order[place]], -np.inf)
    return logs
