"""Means and sds of effects of both levels, from the masses of outer effects on lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.given_nodes import means_given_nodes
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.masses import LineMasses

NEGLIGIBLE = 1e-16  # mass of an outer effect that tells nothing of moments


def outer_moments(kinds: Kinds, lines: Sequence[LineMasses]) -> tuple[Floats, Floats]:
    """Means and sds of the outer effects, under two sets of weights; (2, S) each."""
    first, second = np.zeros((2, 2, len(kinds)))
    for line in lines:
        first += line.mass @ line.places
    for line in lines:
        second += (line.mass * (line.places - first[..., None]) ** 2).sum(axis=2)
    kind_of = kinds.kind_of
    return first[:, kind_of], np.sqrt(np.maximum(second, 0.0))[:, kind_of]


@one_blas_thread()
def inner_moments(
    kinds: Kinds, lines: Sequence[LineMasses], function: Function
) -> tuple[Floats, Floats]:
    """Means and sds of a function of each group's effect, under two sets of weights; (2, k) each.

    Those of the effect given the outer effect are taken around its value at the leaf's centre.
    """
    origin = function(kinds.leaves.centre)

    def powers(leaves: Indices, theta: Floats) -> Floats:
        away = function(theta) - origin[leaves, None]
        return np.stack([away, away**2])

    sums = np.zeros((2, 2, len(kinds.leaf)))
    for line in lines:
        mass = line.mass[:, kinds.kind]
        needed = np.zeros((len(kinds.leaves), len(line.places)), dtype=bool)
        np.logical_or.at(needed, kinds.leaf, mass[0] > NEGLIGIBLE)
        tau = np.full(len(line.places), line.line.table.tau)
        means = means_given_nodes(kinds.integrals, line.places, tau, powers, needed)
        sums += np.einsum("mek,qek->qme", mass, means[:, kinds.leaf])
    mean, entry_of = sums[0], kinds.entry_of
    sd = np.sqrt(np.maximum(sums[1] - mean**2, 0.0))
    return (mean + origin[kinds.leaf])[:, entry_of], sd[:, entry_of]
