"""Posteriors to thirty digits, from the model's textbook formulas: slow, plain and independent.

Nothing is shared with the package: sums over the groups in mpmath, and Gauss's rule on pieces of
the log sds that are halved until the log density is nearly straight on each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from mpmath import mp, mpf

mp.dps = 30
NODES = 20  # of Gauss's rule on each piece
STEEPEST = 6  # change of the log density within a piece
LEAST = -80  # log density, below the highest, of pieces that are left out
START = mpf(2)  # length of the first pieces

type LogDensity = Callable[[mpf], mpf]


def gauss() -> list[tuple[mpf, mpf]]:
    """Nodes and weights of Gauss's rule on (−1, 1), to all digits by Newton's method."""
    found = []
    for start in np.polynomial.legendre.leggauss(NODES)[0]:
        x = mp.findroot(lambda x: mp.legendre(NODES, x), mpf(start))
        slope = NODES * (x * mp.legendre(NODES, x) - mp.legendre(NODES - 1, x)) / (x**2 - 1)
        found.append((x, 2 / ((1 - x**2) * slope**2)))
    return found


RULE = gauss()


def pieces(log_density: LogDensity, ends: Sequence[float]) -> list[tuple[mpf, mpf]]:
    """Cut the range between the first and the last of ``ends`` into pieces that matter.

    The first pieces are no longer than ``START``, and end at each of ``ends``: those who call
    know where narrow peaks are.
    """
    marks = sorted(mpf(end) for end in ends)
    todo = []
    for low, high in pairwise(marks):
        n = int(mp.ceil((high - low) / START))
        todo += [(low + (high - low) * i / n, low + (high - low) * (i + 1) / n) for i in range(n)]
    kept, top = [], max(log_density(mark) for mark in marks)
    while todo:
        low, high = todo.pop()
        values = [log_density(low + (high - low) * i / 4) for i in range(5)]
        top = max(top, *values)
        if max(values) < top + LEAST - 20 and high - low <= START / 16:
            continue
        if max(values) - min(values) > STEEPEST:
            middle = (low + high) / 2
            todo += [(low, middle), (middle, high)]
        else:
            kept.append((low, high, max(values)))
    return sorted((low, high) for low, high, most in kept if most > top + LEAST)


def nodes(log_density: LogDensity, ends: Sequence[float]) -> list[tuple[mpf, mpf]]:
    """Places and weights of a quadrature for ``log_density`` times something smooth."""
    found = []
    for low, high in pieces(log_density, ends):
        half, middle = (high - low) / 2, (high + low) / 2
        found += [(middle + half * x, half * w) for x, w in RULE]
    return found


@dataclass(frozen=True)
class Sharing:
    """Two levels with known standard errors and a flat prior of μ, groups of equal se together.

    Attributes
    ----------
    se : sequence of float
        One for each class of groups.
    y : sequence of sequences of float
        Outcomes of each class.
    log_prior : LogDensity
        Log density of ``t = log τ``.
    ends : sequence of float
        Ends of the range of t, and places between them where the density may be narrow.
    """

    se: Sequence[float]
    y: Sequence[Sequence[float]]
    log_prior: LogDensity
    ends: Sequence[float]

    @cached_property
    def _classes(self) -> list[tuple[mpf, int, mpf, mpf]]:
        """Variance, size, mean and sum of squares of each class."""
        found = []
        for se, y in zip(self.se, self.y, strict=True):
            exact = [mpf(float(value)) for value in y]
            mean = mp.fsum(exact) / len(exact)
            squares = mp.fsum((value - mean) ** 2 for value in exact)
            found.append((mpf(float(se)) ** 2, len(exact), mean, squares))
        return found

    def _parts(self, t: mpf) -> tuple[mpf, mpf, mpf]:
        """Log density of t, and mean and precision of ``μ | τ, y``."""
        v = [mp.exp(2 * t) + s2 for s2, *_ in self._classes]
        precision = mp.fsum(k / vc for vc, (_, k, _, _) in zip(v, self._classes, strict=True))
        mu = mp.fsum(k * m / vc for vc, (_, k, m, _) in zip(v, self._classes, strict=True))
        mu /= precision
        total = -mp.log(precision) / 2
        for vc, (_, k, mean, squares) in zip(v, self._classes, strict=True):
            total -= (k * mp.log(vc) + (squares + k * (mean - mu) ** 2) / vc) / 2
        rows = sum(k for _, k, _, _ in self._classes)
        total -= (rows - 1) * mp.log(2 * mp.pi) / 2
        return total + self.log_prior(t), mu, precision

    @cached_property
    def _weighted(self) -> tuple[list[tuple[mpf, mpf, mpf, mpf]], mpf]:
        """Places t with normalised weights and the moments of μ, and log p(y)."""
        places = nodes(lambda t: self._parts(t)[0], self.ends)
        parts = [self._parts(t) for t, _ in places]
        top = max(log_density for log_density, _, _ in parts)
        weights = [w * mp.exp(p[0] - top) for (_, w), p in zip(places, parts, strict=True)]
        mass = mp.fsum(weights)
        rows = [
            (t, w / mass, p[1], p[2]) for (t, _), w, p in zip(places, weights, parts, strict=True)
        ]
        return rows, top + mp.log(mass)

    @property
    def log_evidence(self) -> float:
        """``log p(y)``, with 1 for the density of μ."""
        return float(self._weighted[1])

    def tau(self) -> tuple[float, float]:
        """Mean and sd of τ."""
        return self._moments([(w, mp.exp(t), mpf(0)) for t, w, _, _ in self._weighted[0]])

    def mu(self) -> tuple[float, float]:
        """Mean and sd of μ."""
        return self._moments([(w, m, 1 / p) for _, w, m, p in self._weighted[0]])

    def theta(self, number: int, y: float) -> tuple[float, float]:
        """Mean and sd of the value of a group of a class, with this outcome."""
        s2, found = self._classes[number][0], []
        for t, w, mu, precision in self._weighted[0]:
            v = mp.exp(2 * t) + s2
            pull, own = s2 / v, mp.exp(2 * t) / v
            found.append((w, pull * mu + own * mpf(float(y)), own * s2 + pull**2 / precision))
        return self._moments(found)

    def tau_below(self, tau: float) -> float:
        """Probability that τ is below a value, from a quadrature that ends there."""
        end = mp.log(mpf(tau))
        inside = sorted({*(mark for mark in map(mpf, self.ends) if mark < end), end})
        below = Sharing(self.se, self.y, self.log_prior, inside)
        return float(mp.exp(below._weighted[1] - self._weighted[1]))

    @staticmethod
    def _moments(rows: list[tuple[mpf, mpf, mpf]]) -> tuple[float, float]:
        """Mean and sd of a mixture from weights, means and variances."""
        mean = mp.fsum(w * m for w, m, _ in rows)
        return float(mean), float(mp.sqrt(mp.fsum(w * (v + (m - mean) ** 2) for w, m, v in rows)))
