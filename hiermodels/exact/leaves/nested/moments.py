"""Means and sds of effects of both levels, from the masses of outer effects on lines.

Sums are under several sets of weights of the nodes: over the whole lattice, over half of it, and
others that tell how effects and coefficients go together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.given_nodes import means_given_nodes
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.masses import LineMasses, MeanMasses

NEGLIGIBLE = 1e-16  # mass of an outer effect that tells nothing of moments


def outer_sums(kinds: Kinds, lines: Iterable[LineMasses]) -> Floats:
    """Sums of ``μ − o`` and ``(μ − o)²`` of all kinds' effects, o their origins; (2, m, S')."""
    sums: Floats = np.zeros(())
    for line in lines:
        away = line.places - kinds.origin[:, None]
        sums = sums + np.stack([(line.mass * away**n).sum(axis=2) for n in (1, 2)])
    return sums


def inner_sums(kinds: Kinds, means: Iterable[MeanMasses], function: Function) -> Floats:
    """Sums of ``f − o`` and ``(f − o)²`` of a function f of all entries' effects; (2, m, E).

    The origin o is its value at the leaf's centre.
    """
    origin = function(kinds.leaves.centre)

    def powers(leaves: Indices, theta: Floats) -> Floats:
        away = function(theta) - origin[leaves, None]
        return np.stack([away, away**2])

    sums: Floats = np.zeros(())
    for own in means:
        needed = np.zeros((len(kinds.leaves), len(own.places)), dtype=bool)
        mass = own.mass[:, own.row_of]
        np.logical_or.at(needed, kinds.leaf, mass[0] > NEGLIGIBLE)
        tau = np.full(len(own.places), own.tau)
        given = means_given_nodes(kinds.integrals, own.places, tau, powers, needed)
        sums = sums + np.einsum("mek,qek->qme", mass, given[:, kinds.leaf])
    return sums


def moments_around(origin: Floats, first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Means and sds from the first two moments around an origin."""
    return first + origin, np.sqrt(np.maximum(second - first**2, 0.0))
