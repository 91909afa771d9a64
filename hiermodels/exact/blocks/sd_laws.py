"""Distribution functions, densities and quantiles of sds and of σ, where σ is integrated.

At node i of the lattice ``log τ = log θ_i + s``, with the law of s given Θ.  A mixture of these
laws over the nodes would be steps along log θ, narrower than the lattice's spacing.  So for each s
of an even grid the density's interpolant along the coordinate u of log θ is integrated, as the
lattice's own is (:meth:`~hiermodels.numerics.lattice.Lattice.cdf`), up to where log θ is ``t − s``:

    P(log τ ≤ t) = Σ_s Σ_u W(u, s) (½ + Si(π (u(t − s) − u)/h)/π).

W has the nodes' weights times the law of s, summed across all axes but u.  σ itself has the density
``Σ_u W(u, s)`` on the grid of s, whose interpolant is integrated likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.numerics.axis_projection import axis_projection
from hiermodels.numerics.inversion import quantiles
from hiermodels.numerics.lattice import Lattice

TAIL_MASS = 1e-13  # of the lattice's points, that is left out
SMALLEST = 1e-16  # weight that is kept
EVERY = 2  # place of s is enough for sums over it, if not for its interpolant
XTOL = 1e-13  # of a quantile's logarithm, as a part of the range
MAX_NUMBERS = 1 << 20  # that are held at a time
FARTHEST = 8.0  # log sds beyond those on the lattice, between which quantiles are looked for


@dataclass(frozen=True, eq=False)
class SdLaw:
    """Law of the logarithm of one sd.

    Attributes
    ----------
    axis : SdAxis, optional
        Of log θ; None for σ.
    places : (f,)
        Coordinates u along the axis; a single 0 for σ.
    spacing : float
        h of the places' density, or of s for σ.
    s : (k,)
        Even grid of log σ.
    weights : (f, k)
    """

    axis: SdAxis | None
    places: Floats
    spacing: float
    s: Floats
    weights: Floats

    def cdf(self, log_sd: Floats) -> Floats:
        """Probabilities that log τ is at most these (n,); (n,)."""
        return np.array([self._below(self._steps(u)) for u in self._coordinates(log_sd)])

    def density(self, log_sd: Floats) -> Floats:
        """Densities of log τ at values (n,); (n,)."""
        return np.array([self._density(u, self._steps(u)) for u in self._coordinates(log_sd)])

    def quantiles(self, probabilities: Floats) -> Floats:
        """Quantiles of log τ; (p,)."""
        low, high = self._ends

        def law(log_sd: Floats) -> tuple[Floats, Floats]:
            below, density = np.empty(len(log_sd)), np.empty(len(log_sd))
            for i, u in enumerate(self._coordinates(log_sd)):
                steps = self._steps(u)
                below[i], density[i] = self._below(steps), self._density(u, steps)
            return below, density

        return quantiles(law, probabilities, (low, high), XTOL * (high - low), self._moments)

    @property
    def _moments(self) -> tuple[float, float]:
        """About the mean and sd of log τ."""
        log_theta = np.zeros(1) if self.axis is None else self.axis.log_sd(self.places)
        values = log_theta[:, None] + self.s
        mean = float((self.weights * values).sum())
        return mean, math.sqrt(max(float((self.weights * (values - mean) ** 2).sum()), 0.0))

    @cached_property
    def _ends(self) -> tuple[float, float]:
        if self.axis is None:
            return float(self.s[0]), float(self.s[-1])
        log_theta = self.axis.log_sd(self.places[[0, -1]])
        low, high = log_theta[0] + self.s[0], log_theta[1] + self.s[-1]
        return float(low) - FARTHEST, float(high) + FARTHEST

    def _coordinates(self, log_sd: Floats) -> Floats:
        """Coordinates u of ``log τ − s``, for σ these themselves; (n, k)."""
        log_theta = log_sd[:, None] - self.s
        if self.axis is None:
            return log_theta
        return self.axis.coordinate(np.exp(log_theta).ravel()).reshape(log_theta.shape)

    def _steps(self, u: Floats) -> Floats:
        """Distances of coordinates (k,) to all places, in steps; (f, k)."""
        return (u - self.places[:, None]) / self.spacing

    def _below(self, steps: Floats) -> float:
        from scipy.special import sici

        return float((self.weights * (0.5 + sici(np.pi * steps)[0] / np.pi)).sum())

    def _density(self, u: Floats, steps: Floats) -> float:
        total = (self.weights * np.sinc(steps)).sum(axis=0)
        if self.axis is not None:
            total = total * np.exp(-self.axis.log_slope(u))  # du/d log τ
        return max(float(total.sum()) / self.spacing, 0.0)


def sd_laws(posterior: SdPosterior[Any]) -> tuple[SdLaw, ...]:
    """Laws of all sds τ, and of σ last, of a relative model."""
    coordinates, lattice = posterior.marginal.coordinates, posterior.lattice
    kept = heaviest(lattice.weights, TAIL_MASS)
    s = _grid(posterior, kept)
    along = _along_pairs if isinstance(lattice, PairNodes) else _along_lattice
    of_sigma, found = along(posterior, kept, s)
    axes = [axis for axis in coordinates.axes if isinstance(axis, SdAxis)]
    taus = []
    for axis, (places, spacing, weights) in zip(axes, found, strict=True):
        taus.append(_trimmed(SdLaw(axis, places, spacing, s[::EVERY], weights / weights.sum())))
    return *taus, SdLaw(None, np.zeros(1), s[1] - s[0], s, of_sigma / of_sigma.sum())


type _Along = tuple[Floats, list[tuple[Floats, float, Floats]]]
"""Sums of the law of s over all nodes (1, k), and those along the axis of each sd: places (f,), the
lattice's spacing, and sums (f, k')."""


def _along_lattice(posterior: SdPosterior[Any], kept: Indices, s: Floats) -> _Along:
    """Of one lattice's nodes, some at a time."""
    lattice = posterior.lattice
    assert isinstance(lattice, Lattice)
    projections = [axis_projection(lattice, j) for j in range(posterior.marginal.coordinates.n_sds)]
    gathers = [gather.multiply(lattice.weights).tocsc() for _, _, gather in projections]
    sums = [np.zeros((gather.shape[0], len(s[::EVERY]))) for gather in gathers]
    of_sigma = np.zeros((1, len(s)))
    for nodes, law in _laws_of_s(posterior, kept, s):
        of_sigma += lattice.weights[nodes] @ law
        for total, gather in zip(sums, gathers, strict=True):
            total += gather[:, nodes] @ law[:, ::EVERY]
    every = enumerate(zip(projections, sums, strict=True))
    return of_sigma, [
        (places, float(lattice.step[j, j]), spread @ total)
        for j, ((places, spread, _), total) in every
    ]


