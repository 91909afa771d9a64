"""Exact draws of effects given their mean and sd, of log-concave leaves, by rejection.

With ``θ = μ + τz`` the log density of z is concave, so that its tangents are nowhere below it:

    h(z) = ℓ(μ + τz) − z²/2.

Those √2 sds to either side of about the mode make an envelope, cut between them at a height that
the tangent near the mode does not pass.  Of a normal density it accepts 0.886 of the draws.

References
----------
Gilks & Wild (1992), Applied Statistics 41:337 (rejection from tangents).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.roots import falling_roots

APART = np.sqrt(2.0)  # sds from the mode to the tangents
NEAR = 0.1  # slope per sd, at what is taken for the mode
NEWTON_STEPS = 3  # at most, for all pairs
LEAST_DROP, LARGEST_DROP = 0.3, 4.0  # of the log density, where a tangent is laid
EDGE = 1e-3  # of the distance to an edge, within which one is found
MAX_STEPS = 1000
CANDIDATES = 1000  # at a time, about, for pairs whose first draws were rejected
SMALLEST = float(np.finfo(float).tiny)  # share of a tail


class ConcaveFunctions(Protocol):
    """k concave functions of one number, as the logarithms of :class:`Leaves` are."""

    @property
    def centre(self) -> Floats:
        """About where each lies; (k,)."""

    @property
    def information(self) -> Floats:
        """Inverse square of about the width of each; (k,)."""

    def __len__(self) -> int:
        """Number of functions, k."""

    def log_likelihood(self, theta: Floats) -> Floats:
        """Values at places (k, K)."""

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """Values, slopes, and minus the second derivatives, at places (k, K)."""

    def take(self, groups: Indices) -> Self:
        """Some of the functions, in this order."""


@dataclass(frozen=True)
class _Density:
    """``h(z)`` of many pairs of a leaf and a prior; arrays (g, M), or (g, 1)."""

    leaves: ConcaveFunctions
    mu: Floats
    tau: Floats

    def __call__(self, z: Floats) -> Floats:
        value = self.leaves.log_likelihood(self.mu + self.tau * z)
        value -= 0.5 * (z * z)
        return value

    def expansion(self, z: Floats) -> tuple[Floats, Floats, Floats]:
        """``h``, its slope, and minus its second derivative, which is at least 1."""
        value, slope, information = self.leaves.expansion(self.mu + self.tau * z)
        value -= 0.5 * (z * z)
        slope = self.tau * slope
        slope -= z
        return value, slope, 1 + self.tau * (self.tau * information)

    def part(self, rows: Indices, columns: Indices) -> Self:
        """Some of the pairs, (P, 1)."""
        mu, tau = self.mu[rows, columns, None], self.tau[rows, columns, None]
        return type(self)(self.leaves.take(rows), mu, tau)


@dataclass(frozen=True)
class _Middle:
    """Places near the modes, the log density and its slope there, and about the sds; (g, M)."""

    z: Floats
    top: Floats
    slope: Floats
    sd: Floats

    @classmethod
    def of(cls, density: _Density) -> Self:
        """Look for them by Newton's method, from the mode that a normal leaf would have.

        Pairs that it does not lead there in few steps get their modes by themselves.
        """
        centre, information = density.leaves.centre[:, None], density.leaves.information[:, None]
        ratio = density.tau * information
        z = ratio * (centre - density.mu) / (1 + density.tau * ratio)
        for _ in range(NEWTON_STEPS):
            middle, curvature = cls._at(density, z)
            if middle.is_near.all():
                return middle
            z = z + middle.slope / curvature
        middle, _ = cls._at(density, z)
        far = np.nonzero(~middle.is_near)
        if not len(far[0]):
            return middle
        some = density.part(*far)
        mended, _ = cls._at(some, _modes(some))
        for field in fields(cls):
            getattr(middle, field.name)[far] = getattr(mended, field.name)[:, 0]
        return middle

    @classmethod
    def _at(cls, density: _Density, z: Floats) -> tuple[Self, Floats]:
        top, slope, curvature = density.expansion(z)
        return cls(z, top, slope, 1 / np.sqrt(curvature)), curvature

    @property
    def is_near(self) -> NDArray[np.bool_]:
        """Whether they are as near as they should be."""
        return np.abs(self.slope * self.sd) < NEAR


def _modes(density: _Density) -> Floats:
    """Modes of P pairs (P, 1), wherever they are."""

    def slope_and_fall(z: Floats) -> tuple[Floats, Floats]:
        _, slope, curvature = density.expansion(z[:, None])
        return slope[:, 0], curvature[:, 0]

    k = len(density.leaves)
    return falling_roots(slope_and_fall, np.zeros(k), np.ones(k))[:, None]


@dataclass(frozen=True)
class _Tangent:
    """A line beside the middle; (g, M) each.

    Attributes
    ----------
    away
        Distance from the middle to where it touches.
    height
        There, relative to the middle's.
    slope
    """

    away: Floats
    height: Floats
    slope: Floats

    @classmethod
    def of(cls, density: _Density, middle: _Middle, side: float) -> Self:
        """Lay it where the log density has dropped by about 1.

        That of a normal one has √2 sds from its mode.
        """
        away = side * APART * middle.sd
        value, slope, _ = density.expansion(middle.z + away)
        height = value - middle.top
        others = np.nonzero(~((height < -LEAST_DROP) & (height > -LARGEST_DROP)))
        if len(others[0]):
            some = density.part(*others)
            z, top, first = (x[others][:, None] for x in (middle.z, middle.top, away))
            moved = _where_dropped(some, z, top, first, side)
            value, steepness, _ = some.expansion(z + moved)
            away[others] = moved[:, 0]
            height[others] = (value - top)[:, 0]
            slope[others] = steepness[:, 0]
        return cls(away, height, slope)


def _where_dropped(density: _Density, z: Floats, top: Floats, away: Floats, side: float) -> Floats:
    """Distances from the middle at which the log density has dropped by about 1.

    Where it has an edge, just beyond this.  The drop is convex in the distance, so that the place
    is found by doubling and halving.
    """
    near, far = np.zeros_like(away), np.full_like(away, side * np.inf)
    drop = top - density(z + away)
    for _ in range(MAX_STEPS):
        is_near, is_far = drop < LEAST_DROP, drop > LARGEST_DROP
        near, far = np.where(is_near, away, near), np.where(is_far, away, far)
        has_edge = np.abs(far - near) < EDGE * np.abs(far)
        moves = (is_near | is_far) & ~has_edge
        if not moves.any():
            break
        with np.errstate(invalid="ignore"):
            between = np.where(np.isinf(far), 2 * away, (near + far) / 2)
        away = np.where(moves, between, away)
        drop = np.where(moves, top - density(z + away), drop)
    return np.where(is_near, far, away)


@dataclass(frozen=True)
class _Envelope:
    """Exponential tails and what is even between them, of many pairs; (g, M) each.

    Attributes
    ----------
    start
        Where the even piece begins.
    left, even, right
        Masses of the pieces, relative to the density of the even one.
    height
        Log density of the even piece.
    """

    start: Floats
    left: Floats
    even: Floats
    right: Floats
    height: Floats

    @classmethod
    def of(cls, density: _Density) -> Self:
        """Lay it around about the mode.

        It is cut where the middle tangent is highest between the places of the two others, or where
        these cross, if that is lower.
        """
        middle = _Middle.of(density)
        below, above = (_Tangent.of(density, middle, side) for side in (-1.0, 1.0))
        left, right = 1 / below.slope, -1 / above.slope
        apart = above.away - below.away
        crossing = (apart + below.height * left + above.height * right) / (left + right)
        highest = np.maximum(middle.slope * below.away, middle.slope * above.away)
        height = np.minimum(highest, crossing)
        start = below.away + (height - below.height) * left
        end = above.away - (height - above.height) * right
        even = np.maximum(end - start, 0.0)
        return cls(middle.z + start, left, even, right, middle.top + height)

    def part(self, rows: Indices, columns: Indices) -> Self:
        """Some of the pairs, (P, 1)."""
        arrays = (getattr(self, field.name)[rows, columns][:, None] for field in fields(self))
        return type(self)(*arrays)

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw z from the envelope, with the log envelope there; (g, M) each.

        One uniform number chooses the piece and the place within.
        """
        place = self.left + self.even
        place += self.right
        place *= rng.random(place.shape)
        place -= self.left
        inside = np.minimum(np.maximum(place, 0.0), self.even)
        place -= inside
        tail = np.where(place < 0, -self.left, self.right)
        log_share = np.log(np.maximum(1 - place / tail, SMALLEST))
        return self.start + (inside - tail * log_share), self.height + log_share


