"""Distribution functions of groups' effects at other covariates than their own.

With ``d = x_i − x`` the effect at x is ``θ = η − d'γ``, where the leaf is one of η, so that

    p(θ | y) = Σ_j (W_j/m_ij) L_i(θ + d'γ_j) N(θ | x'γ_j, τ_j²).

The sum stands for an integral over γ at each τ.  With the leaf's information I, θ given γ and τ
lies around ``a'γ + constant`` with the width w,

    a = x − (1 − B) x_i,    w² = B τ²,    B = 1/(1 + τ² I).

Where w is narrower than the spacing of the nodes across a, be it that τ is small or that the group
knows its effect well, the terms would be a comb.  But the density given τ is no narrower than that
of ``a'γ``, so it is band-limited as that is.  There the posterior masses of η at each node, moved
by ``−d'γ_j``, are shared out to an even grid of the transform v of θ, from which

    p(θ | τ) = Σ_g P_g sinc((v(θ) − v_g)/h)/h · dv/dθ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.kernels.leaves.node_masses import node_masses
from hiermodels.exact.leaves import effect_law
from hiermodels.exact.leaves.coordinates import LINEAR
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.linear import BLENDED
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.leaves import Leaves
from hiermodels.families.normal import log_normal
from hiermodels.numerics.lagrange import lagrange_weights

DROPPED = 1e-10  # share of the posterior in nodes that are left out
LOWEST = -345.0  # log of a term: denormal numbers are slow
FINER = 4  # places of v for each spacing of the nodes
STENCIL = 5  # half the number of places that a mass is shared out among
FARTHEST = 40.0  # v
PART = 1 << 17  # numbers that are held at a time


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Nodes of the lattice that are not negligible, as a group sees them from other covariates.

    Attributes
    ----------
    weight, tau, line : (J,)
        And in which line of equal τ each is.
    own, away : (J,)
        ``x_i'γ`` and ``d'γ``.
    log_integrals : (J,)
        Of the group's leaf.
    """

    weight: Floats
    tau: Floats
    line: Indices
    own: Floats
    away: Floats
    log_integrals: Floats

    def part(self, some: Indices) -> Self:
        """Some of the nodes."""
        return type(self)(
            self.weight[some],
            self.tau[some],
            self.line[some],
            self.own[some],
            self.away[some],
            self.log_integrals[some],
        )


@dataclass(frozen=True, eq=False)
class _Lines:
    """The effect given τ, on each line of nodes with the same τ; (T,) each.

    Attributes
    ----------
    share : B
    centre, scale : of the transform ``v = 3 arcsinh((θ − centre)/(3 scale))``
    spacing : of the nodes across v
    width : w
    """

    share: Floats
    centre: Floats
    scale: Floats
    spacing: Floats
    width: Floats

    @classmethod
    def of(cls, posterior: LeafPosterior, leaf: Leaves, tau: Floats, x: Floats, at: Floats) -> Self:
        """Describe the lines at values of τ (T,), of a group at x (p,), seen from other (p,)."""
        coordinates = posterior.marginal.coordinates
        whitening, step = coordinates.whitening(tau), posterior.lattice.step
        share = 1 / (1 + tau**2 * leaf.information)
        direction = at - (1 - share)[:, None] * x
        centre = np.einsum("tp,tp->t", direction, whitening.b) + (1 - share) * leaf.centre
        across = np.einsum("tp,tpq->tq", direction, whitening.c)
        scale = np.linalg.norm(across, axis=1)
        width = tau * np.sqrt(share)
        if ((scale == 0) & (width == 0)).any():
            raise SpecError("an effect whose τ and covariates are all 0 is 0, without a density")
        some = np.maximum(scale, np.finfo(float).tiny)
        part = step[coordinates.n_sds :, coordinates.n_sds :]
        spacing = np.abs(across / some[:, None] @ part).max(axis=1, initial=0.0)
        return cls(share, centre, scale, spacing, width)

    def are_combs(self, middle: Floats) -> NDArray[np.bool_]:
        """Whether what the nodes say, whose means are given, would stand apart, not blend; (T,)."""
        away = (middle - self.centre) / np.maximum(LINEAR * self.scale, np.finfo(float).tiny)
        return self.width < BLENDED * self.spacing * self.scale * np.sqrt(1 + away**2)


