"""Integrals of many functions against many normal densities, as a matrix product.

The trapezoid rule on places θ_k that all functions and all nodes share:

    m_ij = Σ_k f_i(θ_k) w_k N(θ_k | μ_j, τ_j²),    M = F Φ.

Between two ends the places are even.  Beyond them, where the functions no longer bend, they move
apart in proportion to the distance,

    θ = u − e^{κ(low − u)}/κ + e^{κ(u − high)}/κ,    w = h dθ/du,    κ = bend/h,

so that few places reach as far as wide normal densities do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats

BEND = 0.1  # κh: the spacing grows by this share of itself from place to place, unless told
BISECTIONS = 64
NEWTON_STEPS = 2  # from linear interpolation
LOWEST = -345.0


@dataclass(frozen=True)
class ThetaGrid:
    """Places of the trapezoid rule.

    Attributes
    ----------
    even : (2,)
        Ends between which the places are about even.
    step : float
        In u.
    first : float
        The first place's u.
    theta : (K,)
        Ascending.
    weight : (K,)
        The local spacing.
    bend : float
        By what share of itself the spacing grows from place to place beyond the ends.
    """

    even: tuple[float, float]
    step: float
    first: float
    theta: Floats
    weight: Floats
    bend: float = BEND

    @classmethod
    def of(
        cls,
        even: tuple[float, float],
        ends: tuple[float, float],
        step: float,
        bend: float = BEND,
    ) -> Self:
        """Lay places, even to ``step`` within ``even``, that reach at least to ``ends``."""
        low, high = even
        rate = bend / step
        first = low - np.log1p(rate * max(low - ends[0], 0.0)) / rate
        last = high + np.log1p(rate * max(ends[1] - high, 0.0)) / rate
        u = low + step * np.arange(np.floor((first - low) / step), np.ceil((last - low) / step) + 1)
        return cls(even, step, float(u[0]), *_bent(u, even, step, bend), bend)

    def __len__(self) -> int:
        return len(self.theta)

    def part(self, kept: slice) -> Self:
        """Some of the places, from a first to a last."""
        first = self.first + self.step * (kept.start or 0)
        theta, weight = self.theta[kept], self.weight[kept]
        return type(self)(self.even, self.step, first, theta, weight, self.bend)

    def at(self, place: Floats) -> tuple[Floats, Floats]:
        """Position θ and local spacing at places counted from the first, whole numbers or not."""
        return _bent(self.first + self.step * place, self.even, self.step, self.bend)

    def place_of(self, theta: Floats) -> Floats:
        """Where positions are, counted in places from the first; by bisection."""
        low, high = np.full(theta.shape, -1.0), np.full(theta.shape, float(len(self)))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = self.at(middle)[0] < theta
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def place_within(self, theta: Floats) -> Floats:
        """The same by Newton's method, which is faster; −1 of positions beyond the ends."""
        place = np.interp(theta, self.theta, np.arange(len(self), dtype=float), -1.0, -1.0)
        inside = place >= 0
        own = place[inside]
        for _ in range(NEWTON_STEPS):
            position, spacing = self.at(own)
            own = own + (theta[inside] - position) / spacing
        place[inside] = own.clip(0.0, len(self) - 1.0)
        return np.asarray(place)

    def normal_columns(self, mu: Floats, tau: Floats) -> Floats:
        """``Φ_kj = w_k N(θ_k | μ_j, τ_j²)``; (K, J).

        They are 0 where exponents are below −345: products of denormal numbers would take a hundred
        times as long, and far out the weights are so large that no floor of exponents would do.
        """
        z = self.theta[:, None] - mu
        z /= tau
        np.square(z, out=z)
        z *= -0.5
        z[z < LOWEST] = -np.inf
        np.exp(z, out=z)
        z *= self.weight[:, None]
        z *= np.exp(-0.5 * LOG_2PI) / tau
        return z


def _bent(u: Floats, even: tuple[float, float], step: float, bend: float) -> tuple[Floats, Floats]:
    """Position θ of u, and the local spacing ``h dθ/du``."""
    rate = bend / step
    below, above = np.exp(rate * (even[0] - u)), np.exp(rate * (u - even[1]))
    return u + (above - below) / rate, step * (1 + below + above)


@dataclass(frozen=True)
class GridTable:
    """Functions f_i on a grid.

    Attributes
    ----------
    grid : ThetaGrid
    values : (k, K)
    """

    grid: ThetaGrid
    values: Floats

    def within(self, ends: tuple[float, float]) -> Self:
        """The part of it that reaches just to ``ends``."""
        first = np.searchsorted(self.grid.theta, ends[0], side="right") - 1
        last = np.searchsorted(self.grid.theta, ends[1])
        kept = slice(max(int(first), 0), int(last) + 1)
        return type(self)(self.grid.part(kept), self.values[:, kept])

    def integrals(self, mu: Floats, tau: Floats) -> Floats:
        """``∫ f_i(θ) N(θ | μ_j, τ_j²) dθ``; (k, J)."""
        return self.values @ self.grid.normal_columns(mu, tau)

    def masses(self, mu: Floats, tau: Floats, shares: Floats) -> Floats:
        """``f_i(θ_k) Σ_j a_ij w_k N(θ_k | μ_j, τ_j²)`` for shares a (..., k, J); (..., k, K)."""
        return self.values * (shares @ self.grid.normal_columns(mu, tau).T)
