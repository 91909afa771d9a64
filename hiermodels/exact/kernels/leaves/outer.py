"""Outer groups of groups with leaves: functions of the outer group's effect, tabulated.

Given τ and what covariates add, an outer group s is itself a leaf, a function of its one effect,

    F_s(μ) = Σ_{i in s} log ∫ L_i(θ) N(θ | μ + δ_i, τ²) dθ,    μ ~ N(λ, κ²).

Groups of s with the same δ make one term of it, which is tabulated on a sheet of (τ, μ), as far as
the effect is likely to be.  For a draw of τ the lines of the sheet are combined once, and then each
value costs a few places.  Farther away the integrals at those places are computed as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy import sparse

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.kernels.leaves.outer_functions import OuterFunctions, Windows
from hiermodels.exact.kernels.leaves.sheet import MuAxis, Sheet
from hiermodels.families.leaves import Leaves

LEAVES = 128  # whose integrals are computed at a time, at the same places
REACH = 9.0  # sds of the effect, as far as tables reach


@dataclass(frozen=True, eq=False)
class OuterGroups:
    """S outer groups, and M draws of all that their effects depend on.

    Attributes
    ----------
    leaves : Leaves
        n of them, those of an outer group one after the other.
    starts : (S + 1,)
        First leaf of each outer group, and n.
    row : (n,)
        Which of the shifts each has.
    shifts : (D, M)
        δ of each draw.
    tau, lam, kappa : (M,)
    """

    leaves: Leaves
    starts: Indices
    row: Indices
    shifts: Floats
    tau: Floats
    lam: Floats
    kappa: Floats

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def terms(self) -> tuple[Indices, Indices, Indices]:
        """First term of each outer group and their number, the shift of each, each leaf's term.

        Shapes (S + 1,), (t,), (n,).
        """
        parent = np.repeat(np.arange(len(self)), np.diff(self.starts))
        keys = np.stack([parent, self.row], axis=1)
        distinct, term_of = np.unique(keys, axis=0, return_inverse=True)
        starts = np.searchsorted(distinct[:, 0], np.arange(len(self) + 1))
        return starts, distinct[:, 1], term_of.ravel()

    def values(self, group: int, mu: Floats, draws: Indices) -> Floats:
        """``F_s`` at μ (m, J) of m of the draws, without a sheet; (m, J)."""
        own, total = np.arange(*self.starts[group : group + 2]), np.zeros(mu.size)
        tau = np.repeat(self.tau[draws], mu.shape[1])
        for row in np.unique(self.row[own]):
            leaves, leaf_of = self.leaves.take(own[self.row[own] == row]).distinct()
            moved = (mu + self.shifts[row, draws][:, None]).ravel()
            log_integrals = LeafIntegrals.of(leaves).log_integrals(moved, tau)
            total += np.bincount(leaf_of, minlength=len(leaves)) @ log_integrals
        return total.reshape(mu.shape)

    def about(self, group: int, draws: Indices) -> tuple[Floats, Floats]:
        """About where ``F_s`` lies and its information, as of normal leaves; (m,) each."""
        own = np.arange(*self.starts[group : group + 2])
        leaves, tiny = self.leaves.take(own), np.finfo(float).tiny
        variance = 1 / leaves.information + self.tau[draws, None] ** 2
        weight = (leaves.falls_below | leaves.falls_above) / variance
        place = leaves.centre - self.shifts[self.row[own]][:, draws].T
        information = weight.sum(axis=1)
        return (weight * place).sum(axis=1) / np.maximum(information, tiny), information

    @cached_property
    def ranges(self) -> Floats:
        """Ends of u between which effects, moved by the shift of a term, are likely; (t, 2).

        They are those of normal leaves, and also λ's where the leaves may fall to one side only.
        """
        starts, rows, _ = self.terms
        ranges, axis = np.empty((len(rows), 2)), MuAxis.of(self.leaves)
        for group in range(len(self)):
            low, high = self._likely(group)
            for term in range(starts[group], starts[group + 1]):
                shift = self.shifts[rows[term]]
                ranges[term, 0] = axis.u(low + shift, self.tau).min()
                ranges[term, 1] = axis.u(high + shift, self.tau).max()
        return ranges

    def _likely(self, group: int) -> tuple[Floats, Floats]:
        own, variance = slice(*self.starts[group : group + 2]), self.kappa**2
        centre, information = self.about(group, np.arange(len(self.tau)))
        ratio = variance * information
        place = (self.lam + ratio * centre) / (1 + ratio)
        reach = REACH * self.kappa / np.sqrt(1 + ratio)
        low, high = place - reach, place + reach
        certain = self.leaves.log_concave
        if not (certain and self.leaves.falls_below[own].any()):
            low = np.minimum(low, self.lam - REACH * self.kappa)
        if not (certain and self.leaves.falls_above[own].any()):
            high = np.maximum(high, self.lam + REACH * self.kappa)
        return low, high


@dataclass(frozen=True, eq=False)
class OuterTables:
    """Tables of all terms of outer groups.

    Attributes
    ----------
    groups : OuterGroups
    sheet : Sheet
    values : (t, intervals, lines, size)
        Not a number, where effects are not likely.
    """

    groups: OuterGroups
    sheet: Sheet
    values: Floats

    @classmethod
    def of(cls, groups: OuterGroups, finer: tuple[float, float]) -> Self:
        """Tabulate all terms, on a sheet that is finer than usual by some ratios."""
        ranges, (_, rows, term_of) = groups.ranges, groups.terms
        ends = float(ranges[:, 0].min()), float(ranges[:, 1].max())
        sheet = Sheet.around(groups.leaves, groups.tau, ends, finer)
        leaves, leaf_of = groups.leaves.distinct()
        begin, end = sheet.window(ranges[term_of])
        first, last = np.full(len(leaves), sheet.size), np.zeros(len(leaves), dtype=np.intp)
        np.minimum.at(first, leaf_of, begin)
        np.maximum.at(last, leaf_of, end)
        order = np.argsort(first + last, kind="stable")
        counts = sparse.coo_array((np.ones(len(leaf_of)), (term_of, leaf_of))).tocsc()[:, order]
        shape = sheet.intervals * sheet.lines, sheet.size
        values = np.zeros((len(rows), shape[0] * shape[1]))
        for part in np.split(np.arange(len(leaves)), range(LEAVES, len(leaves), LEAVES)):
            some = order[part]
            kept = int(first[some].min()), int(last[some].max())
            own = np.full((len(some), *shape), np.nan)
            integrals = LeafIntegrals.of(leaves.take(some)).log_integrals(*sheet.points(*kept))
            own[:, :, slice(*kept)] = integrals.reshape(len(some), shape[0], -1)
            values += counts[:, part].tocsr() @ own.reshape(len(some), -1)
        return cls(groups, sheet, values.reshape(-1, sheet.intervals, sheet.lines, sheet.size))

    @cached_property
    def across(self) -> tuple[Indices, Floats]:
        """Interval of each draw's τ (M,), and what its lines add (M, lines)."""
        return self.sheet.across(self.groups.tau)

    def functions(self, some: Indices, draws: Indices) -> OuterFunctions:
        """Functions of some outer groups (g,) at draws (m,) in the order of τ; g·m."""
        groups, m = self.groups, len(draws)
        starts, rows, _ = groups.terms
        terms = np.concatenate([np.arange(starts[s], starts[s + 1]) for s in some])
        begin, end = self.sheet.window(groups.ranges[terms])
        size = min(int((end - begin).max()), self.sheet.size)
        begin = np.minimum(begin, self.sheet.size - size)
        lines = np.empty((len(terms), m, size))
        interval, shares = (own[draws] for own in self.across)
        edges = np.searchsorted(interval, np.arange(self.sheet.intervals + 1))
        for i in np.flatnonzero(np.diff(edges)):
            here = slice(edges[i], edges[i + 1])
            for line, term, first in zip(lines, terms, begin, strict=True):
                line[here] = shares[here] @ self.values[term, i, :, first : first + size]
        n_terms = starts[some + 1] - starts[some]
        nth = np.minimum(np.arange(n_terms.max()), n_terms[:, None] - 1)
        own = np.cumsum(n_terms)[:, None] - n_terms[:, None] + nth
        windows = Windows(
            lines.reshape(-1, size),
            (own[:, None, :] * m + np.arange(m)[:, None]).reshape(-1, own.shape[1]),
            np.repeat(begin[own], m, axis=0),
            groups.shifts[rows[terms[own]]][:, :, draws].swapaxes(1, 2).reshape(-1, own.shape[1]),
            np.repeat(np.arange(own.shape[1]) < n_terms[:, None], m, axis=0),
        )
        about = zip(*(groups.about(s, draws) for s in some), strict=True)
        centre, information = (np.concatenate(values) for values in about)
        each = np.repeat(some, m), np.tile(draws, len(some))
        return OuterFunctions(
            groups.values, self.sheet, groups.tau, windows, *each, centre, information
        )

    def error(self, some: Indices, draws: Indices, mu: Floats) -> float:
        """Largest error at μ (g, m), for draws in the order of τ: of lines, or beyond these."""
        functions, theta = self.functions(some, draws), mu.reshape(-1, 1)
        right = np.concatenate(
            [self.groups.values(s, own[:, None], draws) for s, own in zip(some, mu, strict=True)]
        )
        beyond, *_ = functions.without_lines(theta, np.arange(len(theta)))
        found = functions.log_likelihood(theta), beyond
        return max(float(np.abs(own - right).max()) for own in found)
