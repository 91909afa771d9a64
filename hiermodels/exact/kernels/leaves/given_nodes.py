"""Means of functions of each group's effect, given each of many nodes.

    E[f(θ_i) | y_i, μ_j, τ_j] = ∫ f(θ) L_i(θ) N(θ | μ_j, τ_j²) dθ / m_ij

at the same places as the integrals m_ij (:mod:`.integral`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.leaves.integral import (
    PAIR_SIZE,
    LeafBlock,
    LeafIntegrals,
    brink,
    parts_of,
)
from hiermodels.exact.kernels.leaves.mode_centred import pair_shares
from hiermodels.exact.kernels.leaves.prior_centred import node_places

type Functions = Callable[[Indices, Floats], Floats]
"""From groups (g,) and effects (Z,) or (g, Z) to values (q, g, Z)."""


def means_given_nodes(
    integrals: LeafIntegrals, mu: Floats, tau: Floats, functions: Functions, needed: Flags
) -> Floats:
    """Means of q functions of the effects of k groups at J nodes; (q, k, J).

    Parameters
    ----------
    integrals : LeafIntegrals
    mu, tau : (J,)
    functions : callable
    needed : (k, J)
        Which of them are.  Others may be anything finite where integrals are negligible.
    """
    blocks = [_means_of(b, mu, tau, functions, needed[b.groups]) for b in integrals.blocks]
    means = np.empty((len(blocks[0]), len(integrals.leaves), len(mu)))
    for block, own in zip(integrals.blocks, blocks, strict=True):
        means[:, block.groups] = own
    return means


def _means_of(
    block: LeafBlock, mu: Floats, tau: Floats, functions: Functions, needed: Flags
) -> Floats:
    wide = block.on_grid(mu, tau)
    table = block.table(mu[wide], tau[wide])
    products = _products(table.values, functions(block.groups, table.grid.theta))
    means, far = np.zeros((len(products), *needed.shape)), np.zeros(needed.shape, dtype=bool)
    for nodes in parts_of(np.flatnonzero(wide), len(table.grid) + products[..., 0].size):
        columns = table.grid.normal_columns(mu[nodes], tau[nodes])
        total = table.values @ columns
        means[:, :, nodes] = products @ columns / np.where(total > 0, total, 1.0)
        far[:, nodes] = total < np.exp(brink(tau[nodes]))
    narrow = np.flatnonzero(~wide)
    for places in node_places(block.leaves, mu[narrow], tau[narrow]):
        shares = np.exp(places.log_terms(block.leaves)[1])
        values = _products(shares, functions(block.groups, places.theta))
        means[:, :, narrow[places.nodes]] = places.sums(values)
    groups, nodes = np.nonzero(far & needed & block.leaves.log_concave)
    for some in parts_of(np.arange(len(groups)), PAIR_SIZE):
        leaves = block.leaves.take(groups[some])
        theta, shares = pair_shares(leaves, mu[nodes[some]], tau[nodes[some]])
        values = _products(shares, functions(block.groups[groups[some]], theta))
        means[:, groups[some], nodes[some]] = values.sum(axis=-1)
    return means


def _products(shares: Floats, values: Floats) -> Floats:
    """Shares (g, Z) of values (q, g, Z), which may be infinite where there is no share."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(shares > 0, shares * values, 0.0)