def draw_below_tangents(
    leaves: ConcaveFunctions, mu: Floats, tau: Floats, rng: np.random.Generator
) -> Floats:
    """Draw ``θ ∝ L_i(θ) N(θ | μ, τ²)`` once for each pair.

    Parameters
    ----------
    leaves : ConcaveFunctions
        k of them: the logarithms of leaves.
    mu : (M,) or (k, M)
    tau : (M,) or (k, M)
        Where it is 0, θ is μ.
    rng : numpy.random.Generator

    Returns
    -------
    (k, M)
    """
    shape = np.broadcast_shapes((len(leaves), 1), np.shape(mu), np.shape(tau))
    density = _Density(leaves, np.broadcast_to(mu, shape), np.broadcast_to(tau, shape))
    envelope = _Envelope.of(density)
    z, height = envelope.draw(rng)
    rows, columns = np.nonzero(~(density(z) + rng.standard_exponential(shape) > height))
    while len(rows):
        tries = 1 + CANDIDATES // len(rows)
        again = np.repeat(rows, tries), np.repeat(columns, tries)
        tried, height = envelope.part(*again).draw(rng)
        accepted = density.part(*again)(tried) + rng.standard_exponential(tried.shape) > height
        accepted = accepted.reshape(len(rows), tries)
        first = accepted.argmax(axis=1) + tries * np.arange(len(rows))
        z[rows, columns] = tried[first, 0]
        left = ~accepted.any(axis=1)
        rows, columns = rows[left], columns[left]
    return density.mu + density.tau * z
