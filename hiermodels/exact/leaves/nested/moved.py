"""Densities of what covariates move, from lines of equal τ and β.

Given τ the posterior of an outer effect μ is a sum of densities d_j on lines with β_j, and that of
``μ + a'β`` the sum of the same, moved by ``a'β_j``,

    p(y) = Σ_j d_j(y − a'β_j),

as long as its terms blend.  They stand apart as a comb where ``a'β`` changes by more from line to
line than d_j is wide.  There each mass is replaced by what band-limited interpolation between the
lines makes of it: with ``y ≈ b + c·3 sinh(v/3)`` and h the change of v from line to line,

    p(y) = Σ_j ∫ d_j(μ) sinc((v(y) − v(μ + a'β_j))/h)/h dμ · dv/dy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.leaves.coordinates import LINEAR
from hiermodels.numerics.lagrange import lagrange_weights

BLENDS = 0.5  # least sds on a line, that the sum may move from line to line
HALF = 8  # half the number of places that a place is between
FINER = 4  # places of v for each line
STENCIL = 6  # half the number of these that a mass is shared out among
FARTHEST = 60.0  # of v
HARDLY_ANY = 1e-14  # mass at a place of v, of all
NOTHING = 1e-20  # mass of a place
HARDLY = 1e-8  # mass of a line, of the heaviest, that need not blend with others
NO_DIGIT = 1e-15  # of a density, relative to the largest


@dataclass(frozen=True, eq=False)
class Slopes:
    """β on the n lines of one τ, which is ``b + C·3 sinh(t/3)`` at even t.

    Attributes
    ----------
    beta : (n, q)
    c : (q, q)
    step : (q, q)
        Changes of t from a line to the next, along each direction of the lattice.
    """

    beta: Floats
    c: Floats
    step: Floats

    def regressed(self, weight: Floats, values: Floats) -> tuple[float, Floats]:
        """Value at the mean of β, and slopes (q,), of what changes with β; weights (n,)."""
        total = weight.sum()
        middle = weight @ self.beta / total
        away = self.beta - middle
        moments = (away * weight[:, None]).T @ away
        slope = np.linalg.lstsq(moments, (away * weight[:, None]).T @ values, rcond=1e-10)[0]
        return float(weight @ values / total), slope


@dataclass(frozen=True, eq=False)
class OnLines:
    """The densities of one effect on n lines, at places of a grid.

    Attributes
    ----------
    grid : ThetaGrid
    density : (n, K)
    slopes : Slopes
    narrow : (n,)
        About the least sd on each line.
    """

    grid: ThetaGrid
    density: Floats
    slopes: Slopes
    narrow: Floats

    @cached_property
    def mass(self) -> Floats:
        """Posterior mass of each line; (n,)."""
        return self.density @ self.grid.weight

    @cached_property
    def mean(self) -> Floats:
        """On each line, or 0 without mass; (n,)."""
        first = self.density @ (self.grid.weight * self.grid.theta)
        return first / np.where(self.mass > 0, self.mass, 1.0)

    @cached_property
    def _second(self) -> Floats:
        """Mean squares around the means; (n,)."""
        away2 = (self.grid.theta - self.mean[:, None]) ** 2
        second = (self.density * away2) @ self.grid.weight
        return second / np.where(self.mass > 0, self.mass, 1.0)

    def moments(self, away: Floats, *, by_line: bool = False) -> tuple[float, float, float, float]:
        """Mass, mean, and about the least sd and the sd, of the effect moved by a'β, a (q,).

        The least sd is that of the sum over lines, or that on any of them.
        """
        total = float(self.mass.sum())
        if not total > 0:
            return 0.0, 0.0, np.inf, np.inf
        moved = self.mean + self.slopes.beta @ away
        mean = float(self.mass @ moved) / total
        spread = float(self.mass @ (moved - mean) ** 2) / total
        added = 0.0 if by_line else spread / LINEAR**2
        narrow = np.sqrt(self.narrow.min() ** 2 + added)
        wide = np.sqrt(float(self.mass @ self._second) / total + spread)
        return total, mean, float(narrow), float(wide)

    def moved(self, away: Floats, theta: Floats) -> Floats:
        """Density of the effect moved by a'β, for a (q,), at places (K',); (K',)."""
        if self.blends(away):
            return self.each_moved(away, theta).sum(axis=0)
        return self.combed(away, theta)

    def blends(self, away: Floats) -> bool:
        """Whether the lines' densities, moved by a'β, blend."""
        seen = self.mass > HARDLY * self.mass.max()
        if not seen.any():
            return True
        change = np.abs(self._along(away)[1] @ self.slopes.step).max(initial=0.0)
        return bool(change <= BLENDS * self.narrow[seen].min())

    def _along(self, away: Floats) -> tuple[float, Floats]:
        """Mean of the effect moved by a'β, and by how much it changes with t, about; (q,)."""
        moved = self.mean + self.slopes.beta @ away
        middle, slope = self.slopes.regressed(self.mass, moved)
        return middle, slope @ self.slopes.c

    def each_moved(self, away: Floats, theta: Floats) -> Floats:
        """The density on each line, moved by a'β, at places (K',), by interpolation; (n, K').

        It is 0 where it is so small that interpolation knows no digit of it.
        """
        moved = moved_rows(self.grid, self.density, self.slopes.beta @ away, theta)
        moved[moved < NO_DIGIT * self.density.max()] = 0.0
        return moved

    def combed(self, away: Floats, theta: Floats) -> Floats:
        """The same of a sum whose terms stand apart: each has an interpolant in its place."""
        b, along = self._along(away)
        c = float(np.linalg.norm(along))
        spacing, scale = np.abs(along / c @ self.slopes.step).max(), LINEAR * c
        fine = spacing / FINER
        half = int(np.ceil(FARTHEST / fine)) + STENCIL
        masses = np.zeros(2 * half + 1)
        for density, shift in zip(self.density, self.slopes.beta @ away, strict=True):
            own = density * self.grid.weight
            there = np.flatnonzero(own > NOTHING)
            v = LINEAR * np.arcsinh((self.grid.theta[there] + shift - b) / scale)
            place = np.clip(v, -FARTHEST, FARTHEST) / fine
            left = np.floor(place)
            cell = left.astype(np.intp) + half + 1 - STENCIL
            for i, share in enumerate(lagrange_weights(place - left, STENCIL)):
                masses += np.bincount(cell + i, share * own[there], len(masses))
        at = (theta - b) / scale
        there = np.flatnonzero(np.abs(masses) > HARDLY_ANY * masses.sum())
        place = LINEAR * np.arcsinh(at) / fine
        near = np.flatnonzero((place >= there[0] - half) & (place <= there[-1] - half))
        steps = (place[near, None] - (there - half)) / FINER
        slope = LINEAR / (scale * np.sqrt(1 + at[near] ** 2)) / spacing
        density = np.zeros(len(theta))
        density[near] = slope * (np.sinc(steps) @ masses[there])
        return density


def moved_rows(grid: ThetaGrid, rows: Floats, shifts: Floats, theta: Floats) -> Floats:
    """Functions with values (n, K) on a grid, each moved by a shift, at places (K',); (n, K')."""
    moved = np.zeros((len(rows), len(theta)))
    for values, shift, row in zip(rows, shifts, moved, strict=True):
        place = grid.place_within(theta - shift)
        inside = np.flatnonzero(place >= 0)
        left = np.floor(place[inside])
        padded = np.pad(values, HALF)
        first = left.astype(np.intp) + 1
        for i, weight in enumerate(lagrange_weights(place[inside] - left, HALF)):
            row[inside] += weight * padded[first + i]
    return moved
