"""Leaves of groups whose rows do not add up to one count: sums over the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.families.leaves import STEPS_PER_SD, Leaves
from hiermodels.numerics.roots import falling_roots

BLOCK = 2**21  # numbers at a time
CANDIDATES = 33  # rows of a group from which its highest mode is looked for
ASCENT_STEPS = 100


def by_group(rows: Leaves, group: Indices, size: int) -> Leaves:
    """Leaves of groups, from leaves of rows in which their offsets are.

    Parameters
    ----------
    rows : Leaves
        Of N rows.
    group : (N,)
        Of each row, from 0 to ``size − 1``; each has a row.
    size : int
    """
    order = np.argsort(group, kind="stable")
    first = np.searchsorted(group[order], np.arange(size))
    if len(rows) == size:
        return rows.take(order)
    return RowLeaves(rows.take(order), first)


def log_given_total(rows: Leaves, total: Leaves, index: Indices) -> Floats:
    """Log density of rows given their total, where this depends on θ no more.

    It is ``Σ log L_row(θ) − log L_total(θ)`` at any θ: at the centre, no large terms cancel.

    Parameters
    ----------
    rows : Leaves
        Of N rows.
    total : Leaves
        Of k totals, such as sums of counts.
    index : (N,)
        In which total a row is.

    Returns
    -------
    (k,)
    """
    places = total.centre[:, None]
    each = rows.constant + rows.log_likelihood(places[index])[:, 0]
    together = total.constant + total.log_likelihood(places)[:, 0]
    return np.bincount(index, weights=each, minlength=len(total)) - together


def log_density(rows: Leaves, eta: Floats) -> Floats:
    """Log density of N rows, with all constants, at many η of each: from (..., N) or (..., 1)."""
    shape = (*eta.shape[:-1], len(rows))
    each = np.broadcast_to(eta, shape).reshape(-1, len(rows)).T
    return (rows.constant[:, None] + rows.log_likelihood(each)).T.reshape(shape)


@dataclass(frozen=True)
class RowLeaves:
    """``L(θ) = Π L_row(θ)`` over the rows of each of k groups.

    Attributes
    ----------
    rows : Leaves
        Of N rows, those of a group one after the other.
    first : (k,)
        First row of each group, which has at least one.
    """

    rows: Leaves
    first: Indices

    def __len__(self) -> int:
        return len(self.first)

    @property
    def log_concave(self) -> bool:
        """Whether the rows' likelihoods are."""
        return self.rows.log_concave

    @cached_property
    def _counts(self) -> Indices:
        """Rows of each group, (k,)."""
        return np.diff(np.append(self.first, len(self.rows)))

    @cached_property
    def _group(self) -> Indices:
        """Group of each row, (N,)."""
        return np.repeat(np.arange(len(self)), self._counts)

    @cached_property
    def constant(self) -> Floats:
        """Sum of the rows' constants, and how far below them the product's supremum is."""
        return np.add.reduceat(self.rows.constant, self.first) + self._top

    @cached_property
    def centre(self) -> Floats:
        """The mode, pulled a little towards the rows' mean centre.

        As if one more row, half a success and half a failure, were seen there: so the centre is
        finite where the mode is not.  Where leaves are not log-concave it is the highest mode.
        """
        return self._centre_and_information[0]

    @cached_property
    def information(self) -> Floats:
        """Of the rows at the centre, and of the row that pulls."""
        return self._centre_and_information[1]

    @cached_property
    def _centre_and_information(self) -> tuple[Floats, Floats]:
        by_rows = np.add.reduceat(self.rows.information, self.first)
        if not self.log_concave:
            return self._highest_mode(by_rows), by_rows
        weighted = self.rows.information * self.rows.centre
        mean = np.add.reduceat(weighted, self.first) / by_rows

        def pulled(theta: Floats) -> tuple[Floats, Floats]:
            slope, information = self._slope_and_information_at(theta)
            pull = 0.5 * np.tanh((theta - mean) / 2)
            return slope - pull, information + 0.25 - pull**2

        centre = falling_roots(pulled, mean, by_rows**-0.5)
        return centre, pulled(centre)[1]

    def _highest_mode(self, by_rows: Floats) -> Floats:
        """Ascend from where, of the centres of some rows, the product is largest."""
        ranks = np.linspace(0, 1, CANDIDATES) * (self._counts[:, None] - 1)
        order = np.lexsort((self.rows.centre, self._group))
        tried = self.rows.centre[order][self.first[:, None] + np.rint(ranks).astype(np.intp)]
        best = self._total(tried).argmax(axis=1)
        x = np.take_along_axis(tried, best[:, None], axis=1)[:, 0]
        height = self._total(x[:, None])[:, 0]
        slope, information = self._slope_and_information_at(x)
        for _ in range(ASCENT_STEPS):
            step = slope / np.where(information > 0.1 * by_rows, information, by_rows)
            for _ in range(ASCENT_STEPS):
                higher = self._total((x + step)[:, None])[:, 0]
                falls = higher < height
                if not falls.any():
                    break
                step = np.where(falls, step / 2, step)
                step[np.abs(step) < 1e-12 * by_rows**-0.5] = 0.0
            x, height = x + step, higher
            slope, information = self._slope_and_information_at(x)
            if (np.abs(slope) < 1e-9 * by_rows**0.5).all() or not step.any():
                break
        return x

    @cached_property
    def _top(self) -> Floats:
        """Supremum of the sum of the rows' logarithms, each relative to its own; (k,).

        Where all rows rise to the same side they reach their suprema together, at infinity.
        """
        peak = self.centre
        inside = self.falls_below & self.falls_above
        if self.log_concave and inside.any():
            within = self.take(np.flatnonzero(inside))
            peak = peak.copy()
            peak[inside] = falling_roots(
                within._slope_and_information_at, peak[inside], self.information[inside] ** -0.5
            )
        return np.where(inside, self._total(peak[:, None])[:, 0], 0.0)

    @property
    def step(self) -> Floats:
        """The smallest of the rows', and half of an sd of all together."""
        rows = np.minimum.reduceat(self.rows.step, self.first)
        return np.minimum(rows, self.information**-0.5 / STEPS_PER_SD)

    @property
    def bend_range(self) -> Floats:
        """Where any row bends."""
        low, high = self.rows.bend_range.T
        ends = np.minimum.reduceat(low, self.first), np.maximum.reduceat(high, self.first)
        return np.stack(ends, axis=1)

    @cached_property
    def falls_below(self) -> Flags:
        """Whether any row does."""
        return np.logical_or.reduceat(self.rows.falls_below, self.first)

    @cached_property
    def falls_above(self) -> Flags:
        """Whether any row does."""
        return np.logical_or.reduceat(self.rows.falls_above, self.first)

    def log_likelihood(self, theta: Floats) -> Floats:
        """Sum over the rows, relative to its supremum."""
        return self._total(theta) - self._top[:, None]

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """Sums over the rows."""
        parts = list(self._sums(self.rows.slope_and_information, theta))
        slope, information = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return slope, information

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """Sums over the rows, the first relative to its supremum."""
        parts = list(self._sums(self.rows.expansion, theta))
        total, slope, information = (
            np.concatenate(part, axis=1) for part in zip(*parts, strict=True)
        )
        return total - self._top[:, None], slope, information

    def _slope_and_information_at(self, theta: Floats) -> tuple[Floats, Floats]:
        """At one place (k,) of each group."""
        slope, information = self.slope_and_information(theta[:, None])
        return slope[:, 0], information[:, 0]

    def _total(self, theta: Floats) -> Floats:
        """Sum of the rows' logarithms, each relative to its own supremum; (k, K)."""
        parts = self._sums(lambda places: (self.rows.log_likelihood(places),), theta)
        return np.concatenate([part for (part,) in parts], axis=1)

    def _sums(
        self, of_rows: Callable[[Floats], tuple[Floats, ...]], theta: Floats
    ) -> Iterator[tuple[Floats, ...]]:
        """Sums by group of what the rows have, at some of the places at a time."""
        places = np.broadcast_to(theta, (len(self), theta.shape[-1]))
        columns = max(1, BLOCK // len(self.rows))
        for start in range(0, places.shape[1], columns):
            values = of_rows(places[:, start : start + columns][self._group])
            yield tuple(np.add.reduceat(value, self.first, axis=0) for value in values)

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        counts = self._counts[groups]
        first = np.cumsum(counts) - counts
        within = np.arange(counts.sum()) - np.repeat(first, counts)
        rows = self.rows.take(np.repeat(self.first[groups], counts) + within)
        return type(self)(rows, first)

    def distinct(self) -> tuple[Self, Indices]:
        """All of them: groups are not searched for the same rows."""
        return self, np.arange(len(self))
