"""Groups with another leaf, left out, or once more, of three levels; and outer groups.

A group i within an outer group with effect μ has the integral ``m_i(μ, τ)``.  With another leaf in
its place, all is likelier by

    ∫ Π … m'_i / ∫ Π … m_i = E[m'_i(μ, τ)/m_i(μ, τ) | y],

the mean over the posterior of τ and of the outer effect; left out, ``m'_i`` is 1.  A whole outer
group s without its rows is so by

    Σ_j W_j/M_sj,    M_sj = ∫ exp(F_s(μ)) N(μ | λ_j, κ_j²) dμ.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.nested.effects import OuterDensities
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.families.leaves import Leaves

SMALLEST = 1e-300  # sum whose logarithm is taken


@one_blas_thread()
def log_ratios(
    posterior: NestedPosterior, outer: OuterDensities, groups: Indices, leaves: Leaves
) -> Floats:
    """``log E[m'/m]``; (V,).  Suprema of leaves count as 1.

    Parameters
    ----------
    posterior : NestedPosterior
    outer : OuterDensities
    groups : (V,)
        In whose place each leaf is.
    leaves : Leaves
        V of them.
    """
    kinds = posterior.marginal.kinds
    distinct, which = leaves.distinct()
    pairs = np.stack([which, kinds.entry_of[groups]])
    (leaf, entry), pair_of = np.unique(pairs, axis=1, return_inverse=True)
    integrals, sums = LeafIntegrals.of(distinct), np.zeros(len(leaf))
    for line in outer.lines:
        at = outer.grid.theta, np.full(len(outer.grid), line.line.table.tau)
        less = kinds.small_integrals(*at)[kinds.leaf[entry]]
        density = line.density(kinds.kind[entry], less)
        other = np.exp(integrals.log_integrals(*at, far=False))
        sums += (density * other[leaf]) @ outer.grid.weight
    return np.log(np.maximum(sums, SMALLEST))[pair_of.ravel()]


@one_blas_thread()
def further_groups(posterior: NestedPosterior, outer: OuterDensities) -> Floats:
    """Log density of each group's rows in a further group beside it, ``log E[m_i]``; (k,)."""
    kinds = posterior.marginal.kinds
    sums = np.zeros(len(kinds.leaf))
    for line in outer.lines:
        at = outer.grid.theta, np.full(len(outer.grid), line.line.table.tau)
        own = np.exp(kinds.small_integrals(*at))[kinds.leaf]
        sums += (line.density(kinds.kind) * own) @ outer.grid.weight
    own = np.log(np.maximum(sums, SMALLEST))[kinds.entry_of]
    return np.asarray(own + posterior.model.leaves.constant)


def leave_out_outer(posterior: NestedPosterior) -> Floats:
    """Log density of the rows of each outer group given all others, over all and half; (2, S)."""
    return _constant(posterior) - _log_powers(posterior, -1)


def further_outer(posterior: NestedPosterior) -> Floats:
    """Log density of each outer group's rows in a further outer group, ``log E[M_s]``; (S,)."""
    return _constant(posterior) + _log_powers(posterior, 1)[0]


def _constant(posterior: NestedPosterior) -> Floats:
    """Of the leaves of each outer group; (S,)."""
    return posterior.model.outer_sums(posterior.model.leaves.constant)


@one_blas_thread()
def _log_powers(posterior: NestedPosterior, power: int) -> Floats:
    """``log Σ_j W_j M_sj^power`` over the whole lattice and over half of it; (2, S)."""
    kinds = posterior.marginal.kinds
    log_weight = np.log(np.maximum(posterior.both_weights, SMALLEST))
    sums = np.full((2, len(kinds)), -np.inf)
    for line, nodes in posterior.marginal.lines(posterior.sds):
        own = power * line.log_integrals(posterior.mean[nodes], posterior.sds[nodes, 0])
        for row, weight in zip(sums, log_weight[:, nodes], strict=True):
            row[:] = np.logaddexp(row, np.logaddexp.reduce(weight + own, axis=1))
    return sums[:, kinds.kind_of]
