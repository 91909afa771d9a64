"""Outer groups as leaves: functions of their one effect μ, at one τ and β.

    F_s(μ) = Σ_{i in s} log ∫ L_i(θ) N(θ | μ + x_i'β, τ²) dθ

is smooth over about ``√(τ² + (4h)²)``, with h the step at which the inner leaves are smooth.  It is
tabulated at even places where it is not negligible, and between them by Lagrange's formula; beyond
them it is computed as it is.  Its places, its curvature and where it bends are read off the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.leaves.integral import brink, pair_integrals
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.inner_tables import HALF, InnerTable
from hiermodels.families.leaves import BARELY, FARTHEST, STEPS_PER_SD, WIDEST_STEP
from hiermodels.numerics.lagrange import lagrange_weights

STEP = 0.25  # of the table, of the distance over which F is smooth
SMOOTH = 4.0  # steps of the inner leaves, over which these are
COARSE = 64  # places of the first look
NEGLIGIBLE = -75.0  # of F, relative to its largest value
NEAR_TOP = 0.5  # below its largest value, where F says how wide it is
MOST_CURVED = 5.0  # −(log m)'' of an inner leaf, per squared distance over which F is smooth
NARROWEST = 1e-5  # τ, below which inner integrals are exact anyway
FLATTEST = 0.05  # information of a leaf that says nothing
MAX_PLACES = 1 << 14  # of a table
UNSURE = 20.0  # of F, at a first look


@dataclass(frozen=True, eq=False)
class LineTable:
    """F of all kinds of outer groups at one τ and β.

    Attributes
    ----------
    kinds : Kinds
    tau : float
    shifted : Shifted or None
        With covariates, what they add.
    first, step : float
        Place k is at ``first + k·step``.
    constant : (S',)
        Largest value in the table.
    values : (K, S')
        F less the constant.
    """

    kinds: Kinds
    tau: float
    shifted: Shifted | None
    first: float
    step: float
    constant: Floats
    values: Floats

    @classmethod
    def of(cls, kinds: Kinds, tau: float) -> Self:
        """Tabulate F where any of the kinds is not negligible."""
        leaves = kinds.leaves
        reach = FARTHEST * tau
        ends = leaves.bend_range[:, 0].min() - reach, leaves.bend_range[:, 1].max() + reach
        coarse = np.linspace(*ends, COARSE)
        rough = _sums(kinds, coarse, tau)
        seen = np.flatnonzero((rough > rough.max(axis=1)[:, None] + NEGLIGIBLE).any(axis=0))
        low, high = coarse[max(seen[0] - 1, 0)], coarse[min(seen[-1] + 1, COARSE - 1)]
        step = STEP * _smooth_over(kinds, tau)
        step = max(step, (high - low) / MAX_PLACES)
        places = low + step * np.arange(1 - HALF, np.ceil((high - low) / step) + HALF + 1)
        values = _sums(kinds, places, tau, exact=True)
        constant = values.max(axis=1)
        table = np.ascontiguousarray((values - constant[:, None]).T)
        return cls(kinds, tau, None, float(places[0]), float(step), constant, table)

    @classmethod
    def at_slopes(cls, kinds: Kinds, inner: InnerTables, slopes: Floats) -> Self:
        """Tabulate F at β (q,) and the tables' τ, where any of the kinds is not negligible."""
        shifted, reach = Shifted(kinds, inner, kinds.x @ slopes), FARTHEST * inner.tau
        low, high = kinds.leaves.bend_range[kinds.leaf].T
        step, first = inner.step, (low - shifted.shift).min() - reach
        size = int(np.ceil(((high - shifted.shift).max() + reach - first) / step)) + 1
        rough = shifted.along(first, size, exact=False)
        near = rough > rough.max(axis=1)[:, None] + NEGLIGIBLE - UNSURE
        seen = np.flatnonzero(near.any(axis=0))
        first += (seen[0] - HALF) * step
        values = shifted.along(first, int(seen[-1] - seen[0]) + 2 * HALF + 1, exact=True)
        constant = values.max(axis=1)
        table = np.ascontiguousarray((values - constant[:, None]).T)
        return cls(kinds, inner.tau, shifted, float(first), step, constant, table)

    @property
    def inner(self) -> InnerTables | None:
        """With covariates, the tables of the inner groups."""
        return self.shifted.inner if self.shifted else None

    @property
    def shift(self) -> Floats:
        """What covariates add to each entry's mean; (E,)."""
        return self.shifted.shift if self.shifted else np.zeros(len(self.kinds.leaf))

    @property
    def places(self) -> Floats:
        """Where F is tabulated; (K,)."""
        return np.asarray(self.first + self.step * np.arange(len(self.values)))

    @property
    def ends(self) -> tuple[float, float]:
        """Between which it is interpolated."""
        last = self.first + self.step * (len(self.values) - HALF - 1)
        return self.first + self.step * (HALF - 1), last

    def within(self, mu: Floats) -> Flags:
        """Which places are in the table."""
        return (mu >= self.ends[0]) & (mu <= self.ends[1])

    def between(self, mu: Floats) -> tuple[Indices, list[Floats]]:
        """First of ``2·HALF`` places around each, and the shares of them; of mu's shape each."""
        place = (mu - self.first) / self.step
        left = np.clip(np.floor(place), HALF - 1, len(self.values) - HALF - 1)
        return left.astype(np.intp) + 1 - HALF, lagrange_weights(place - left, HALF)

    def shares(self, mu: Floats) -> Any:
        """The same as a sparse matrix from places to these: ``mu`` (n,); (n, K)."""
        from scipy import sparse

        first, weights = self.between(mu)
        columns = first[:, None] + np.arange(2 * HALF)
        rows = np.arange(0, columns.size + 1, 2 * HALF)
        data = np.stack(weights, axis=1).ravel()
        return sparse.csr_array((data, columns.ravel(), rows), shape=(len(mu), len(self.values)))

    @cached_property
    def seen(self) -> tuple[float, float]:
        """Ends beyond which all kinds are negligible.

        F, which is concave, falls beyond the table at least as it does at its ends.
        """
        low, high = self.ends
        first, last = HALF - 1, len(self.values) - HALF
        slope = self.derivatives[0]
        with np.errstate(divide="ignore"):
            below = (self.values[first] - NEGLIGIBLE) / np.maximum(slope[first], 0.0)
            above = (self.values[last] - NEGLIGIBLE) / np.maximum(-slope[last], 0.0)
        return float(low - max(below.max(), 0.0)), float(high + max(above.max(), 0.0))

    def beyond(self, mu: Floats) -> Floats:
        """F less the constant, as it is, at places (n,); (S', n)."""
        if self.shifted:
            return self.shifted.sums(mu, self.constant) - self.constant[:, None]
        return _sums(self.kinds, mu, self.tau) - self.constant[:, None]

    @cached_property
    def derivatives(self) -> tuple[Floats, Floats]:
        """About the slope of F, and minus its second derivative, at the places; (K, S') each."""
        slope = np.gradient(self.values, self.step, axis=0)
        bend = np.zeros_like(slope)
        bend[1:-1] = -np.diff(self.values, 2, axis=0) / self.step**2
        bend[0], bend[-1] = bend[1], bend[-2]
        return slope, np.maximum(bend, 0.0)


@dataclass(frozen=True, eq=False)
class InnerTables:
    """Integrals of the inner leaves at one τ: all that is exact, and for a first look.

    Attributes
    ----------
    exact, rough : InnerTable
    """

    exact: InnerTable
    rough: InnerTable

    @classmethod
    def of(cls, kinds: Kinds, tau: float) -> Self:
        """Make empty tables."""
        ends = kinds.leaves.bend_range[:, 0].min(), kinds.leaves.bend_range[:, 1].max()
        longest = (ends[1] - ends[0] + 2 * FARTHEST * tau) / MAX_PLACES
        step = max(STEP * _smooth_over(kinds, tau), float(longest))
        exact, rough = (InnerTable(kinds.integrals, tau, step, far) for far in (True, False))
        return cls(exact, rough)

    @property
    def tau(self) -> float:
        """Of both."""
        return self.exact.tau

    @property
    def step(self) -> float:
        """Of both."""
        return self.exact.step


@dataclass(frozen=True, eq=False)
class Shifted:
    """Sums of integrals of inner groups whose means are moved by covariates.

    Attributes
    ----------
    kinds : Kinds
    inner : InnerTables
    shift : (E,)
        What they add to each entry's mean: x'β.
    """

    kinds: Kinds
    inner: InnerTables
    shift: Floats

    def along(self, first: float, size: int, *, exact: bool) -> Floats:
        """F of all kinds at places from a first on, as far apart as the tables'; (S', size)."""
        table = self.inner.exact if exact else self.inner.rough
        return self.kinds.sums_of_entries(table.along(self.kinds.leaf, first + self.shift, size))

    def sums(self, mu: Floats, largest: Floats) -> Floats:
        """F of all kinds at places (n,), without interpolation; (S', n).

        Integrals that are very small are exact where F is about as large as anywhere (S',).
        """
        kinds, tau = self.kinds, self.inner.tau
        eta = mu + self.shift[:, None]
        own = self.inner.exact.one_by_one(kinds.leaf, eta)
        sums = kinds.sums_of_entries(own.copy())
        matters = (sums > largest[:, None] + NEGLIGIBLE)[kinds.kind]
        entry, place = np.nonzero((own < brink(np.array(tau))) & matters)
        if tau > NARROWEST and kinds.leaves.log_concave and len(entry):
            at = eta[entry, place], np.full(len(entry), tau)
            own[entry, place] = pair_integrals(kinds.leaves, kinds.leaf[entry], *at)
            sums = kinds.sums_of_entries(own)
        return sums


def _smooth_over(kinds: Kinds, tau: float) -> float:
    """The distance over which F is smooth."""
    return float(np.hypot(tau, SMOOTH * kinds.leaves.step.min()))


def _sums(kinds: Kinds, mu: Floats, tau: float, *, exact: bool = False) -> Floats:
    """F at places (n,); (S', n).

    Inner integrals that are very small, of which many are, need not be exact, unless F is about as
    large there as anywhere.
    """
    own = kinds.small_integrals(mu, np.full(len(mu), tau))
    sums = kinds.sums(own)
    small = own < brink(np.array(tau))
    if exact and tau > NARROWEST and small.any():
        high = sums > sums.max(axis=1)[:, None] + NEGLIGIBLE
        matters = np.zeros_like(small)
        np.logical_or.at(matters, kinds.leaf, high[kinds.kind])
        leaf, place = np.nonzero(small & matters)
        if len(leaf):
            at = mu[place], np.full(len(place), tau)
            own[leaf, place] = pair_integrals(kinds.leaves, leaf, *at)
            sums = kinds.sums(own)
    return sums


@dataclass(frozen=True, eq=False)
class OuterLeaves:
    """Some kinds of outer groups, as leaves.

    Attributes
    ----------
    table : LineTable
    rows : (k,)
        Which kinds.
    """

    table: LineTable
    rows: Indices

    @property
    def log_concave(self) -> bool:
        """Whether every leaf is: products and convolutions of log-concave functions are."""
        return self.table.kinds.leaves.log_concave

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def constant(self) -> Floats:
        """Largest values in the table; (k,)."""
        return self.table.constant[self.rows]

    @property
    def centre(self) -> Floats:
        """Where each leaf is largest, of the places of the table; (k,)."""
        return self.table.places[self.table.values.argmax(axis=0)][self.rows]

    @cached_property
    def information(self) -> Floats:
        """Largest curvature near the top; (k,).

        No more than that of inner leaves that are as narrow as they may be: where these exclude
        each other, what the table holds of F, which is nothing there, may have corners.
        """
        table = self.table
        values, (_, bend) = table.values, table.derivatives
        near = np.where(values >= -NEAR_TOP, bend, 0.0).max(axis=0)
        narrowest = MOST_CURVED / _smooth_over(table.kinds, table.tau) ** 2
        near = np.minimum(near, narrowest * table.kinds.sizes)
        return np.maximum(near, FLATTEST / (1 + table.tau**2))[self.rows]

    @property
    def step(self) -> Floats:
        """As of inner leaves, but wider where τ smooths them; (k,)."""
        widest = WIDEST_STEP * np.hypot(1.0, self.table.tau)
        return np.minimum(widest, self.information**-0.5 / STEPS_PER_SD)

    @property
    def bend_range(self) -> Floats:
        """Ends of where each leaf is neither negligible nor straight; (k, 2)."""
        table = self.table
        bends = (table.derivatives[1] > BARELY / (1 + table.tau**2)) & (table.values > NEGLIGIBLE)
        bends[table.values.argmax(axis=0), np.arange(bends.shape[1])] = True
        low, high = bends.argmax(axis=0), len(bends) - 1 - bends[::-1].argmax(axis=0)
        return np.stack([table.places[low], table.places[high]], axis=1)[self.rows]

    @property
    def falls_below(self) -> Flags:
        """Whether any of the inner leaves does; (k,)."""
        kinds = self.table.kinds
        return kinds.sums(kinds.leaves.falls_below.astype(float))[self.rows] > 0

    @property
    def falls_above(self) -> Flags:
        """Whether any of the inner leaves does; (k,)."""
        kinds = self.table.kinds
        return kinds.sums(kinds.leaves.falls_above.astype(float))[self.rows] > 0

    def log_likelihood(self, theta: Floats) -> Floats:
        """F less the constant; (k, K)."""
        table = self.table
        inside = table.within(theta)
        if theta.ndim == 1:
            values = np.empty((len(self), len(theta)))
            at = np.flatnonzero(inside)
            values[:, at] = (table.shares(theta[at]) @ table.values[:, self.rows]).T
            if len(at) < len(theta):
                values[:, ~inside] = table.beyond(theta[~inside])[self.rows]
            return values
        first, shares = table.between(np.where(inside, theta, table.ends[0]))
        rows, values = self.rows[:, None], np.zeros(theta.shape)
        for i, share in enumerate(shares):
            values += share * table.values[first + i, rows]
        if not inside.all():
            row, column = np.nonzero(~inside)
            far = table.beyond(theta[row, column])
            values[row, column] = far[self.rows[row], np.arange(len(row))]
        return values

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """About the first derivative, and minus the second, as places for integrals need them."""
        table = self.table
        place = np.clip((theta - table.first) / table.step, 0.0, len(table.values) - 1.000001)
        left = place.astype(np.intp)
        inside, rows = place - left, self.rows[:, None]
        slope, bend = (
            (1 - inside) * own[left, rows] + inside * own[left + 1, rows]
            for own in table.derivatives
        )
        return slope, np.where(table.within(theta), bend, 0.0)

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three."""
        return self.log_likelihood(theta), *self.slope_and_information(theta)

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        return type(self)(self.table, self.rows[groups])

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves of distinct kinds, and which of these each group has; (k,)."""
        rows, inverse = np.unique(self.rows, return_inverse=True)
        return type(self)(self.table, rows), inverse
