"""Distribution functions of effects of both levels.

On the line of one τ an outer effect has the posterior density

    p_s(μ) = exp(F_s(μ)) Σ_j W_j/M_sj N(μ | λ_j, κ_j²),    M_sj = ∫ exp(F_s(μ)) N(μ | λ_j, κ_j²) dμ,

over the line's nodes j, and a group within it

    p_i(θ) = L_i(θ) ∫ p_s(μ)/m_i(μ, τ) N(θ | μ, τ²) dμ.

The outer densities are taken on a grid that is fine enough for their sinc interpolants, so the
second integral is a sum over it; where τ is narrower than its step, of the interpolants,

    E_z[sinc(v(θ + τz) − k)/w(θ + τz)],    z ~ N(0, 1),

with v(μ) the place of μ in the grid, counted in steps, and w the spacing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.kernels.leaves.integral import LeafBlock, LeafIntegrals
from hiermodels.exact.leaves.effect_law import (
    CORE,
    FINE,
    HEAVY,
    NOTHING,
    REACH,
    WIDE,
    EffectLaws,
)
from hiermodels.exact.leaves.linear import NEGLIGIBLE, LinearLaw, hermite_rule
from hiermodels.exact.leaves.nested.groups import small_integrals
from hiermodels.exact.leaves.nested.linear import linear_law
from hiermodels.exact.leaves.nested.marginal import Line
from hiermodels.exact.leaves.nested.outer_leaves import OuterLeaves
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.families.leaves import Leaves

LOWEST = -600.0  # log of an integral
BLENDED = 1.2  # steps, beyond which normal densities around places blend to exp(−28)
SEEN = 1e-4  # mass of nodes with the same sds, which the even part of a grid reaches for
MAX_PLACES = 4000.0  # of that part
DRAWN = 4.0  # log ratio of likelihoods by which prior densities still end where they do


@dataclass(frozen=True, eq=False)
class OuterLine:
    """The densities of outer effects on a line.

    Attributes
    ----------
    line : Line
    law : LinearLaw
        Of its nodes, with κ for their sds.
    log_leaf : (S', K)
        F less its constant of all kinds, on the grid that lines share; none before that is laid.
    rest : (S', K)
        The sum over nodes, with F less its constant in M.
    """

    line: Line
    law: LinearLaw
    log_leaf: Floats
    rest: Floats

    @property
    def weight(self) -> float:
        """Posterior mass of the line."""
        return float(self.law.weight.sum())

    def density(self, kinds: Indices, less: Floats | float = 0.0) -> Floats:
        """Densities of effects of some kinds (g,), divided by ``exp(less)``; (g, K)."""
        return np.asarray(np.exp(self.log_leaf[kinds] - less) * self.rest[kinds])

    @property
    def leaves(self) -> OuterLeaves:
        """The kinds as leaves."""
        kinds = self.line.table.kinds
        return OuterLeaves(self.line.table, np.arange(len(kinds)))


@dataclass(frozen=True, eq=False)
class OuterDensities:
    """The densities of outer effects on all lines.

    Attributes
    ----------
    grid : ThetaGrid
    lines : list of OuterLine
    """

    grid: ThetaGrid
    lines: list[OuterLine]

    @classmethod
    @one_blas_thread()
    def of(cls, posterior: NestedPosterior) -> OuterDensities:
        """Compute them at nodes that are not negligible."""
        kept = np.flatnonzero(posterior.lattice.weights > NEGLIGIBLE)
        kappa = posterior.sds[:, 0]
        x, empty = np.ones(posterior.gamma.shape[1]), np.empty((0, 0))
        lines = [
            OuterLine(line, linear_law(posterior, x, kappa, kept[nodes]), empty, empty)
            for line, nodes in posterior.marginal.lines(posterior.sds[kept])
        ]
        grid = _outer_grid(lines)
        return cls(grid, [_laid(own, grid.theta) for own in lines])

    def laws(self, posterior: NestedPosterior, groups: Indices) -> EffectLaws:
        """Laws of the effects of some outer groups (g,)."""
        kinds, kind = np.unique(posterior.marginal.kinds.kind_of[groups], return_inverse=True)
        mass = np.zeros((len(kinds), len(self.grid)))
        for line in self.lines:
            mass += line.density(kinds)
        return _laws(groups, self.grid, mass * self.grid.weight, kind)


def _laid(own: OuterLine, places: Floats) -> OuterLine:
    """The same line with what it has at places of a grid."""
    law = own.law
    log_integrals = own.line.integrals.log_integrals(law.mu, law.tau)
    shares = law.weight * np.exp(-np.maximum(log_integrals, LOWEST))
    rest = shares @ law.columns(places).T
    return replace(own, log_leaf=own.leaves.log_likelihood(places), rest=rest)


def _laws(groups: Indices, grid: ThetaGrid, mass: Floats, rows: Indices) -> EffectLaws:
    """Laws of groups (g,) with rows (g,) of masses, on the part of the grid that is not empty."""
    seen = np.flatnonzero(mass.max(axis=0) > NOTHING)
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    return EffectLaws(groups, grid.part(kept), mass[rows, kept])


def _widths(law: LinearLaw) -> tuple[Floats, Floats, Floats]:
    """Of nodes with the same sds: mass, mean of λ, and variance of effects without data."""
    _, pair = np.unique(law.tau, return_inverse=True)
    mass = np.maximum(np.bincount(pair, law.weight), np.finfo(float).tiny)
    first = np.bincount(pair, law.weight * law.mu) / mass
    away = np.bincount(pair, law.weight * (law.mu - first[pair]) ** 2) / mass
    return mass, first, np.bincount(pair, law.weight * law.tau**2) / mass + away


def _outer_width(own: OuterLine) -> float:
    """About the least sd of an outer effect on a line."""
    mass, _, width2 = _widths(own.law)
    heavy = mass > HEAVY
    if not heavy.any():
        return np.inf
    information = float(own.leaves.information.max())
    return float(np.sqrt(1 / (1 / width2[heavy].min() + information)))


def _outer_grid(lines: list[OuterLine]) -> ThetaGrid:
    """Places that are as fine as the densities of outer effects are narrow, and reach as far."""
    heavy = [own for own in lines if own.weight > HEAVY]
    step = FINE * min(_outer_width(own) for own in heavy)
    step = min([step, *(own.leaves.step.min() for own in heavy)])
    low, high = [], []
    for own in heavy:
        (mass, first, width2), leaves = _widths(own.law), own.leaves
        narrow = (mass > HEAVY) & (width2 < (WIDE * step) ** 2)
        prior = CORE * np.sqrt(width2)
        told = mass >= min(HEAVY, mass.max())
        below, above = _cores(leaves, first[told], prior[told])
        low += [*below, *(first - prior)[narrow]]
        high += [*above, *(first + prior)[narrow]]
        seen = mass > SEEN
        if not leaves.falls_below.all():
            low += [*(first - prior)[seen]]
        if not leaves.falls_above.all():
            high += [*(first + prior)[seen]]
    even = min(low), max(high)
    step = max(step, (even[1] - even[0]) / MAX_PLACES)
    near = [(own.law.mu - REACH * own.law.tau).min() for own in lines]
    far = [(own.law.mu + REACH * own.law.tau).max() for own in lines]
    return ThetaGrid.of(even, (min(even[0], *near), max(even[1], *far)), step)


def _cores(leaves: OuterLeaves, first: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Ends of the densities of outer effects with data, of each leaf; (k,) each.

    They end where the leaf does, or where the densities without data do that have the centres
    ``first`` and reach over ``prior``, (p,) each: unless the leaf is so much larger there than
    at the centre that it may draw effects beyond.
    """
    reach = CORE * leaves.information**-0.5
    at_centre = leaves.log_likelihood(first)
    low, high = leaves.centre - reach, leaves.centre + reach
    for ends, side in ((low, -1.0), (high, 1.0)):
        stays = (leaves.log_likelihood(first + side * prior) - at_centre < DRAWN).all(axis=1)
        nearer = side * np.minimum(side * ends, (side * first + prior).max())
        ends[stays] = nearer[stays]
    return low, high


def effect_laws(
    posterior: NestedPosterior,
    level: int,
    members: Indices | None = None,
    densities: OuterDensities | None = None,
) -> Iterator[EffectLaws]:
    """Yield the laws of the effects of all members of a level, or of some.

    Parameters
    ----------
    posterior : NestedPosterior
    level : int
        0 for the outer groups, 1 for those within.
    members : (g,), optional
    densities : OuterDensities, optional
        Where they are known already.
    """
    outer = densities or OuterDensities.of(posterior)
    if level == 0:
        some = np.arange(posterior.model.n_outer) if members is None else members
        yield outer.laws(posterior, some)
        return
    some = np.arange(len(posterior.model.leaves)) if members is None else members
    kinds = posterior.marginal.kinds
    for block in kinds.integrals.blocks:
        row_of = np.full(len(kinds.leaves), -1)
        row_of[block.groups] = np.arange(len(block.groups))
        entry = kinds.entry_of[some]
        here = np.flatnonzero(row_of[kinds.leaf[entry]] >= 0)
        if len(here):
            entries, row = np.unique(entry[here], return_inverse=True)
            used = row_of[kinds.leaf[entries]]
            grid, mass = _inner(outer, block, used, kinds.kind[entries])
            yield _laws(some[here], grid, mass, row)


@one_blas_thread()
def _inner(
    outer: OuterDensities, block: LeafBlock, rows: Indices, kinds: Indices
) -> tuple[ThetaGrid, Floats]:
    """A grid, and masses on it of leaves of a block within kinds of outer groups; (E, K)."""
    used, leaf = np.unique(rows, return_inverse=True)
    leaves = block.leaves.take(used)
    grid = _inner_grid(outer, leaves, block.step)
    integrals, total = LeafIntegrals.of(leaves), np.zeros((len(rows), len(grid)))
    for own in outer.lines:
        tau = own.line.table.tau
        at = outer.grid.theta, np.full(len(outer.grid), tau)
        less = small_integrals(integrals, *at)
        shares = own.density(kinds, less[leaf]) * outer.grid.weight
        total += shares @ columns(outer.grid, grid.theta, tau).T
    return grid, np.exp(leaves.log_likelihood(grid.theta))[leaf] * total * grid.weight


def _inner_grid(outer: OuterDensities, leaves: Leaves | None, step: float) -> ThetaGrid:
    """Places that are as fine as the densities of inner effects are narrow, and reach as far.

    Without leaves, of groups without rows.
    """
    heavy = [own for own in outer.lines if own.weight > HEAVY]
    width2 = min(_outer_width(own) ** 2 + own.line.table.tau**2 for own in heavy)
    (low, high), information = outer.grid.even, 0.0
    if leaves is not None:
        information, reach = float(leaves.information.max()), CORE * leaves.information**-0.5
        low = min(low, (leaves.centre - reach).min())
        high = max(high, (leaves.centre + reach).max())
    step = min(step, FINE * float(np.sqrt(1 / (1 / width2 + information))))
    step = max(step, (high - low) / MAX_PLACES)
    beyond = REACH * max(own.line.table.tau for own in outer.lines)
    ends = outer.grid.theta[0] - beyond, outer.grid.theta[-1] + beyond
    return ThetaGrid.of((low, high), (min(low, ends[0]), max(high, ends[1])), step)


def columns(grid: ThetaGrid, theta: Floats, tau: float) -> Floats:
    """What mass of an outer effect at each place k of a grid says of θ given τ; (K', K).

    ``N(θ | μ_k, τ²)``, or of a narrow τ the expectation of the module's text.
    """
    if tau >= BLENDED * grid.step:
        return (grid.normal_columns(theta, np.full(len(theta), tau)) / grid.weight[:, None]).T
    z, weight = hermite_rule(tau / grid.step)
    found, terms = np.zeros((2, len(theta), len(grid)))
    rows, k = np.arange(len(theta)), np.arange(len(grid), dtype=float)
    for at, share in zip(z, weight, strict=True):
        place = grid.place_of(theta + tau * at)
        share_there = share / grid.at(place)[1]
        nearest = np.rint(place).clip(0, len(grid) - 1).astype(np.intp)
        away = place - nearest
        np.subtract(place[:, None], k, out=terms)
        terms[rows, nearest] = np.inf
        np.divide((share_there * np.sin(np.pi * place) / np.pi)[:, None], terms, out=terms)
        sign = 1.0 - 2.0 * (nearest % 2)  # of sin(π(place − k)), that of the others is below
        terms[rows, nearest] = sign * share_there * np.sinc(away)
        found += terms
    found[:, 1::2] *= -1.0
    return found


@one_blas_thread()
def new_group_laws(
    posterior: NestedPosterior, outer: OuterDensities, groups: Indices
) -> EffectLaws:
    """Laws of the effect of a new group in each of some outer groups (g,), ``N(μ_s, τ²)``."""
    kinds, kind = np.unique(posterior.marginal.kinds.kind_of[groups], return_inverse=True)
    grid = _inner_grid(outer, None, np.inf)
    mass = np.zeros((len(kinds), len(grid)))
    for own in outer.lines:
        shares = own.density(kinds) * outer.grid.weight
        mass += shares @ columns(outer.grid, grid.theta, own.line.table.tau).T
    return _laws(groups, grid, mass * grid.weight, kind)
