"""Distribution functions of λ, and of what is normal around it given κ and τ."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.linear import NEGLIGIBLE, LinearLaw
from hiermodels.exact.leaves.nested.posterior import NestedPosterior


def linear_law(
    posterior: NestedPosterior, x: Floats, sd: Floats, nodes: Indices | None = None
) -> LinearLaw:
    """The law of ``xλ`` of nodes that are not negligible, or of those given.

    Parameters
    ----------
    posterior : NestedPosterior
    x : (p,)
        Of the coefficients: there is λ, or none.
    sd : (J,)
        Of effects around it at each node of the lattice.
    nodes : (J',), optional
    """
    weights, coordinates = posterior.lattice.weights, posterior.coordinates
    if nodes is None:
        nodes = np.flatnonzero(weights > NEGLIGIBLE)
    sds, whitening = coordinates.n_sds, coordinates.whitening(posterior.sds[nodes])
    step = posterior.lattice.step[sds:, sds:]
    gamma = posterior.gamma[nodes]
    return LinearLaw.at_nodes(weights[nodes], sd[nodes], gamma, whitening, step, x)
