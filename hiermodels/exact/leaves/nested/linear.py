"""Distribution functions of coefficients, and of what is normal around them given κ and τ."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.coordinates import LINEAR
from hiermodels.exact.leaves.linear import NEGLIGIBLE, LinearLaw
from hiermodels.exact.leaves.nested.posterior import NestedPosterior

LIGHTEST = 1e-15  # weight of a node, of all, with covariates


def linear_law(posterior: NestedPosterior, x: Floats, sd: Floats) -> LinearLaw:
    """The law of ``x'γ`` of nodes that are not negligible.

    Of β alone nodes with the same τ and β count as one.

    Parameters
    ----------
    posterior : NestedPosterior
    x : (p,)
    sd : (J,)
        Of effects around it at each node of the lattice.
    """
    weights, coordinates = posterior.lattice.weights, posterior.coordinates
    slopes = coordinates.of_coefficients[: posterior.model.n_slopes]
    some = coordinates.of_coefficients
    nodes = np.flatnonzero(weights > (LIGHTEST if len(slopes) else NEGLIGIBLE))
    weight, gamma = weights[nodes], posterior.gamma[nodes]
    if len(slopes) and not sd.any() and not x[: len(x) - len(slopes)].any():
        keys = np.column_stack([posterior.sds[nodes, 1], posterior.model.slopes_of(gamma)])
        _, first, line = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        weight, gamma, nodes = np.bincount(line.ravel(), weight), gamma[first], nodes[first]
    whitening = coordinates.whitening(posterior.sds[nodes])
    step = posterior.lattice.step[np.ix_(some, some)]
    return LinearLaw.at_nodes(weight, sd[nodes], gamma, whitening, step, x)


def line_law(posterior: NestedPosterior, nodes: Indices) -> LinearLaw:
    """The law of the mean of outer effects at the middle, of nodes with the same τ and β (J',).

    It is ``b + c·3 sinh(t/3)`` with the coordinate t of λ; known, without an intercept.
    """
    kappa, mu = posterior.sds[nodes, 0], posterior.mean[nodes]
    weight, nothing = posterior.lattice.weights[nodes], np.zeros(len(nodes))
    if not posterior.model.has_intercept:
        return LinearLaw(weight, kappa, mu, nothing, nothing, mu, nothing)
    c = posterior.coordinates.whitening(posterior.sds[nodes]).c[:, 0, -1]
    t = posterior.lattice.points[nodes, -1]
    spacing = np.full(len(nodes), posterior.lattice.step[-1, -1])
    return LinearLaw(weight, kappa, mu, t, spacing, mu - c * LINEAR * np.sinh(t / LINEAR), c)