@one_blas_thread()
def laws_elsewhere(posterior: LeafPosterior, members: Indices, x: Floats) -> Iterator[EffectLaws]:
    """Yield the laws of the linear predictors of rows (r,) of members (r,) at covariates (r, p)."""
    kept = _heaviest(posterior.lattice.weights)
    gamma, tau = posterior.gamma[kept], posterior.tau[kept]
    lines, line = np.unique(tau, return_inverse=True)
    for alike, integrals in posterior.log_integrals(members):
        rows, place = np.nonzero(members[:, None] == alike.groups)
        leaf_of = alike.leaf_of[place]
        keys = np.column_stack([leaf_of, x[rows]])
        for key in np.unique(keys, axis=0):
            same = (keys == key).all(axis=1)
            own, at = leaf_of[same][:1], key[1:]
            leaf = alike.integrals.leaves.take(own)
            nodes = _Nodes(
                posterior.lattice.weights[kept],
                tau,
                line,
                gamma @ alike.x,
                gamma @ (alike.x - at),
                integrals[own[0], kept],
            )
            described = _Lines.of(posterior, leaf, lines, alike.x, at)
            grid, mass = _masses(leaf, nodes, described)
            yield EffectLaws(rows[same], grid, np.tile(mass, (int(same.sum()), 1)))


def _heaviest(weights: Floats) -> Indices:
    """Nodes that hold all but a negligible share of the weights, in their order."""
    order = np.argsort(weights)
    first = int(np.searchsorted(np.cumsum(weights[order]), DROPPED))
    return np.sort(order[first:])


def _masses(leaf: Leaves, nodes: _Nodes, lines: _Lines) -> tuple[ThetaGrid, Floats]:
    """A grid, and the posterior masses of a leaf's effect on it; (1, K)."""
    grid = _grid(leaf, nodes, lines)
    is_comb = lines.are_combs(_means_of_lines(leaf, nodes, lines))[nodes.line]
    density = _blended(leaf, nodes.part(np.flatnonzero(~is_comb)), grid.theta)
    density += _combed(leaf, nodes.part(np.flatnonzero(is_comb)), lines, grid.theta)
    mass = density * grid.weight
    seen = np.flatnonzero(mass > effect_law.NOTHING)
    kept = slice(seen[0], seen[-1] + 1)
    return grid.part(kept), mass[None, kept]


def _middles(leaf: Leaves, nodes: _Nodes, lines: _Lines) -> Floats:
    """About the means of the effect given the nodes; (J,)."""
    share = lines.share[nodes.line]
    return np.asarray(share * nodes.own + (1 - share) * leaf.centre - nodes.away)


def _means_of_lines(leaf: Leaves, nodes: _Nodes, lines: _Lines) -> Floats:
    """Their means at each τ; (T,)."""
    size = len(lines.share)
    mass = np.maximum(np.bincount(nodes.line, nodes.weight, size), np.finfo(float).tiny)
    return np.bincount(nodes.line, nodes.weight * _middles(leaf, nodes, lines), size) / mass


