"""Integrals of leaves against normal densities that are narrower than a shared grid.

With ``θ = μ_j + τ_j z`` the trapezoid rule in z, on even places that all groups share,

    m_ij = Σ_z h φ(z) L_i(μ_j + τ_j z),    h = 0.8/√(1 + τ_j² I),

where I is the largest information between μ_j and the modes of the integrands, and the places reach
8.5 beyond the modes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.families.leaves import Leaves

STEP = 0.8  # sds of an integrand
REACH = 8.5  # sds beyond the modes: exp(−36)
MAX_PLACES = 600  # of a node, where what they miss has places elsewhere
MOST_PLACES = 1 << 12  # where it has not
WIDEST = 5.0  # of an sd, in steps of the leaves
WIDEST_AWAY = 0.1  # of the distance to where leaves bend, more than one of their steps
NEWTON_STEPS, MAX_NEWTON_STEPS = 4, 16
CLOSE = 0.5  # of a mode, in the prior's sds
MAX_NUMBERS = 1 << 21  # that are held at a time


@dataclass(frozen=True)
class NodePlaces:
    """Places of some nodes, one node after the other.

    Attributes
    ----------
    nodes : (J',)
        Which nodes.
    theta, log_weight : (T,)
        Places, and logarithms of their weights with the prior's density.
    starts : (J',)
        First place of each node.
    is_cut : (J',)
        Whether a node's places are fewer and farther apart than it needs.
    """

    nodes: Indices
    theta: Floats
    log_weight: Floats
    starts: Indices
    is_cut: Indices

    def sums(self, values: Floats) -> Floats:
        """Sums over each node's places; (..., T) to (..., J')."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def log_terms(self, leaves: Leaves) -> tuple[Floats, Floats]:
        """Log integrals (k, J'), and each place's log share in its node's (k, T)."""
        log_terms = leaves.log_likelihood(self.theta)
        log_terms += self.log_weight
        top = np.maximum.reduceat(log_terms, self.starts, axis=1)
        top = np.where(np.isfinite(top), top, 0.0)
        counts = np.diff(np.append(self.starts, len(self.theta)))
        scaled = np.exp(log_terms - np.repeat(top, counts, axis=1))
        with np.errstate(divide="ignore"):
            log_integrals = np.log(self.sums(scaled)) + top
        return log_integrals, log_terms - np.repeat(log_integrals, counts, axis=1)


def node_places(
    leaves: Leaves, mu: Floats, tau: Floats, step: float = STEP, farthest: float = np.inf
) -> Iterator[NodePlaces]:
    """Yield the places of nodes (μ_j, τ_j), as many nodes at a time as can be held.

    Parameters
    ----------
    leaves : Leaves
    mu, tau : (J,)
    step : float
        From place to place, in about the sds of the narrowest integrand.
    farthest : float
        τ from μ of modes that matter.
    """
    per_node = max(1, MAX_NUMBERS // (64 * len(leaves)))
    for first in range(0, len(mu), per_node):
        some = slice(first, first + per_node)
        low, high, sd = _ranges(leaves, mu[some], tau[some], farthest)
        nodes = first + np.arange(len(low))
        yield from _blocks(leaves, nodes, mu, tau, low, high, step * sd)


@np.errstate(over="ignore", invalid="ignore")
def _ranges(
    leaves: Leaves, mu: Floats, tau: Floats, farthest: float
) -> tuple[Floats, Floats, Floats]:
    """Ends of z and least sd of each node; (J,) each.

    Besides, θ moves by few of the leaves' steps, as these may bend where no mode is.  Modes by
    Newton's method from z = 0: of a log-concave leaf ``τℓ'(μ + τz) − z`` falls with z, so that its
    root is between 0 and ``τℓ'(μ)``; a step out of what is left halves this instead.
    """
    slope, information = leaves.slope_and_information(np.broadcast_to(mu, (len(leaves), len(mu))))
    largest, z = np.maximum(information.max(axis=0), 0.0), np.zeros_like(slope)
    ends = np.clip(tau * slope, -farthest, farthest)
    low, high = np.minimum(ends, 0.0), np.maximum(ends, 0.0)
    for step in range(MAX_NEWTON_STEPS):
        curvature = tau**2 * np.maximum(information, 0.0)
        new = np.clip((tau * slope + curvature * z) / (1 + curvature), -farthest, farthest)
        if leaves.log_concave:
            new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
        moved, z = np.abs(new - z), new
        slope, information = leaves.slope_and_information(mu + tau * z)
        largest = np.maximum(largest, information.max(axis=0))
        if step + 1 >= NEWTON_STEPS and (moved < CLOSE).all():
            break
        rises = tau * slope > z
        low, high = np.where(rises, z, low), np.where(rises, high, z)
    low, high = np.minimum(z.min(axis=0), 0.0) - REACH, np.maximum(z.max(axis=0), 0.0) + REACH
    widest: Floats | float = WIDEST * float(leaves.step.min())
    if not leaves.log_concave:  # there may be another mode
        ends = leaves.bend_range
        gap = np.maximum(mu + tau * low - ends[:, 1].max(), ends[:, 0].min() - mu - tau * high)
        widest = leaves.step.min() + WIDEST_AWAY * np.maximum(gap, 0.0)
    return low, high, 1 / np.sqrt(np.maximum(1 + tau**2 * largest, (tau / widest) ** 2))


def _blocks(
    leaves: Leaves, nodes: Indices, mu: Floats, tau: Floats, low: Floats, high: Floats, step: Floats
) -> Iterator[NodePlaces]:
    most = MAX_PLACES if leaves.log_concave else MOST_PLACES
    widest = (high - low) / (most - 1)
    is_cut = ~(step >= widest)
    step = np.where(is_cut, widest, step)
    counts = np.where(is_cut, most, np.ceil((high - low) / step) + 1).astype(np.intp)
    block = np.cumsum(counts) // max(1, MAX_NUMBERS // len(leaves))
    for b in np.unique(block):
        some = block == b
        own, count = nodes[some], counts[some]
        starts = np.cumsum(count) - count
        inside = np.arange(count.sum()) - np.repeat(starts, count)
        z = np.repeat(low[some], count) + np.repeat(step[some], count) * inside
        log_weight = -0.5 * (z**2 + LOG_2PI) + np.repeat(np.log(step[some]), count)
        theta = np.repeat(mu[own], count) + np.repeat(tau[own], count) * z
        yield NodePlaces(own, theta, log_weight, starts, is_cut[some])