def _along_pairs(posterior: SdPosterior[Any], kept: Indices, s: Floats) -> _Along:
    """Of nodes that stand for all pairs of two lattices."""
    lattice = posterior.lattice
    assert isinstance(lattice, PairNodes)
    of_sigma, every = np.zeros((1, len(s))), np.zeros((len(lattice), len(s[::EVERY])))
    for nodes, law in _laws_of_s(posterior, kept, s):
        of_sigma += lattice.weights[nodes] @ law
        every[nodes] = law[:, ::EVERY]
    n_sds = posterior.marginal.coordinates.n_sds
    return of_sigma, [lattice.summed(axis, every) for axis in range(n_sds)]


def heaviest(weights: Floats, tail_mass: float) -> Indices:
    """All but the lightest nodes, which hold so much of the mass together."""
    order = np.argsort(np.abs(weights))
    return np.sort(order[np.cumsum(np.abs(weights[order])) > tail_mass])


def weights_given_sd(
    posterior: SdPosterior[Any], sd: int, log_sds: Floats, nodes: Indices
) -> tuple[Floats, Floats]:
    """Weights of nodes given log τ of one sd, and the same times σ²; (p, n) twice.

    The density of τ is the interpolant above, in which each node has its own share

        w_i Σ_s p(s | Θ_i) sinc((u(t − s) − u_i)/h) du/dt,

    so that a function of Θ has the mean, given ``log τ = t``, that these weights give it.

    Parameters
    ----------
    posterior : SdPosterior
        Of a relative model, on one lattice.
    sd : int
    log_sds : (p,)
    nodes : (n,)
    """
    coordinates, lattice = posterior.marginal.coordinates, posterior.lattice
    assert isinstance(lattice, Lattice)
    axis, h = coordinates.axes[sd], float(lattice.step[sd, sd])
    assert isinstance(axis, SdAxis)
    s = _grid(posterior, nodes)[::EVERY]
    u = axis.coordinate(np.exp(log_sds[:, None] - s).ravel()).reshape(len(log_sds), -1)
    slope = np.exp(-axis.log_slope(u))
    weights = np.empty((2, len(log_sds), len(nodes)))
    size = max(1, MAX_NUMBERS // u.size)
    for first in range(0, len(nodes), size):
        part = slice(first, first + size)
        some = nodes[part]
        log_theta = posterior.values.log_theta[:, some]
        law = posterior.marginal.scale.density(posterior.root.at(some), log_theta, s)
        law = lattice.weights[some, None] * law
        shares = np.sinc((u - lattice.points[some, sd, None, None]) / h) * slope
        for own, of_s in zip(weights, (law, law * np.exp(2 * s)), strict=True):
            own[:, part] = np.einsum("nk,npk->pn", of_s, shares)
    return weights[0], weights[1]


def _trimmed(law: SdLaw) -> SdLaw:
    """The same without places where there is nothing."""
    matters = np.abs(law.weights) > SMALLEST
    rows, columns = matters.any(axis=1), matters.any(axis=0)
    weights = law.weights[rows][:, columns]
    return replace(law, places=law.places[rows], s=law.s[columns], weights=weights)


def _grid(posterior: SdPosterior[Any], nodes: Indices) -> Floats:
    """Even grid of s that holds its law at all nodes."""
    scale, values = posterior.marginal.scale, posterior.values
    low, high, narrowest = math.inf, -math.inf, math.inf
    size = MAX_NUMBERS // 100
    for first in range(0, len(nodes), size):
        some = nodes[first : first + size]
        s, step = scale.places(posterior.root.at(some), values.log_theta[:, some])
        low, high = min(low, s.min()), max(high, s.max())
        narrowest = min(narrowest, step.min())
    return np.linspace(low, high, math.ceil((high - low) / narrowest) + 1)


def _laws_of_s(
    posterior: SdPosterior[Any], kept: Indices, s: Floats
) -> Iterator[tuple[Indices, Floats]]:
    """Yield some nodes, and the density of s at these on the grid; (n, k)."""
    size = max(1, MAX_NUMBERS // len(s))
    for first in range(0, len(kept), size):
        nodes = kept[first : first + size]
        log_theta = posterior.values.log_theta[:, nodes]
        yield nodes, posterior.marginal.scale.density(posterior.root.at(nodes), log_theta, s)
