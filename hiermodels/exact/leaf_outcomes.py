"""Counts of further rows: their exact probabilities, given the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedRows
from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.exact.leaves.outcomes import Law, OutcomeLaw
from hiermodels.families.family import Family
from hiermodels.families.leaves import Leaves
from hiermodels.families.totals import Counts, totals

LIMIT = 1 << 14  # counts of a row that are summed; beyond, distribution functions are integrals
STEPS = 2.0  # of the trapezoid rule for a likelihood, which Gauss's rule takes at a time
FINE_ENOUGH = 0.7  # spacings in sds of a likelihood, at which sums err by exp(−28)
HEAVY, LIGHTEST = 1e-8, 1e-14  # masses of places, of the heaviest: that must be fine, that count
MAX_NUMBERS = 1 << 21  # that are held at a time
NEVER = 1e-20  # probability of a count that need not be known well
FIRST = 64  # counts that are summed at first

type Columns = Mapping[str, Floats]


def conditional(family: Family, columns: Columns, law: Law) -> OutcomeLaw:
    """The distribution of a row's outcome, given the law of its group's linear predictor.

    Parameters
    ----------
    family : Family
    columns : mapping of str to (1,)
        Of the row, ``offset`` among them if there is one.
    law : Law
        Of the linear predictor without the offset.
    """
    own, offset = _without_offset(columns)

    def below(y: Floats, eta: Floats) -> Floats:
        return family.cdf(y, eta + offset, own)

    def density(y: Floats, eta: Floats) -> Floats:
        return np.exp(family.log_likelihood(y[:, 0], (eta + offset)[:, None], own)).T

    resolution = None
    if not family.is_discrete:
        nothing = np.zeros(1)
        leaf = family.leaves(nothing, own, nothing, np.zeros(1, dtype=np.intp), 1)
        resolution = STEPS * float(leaf.step[0])
    return OutcomeLaw(law, below, density, resolution)


def _without_offset(columns: Columns) -> tuple[dict[str, Floats], Floats]:
    """The other columns of a row, and its offset; (1,)."""
    own = dict(columns)
    return own, own.pop("offset", np.zeros(1))


class WithPlaces(Protocol):
    """The law of a linear predictor, as masses of places."""

    def places(self, finer: int = 1) -> tuple[Floats, Floats]:
        """Places on a grid, so many times as fine as it is at first, and their masses."""


@dataclass(frozen=True, eq=False)
class CountLaw:
    """The distribution of a row's count.

    Attributes
    ----------
    exactly : callable
        From possible counts (V,) to their probabilities.
    to_sum : callable
        The same as far as distribution functions need it, and quickly.
    outcome : OutcomeLaw
        The same as an integral over the linear predictor.
    support : (float, float)
        Smallest and largest possible count.
    expected : float
        A count that is far up, to tell whether all up to there are to be summed.
    """

    exactly: Callable[[Floats], Floats]
    to_sum: Callable[[Floats], Floats]
    outcome: OutcomeLaw
    support: tuple[float, float]
    expected: float
    _table: list[Floats] = field(default_factory=list, repr=False)

    @property
    def _is_summed(self) -> bool:
        """Whether counts are few enough."""
        lowest, highest = self.support
        return min(self.expected, highest) - lowest < LIMIT

    def probability(self, counts: Floats) -> Floats:
        """Probability of counts (V,), 0 of what is none or is not possible.

        Those below 1e-20 have few digits.
        """
        lowest, highest = self.support
        possible = (counts >= lowest) & (counts <= highest) & (counts == np.floor(counts))
        probability = np.zeros(len(counts))
        if possible.any():
            distinct, place = np.unique(counts[possible], return_inverse=True)
            own, seen = np.zeros(len(distinct)), np.ones(len(distinct), dtype=bool)
            if self._is_summed:
                own = self.to_sum(distinct)
                seen = own > NEVER
            own[seen] = self.exactly(distinct[seen])
            probability[possible] = own[place]
        return probability

    def cdf(self, values: Floats) -> Floats:
        """Probability that the count is at most each of the values (V,)."""
        lowest, highest = self.support
        counts = np.floor(values)
        below = np.where(counts >= highest, 1.0, 0.0)
        inside = (counts >= lowest) & (counts < highest)
        if not inside.any():
            return below
        summed = inside & (counts < lowest + LIMIT) & self._is_summed
        if summed.any():
            table = self._summed_to(counts[summed].max())
            below[summed] = table[(counts[summed] - lowest).astype(np.intp)]
        integrated = inside & ~summed
        below[integrated] = self.outcome.cdf(counts[integrated])
        return below

    def quantile(self, probabilities: Floats) -> Floats:
        """Smallest counts up to which there are these probabilities; (p,)."""
        lowest, highest = self.support
        if self._is_summed:
            to = lowest + FIRST
            while self._summed_to(to)[-1] < probabilities.max() and to < lowest + LIMIT:
                to = lowest + 2 * (to - lowest)
            table = self._summed_to(to)
            place = np.searchsorted(table, probabilities)
            if (place < len(table)).all() or len(table) == highest - lowest + 1:
                return lowest + np.minimum(place, len(table) - 1)
        found = [self.outcome.count_quantile(p, lowest, highest) for p in probabilities]
        return np.array(found)

    def _summed_to(self, count: float) -> Floats:
        """Distribution function at all possible counts up to this one at least."""
        lowest, highest = self.support
        size = int(min(count, highest) - lowest) + 1
        known = self._table[0] if self._table else np.zeros(0)
        if len(known) < size:
            start = known[-1] if len(known) else 0.0
            further = self.to_sum(lowest + np.arange(len(known), size, dtype=float))
            known = np.append(known, start + np.cumsum(further, dtype=float))
            self._table[:] = [known]
        return known


def over_places(family: Family, columns: Columns, law: WithPlaces) -> Callable[[Floats], Floats]:
    """Probabilities of counts as sums over places of the linear predictor.

    The places are as fine as the likelihood of a count needs, whose sd is about the inverse of the
    count's own.

    Parameters
    ----------
    family, columns, law
        As in :func:`conditional`.
    """
    own, offset = _without_offset(columns)

    @cache
    def places() -> tuple[Floats, Floats]:
        eta, mass = law.places()
        heavy = mass > HEAVY * mass.max()
        variance = family.moments(eta[heavy] + offset, own)[1]
        steps = np.gradient(eta)[heavy] * np.sqrt(variance)
        eta, mass = law.places(max(1, int(np.ceil(steps.max() / FINE_ENOUGH))))
        seen = mass > LIGHTEST * mass.max()
        return eta[seen, None] + offset, mass[seen] / mass[seen].sum()

    def probability(counts: Floats) -> Floats:
        eta, share = places()
        size = max(1, MAX_NUMBERS // len(share))
        parts = [
            share @ np.exp(family.log_likelihood(counts[i : i + size], eta, own))
            for i in range(0, len(counts), size)
        ]
        return np.concatenate(parts)

    return probability


@dataclass(frozen=True, eq=False)
class FurtherRows:
    """Leaves of groups of the data with one more row each.

    Attributes
    ----------
    laws : LeafLaws
    family : Family
    rows : GroupedRows
        What was observed.
    """

    laws: LeafLaws
    family: Family
    rows: GroupedRows

    def of_group(self, group: int, columns: Columns) -> Callable[[Floats], Floats]:
        """Probabilities of counts of a further row of a group, at the group's covariates.

        ``p(y_new | y) = Σ_j W_j ∫ L_new L_i N dθ/∫ L_i N dθ``.
        """
        seen = self.of_rows(np.flatnonzero(self.rows.group == group))
        without = self._leaves(seen, np.zeros(len(seen.y), dtype=np.intp), 1).constant[0]

        def probability(counts: Floats) -> Floats:
            size = len(counts)
            together = _joined(np.tile(np.arange(len(seen.y)), size), seen, counts, columns)
            each = np.append(np.repeat(np.arange(size), len(seen.y)), np.arange(size))
            leaves = self._leaves(together, each, size)
            log_ratio, _ = self.laws.exchanged(np.full(size, group), leaves)
            return np.exp(log_ratio + leaves.constant - without)

        return probability

    def of_new_group(self, x: Floats, columns: Columns) -> Callable[[Floats], Floats]:
        """Probabilities of counts of a row of a new group with covariates (p,)."""
        nothing = Counts(np.zeros(0), {}, np.zeros(0), np.zeros(0))

        def probability(counts: Floats) -> Floats:
            row = _joined(np.zeros(0, dtype=np.intp), nothing, counts, columns)
            leaves = self._leaves(row, np.arange(len(counts)), len(counts))
            return np.exp(self.laws.of_new_groups(x, leaves) + leaves.constant)

        return probability

    def of_rows(self, some: Indices) -> Counts:
        """Some rows of one group; those that add up as their totals."""
        columns = {name: column[some] for name, column in self.rows.columns.items()}
        offset = columns.pop("offset", np.zeros(len(some)))
        if self.rows.se is not None:
            columns["sd"] = self.rows.se[some]
        rows = Counts(self.rows.y[some], columns, offset, np.zeros(len(some)))
        if not self.family.additive:
            return rows
        distinct, index = np.unique(offset, return_inverse=True)
        total = totals(self.family, rows, index, len(distinct))
        return replace(total, log_given=np.zeros(len(distinct)))

    def _leaves(self, counts: Counts, group: Indices, size: int) -> Leaves:
        return self.family.leaves(counts.y, counts.columns, counts.offset, group, size)


def _joined(old: Indices, rows: Counts, y: Floats, columns: Columns) -> Counts:
    """Some rows, and after them one with each of the outcomes y."""
    size = len(y)
    new: dict[str, Any] = {name: np.repeat(value, size) for name, value in columns.items()}
    offset = new.pop("offset", np.zeros(size))
    joined = {
        name: np.append(rows.columns[name][old], value) if len(old) else value
        for name, value in new.items()
    }
    offset = np.append(rows.offset[old], offset)
    return Counts(np.append(rows.y[old], y), joined, offset, np.zeros(len(offset)))