def _grid(leaf: Leaves, nodes: _Nodes, lines: _Lines) -> ThetaGrid:
    """Places that are as fine as the effect's density is narrow, and reach as far."""
    middle, line = _middles(leaf, nodes, lines), nodes.line
    mass = np.bincount(line, nodes.weight, len(lines.share))
    heavy = mass > effect_law.HEAVY
    line_of = np.cumsum(heavy) - 1
    some = heavy[line]

    def average(values: Floats) -> Floats:
        return np.bincount(line_of[line[some]], (nodes.weight * values)[some]) / mass[heavy]

    first, shift = average(middle), average(nodes.away)
    of_line = line_of[line]
    width = np.sqrt(average((middle - first[of_line]) ** 2) + lines.width[heavy] ** 2)
    bend = np.sqrt(average((nodes.away - shift[of_line]) ** 2) + 1 / leaf.information)
    step = min(float(leaf.step[0]), effect_law.FINE * width.min())
    centres, widths = np.append(first, leaf.centre - shift), np.append(width, bend)
    narrow = widths < effect_law.WIDE * step
    low = (centres - effect_law.CORE * widths)[narrow].min(initial=centres[0])
    high = (centres + effect_law.CORE * widths)[narrow].max(initial=centres[0])
    if not leaf.log_concave:
        (below,), (above,) = effect_law.cores(leaf)
        low, high = min(low, below - shift.max()), max(high, above - shift.min())
    ends = (
        (middle - effect_law.REACH * nodes.tau).min(),
        (middle + effect_law.REACH * nodes.tau).max(),
    )
    return ThetaGrid.of((low, high), (min(low, ends[0]), max(high, ends[1])), step)


def _blended(leaf: Leaves, nodes: _Nodes, theta: Floats) -> Floats:
    """Density at places (K,) of nodes whose terms blend.

    Nodes of similar τ come together, and reach only some of the places.
    """
    density = np.zeros(len(theta))
    size = max(1, PART // len(theta))
    order = np.argsort(nodes.tau, kind="stable")
    for first in range(0, len(order), size):
        some = nodes.part(order[first : first + size])
        away, own, tau = some.away, some.own, some.tau
        log_share = np.log(some.weight) - some.log_integrals
        ends = (
            (own - away - effect_law.REACH * tau).min(),
            (own - away + effect_law.REACH * tau).max(),
        )
        near = slice(*np.searchsorted(theta, ends))
        eta = theta[near, None] + away
        terms = leaf.log_likelihood(eta.reshape(1, -1)).reshape(eta.shape)
        terms += log_normal(eta, own, tau)
        terms += log_share
        density[near] += np.exp(np.maximum(terms, LOWEST)).sum(axis=1)
    return density


def _combed(leaf: Leaves, nodes: _Nodes, lines: _Lines, theta: Floats) -> Floats:
    """Density at places (K,) of nodes whose terms would be a comb."""
    used, line = np.unique(nodes.line, return_inverse=True)
    density = np.zeros(len(theta))
    if not len(used):
        return density
    centre, scale = lines.centre[used], LINEAR * lines.scale[used]
    fine = lines.spacing[used] / FINER
    half = int(np.ceil(FARTHEST / fine.min())) + STENCIL
    size = 2 * half + 1
    masses = np.zeros(len(used) * size)
    for part in node_masses(leaf, nodes.own, nodes.tau):
        own = line[part.nodes]
        v = np.arcsinh((part.theta - nodes.away[part.nodes] - centre[own]) / scale[own])
        place = np.clip(LINEAR * v, -FARTHEST, FARTHEST) / fine[own]
        left, weighted = np.floor(place), nodes.weight[part.nodes] * part.mass
        key = own * size + left.astype(np.intp) + half + 1 - STENCIL
        for i, share in enumerate(lagrange_weights(place - left, STENCIL)):
            masses += np.bincount(key + i, share * weighted, len(masses))
    for row, mass in enumerate(masses.reshape(len(used), size)):
        at = (theta - centre[row]) / scale[row]
        place = LINEAR * np.arcsinh(at) / fine[row]
        there = np.flatnonzero(np.abs(mass) > effect_law.NOTHING)
        near = np.flatnonzero((place >= there[0] - half) & (place <= there[-1] - half))
        steps = (place[near, None] - (there - half)) / FINER
        slope = LINEAR / (scale[row] * np.sqrt(1 + at[near] ** 2)) / lines.spacing[used[row]]
        density[near] += slope * (np.sinc(steps) @ mass[there])
    return density
