"""Distribution functions of the groups' effects.

The posterior density of an effect is

    p(θ | y) = L_i(θ) Σ_j (W_j/m_ij) N(θ | μ_j, τ_j²),

where the sum stands for an integral over μ at each τ.  Where τ is narrower than the spacing of the
nodes, their normal densities would be a comb: there each is replaced by what band-limited
interpolation between the nodes makes of it,

    E_z[sinc((v(θ + τz) − v_j)/h)/h · dv/dμ],    z ~ N(0, 1).

The density is taken on even places of a transformed θ, fine enough that its sinc interpolant is the
density itself; so the distribution function is an integral of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.grid import BEND, ThetaGrid
from hiermodels.exact.kernels.leaves.integral import LeafBlock
from hiermodels.exact.leaves.effect_law import (
    CORE,
    FINE,
    HEAVY,
    NOTHING,
    REACH,
    WIDE,
    EffectLaws,
    cores,
)
from hiermodels.exact.leaves.elsewhere import laws_elsewhere
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.leaves import Leaves

LOWEST = -600.0  # log of an integral
MANY = 4000  # even places


def effect_laws(
    posterior: LeafPosterior, groups: Indices | None = None, at: Floats | None = None
) -> Iterator[EffectLaws]:
    """Yield the laws of the effects of all groups, or of some.

    Parameters
    ----------
    posterior : LeafPosterior
    groups : (g,), optional
    at : (k, p), optional
        Covariates at which the effects are, a row for each group of the model: effects are
        ``θ_i + (at_i − x_i)'γ``.  By default the groups' own.
    """
    wanted = np.arange(len(posterior.model.leaves)) if groups is None else groups
    if at is None:
        yield from _own_laws(posterior, wanted)
        return
    for laws in predictor_laws(posterior, wanted, at[wanted]):
        yield replace(laws, groups=wanted[laws.groups])


def predictor_laws(posterior: LeafPosterior, members: Indices, x: Floats) -> Iterator[EffectLaws]:
    """Yield the laws of linear predictors ``θ_i + (x − x_i)'γ`` of rows of known groups.

    The laws' ``groups`` are the rows.

    Parameters
    ----------
    posterior : LeafPosterior
    members : (r,)
        Whose row each is.
    x : (r, p)
        Covariates of the rows.
    """
    is_own = (x == posterior.model.x[members]).all(axis=1)
    own, others = np.flatnonzero(is_own), np.flatnonzero(~is_own)
    for laws in _own_laws(posterior, np.unique(members[own])):
        row, law = np.nonzero(members[own][:, None] == laws.groups)
        yield EffectLaws(own[row], laws.grid, laws.mass[law])
    for laws in laws_elsewhere(posterior, members[others], x[others]):
        yield replace(laws, groups=others[laws.groups])


@one_blas_thread()
def _own_laws(posterior: LeafPosterior, wanted: Indices) -> Iterator[EffectLaws]:
    """Yield the laws of the effects of some groups, at their own covariates."""
    for alike in posterior.model.alike:
        own = np.isin(alike.groups, wanted)
        if not own.any():
            continue
        law = LinearLaw.of(posterior, alike.x)
        log_integrals = alike.integrals.log_integrals(law.mu, law.tau)
        for block in alike.integrals.blocks:
            members = np.isin(alike.leaf_of, block.groups) & own
            if not members.any():
                continue
            row_of = np.full(len(alike.counts), -1)
            row_of[block.groups] = np.arange(len(block.groups))
            rows = row_of[alike.leaf_of[members]]
            used, inverse = np.unique(rows, return_inverse=True)
            grid, mass = _masses(law, block, used, log_integrals[block.groups[used]])
            yield EffectLaws(alike.groups[members], grid, mass[inverse])


def _masses(
    law: LinearLaw, block: LeafBlock, rows: Indices, log_integrals: Floats
) -> tuple[ThetaGrid, Floats]:
    """A grid, and the posterior masses of the effects of some leaves of a block on it."""
    leaves = block.leaves.take(rows)
    grid = _grid(law, leaves, block.step)
    shares = law.weight * np.exp(-np.maximum(log_integrals, LOWEST))
    mass = np.exp(leaves.log_likelihood(grid.theta)) * (shares @ law.columns(grid.theta).T)
    mass *= grid.weight
    seen = np.flatnonzero(mass.max(axis=0) > NOTHING)
    kept = slice(seen[0], seen[-1] + 1)
    return grid.part(kept), mass[:, kept]


def _grid(law: LinearLaw, leaves: Leaves, step: float) -> ThetaGrid:
    """Places that are as fine as the effects' densities are narrow, and reach as far.

    Where ``x'γ`` is known, as it is 0 without coefficients, small values of τ put a peak there that
    is as narrow as they are.  Places are then even across the narrowest, and beyond it move apart
    in proportion to the distance, so that densities given any τ and a likelihood elsewhere have
    places enough.
    """
    _, line = np.unique(law.tau, return_inverse=True)
    mass = np.bincount(line, law.weight)
    first = np.bincount(line, law.weight * law.mu) / mass
    variance = np.bincount(line, law.weight * (law.mu - first[line]) ** 2) / mass
    width2 = np.bincount(line, law.tau**2 * law.weight) / mass + variance
    heavy = mass > HEAVY
    sd = leaves.information**-0.5
    narrowest = np.sqrt(1 / (1 / width2[heavy].min() + 1 / sd.min() ** 2))
    step = min(step, FINE * narrowest)
    narrow = heavy & (width2 < (WIDE * step) ** 2)
    width = CORE * np.sqrt(width2[narrow])
    below, above = cores(leaves)
    low = np.min([*below, *(first[narrow] - width)])
    high = np.max([*above, *(first[narrow] + width)])
    ends = (law.mu - REACH * law.tau).min(), (law.mu + REACH * law.tau).max()
    ends = min(low, ends[0]), max(high, ends[1])
    if high - low < MANY * step:
        return ThetaGrid.of((low, high), ends, step)
    peak = first[heavy][width2[heavy].argmin()]
    places = [leaves.centre] if leaves.log_concave else [leaves.centre, below, above]
    bend = FINE * np.min(sd / (np.abs(np.stack(places) - peak) + sd))
    even = peak - CORE * narrowest, peak + CORE * narrowest
    return ThetaGrid.of(even, ends, step, min(bend, BEND))
