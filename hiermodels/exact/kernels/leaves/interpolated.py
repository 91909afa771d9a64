"""Exact draws of effects given their mean and sd, of leaves of any shape, by rejection.

At places that suit the integral over the effect (:mod:`.integral`) the density

    f(θ) = L(θ) N(θ | μ, τ²)

is known, and draws come from its linear interpolant g.  They are accepted with probability
``f/(g·bound)``.  Near a mode of width w, g is below f by a share of about ``h²/(8 w²)``, with h the
spacing; a ratio above the bound starts all draws again with a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafBlock, parts_of
from hiermodels.exact.kernels.leaves.prior_centred import node_places
from hiermodels.families.leaves import Leaves

BOUND = 1.2  # of the ratio f/g, to begin with


@dataclass(frozen=True)
class Interpolants:
    """Linear interpolants of ``f(μ + τz)``, as functions of z, of M draws.

    Attributes
    ----------
    log_leaf : callable
        Log L of some of the draws (m,) at θ (m,); (m,).
    mu, tau : (M,)
    z, log_density : (T,)
        Places, those of a draw one after the other, and log f there, up to a constant of each draw.
    starts, ends : (M,)
        First place of each draw, and one beyond its last.
    """

    log_leaf: Callable[[Indices, Floats], Floats]
    mu: Floats
    tau: Floats
    z: Floats
    log_density: Floats
    starts: Indices
    ends: Indices

    def draw(self, bound: float, rng: np.random.Generator) -> tuple[Floats, float]:
        """Draw z once for each (M,), and tell the largest ratio that was met."""
        top = np.maximum.reduceat(self.log_density, self.starts)
        height = np.exp(self.log_density - np.repeat(top, self.ends - self.starts))
        mass = np.zeros(len(self.z))
        mass[:-1] = np.diff(self.z) * (height[:-1] + height[1:]) / 2
        mass[self.ends - 1] = 0.0
        mass /= np.repeat(np.add.reduceat(mass, self.starts), self.ends - self.starts)
        below = np.cumsum(mass)
        before = below[self.starts] - mass[self.starts]
        z, largest, left = np.empty(len(self.mu)), 0.0, np.arange(len(self.mu))
        while len(left):
            share = rng.random(len(left)) * (below[self.ends[left] - 1] - before[left])
            cell = np.searchsorted(below, before[left] + share, side="right")
            cell = np.clip(cell, self.starts[left], self.ends[left] - 2)
            first, second = height[cell], height[cell + 1]
            pair = np.sort(rng.random((2, len(left))), axis=0)
            inside = np.where(rng.random(len(left)) * (first + second) < first, *pair)
            tried = self.z[cell] + inside * (self.z[cell + 1] - self.z[cell])
            theta = self.mu[left] + self.tau[left] * tried
            log_density = self.log_leaf(left, theta) - tried**2 / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.exp(log_density - top[left]) / (first + inside * (second - first))
            largest = max(largest, float(np.nanmax(ratio)))
            accepted = rng.random(len(left)) * bound < ratio
            z[left[accepted]] = tried[accepted]
            left = left[~accepted]
        return z, largest


def draw_within_bound(
    parts: Callable[[], Iterator[tuple[Indices, Interpolants]]], n: int, rng: np.random.Generator
) -> Floats:
    """Draw z once for each of n draws (n,), of which parts are laid out one after the other.

    All are drawn again where a ratio was above the bound.
    """
    z, bound, largest = np.empty(n), BOUND, np.inf
    while largest > bound:
        bound, largest = (bound if largest == np.inf else 1.05 * largest), 0.0
        for draws, part in parts():
            z[draws], ratio = part.draw(bound, rng)
            largest = max(largest, ratio)
    return z


def draw_from_interpolants(
    leaves: Leaves, mu: Floats, tau: Floats, rng: np.random.Generator
) -> Floats:
    """Do what :func:`~hiermodels.exact.kernels.leaves.draws.draw_effects` says, of any leaves."""
    theta = np.array(np.broadcast_to(mu, (len(leaves), len(tau))))
    spread = np.flatnonzero(tau > 0)
    for i, own in enumerate(theta):
        leaf = leaves.take(np.array([i]))
        parts = partial(_interpolants, leaf, own[spread], tau[spread])
        z = draw_within_bound(parts, len(spread), rng)
        own[spread] += tau[spread] * z
    return theta


def _interpolants(leaf: Leaves, mu: Floats, tau: Floats) -> Iterator[tuple[Indices, Interpolants]]:
    """Yield the interpolants of some of the draws (M,) at a time, and which these are."""
    low, high = leaf.bend_range[0]

    def values_at(_: Indices, theta: Floats) -> Floats:
        return leaf.log_likelihood(theta)[0]

    block = LeafBlock(leaf, np.zeros(1, dtype=np.intp), float(leaf.step[0]), (low, high))
    wide = block.on_grid(mu, tau)
    grid = block.table(mu[wide], tau[wide]).grid
    log_leaf = leaf.log_likelihood(grid.theta)
    for draws in parts_of(np.flatnonzero(wide), 4 * len(grid)):
        z = (grid.theta - mu[draws, None]) / tau[draws, None]
        starts = len(grid) * np.arange(len(draws))
        log_density = (log_leaf - z**2 / 2).ravel()
        ends = starts + len(grid)
        own = mu[draws], tau[draws]
        yield draws, Interpolants(values_at, *own, z.ravel(), log_density, starts, ends)
    narrow = np.flatnonzero(~wide)
    for places in node_places(leaf, mu[narrow], tau[narrow]):
        draws = narrow[places.nodes]
        ends = np.append(places.starts[1:], len(places.theta))
        counts = ends - places.starts
        z = (places.theta - np.repeat(mu[draws], counts)) / np.repeat(tau[draws], counts)
        log_density = leaf.log_likelihood(places.theta)[0] - z**2 / 2
        own = mu[draws], tau[draws]
        yield draws, Interpolants(values_at, *own, z, log_density, places.starts, ends)
