"""Fisher's noncentral hypergeometric distribution of 2×2 tables, as sums over all their counts.

Given its margins, a table has one free count u, the events in the treated arm.  Its probability at
the log odds ratio η is proportional to ``w(u) e^{uη}`` with

    w(u) = C(treated, u)·C(control, events − u),

    max(0, events − control) ≤ u ≤ min(treated, events).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hiermodels.core.arrays import Floats, Indices

BLOCK = 2**20  # numbers at a time
NEGLIGIBLE = 50.0  # below the largest logarithm of a term


class Terms(NamedTuple):
    """Tables with about as many counts, and these counts.

    Attributes
    ----------
    tables : (b,)
        Which tables.
    distance : (b, s)
        Of each count from the table's anchor.
    log_weight : (b, s)
        ``log w(u)/w(anchor)``; −∞ where a table has fewer counts than others.
    """

    tables: Indices
    distance: Floats
    log_weight: Floats

    def trimmed(self, eta: Floats) -> Terms:
        """Without the counts that are negligible at all η (b, K) of each table.

        The largest term moves upwards as η rises, and terms fall off to either side.
        """
        ends = (at[:, None] for at in (eta.min(axis=1), eta.max(axis=1)))
        seen = [self._seen(at) for at in ends]
        first = int(seen[0].argmax(axis=1).min())
        last = self.distance.shape[1] - int(seen[1][:, ::-1].argmax(axis=1).min())
        kept = slice(first, last)
        return Terms(self.tables, self.distance[:, kept], self.log_weight[:, kept])

    def _seen(self, eta: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which terms are not negligible at one η (b, 1) of each table."""
        terms = self.log_weight + self.distance * eta
        return terms > terms.max(axis=1, keepdims=True) - NEGLIGIBLE


@dataclass(frozen=True)
class Tables:
    """2×2 tables with their margins.

    Attributes
    ----------
    treated, control, events : (k,)
        Members of either arm, and events in both arms together.
    anchor : (k,)
        A possible count of events in the treated arm, which others are compared with.
    """

    treated: Floats
    control: Floats
    events: Floats
    anchor: Floats

    @cached_property
    def lowest(self) -> Floats:
        """The smallest count in the treated arm that the margins allow."""
        return np.maximum(0.0, self.events - self.control)

    @cached_property
    def highest(self) -> Floats:
        """The largest."""
        return np.minimum(self.treated, self.events)

    def log_ratio(self, count: Floats) -> Floats:
        """``log w(count + 1)/w(count)``, which falls as the count rises; (k,) or (k, s)."""
        wide = (slice(None), *(None,) * (count.ndim - 1))
        treated, control, events = self.treated[wide], self.control[wide], self.events[wide]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log((treated - count) * (events - count)) - np.log(
                (count + 1) * (control - events + count + 1)
            )

    @cached_property
    def terms(self) -> list[Terms]:
        """All counts of all tables, tables with about as many together."""
        width = self.highest - self.lowest
        order = np.argsort(width, kind="stable")
        blocks, start = [], 0
        while start < len(order):
            narrowest = width[order[start]]
            end = int(np.searchsorted(width[order], 2 * narrowest + 1, side="right"))
            end = min(end, start + max(1, BLOCK // int(2 * narrowest + 2)))
            blocks.append(self._terms_of(order[start:end]))
            start = end
        return blocks

    def _terms_of(self, tables: Indices) -> Terms:
        """Sums of log ratios outwards from the anchor: near it no digits are lost."""
        some = Tables(*(a[tables] for a in (self.treated, self.control, self.events, self.anchor)))
        width = int((some.highest - some.lowest).max())
        count = some.lowest[:, None] + np.arange(width)
        is_there = count < some.highest[:, None]
        ratio = np.where(is_there, some.log_ratio(np.where(is_there, count, 0.0)), 0.0)
        is_above = count >= some.anchor[:, None]
        above = np.cumsum(np.where(is_above, ratio, 0.0), axis=1)
        below = np.cumsum(np.where(is_above, 0.0, ratio)[:, ::-1], axis=1)[:, ::-1]
        edge = np.zeros((len(tables), 1))
        log_weight = np.hstack([edge, above]) - np.hstack([below, edge])
        is_past = np.hstack([edge > 0, ~is_there])
        counts = some.lowest[:, None] + np.arange(width + 1)
        return Terms(tables, counts - some.anchor[:, None], np.where(is_past, -np.inf, log_weight))

    def at(self, eta: Floats) -> Iterator[tuple[Indices, slice, Floats, Floats]]:
        """Logarithms of terms at log odds ratios eta (k, K), some of them at a time.

        Yields
        ------
        tables : (b,)
        places : slice
            Of the K.
        distance : (b, s, 1)
        log_term : (b, s, places)
            ``log w(u)/w(anchor) + (u − anchor) η``.
        """
        for block in self.terms:
            here = eta[block.tables]
            kept = block.trimmed(here)
            places = max(1, BLOCK // kept.distance.size)
            for start in range(0, eta.shape[1], places):
                part = slice(start, start + places)
                distance = kept.distance[:, :, None]
                log_term = kept.log_weight[:, :, None] + distance * here[:, None, part]
                yield block.tables, part, distance, log_term

    def log_sum(self, eta: Floats) -> Floats:
        """``log Σ w(u)/w(anchor) e^{(u − anchor) η}``, minus the anchor's log probability."""
        total = np.empty(eta.shape)
        for tables, part, _, log_term in self.at(eta):
            top = log_term.max(axis=1)
            total[tables, part] = top + np.log(np.exp(log_term - top[:, None]).sum(axis=1))
        return total

    def mean_and_variance(self, eta: Floats) -> tuple[Floats, Floats]:
        """Of ``u − anchor``; (k, K) each."""
        mean, variance = np.empty(eta.shape), np.empty(eta.shape)
        for tables, part, distance, log_term in self.at(eta):
            p = np.exp(log_term - log_term.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            mean[tables, part] = centre = (p * distance).sum(axis=1)
            variance[tables, part] = (p * (distance - centre[:, None]) ** 2).sum(axis=1)
        return mean, variance

    def cdf(self, count: Floats, eta: Floats) -> Floats:
        """Probability that each table has at most its count (k,); (k, K)."""
        below = np.empty(eta.shape)
        for tables, part, distance, log_term in self.at(eta):
            p = np.exp(log_term - log_term.max(axis=1, keepdims=True))
            counted = distance <= (count - self.anchor)[tables, None, None]
            below[tables, part] = np.where(counted, p, 0.0).sum(axis=1) / p.sum(axis=1)
        return below

    def draw(self, eta: Floats, rng: np.random.Generator) -> Floats:
        """Draw a count for each η; (k, K)."""
        uniform, drawn = rng.random(eta.shape), np.empty(eta.shape)
        for tables, part, distance, log_term in self.at(eta):
            p = np.exp(log_term - log_term.max(axis=1, keepdims=True))
            below = np.cumsum(p, axis=1)
            passed = below[:, :-1] <= (uniform[tables, part] * below[:, -1])[:, None]
            first = self.anchor[tables] + distance[:, 0, 0]
            drawn[tables, part] = first[:, None] + passed.sum(axis=1)
        return drawn
