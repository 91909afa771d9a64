"""Integrals of inner leaves at one τ, tabulated as functions of their mean.

    log m_i(η, τ) = log ∫ L_i(θ) N(θ | η, τ²) dθ

With covariates a group's mean is ``η = μ + x_i'β``, and the sums over the groups of an outer one
are wanted for very many β.  So each distinct leaf is tabulated once for each τ, at even places of
η, as far as it was asked for; and between them it is known by Lagrange's formula.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.nested.groups import small_integrals
from hiermodels.numerics.lagrange import lagrange_weights

HALF = 6  # half the number of places that a place is between
MARGIN = 32  # places, by which a table is longer than was asked for
MAX_NUMBERS = 1 << 20  # integrals that are computed at a time, at least


@dataclass(eq=False)
class InnerTable:
    """Log integrals of u leaves at even places of η; it grows as places are asked for.

    Attributes
    ----------
    integrals : LeafIntegrals
    tau, step : float
        Place k is at ``k·step``, k any whole number.
    far : bool
        Whether integrals that are negligible are exact, too, or just about as small.
    """

    integrals: LeafIntegrals
    tau: float
    step: float
    far: bool = True
    _first: int = 0
    _values: Floats = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def __post_init__(self) -> None:
        self._values = np.empty((len(self.integrals.leaves), 0))

    @property
    def places(self) -> Floats:
        """Where they are tabulated; (K,)."""
        return self.step * (self._first + np.arange(self._values.shape[1], dtype=float))

    def _cover(self, first: int, last: int) -> None:
        """Tabulate all places from a first to a last, and some more."""
        size = self._values.shape[1]
        if not size:
            self._first = first - MARGIN
            self._values = self._at(np.arange(first - MARGIN, last + MARGIN + 1))
            return
        if first < self._first:
            more = np.arange(first - MARGIN, self._first)
            self._values = np.hstack([self._at(more), self._values])
            self._first = first - MARGIN
        end = self._first + self._values.shape[1]
        if last >= end:
            self._values = np.hstack([self._values, self._at(np.arange(end, last + MARGIN + 1))])

    def _at(self, numbers: Indices) -> Floats:
        eta: Floats = self.step * numbers.astype(float)
        tau: Floats = np.full(len(eta), self.tau)
        if self.far:
            return self.integrals.log_integrals(eta, tau)
        return small_integrals(self.integrals, eta, tau)

    def along(self, leaf: Indices, start: Floats, size: int) -> Floats:
        """Log integrals of leaves (E,) at ``start_e + k·step``, k below size; (E, size)."""
        number, weights = self._between(start)
        self._cover(int(number.min()), int(number.max()) + size + 2 * HALF)
        windows = sliding_window_view(self._values, size + 2 * HALF - 1, axis=1)
        taps = windows[leaf, number - self._first]
        total = weights[0][:, None] * taps[:, :size]
        for i, weight in enumerate(weights[1:], 1):
            total += weight[:, None] * taps[:, i : i + size]
        return total

    def share_out(self, start: Floats, mass: Floats, total: Floats) -> Floats:
        """Add masses (m, E, K) at ``start_e + k·step`` to those at the places (m, E, K').

        By the transpose of the interpolation; returns masses at the places that there are now.
        """
        number, weights = self._between(start)
        size, before = mass.shape[2], self._first
        self._cover(int(number.min()), int(number.max()) + size + 2 * HALF)
        width = self._values.shape[1]
        if total.shape[2] < width:
            wider = np.zeros((*mass.shape[:2], width))
            if total.shape[2]:
                shift = before - self._first
                wider[:, :, shift : shift + total.shape[2]] = total
            total = wider
        for entry, first in enumerate(number - self._first):
            own = total[:, entry, first : first + size + 2 * HALF - 1]
            for i, weight in enumerate(weights):
                own[:, i : i + size] += weight[entry] * mass[:, entry]
        return total

    def _between(self, start: Floats) -> tuple[Indices, list[Floats]]:
        """Number of the first of ``2·HALF`` places around each (E,), and their weights."""
        place = start / self.step
        left = np.floor(place)
        return left.astype(np.intp) + 1 - HALF, lagrange_weights(place - left, HALF)

    def one_by_one(self, leaf: Indices, eta: Floats) -> Floats:
        """Log integrals of leaves (E,) at places of each (E, n), without interpolation; (E, n).

        Those below the kernel's :func:`brink` are about as small.
        """
        leaves, flat = self.integrals.leaves, eta.ravel()
        row, tau = np.repeat(leaf, eta.shape[1]), np.full(eta.size, self.tau)
        own, size = np.empty(len(flat)), max(1, MAX_NUMBERS // len(leaves))
        for some in (slice(i, i + size) for i in range(0, len(flat), size)):
            values = small_integrals(self.integrals, flat[some], tau[some])
            own[some] = values[row[some], np.arange(values.shape[1])]
        return own.reshape(eta.shape)
