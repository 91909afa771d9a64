"""Groups with another leaf, or left out, and outer groups left out, of three levels.

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
def leave_out_outer(posterior: NestedPosterior) -> Floats:
    """Log density of the rows of each outer group given all others, over all and half; (2, S)."""
    kinds, model = posterior.marginal.kinds, posterior.model
    log_weight = np.log(np.maximum(posterior.both_weights, SMALLEST))
    sums = np.full((2, len(kinds)), -np.inf)
    for line, nodes in posterior.marginal.lines(posterior.sds):
        own = line.log_integrals(posterior.mean[nodes], posterior.sds[nodes, 0])
        for row, weight in zip(sums, log_weight[:, nodes], strict=True):
            row[:] = np.logaddexp(row, np.logaddexp.reduce(weight - own, axis=1))
    constant = np.bincount(model.parent, model.leaves.constant, model.n_outer)
    return np.asarray(constant - sums[:, kinds.kind_of])
