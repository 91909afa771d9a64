"""Exact draws of effects given their mean and sd, of log-concave leaves, by rejection.

With ``θ = μ + τz`` the log density of z is concave, so that its tangents are nowhere below it:

    h(z) = ℓ(μ + τz) − z²/2.

Three of them, at about the mode and √2 sds to either side, make an envelope that is exponential on
each of three pieces.  Of a normal density it accepts 0.886 of the draws.

References
----------
Gilks & Wild (1992), Applied Statistics 41:337 (rejection from tangents).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.roots import falling_roots

APART = np.sqrt(2.0)  # sds from the mode to the outer tangents
NEWTON_STEPS = 2
MAX_SLOPE = 1.0  # of the log density per sd, at what is taken for its mode
LEAST_DROP, LARGEST_DROP = 0.3, 4.0  # of the log density, where an outer tangent is laid
EDGE = 1e-3  # of the distance to an edge, within which one is found
MAX_STEPS = 1000
FLAT = 1e-6  # exponent over the middle piece, below which it is even


@dataclass(frozen=True)
class _Density:
    """``h(z)`` of many pairs of a leaf and a prior; arrays (g, M), or (g, 1)."""

    leaves: Leaves
    mu: Floats
    tau: Floats

    def __call__(self, z: Floats) -> Floats:
        return self.leaves.log_likelihood(self.mu + self.tau * z) - z**2 / 2

    def part(self, rows: Indices, columns: Indices) -> Self:
        """Some of the pairs, (P, 1)."""
        mu, tau = (np.broadcast_to(each, self.shape)[rows, columns] for each in (self.mu, self.tau))
        return type(self)(self.leaves.take(rows), mu[:, None], tau[:, None])

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of leaves and of priors."""
        return np.broadcast_shapes((len(self.leaves), 1), self.mu.shape, self.tau.shape)

    def slope_and_curvature(self, z: Floats) -> tuple[Floats, Floats]:
        slope, information = self.leaves.slope_and_information(self.mu + self.tau * z)
        return self.tau * slope - z, 1 + self.tau**2 * information


