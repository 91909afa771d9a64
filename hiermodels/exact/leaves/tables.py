"""Integrals of alike groups at many nodes, from tables along lines of equal τ.

With several coefficients very many nodes of a lattice share each τ, and a set of groups with the
same covariates x sees of a node only ``μ = x'γ`` and τ.  As a function of μ at one τ,

    log m_i(μ, τ) = log ∫ L_i(θ) N(θ | μ, τ²) dθ

is smooth over about ``√(τ² + s²)``, with s the step at which the leaves are smooth.  So it is taken
at even places of μ on each line, and between them by Lagrange's formula.  The transpose of this
interpolation gathers the nodes' weights at the places: sums over nodes of what depends on μ and τ
smoothly, such as an effect's moments given both, are sums over far fewer places.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.model import Alike
from hiermodels.numerics.lagrange import lagrange_weights

STEP = 0.2  # of μ: of √(τ² + (2s)²); interpolation errs by about 1e-10
HALF = 6  # half the number of places that a node is between


@dataclass(frozen=True, eq=False)
class _Windows:
    """Places of μ on R lines, one line after the other.

    Attributes
    ----------
    tau, middle, step : (R,)
        Place n of a line is at ``middle + n·step``.
    low, size : (R,)
        Number of each line's first place, and how many there are.
    """

    tau: Floats
    middle: Floats
    step: Floats
    low: Indices
    size: Indices

    @property
    def start(self) -> Indices:
        """Where the first place of each line stands among those of all lines; (R,)."""
        return np.cumsum(self.size) - self.size

    def places(self) -> tuple[Floats, Floats]:
        """μ and τ of all places; (N,) each."""
        number = np.repeat(self.low - self.start, self.size) + np.arange(self.size.sum())
        mu = np.repeat(self.middle, self.size) + number * np.repeat(self.step, self.size)
        return mu, np.repeat(self.tau, self.size)


@dataclass(frozen=True)
class _Between:
    """Where J nodes are among the places: the first of ``2·HALF`` (J,), and shares (2·HALF, J)."""

    first: Indices
    shares: list[Floats]


@dataclass(eq=False)
class LineTables:
    """``log m_i`` of groups that are alike, on lines of equal τ; the tables grow as nodes ask.

    Attributes
    ----------
    alike : Alike
        Whose leaves are log-concave: the logarithms are finite everywhere.
    coordinates : Coordinates
        In which a line's μ is about at 0.
    """

    alike: Alike
    coordinates: Coordinates
    _row_of: dict[float, int] = field(default_factory=dict)
    _windows: _Windows | None = None
    _values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    _total: Floats = field(default_factory=lambda: np.empty(0))

    def totals(self, tau: Floats, mu: Floats) -> Floats:
        """``Σ_i log m_i`` over all groups at nodes (J,); (J,)."""
        between = self._between(tau, mu)
        return sum(
            (share * self._total[between.first + i] for i, share in enumerate(between.shares)),
            start=np.zeros(len(mu)),
        )

    def log_integrals(self, tau: Floats, mu: Floats) -> Floats:
        """``log m_i`` of the distinct leaves at nodes (J,); (u, J)."""
        between = self._between(tau, mu)
        log_integrals = np.zeros((len(self._values), len(mu)))
        for own, values in zip(log_integrals, self._values, strict=True):
            for i, share in enumerate(between.shares):
                own += share * values[between.first + i]
        return log_integrals

    def losses(self, tau: Floats, mu: Floats, usual: Floats) -> Floats:
        """About ``max_i (usual_i − log m_i)`` at nodes (J,), for usual (u,); (J,)."""
        between = self._between(tau, mu)
        largest = (usual[:, None] - self._values).max(axis=0)
        return largest[between.first + HALF - 1]

    def gathered(
        self, tau: Floats, mu: Floats, weights: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Places that stand for nodes (J,) with weights (m, J).

        Returns
        -------
        mu, tau : (N,)
        weights : (m, N)
        log_integrals : (u, N)
        """
        between = self._between(tau, mu)
        assert self._windows is not None
        own_mu, own_tau = self._windows.places()
        gathered = np.zeros((len(weights), len(own_mu)))
        for i, share in enumerate(between.shares):
            for row, weight in zip(gathered, weights, strict=True):
                row += np.bincount(between.first + i, share * weight, len(row))
        return own_mu, own_tau, gathered, self._values

    def _between(self, tau: Floats, mu: Floats) -> _Between:
        """Find nodes among the places, after these have grown to be around all of them."""
        distinct, line = np.unique(tau, return_inverse=True)
        self._add_lines(distinct)
        assert self._windows is not None
        row = np.array([self._row_of[t] for t in distinct], dtype=np.intp)[line]
        place = (mu - self._windows.middle[row]) / self._windows.step[row]
        left = np.floor(place)
        first = left.astype(np.intp) + 1 - HALF
        self._grow(row, first)
        windows = self._windows
        start = (windows.start - windows.low)[row]
        return _Between(start + first, lagrange_weights(place - left, HALF))

    def _add_lines(self, tau: Floats) -> None:
        """Begin with lines that were not met before."""
        new = np.array([t for t in tau if t not in self._row_of])
        if self._windows is not None and not len(new):
            return
        smooth = 2 * self.alike.integrals.leaves.step.min()
        middle = self.coordinates.whitening(new).b @ self.alike.x
        step, none = STEP * np.hypot(new, smooth), np.zeros(len(new), dtype=np.intp)
        for t in new:
            self._row_of[float(t)] = len(self._row_of)
        if self._windows is None:
            self._windows = _Windows(new, middle, step, none, none)
            self._values = np.empty((len(self.alike.counts), 0))
            return
        old = self._windows
        self._windows = _Windows(
            np.append(old.tau, new),
            np.append(old.middle, middle),
            np.append(old.step, step),
            np.append(old.low, none),
            np.append(old.size, none),
        )

    def _grow(self, row: Indices, first: Indices) -> None:
        """Widen the windows so that nodes' places, from a first on, are within."""
        old = self._windows
        assert old is not None
        high = old.low + old.size
        low = np.where(old.size > 0, old.low, np.iinfo(np.intp).max)
        high = np.where(old.size > 0, high, np.iinfo(np.intp).min)
        np.minimum.at(low, row, first)
        np.maximum.at(high, row, first + 2 * HALF)
        empty = low > high
        low, size = np.where(empty, 0, low), np.where(empty, 0, high - low)
        if (size == old.size).all():
            return
        new = _Windows(old.tau, old.middle, old.step, low, size)
        mu, tau = new.places()
        shift = new.start + old.low - new.low - old.start
        kept = np.repeat(shift, old.size) + np.arange(old.size.sum())
        values = np.full((len(self._values), len(mu)), np.nan)
        values[:, kept] = self._values
        missing = np.ones(len(mu), dtype=bool)
        missing[kept] = False
        values[:, missing] = self.alike.integrals.log_integrals(mu[missing], tau[missing])
        self._windows, self._values, self._total = new, values, self.alike.counts @ values
