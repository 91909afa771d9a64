"""Outer groups that are alike, of inner groups that are alike and have the same covariates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.families.leaves import Leaves

LOWEST = -150.0  # log of an inner integral that need not be exact, less than a grid keeps


@dataclass(frozen=True, eq=False)
class Kinds:
    """Outer groups of S' kinds, whose inner groups have u distinct leaves.

    A kind is a list of leaves and covariates, each with how often they occur; E entries in all.

    Attributes
    ----------
    leaves : Leaves
        u of them.
    x : (E, q)
        Covariates of each entry, less the middle of all groups'.
    kind_of : (S,)
        The kind of each outer group.
    starts : (S',)
        First entry of each kind.
    leaf, count : (E,)
        Which leaf, and how often.
    entry_of : (k,)
        The entry of each inner group.
    """

    leaves: Leaves
    x: Floats
    kind_of: Indices
    starts: Indices
    leaf: Indices
    count: Floats
    entry_of: Indices

    @classmethod
    def of(cls, model: NestedModel) -> Self:
        """Find the kinds: outer groups are alike if their inner groups are, in any order."""
        leaves, leaf_of = model.leaves.distinct()
        rows, row_of = np.unique(model.slopes_x - model.middle, axis=0, return_inverse=True)
        what = leaf_of * len(rows) + row_of.ravel()
        pairs, pair_of, counts = np.unique(
            np.stack([model.parent, what]), axis=1, return_inverse=True, return_counts=True
        )
        ends = np.searchsorted(pairs[0], np.arange(model.n_outer + 1))
        first_of: dict[bytes, int] = {}
        kind_of = np.empty(model.n_outer, dtype=np.intp)
        shift = np.empty(model.n_outer, dtype=np.intp)
        kept: list[Indices] = []
        starts: list[int] = []
        size = 0
        for s, (low, high) in enumerate(pairwise(ends)):
            key = pairs[1, low:high].tobytes() + counts[low:high].tobytes()
            if key not in first_of:
                first_of[key] = len(starts)
                kept.append(np.arange(low, high))
                starts.append(size)
                size += high - low
            kind_of[s] = first_of[key]
            shift[s] = starts[kind_of[s]] - low
        entries = np.concatenate(kept)
        entry_of = pair_of.ravel() + shift[model.parent]
        leaf, row = np.divmod(pairs[1, entries].astype(np.intp), len(rows))
        own = leaf, counts[entries].astype(float), entry_of
        return cls(leaves, rows[row], kind_of, np.array(starts, dtype=np.intp), *own)

    def __len__(self) -> int:
        return len(self.starts)

    @cached_property
    def integrals(self) -> LeafIntegrals:
        """Of the inner groups' distinct leaves over their effects."""
        return LeafIntegrals.of(self.leaves)

    @cached_property
    def multiplicity(self) -> Floats:
        """How many outer groups are of each kind; (S',)."""
        return np.bincount(self.kind_of, minlength=len(self)).astype(float)

    @cached_property
    def sizes(self) -> Floats:
        """Inner groups of each kind; (S',)."""
        return np.add.reduceat(self.count, self.starts)

    @cached_property
    def origin(self) -> Floats:
        """About where each kind lies; (S',)."""
        information = self.leaves.information
        return self.sums(information * self.leaves.centre) / self.sums(information)

    @cached_property
    def kind(self) -> Indices:
        """The kind that each entry belongs to; (E,)."""
        return np.repeat(np.arange(len(self)), np.diff(np.append(self.starts, len(self.leaf))))

    def small_integrals(self, mu: Floats, tau: Floats) -> Floats:
        """Log integrals of the leaves at nodes (J,), see :func:`small_integrals`; (u, J)."""
        return small_integrals(self.integrals, mu, tau)

    def sums(self, values: Floats) -> Floats:
        """Sums over the inner groups of each kind, of values of the leaves (u, ...); (S', ...)."""
        return self.sums_of_entries(values[self.leaf])

    def sums_of_entries(self, own: Floats) -> Floats:
        """The same of values of the entries (E, ...), which are overwritten; (S', ...)."""
        own *= self.count.reshape(-1, *[1] * (own.ndim - 1))
        return np.add.reduceat(own, self.starts, axis=0)


def small_integrals(integrals: LeafIntegrals, mu: Floats, tau: Floats) -> Floats:
    """Log integrals at nodes (J,), of which those that are negligible are about as small; (k, J).

    They are above ``LOWEST``, and exact above the kernel's ``brink``, of integrals of width τ.
    """
    return np.maximum(integrals.log_integrals(mu, tau, far=False), LOWEST - np.log1p(tau))


def exact_integrals(integrals: LeafIntegrals, mu: Floats, tau: Floats) -> Floats:
    """The same, exact above ``LOWEST``: to divide what is exact by them; (k, J)."""
    return np.maximum(integrals.log_integrals(mu, tau), LOWEST - np.log1p(tau))
