"""The posterior with the leaf of one group exchanged for another.

With ``m_ij`` the integral of the leaf of group i at node j, and ``m'_ij`` that of another leaf,

    ∫ Π_h≠i m_h · m'_i p(τ, γ) / ∫ Π_h m_h p(τ, γ) = Σ_j W_j m'_ij/m_ij.

With further rows of the group in the other leaf this is their probability given the data; with some
of its rows left out, one over the density of these given the others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.leaves import Leaves

MAX_NUMBERS = 1 << 21  # integrals that are held at a time
LIGHTEST = 1e-300  # weight whose logarithm is taken


@one_blas_thread()
def log_ratios(posterior: LeafPosterior, groups: Indices, leaves: Leaves) -> tuple[Floats, Floats]:
    """``log Σ_j W_j m'_j/m_gj`` for leaves in the place of groups' own, and its error; (V,) each.

    Suprema of leaves count as 1.  The error is the difference from the sum over half of the nodes,
    to the power at which that is about the sum's own.

    Parameters
    ----------
    posterior : LeafPosterior
    groups : (V,)
        In whose place each is, with the group's covariates.
    leaves : Leaves
        V of them.
    """
    found = np.empty((2, len(groups)))
    for alike, own in posterior.log_integrals(groups):
        leaf_of = np.full(len(posterior.model.leaves), -1)
        leaf_of[alike.groups] = alike.leaf_of
        here = np.flatnonzero(leaf_of[groups] >= 0)
        if len(here):
            nodes = posterior.both_weights, posterior.gamma @ alike.x, posterior.tau
            found[:, here] = _ratios(*nodes, own, leaf_of[groups[here]], leaves.take(here))
    return _with_error(found, posterior.marginal.coordinates.dimension)


@one_blas_thread()
def log_means(posterior: LeafPosterior, leaves: Leaves, x: Floats) -> tuple[Floats, Floats]:
    """``log Σ_j W_j m'_j`` for leaves of new groups with covariates (p,), and its error; (V,) each.

    It is their log probability, but for their constants.
    """
    nodes = posterior.both_weights, posterior.gamma @ x, posterior.tau
    return _with_error(new_ratios(*nodes, leaves), posterior.marginal.coordinates.dimension)


def new_ratios(weights: Floats, linear: Floats, sd: Floats, leaves: Leaves) -> Floats:
    """``log Σ_j W_j m'_j`` of effects ``N(linear_j, sd_j²)`` under weights (2, J); (2, V)."""
    none, nothing = np.zeros((1, len(linear))), np.zeros(len(leaves), dtype=np.intp)
    return _ratios(weights, linear, sd, none, nothing, leaves)


def _with_error(both: Floats, dimension: int) -> tuple[Floats, Floats]:
    """Sums over all nodes, and errors, from sums over all and over half of the nodes (2, V)."""
    return both[0], np.abs(both[1] - both[0]) ** (2 / np.sqrt(max(dimension, 1)))


def _ratios(
    weights: Floats, linear: Floats, sd: Floats, own: Floats, own_of: Indices, leaves: Leaves
) -> Floats:
    """Logarithms of sums over all nodes and over half of them; (2, V)."""
    log_weights = np.log(np.maximum(weights, LIGHTEST))
    distinct, which = leaves.distinct()
    pairs, pair_of = np.unique(np.stack([which, own_of], axis=1), axis=0, return_inverse=True)
    found = np.empty((2, len(pairs)))
    for some in _parts(len(pairs), len(linear)):
        leaf, group = pairs[some].T
        used, place = np.unique(leaf, return_inverse=True)
        integrals = LeafIntegrals.of(distinct.take(used)).log_integrals(linear, sd)
        ratio = integrals[place] - own[group]
        for row, weight in zip(found, log_weights, strict=True):
            row[some] = np.logaddexp.reduce(ratio + weight, axis=1)
    return found[:, pair_of.ravel()]


def _parts(size: int, nodes: int) -> Iterator[slice]:
    step = max(1, MAX_NUMBERS // nodes)
    for first in range(0, size, step):
        yield slice(first, first + step)
