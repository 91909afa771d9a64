"""Functions of outer groups' effects, between places of a sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.kernels.leaves.sheet import HALF, TAYLOR, Sheet


@dataclass(frozen=True)
class Windows:
    """Where the terms of P functions are tabulated, up to T of each.

    Attributes
    ----------
    lines : (R, W)
        Terms at their draws, at W places of the sheet.
    row, begin, shift, counted : (P, T)
        Of each term its line, which of the sheet's places is the line's first, δ, and whether there
        is such a term.
    """

    lines: Floats
    row: Indices
    begin: Indices
    shift: Floats
    counted: Flags

    def take(self, pairs: Indices) -> Self:
        """Those of some of the functions."""
        rows = self.row[pairs], self.begin[pairs]
        return type(self)(self.lines, *rows, self.shift[pairs], self.counted[pairs])


@dataclass(frozen=True, eq=False)
class OuterFunctions:
    """Functions ``F_s`` of P pairs of an outer group and a draw, with the methods of leaves.

    Attributes
    ----------
    exact : callable
        ``F_s`` without a sheet: of an outer group at μ (m, J) of draws (m,).
    sheet : Sheet
    tau : (M,)
        Of all draws.
    windows : Windows
    group, draw : (P,)
    centre, information : (P,)
        About where they lie, and inverse squares of their widths.
    """

    exact: Callable[[int, Floats, Indices], Floats]
    sheet: Sheet
    tau: Floats
    windows: Windows
    group: Indices
    draw: Indices
    centre: Floats
    information: Floats

    def __len__(self) -> int:
        return len(self.group)

    def take(self, pairs: Indices) -> Self:
        """Some of the pairs."""
        which, about = (self.group[pairs], self.draw[pairs]), self.centre[pairs]
        above = self.exact, self.sheet, self.tau, self.windows.take(pairs)
        return type(self)(*above, *which, about, self.information[pairs])

    def log_likelihood(self, theta: Floats) -> Floats:
        """``F_s`` at μ (P, 1); (P, 1)."""
        return self._sums(theta, derivatives=False)[0]

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """``F_s``, its slope, and minus its second derivative, at μ (P, 1); (P, 1) each."""
        value, slope, bend = self._sums(theta, derivatives=True)
        return value, slope, -bend

    @cached_property
    def _width(self) -> Floats:
        return np.hypot(self.sheet.axis.width, self.tau[self.draw])[:, None]

    def _sums(self, theta: Floats, derivatives: bool) -> list[Floats]:
        """Values, and two derivatives if asked for, at μ (P, 1); (P, 1) each."""
        windows, beyond = self.windows, theta + self.windows.shift
        beyond -= self.sheet.axis.middle
        first, inside = self.sheet.between(beyond, self._width)
        first -= windows.begin
        kept = np.clip(first, 0, windows.lines.shape[1] - 2 * HALF)
        taps = sliding_window_view(windows.lines, 2 * HALF, axis=1)[windows.row, kept]
        polynomials = _evaluate(taps.reshape(-1, 2 * HALF), inside.ravel(), derivatives)
        terms = self._by_mu([own.reshape(inside.shape) for own in polynomials], beyond, self._width)
        sums = [(own * windows.counted).sum(axis=1, keepdims=True) for own in terms]
        others = np.flatnonzero(((kept != first) | ~np.isfinite(terms[0])).any(axis=1))
        if len(others):
            for own, right in zip(sums, self.without_lines(theta, others), strict=False):
                own[others] = right
        return sums

    def without_lines(self, theta: Floats, pairs: Indices) -> list[Floats]:
        """Values and two derivatives of some pairs (p,), from the integrals at places around each.

        At μ (P, 1); (p, 1) each.
        """
        draw, beyond = self.draw[pairs], theta[pairs, 0] - self.sheet.axis.middle
        width = self._width[pairs, 0]
        first, inside = self.sheet.between(beyond, width)
        places = self.sheet.around_each(first, self.tau[draw])
        taps = np.empty(places.shape)
        for group in np.unique(self.group[pairs]):
            own = self.group[pairs] == group
            taps[own] = self.exact(group, places[own], draw[own])
        found = self._by_mu(_evaluate(taps, inside, derivatives=True), beyond, width)
        return [own[:, None] for own in found]

    def _by_mu(self, found: list[Floats], beyond: Floats, width: Floats) -> list[Floats]:
        """Derivatives by μ from those by the places of u: ``du/dμ = 1/√(w² + (μ − c)²)``."""
        if len(found) == 1:
            return found
        value, slope, bend = found
        rate = 1 / np.hypot(width, beyond)
        along = rate / self.sheet.step
        slope *= along
        return [value, slope, bend * along**2 - slope * (beyond * rate**2)]


def _evaluate(taps: Floats, inside: Floats, derivatives: bool) -> list[Floats]:
    """Polynomials through values at places (n, 2·HALF), and two derivatives; (n,) each."""
    coefficients = TAYLOR @ taps.T
    value, slope, bend = coefficients[-1].copy(), np.zeros_like(inside), np.zeros_like(inside)
    for own in coefficients[-2::-1]:
        if derivatives:
            bend *= inside
            bend += slope
            slope *= inside
            slope += value
        value *= inside
        value += own
    return [value, slope, 2 * bend] if derivatives else [value]
