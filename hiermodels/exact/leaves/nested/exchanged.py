"""Groups with another leaf, left out, or once more, of three levels; and outer groups.

A group i whose effect has the mean μ has the integral ``m_i(μ, τ)``.  With another leaf in
its place, all is likelier by

    ∫ Π … m'_i / ∫ Π … m_i = E[m'_i(μ, τ)/m_i(μ, τ) | y],

the mean over the posterior of τ and of μ; left out, ``m'_i`` is 1.  A whole outer
group s without its rows is so by

    Σ_j W_j/M_sj,    M_sj = ∫ exp(F_s(μ)) N(μ | λ_j, κ_j²) dμ.
"""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.nested.groups import exact_integrals, small_integrals
from hiermodels.exact.leaves.nested.outer_densities import OuterDensities
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

    def less(tau: float, mu: Floats) -> Floats:
        divide_by = exact_integrals if kinds.x.size else small_integrals
        return divide_by(kinds.integrals, mu, np.full(len(mu), tau))[kinds.leaf[entry]]

    grid, parts = outer.means(kinds.kind[entry], kinds.x[entry], less)
    for tau, density in parts:
        at = grid.theta, np.full(len(grid), tau)
        other = np.exp(integrals.log_integrals(*at, far=False))
        sums += (density * other[leaf]) @ grid.weight
    return np.log(np.maximum(sums, SMALLEST))[pair_of.ravel()]


@one_blas_thread()
def further_groups(posterior: NestedPosterior, outer: OuterDensities) -> Floats:
    """Log density of each group's rows in a further group beside it, ``log E[m_i]``; (k,)."""
    kinds = posterior.marginal.kinds
    sums = np.zeros(len(kinds.leaf))
    grid, parts = outer.means(
        kinds.kind,
        kinds.x,
        lambda tau, mu: -kinds.small_integrals(mu, np.full(len(mu), tau))[kinds.leaf],
    )
    for _, density in parts:
        sums += density @ grid.weight
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
    for line, nodes in posterior.marginal.lines(posterior.sds, posterior.gamma):
        own = power * line.log_integrals(posterior.mean[nodes], posterior.sds[nodes, 0])
        for row, weight in zip(sums, log_weight[:, nodes], strict=True):
            row[:] = np.logaddexp(row, np.logaddexp.reduce(weight + own, axis=1))
    return sums[:, kinds.kind_of]
