"""The posterior of one group's effect at each of many nodes, as masses at places.

    L(θ) N(θ | μ_j, τ_j²)/m_j

at places of the kinds that serve the integral m_j (:mod:`.integral`), but nearer to each other:
sums over them of functions that bend as much as the posterior itself are exact to rounding, not
only sums of smooth ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import PAIR_SIZE, LeafBlock, brink, parts_of
from hiermodels.exact.kernels.leaves.mode_centred import pair_shares
from hiermodels.exact.kernels.leaves.prior_centred import node_places
from hiermodels.families.leaves import Leaves

NOTHING = 1e-20  # mass of a place
FINER = 2.0  # places for each place of the grid of the integrals
STEP = 0.45  # of places that are a node's own, in sds of the integrand


@dataclass(frozen=True)
class NodeMasses:
    """Masses at places of some nodes, of sum 1 for each node.

    Attributes
    ----------
    nodes : (T,)
        Which node each belongs to.
    theta, mass : (T,)
    """

    nodes: Indices
    theta: Floats
    mass: Floats

    def seen(self) -> NodeMasses:
        """Those that are not negligible."""
        kept = self.mass > NOTHING
        return NodeMasses(self.nodes[kept], self.theta[kept], self.mass[kept])


def node_masses(leaf: Leaves, mu: Floats, tau: Floats) -> Iterator[NodeMasses]:
    """Yield the masses of one group's effect at nodes (J,), some nodes at a time.

    Parameters
    ----------
    leaf : Leaves
        A single one.
    mu, tau : (J,)
    """
    low, high = leaf.bend_range[0]
    block = LeafBlock(leaf, np.zeros(1, dtype=np.intp), leaf.step[0] / FINER, (low, high))
    wide = block.on_grid(mu, tau / FINER)
    apart = np.zeros(len(mu), dtype=bool)
    table = block.table(mu[wide], tau[wide])
    for nodes in parts_of(np.flatnonzero(wide), len(table.grid)):
        mass = table.values[0][:, None] * table.grid.normal_columns(mu[nodes], tau[nodes])
        total = mass.sum(axis=0)
        if leaf.log_concave:
            apart[nodes] = total < np.exp(brink(tau[nodes]))
        kept = ~apart[nodes]
        mass = mass[:, kept] / total[kept]
        theta = np.broadcast_to(table.grid.theta[:, None], mass.shape)
        owner = np.broadcast_to(nodes[kept], mass.shape)
        yield NodeMasses(owner.ravel(), theta.ravel(), mass.ravel()).seen()
    yield from _of_narrow(leaf, np.flatnonzero(~wide), mu, tau)
    yield from _of_pairs(leaf, np.flatnonzero(apart), mu, tau)


def _of_narrow(leaf: Leaves, narrow: Indices, mu: Floats, tau: Floats) -> Iterator[NodeMasses]:
    """Masses of nodes with places around μ."""
    for places in node_places(leaf, mu[narrow], tau[narrow], STEP):
        counts = np.diff(np.append(places.starts, len(places.theta)))
        mass = np.exp(places.log_terms(leaf)[1][0])
        yield NodeMasses(narrow[np.repeat(places.nodes, counts)], places.theta, mass).seen()


def _of_pairs(leaf: Leaves, apart: Indices, mu: Floats, tau: Floats) -> Iterator[NodeMasses]:
    """Masses of nodes with places around the mode."""
    for nodes in parts_of(apart, PAIR_SIZE):
        leaves = leaf.take(np.zeros(len(nodes), dtype=np.intp))
        theta, mass = pair_shares(leaves, mu[nodes], tau[nodes])
        yield NodeMasses(np.repeat(nodes, theta.shape[1]), theta.ravel(), mass.ravel()).seen()
