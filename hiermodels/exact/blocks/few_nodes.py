"""A few nodes that stand for the lattice in sums over very many groups.

Very many groups say nearly all there is to say of the hyperparameters, so that moments of a group's
effects hardly bend over the lattice: see :mod:`hiermodels.exact.compressed`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.compressed import Few, few_nodes, spread_out
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw, conditionals
from hiermodels.numerics.lattice import Lattice

MANY = 1000  # groups, and
MAX_WORK = 3e6  # nodes times groups, beyond which few nodes are tried


def few_nodes_of(
    marginal: BlockMarginal, lattice: Lattice, values: Values, law: CoefficientLaw
) -> Few | None:
    """Few nodes for groups' effects, if there is much work and two degrees agree.

    Parameters
    ----------
    marginal, lattice
    values, law
        At the nodes.
    """
    blocks = marginal.residual.blocks
    if blocks.sizes[-1] < MANY or len(lattice) * blocks.sizes[-1] <= MAX_WORK:
        return None
    groups = _probe_groups(blocks)
    return few_nodes(lattice, partial(_laws, marginal, values, law, groups))


def _probe_groups(blocks: Blocks) -> Indices:
    parent = blocks.parent(len(blocks.parents))
    numbers = np.concatenate([blocks.designs[:, :, blocks.design], blocks.outcome], axis=1)
    return spread_out([*numbers.reshape(-1, len(parent)), np.bincount(parent)[parent]])


def _laws(
    marginal: BlockMarginal,
    values: Values,
    law: CoefficientLaw,
    groups: Indices,
    nodes: Indices,
) -> tuple[Floats, Floats]:
    """Means and sds (n, g·p) of some groups' effects at some nodes."""
    coordinates, at, own = marginal.coordinates, values.at(nodes), law.at(nodes)
    blocks, factors = coordinates.blocks(at), coordinates.factors(at)
    mean, sd = np.empty((2, blocks.p, len(groups), len(nodes)))
    for part, level, members, given in conditionals(blocks, factors, groups):
        if level == len(blocks.parents):
            given_node = own.at(part)
            moments = given.moments(given_node.mean, given_node.covariance, given_node.sigma2)
            mean[:, members, part] = moments[0]
            sd[:, members, part] = np.sqrt(np.einsum("ppgn->pgn", moments[1]))
    return mean.reshape(-1, len(nodes)).T, sd.reshape(-1, len(nodes)).T