@dataclass(frozen=True)
class _Envelope:
    """Tangents in the middle and outside, all relative to the middle's own place; (g, M) each.

    Attributes
    ----------
    middle : place of the middle tangent
    top : log density there
    slope_left, slope, slope_right
    left, right : distances of the crossings from the middle
    at_left, at_right : the envelope there, relative to the top
    """

    middle: Floats
    top: Floats
    slope_left: Floats
    slope: Floats
    slope_right: Floats
    left: Floats
    right: Floats
    at_left: Floats
    at_right: Floats

    @classmethod
    def of(cls, density: _Density) -> Self:
        """Lay tangents at about the mode, by two of Newton's steps, and to both sides of it."""
        leaves, mu, tau = density.leaves, density.mu, density.tau
        information = leaves.information[:, None]
        z = tau * information * (leaves.centre[:, None] - mu) / (1 + tau**2 * information)
        for _ in range(NEWTON_STEPS):
            slope, curvature = density.slope_and_curvature(z)
            z = z + slope / curvature
        z = _mended(density, z)
        slope, curvature = density.slope_and_curvature(z)
        sd, top = curvature**-0.5, density(z)
        outer = [_outer_tangent(density, z, top, sd, side) for side in (-1.0, 1.0)]
        crossings = [_crossing(tangent, slope) for tangent in outer]
        (_, _, slope_left), (_, _, slope_right) = outer
        left, right = crossings
        return cls(z, top, slope_left, slope, slope_right, left, right, slope * left, slope * right)

    def part(self, rows: Indices, columns: Indices) -> Self:
        """Some of the pairs, (P, 1)."""
        arrays = (getattr(self, field.name)[rows, columns][:, None] for field in fields(self))
        return type(self)(*arrays)

    def draw(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw from the envelope: distances from the middle, and the log envelope there."""
        exponent = self.at_right - self.at_left
        width = self.right - self.left
        even = np.abs(exponent) < FLAT
        safe = np.where(even, 1.0, exponent)
        growth = np.where(even, 1.0 + exponent / 2, np.expm1(safe) / safe)
        masses = (
            np.exp(self.at_left) / self.slope_left,
            np.exp(self.at_left) * width * growth,
            -np.exp(self.at_right) / self.slope_right,
        )
        pick = rng.random(self.middle.shape) * (masses[0] + masses[1] + masses[2])
        share = rng.random(self.middle.shape)
        log_share = np.log1p(-share)
        inside = np.where(even, share, np.log1p(share * np.expm1(safe)) / safe)
        is_left, is_right = pick < masses[0], pick >= masses[0] + masses[1]
        away = self.left + width * inside
        away = np.where(is_left, self.left + log_share / self.slope_left, away)
        away = np.where(is_right, self.right + log_share / self.slope_right, away)
        height = self.slope * away
        height = np.where(is_left, self.at_left + log_share, height)
        return away, np.where(is_right, self.at_right + log_share, height)


def _mended(density: _Density, z: Floats) -> Floats:
    """Places of modes, found anew where Newton's steps ended more than about an sd from them."""
    slope, curvature = density.slope_and_curvature(z)
    rows, columns = np.nonzero(~(np.abs(slope) < MAX_SLOPE * np.sqrt(curvature)))
    if not len(rows):
        return z
    some = density.part(rows, columns)

    def slope_and_fall(at: Floats) -> tuple[Floats, Floats]:
        values, falls = some.slope_and_curvature(at[:, None])
        return values[:, 0], falls[:, 0]

    mended = z.copy()
    mended[rows, columns] = falling_roots(slope_and_fall, np.zeros(len(rows)), np.ones(len(rows)))
    return mended


def _outer_tangent(
    density: _Density, z: Floats, top: Floats, sd: Floats, side: float
) -> tuple[Floats, Floats, Floats]:
    """Distance of a tangent from the middle, its height less the top, and its slope.

    It is where the log density has dropped by about 1, as that of a normal one has √2 sds from its
    mode; where it has an edge, just beyond this.  The drop is convex in the distance, so that the
    place is found by doubling and halving.
    """
    away = np.broadcast_to(side * APART * sd, z.shape).copy()
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
    away = np.where(is_near, far, away)
    slope, _ = density.slope_and_curvature(z + away)
    return away, density(z + away) - top, slope


def _crossing(tangent: tuple[Floats, Floats, Floats], slope: Floats) -> Floats:
    """Where an outer tangent crosses the middle one; between them even where they are one line."""
    away, height, own = tangent
    steeper = own - slope
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (own * away - height) / steeper
    inside = (crossing / away >= 0) & (crossing / away <= 1)
    return np.where(inside, crossing, away / 2)


def draw_below_tangents(
    leaves: Leaves, mu: Floats, tau: Floats, rng: np.random.Generator
) -> Floats:
    """Draw ``θ ∝ L_i(θ) N(θ | μ, τ²)`` once for each pair.

    Parameters
    ----------
    leaves : Leaves
        k of them, log-concave.
    mu : (M,) or (k, M)
    tau : (M,)
        Where it is 0, θ is μ.
    rng : numpy.random.Generator

    Returns
    -------
    (k, M)
    """
    shape = len(leaves), len(tau)
    mu, tau = np.broadcast_to(mu, shape), np.broadcast_to(tau, shape)
    density = _Density(leaves, mu, tau)
    envelope = _Envelope.of(density)
    away, height = envelope.draw(rng)
    accepted = (
        np.log1p(-rng.random(shape)) < density(envelope.middle + away) - envelope.top - height
    )
    z = envelope.middle + away
    rows, columns = np.nonzero(~accepted)
    while len(rows):
        some = envelope.part(rows, columns)
        own = density.part(rows, columns)
        away, height = some.draw(rng)
        accepted = np.log1p(-rng.random(away.shape)) < own(some.middle + away) - some.top - height
        kept = accepted[:, 0]
        z[rows[kept], columns[kept]] = (some.middle + away)[kept, 0]
        rows, columns = rows[~kept], columns[~kept]
    return mu + tau * z
