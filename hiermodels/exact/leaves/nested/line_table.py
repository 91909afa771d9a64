"""Functions of outer groups' effects, tabulated at one τ and β.

    F_s(μ) = Σ_{i in s} log ∫ L_i(θ) N(θ | μ + x_i'β, τ²) dθ

is smooth over about ``√(τ² + (4h)²)``, with h the step at which the inner leaves are smooth.  It is
tabulated at even places where it is not negligible, and between them by Lagrange's formula; beyond
them it is computed as it is.  Of leaves that are not log-concave F has tails that are powers, and
bends where they begin: there its places are bent, and so near to each other as it takes
(:mod:`.bent_places`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.leaves.integral import brink, pair_integrals
from hiermodels.exact.leaves.nested.bent_places import refined
from hiermodels.exact.leaves.nested.groups import Kinds
from hiermodels.exact.leaves.nested.inner_tables import HALF, InnerTable
from hiermodels.families.leaves import FARTHEST
from hiermodels.numerics.lagrange import lagrange_weights

STEP = 0.25  # of the table, of the distance over which F is smooth
SMOOTH = 4.0  # steps of the inner leaves, over which these are
COARSE = 64  # places of the first look
NEGLIGIBLE = -75.0  # of F, relative to its largest value
NARROWEST = 1e-5  # τ, below which inner integrals are exact anyway
MAX_PLACES = 1 << 14  # of a table
UNSURE = 20.0  # of F, at a first look


class Places(Protocol):
    """Places of a table, ascending, that are even when they are counted."""

    @property
    def theta(self) -> Floats:
        """Where they are; (K,)."""

    def place_within(self, theta: Floats) -> Floats:
        """Where positions are, counted in places from the first; anything beyond the ends."""


@dataclass(frozen=True)
class EvenPlaces:
    """Place k of K at ``first + k·step``."""

    first: float
    step: float
    size: int

    @property
    def theta(self) -> Floats:
        """All of them; (K,)."""
        return np.asarray(self.first + self.step * np.arange(self.size))

    def place_within(self, theta: Floats) -> Floats:
        """Where positions are, counted in places from the first."""
        return np.asarray((theta - self.first) / self.step)


@dataclass(frozen=True, eq=False)
class LineTable:
    """F of all kinds of outer groups at one τ and β.

    Attributes
    ----------
    kinds : Kinds
    tau : float
    shifted : Shifted or None
        With covariates, what they add.
    grid : Places
        K of them.
    constant : (S',)
        Largest value in the table.
    values : (K, S')
        F less the constant.
    error : float
        Of :func:`~hiermodels.exact.leaves.nested.bent_places.refined`, if its places are bent.
    """

    kinds: Kinds
    tau: float
    shifted: Shifted | None
    grid: Places
    constant: Floats
    values: Floats
    error: float = 0.0

    @classmethod
    def of(cls, kinds: Kinds, tau: float) -> Self:
        """Tabulate F where any of the kinds is not negligible."""
        reach = FARTHEST * tau
        low, high = kinds.leaves.bend_range.T
        ends, step = (low.min() - reach, high.max() + reach), STEP * smooth_over(kinds, tau)
        if not kinds.leaves.log_concave:
            grid, values, error = refined(lambda mu: sums(kinds, mu, tau), ends, step)
            return replace(cls._of(kinds, tau, None, grid, values), error=error)
        coarse = np.linspace(*ends, COARSE)
        rough = sums(kinds, coarse, tau)
        seen = np.flatnonzero((rough > rough.max(axis=1)[:, None] + NEGLIGIBLE).any(axis=0))
        low, high = coarse[max(seen[0] - 1, 0)], coarse[min(seen[-1] + 1, COARSE - 1)]
        step = max(step, (high - low) / MAX_PLACES)
        size = int(np.ceil((high - low) / step)) + 2 * HALF
        places = EvenPlaces(float(low + step * (1 - HALF)), float(step), size)
        return cls._of(kinds, tau, None, places, sums(kinds, places.theta, tau, exact=True))

    @classmethod
    def _of(
        cls, kinds: Kinds, tau: float, shifted: Shifted | None, grid: Places, values: Floats
    ) -> Self:
        """Make a table of the values (S', K)."""
        constant = values.max(axis=1)
        table = np.ascontiguousarray((values - constant[:, None]).T)
        return cls(kinds, tau, shifted, grid, constant, table)

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
        places = EvenPlaces(float(first), step, int(seen[-1] - seen[0]) + 2 * HALF + 1)
        values = shifted.along(places.first, places.size, exact=True)
        return cls._of(kinds, inner.tau, shifted, places, values)

    @property
    def inner(self) -> InnerTables | None:
        """With covariates, the tables of the inner groups."""
        return self.shifted.inner if self.shifted else None

    @property
    def shift(self) -> Floats:
        """What covariates add to each entry's mean; (E,)."""
        return self.shifted.shift if self.shifted else np.zeros(len(self.kinds.leaf))

    @cached_property
    def places(self) -> Floats:
        """Where F is tabulated; (K,)."""
        return self.grid.theta

    @property
    def ends(self) -> tuple[float, float]:
        """Between which it is interpolated."""
        return float(self.places[HALF - 1]), float(self.places[-HALF - 1])

    def within(self, mu: Floats) -> Flags:
        """Which places are in the table."""
        return (mu >= self.ends[0]) & (mu <= self.ends[1])

    def between(self, mu: Floats) -> tuple[Indices, list[Floats]]:
        """First of ``2·HALF`` places around each, and the shares of them; of mu's shape each."""
        place = self.grid.place_within(mu)
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

        Where F is concave, it falls beyond the table at least as it does at its ends; else the
        table ends where it is negligible, unless that is too far away.
        """
        low, high = self.ends
        if not self.kinds.leaves.log_concave:
            is_low = (self.values[[0, -1]] < NEGLIGIBLE).all(axis=1)
            return low if is_low[0] else -np.inf, high if is_low[1] else np.inf
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
        return sums(self.kinds, mu, self.tau) - self.constant[:, None]

    @cached_property
    def derivatives(self) -> tuple[Floats, Floats]:
        """About the slope of F, and minus its second derivative, at the places; (K, S') each."""
        distance = np.diff(self.places)[:, None]
        along = np.diff(self.values, axis=0) / distance
        slope, bend = np.zeros((2, *self.values.shape))
        slope[1:-1] = (along[1:] + along[:-1]) / 2
        bend[1:-1] = 2 * (along[:-1] - along[1:]) / (distance[1:] + distance[:-1])
        slope[0], slope[-1] = along[0], along[-1]
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
        step = max(STEP * smooth_over(kinds, tau), float(longest))
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


def smooth_over(kinds: Kinds, tau: float) -> float:
    """The distance over which F is smooth."""
    return float(np.hypot(tau, SMOOTH * kinds.leaves.step.min()))


def sums(kinds: Kinds, mu: Floats, tau: float, *, exact: bool = False) -> Floats:
    """F at places (n,); (S', n).

    Inner integrals that are very small, of which many are, need not be exact, unless F is about as
    large there as anywhere.
    """
    own = kinds.small_integrals(mu, np.full(len(mu), tau))
    sums = kinds.sums(own)
    small = own < brink(np.array(tau))
    if exact and tau > NARROWEST and kinds.leaves.log_concave and small.any():
        high = sums > sums.max(axis=1)[:, None] + NEGLIGIBLE
        matters = np.zeros_like(small)
        np.logical_or.at(matters, kinds.leaf, high[kinds.kind])
        leaf, place = np.nonzero(small & matters)
        if len(leaf):
            at = mu[place], np.full(len(place), tau)
            own[leaf, place] = pair_integrals(kinds.leaves, leaf, *at)
            sums = kinds.sums(own)
    return sums
