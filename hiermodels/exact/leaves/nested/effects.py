"""Distribution functions of effects of both levels.

With the posterior density ``p_s(μ)`` of its outer effect at a τ (:mod:`.outer_densities`), moved by
what covariates add, a group within it has

    p_i(θ) = L_i(θ) ∫ p_s(μ)/m_i(μ, τ) N(θ | μ, τ²) dμ.

The outer densities are taken on a grid that is fine enough for their sinc interpolants, so this
integral is a sum over it; where τ is narrower than its step, of the interpolants,

    E_z[sinc(v(θ + τz) − k)/w(θ + τz)],    z ~ N(0, 1),

with v(μ) the place of μ in the grid, counted in steps, and w the spacing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.kernels.leaves.integral import LeafBlock, LeafIntegrals
from hiermodels.exact.leaves.effect_law import FINE, HEAVY, NOTHING, REACH, EffectLaws, cores
from hiermodels.exact.leaves.linear import hermite_rule
from hiermodels.exact.leaves.nested.groups import exact_integrals, small_integrals
from hiermodels.exact.leaves.nested.moved import OnLines
from hiermodels.exact.leaves.nested.outer_densities import (
    MAX_PLACES,
    Layer,
    OuterDensities,
    grid_of_moments,
)
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.families.leaves import Leaves

BLENDED = 1.2  # steps, beyond which normal densities around places blend to exp(−28)


def effect_laws(
    posterior: NestedPosterior,
    level: int,
    members: Indices | None = None,
    densities: OuterDensities | None = None,
    at: Floats | None = None,
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
    at : (u, p), optional
        Covariates at which the effects are, a row for each member of the level; by default those of
        the posterior's :meth:`~NestedPosterior.effect_moments`.
    """
    outer, model = densities or OuterDensities.of(posterior), posterior.model
    size = len(model.leaves) if level else model.n_outer
    some = np.arange(size) if members is None else members
    own_x = model.slopes_x if level else np.tile(model.middle, (size, 1))
    away = (own_x if at is None else model.slopes_of(at)) - own_x
    if level == 0:
        yield _outer_laws(posterior, outer, some, away[some])
        return
    if not model.n_slopes:
        yield from _inner_laws(posterior, outer, some)
        return
    pairs = np.column_stack([posterior.marginal.kinds.entry_of[some], away[some]])
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    for number, (entry, *own) in enumerate(distinct):
        law = _moved_law(posterior, outer, int(entry), np.array(own))
        groups = some[which.ravel() == number]
        yield EffectLaws(groups, law.grid, np.tile(law.mass, (len(groups), 1)))


@one_blas_thread()
def _outer_laws(
    posterior: NestedPosterior, outer: OuterDensities, groups: Indices, away: Floats
) -> EffectLaws:
    """Laws of some outer groups' effects (g,), moved by a'β for a (g, q)."""
    which = np.column_stack([posterior.marginal.kinds.kind_of[groups], away])
    distinct, row = np.unique(which, axis=0, return_inverse=True)
    kinds = distinct[:, 0].astype(np.intp)
    grid, parts = outer.densities(kinds, distinct[:, 1:])
    mass = np.zeros((len(kinds), len(grid)))
    for _, density in parts:
        mass += density
    return _laws(groups, grid, mass * grid.weight, row.ravel())


def _inner_laws(
    posterior: NestedPosterior, outer: OuterDensities, some: Indices
) -> Iterator[EffectLaws]:
    """Yield the laws of some groups' effects (g,) at their own covariates."""
    kinds = posterior.marginal.kinds
    for block in kinds.integrals.blocks:
        row_of = np.full(len(kinds.leaves), -1)
        row_of[block.groups] = np.arange(len(block.groups))
        entry = kinds.entry_of[some]
        here = np.flatnonzero(row_of[kinds.leaf[entry]] >= 0)
        if len(here):
            entries, row = np.unique(entry[here], return_inverse=True)
            used = row_of[kinds.leaf[entries]]
            grid, mass = _inner(outer, block, used, (kinds.kind[entries], kinds.x[entries]))
            yield _laws(some[here], grid, mass, row)


def _laws(groups: Indices, grid: ThetaGrid, mass: Floats, rows: Indices) -> EffectLaws:
    """Laws of groups (g,) with rows (g,) of masses, on the part of the grid that is not empty."""
    seen = np.flatnonzero(mass.max(axis=0) > NOTHING)
    kept = slice(int(seen[0]), int(seen[-1]) + 1)
    return EffectLaws(groups, grid.part(kept), mass[rows, kept])


@one_blas_thread()
def _inner(
    outer: OuterDensities, block: LeafBlock, rows: Indices, which: tuple[Indices, Floats]
) -> tuple[ThetaGrid, Floats]:
    """A grid, and masses on it of leaves of a block with kinds and covariates; (E, K)."""
    used, leaf = np.unique(rows, return_inverse=True)
    leaves = block.leaves.take(used)
    integrals = LeafIntegrals.of(leaves)
    means, parts = outer.means(
        *which, lambda tau, mu: small_integrals(integrals, mu, np.full(len(mu), tau))[leaf]
    )
    grid = _inner_grid(outer, means, leaves, block.step)
    total = np.zeros((len(rows), len(grid)))
    for tau, density in parts:
        shares = density * means.weight
        total += shares @ columns(means, grid.theta, tau).T
    return grid, np.exp(leaves.log_likelihood(grid.theta))[leaf] * total * grid.weight


def _inner_grid(
    outer: OuterDensities, means: ThetaGrid, leaves: Leaves | None, step: float
) -> ThetaGrid:
    """Places that are as fine as the densities of inner effects are narrow, and reach as far.

    Without leaves, of groups without rows.
    """
    heavy = [own for own in outer.lines if own.weight > HEAVY]
    width2 = min(own.narrow**2 + own.line.table.tau**2 for own in heavy)
    (low, high), information = means.even, 0.0
    if leaves is not None:
        information, (below, above) = float(leaves.information.max()), cores(leaves)
        low, high = min(low, below.min()), max(high, above.max())
    step = min(step, FINE * float(np.sqrt(1 / (1 / width2 + information))))
    step = max(step, (high - low) / MAX_PLACES)
    beyond = REACH * max(own.line.table.tau for own in outer.lines)
    ends = means.theta[0] - beyond, means.theta[-1] + beyond
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
def _moved_law(
    posterior: NestedPosterior, outer: OuterDensities, entry: int, away: Floats
) -> EffectLaws:
    """The law of an entry's effect moved by a'β, for a (q,), from its densities on all lines."""
    layers = _entry_on_lines(posterior, outer, entry)
    theta = layers[0].grid.theta
    shifts = np.concatenate([own.slopes.beta @ away for own in layers])
    ends = theta[0] + shifts.min(), theta[-1] + shifts.max()
    grid = grid_of_moments(np.array([own.moments(away) for own in layers]), ends)
    mass = sum(own.moved(away, grid.theta) for own in layers) * grid.weight
    return _laws(np.array([entry]), grid, mass[None], np.zeros(1, dtype=np.intp))


@one_blas_thread()
def moved_mean(
    posterior: NestedPosterior,
    outer: OuterDensities,
    group: int,
    away: Floats,
    function: Callable[[Floats], Floats],
) -> Floats:
    """Means of functions, from (1, Z) to (m, Z), of a group's effect moved by a'β, a (q,); (m,)."""
    total, mass = np.zeros(()), 0.0
    for own in _entry_on_lines(posterior, outer, int(posterior.marginal.kinds.entry_of[group])):
        for density, shift in zip(own.density, own.slopes.beta @ away, strict=True):
            weight = density * own.grid.weight
            seen = np.flatnonzero(weight > NOTHING)
            total = total + function(own.grid.theta[None, seen] + shift) @ weight[seen]
            mass += float(weight.sum())
    return np.asarray(total / mass)


def _entry_on_lines(posterior: NestedPosterior, outer: OuterDensities, entry: int) -> list[OnLines]:
    """Densities of an entry's effect on the lines of all layers."""
    kinds = posterior.marginal.kinds
    leaf = kinds.leaves.take(kinds.leaf[entry : entry + 1])
    which = kinds.kind[entry : entry + 1], kinds.x[entry : entry + 1]
    means = outer.moved_grid(*which, by_line=True)
    fine = _inner_grid(outer, means, leaf, float(leaf.step[0]))
    finer = ThetaGrid.of(fine.even, (float(fine.theta[0]), float(fine.theta[-1])), fine.step / 2)
    return [_on_lines(outer, layer, leaf, which, (means, finer)) for layer in outer.layers]


def _on_lines(
    outer: OuterDensities,
    layer: Layer,
    leaf: Leaves,
    which: tuple[Indices, Floats],
    grids: tuple[ThetaGrid, ThetaGrid],
) -> OnLines:
    """Densities of one group's effect on the lines of a layer."""
    means, grid = grids
    (kind,), (x,) = which
    own = layer.of_kind(outer.grid, int(kind))
    less = exact_integrals(LeafIntegrals.of(leaf), means.theta, np.full(len(means), layer.tau))
    density = layer.moved(outer.grid, int(kind), x, means.theta, less[0]) * means.weight
    density = density @ columns(means, grid.theta, layer.tau).T
    density *= np.exp(leaf.log_likelihood(grid.theta))
    information = float(leaf.information[0])
    narrow = np.sqrt(1 / (1 / (own.narrow**2 + layer.tau**2) + information))
    return OnLines(grid, density, own.slopes, narrow)


@one_blas_thread()
def new_group_laws(
    posterior: NestedPosterior,
    outer: OuterDensities,
    kinds: Indices,
    x: Floats,
    *,
    for_means: bool = False,
) -> EffectLaws:
    """Laws of the effects of r new groups, ``N(μ_s + x'β, τ²)``.

    For means of functions lines may stand apart, which densities must not.

    Parameters
    ----------
    posterior : NestedPosterior
    outer : OuterDensities
    kinds : (r,)
        Of the outer groups in which they are; one more than there are, in a new one.
    x : (r, p)
    """
    away = posterior.model.slopes_of(x) - posterior.model.middle
    distinct, row = np.unique(np.column_stack([kinds, away]), axis=0, return_inverse=True)
    which = distinct[:, 0].astype(np.intp), distinct[:, 1:]
    nothing = np.zeros((len(distinct), 1))
    means, parts = outer.means(*which, lambda *_: nothing) if for_means else outer.densities(*which)
    grid = _inner_grid(outer, means, None, np.inf)
    mass = np.zeros((len(distinct), len(grid)))
    for tau, density in parts:
        mass += density * means.weight @ columns(means, grid.theta, tau).T
    return _laws(np.arange(len(kinds)), grid, mass * grid.weight, row.ravel())
