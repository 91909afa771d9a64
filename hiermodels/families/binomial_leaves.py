"""Leaves of binomial counts with a logit link."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats
from hiermodels.families.count_leaves import LARGEST, CountLeaves, power_less_one
from hiermodels.families.leaves import BARELY, FARTHEST
from hiermodels.numerics.stirling import stirling_error


@dataclass(frozen=True)
class BinomialLeaves(CountLeaves):
    """``r ~ Binomial(n, 1/(1 + e^{−(θ + shift)}))``: the counts of k groups.

    Attributes
    ----------
    successes : (k,)
        r, at least 0.  Neither these nor the failures need be whole numbers.
    failures : (k,)
        n − r; a group without trials, n = 0, has a constant leaf.
    shift : (k,)
        What is added to θ on the scale of the logit.
    log_given_sum : (k,)
        Log probability of the group's rows given their sum: 0 where the group is one row.
    """

    successes: Floats
    failures: Floats
    shift: Floats
    log_given_sum: Floats

    @classmethod
    def of(
        cls,
        successes: Floats,
        trials: Floats,
        shift: Floats | float = 0.0,
        log_given_sum: Floats | float = 0.0,
    ) -> Self:
        """Make leaves of arrays that broadcast to (k,)."""
        failures = np.subtract(trials, successes)
        return cls.broadcast(successes, failures, shift, log_given_sum)

    def __len__(self) -> int:
        return len(self.successes)

    @cached_property
    def trials(self) -> Floats:
        """The counts n; (k,)."""
        return self.successes + self.failures

    @cached_property
    def constant(self) -> Floats:
        """``log C(n, r) + r log(r/n) + (n − r) log(1 − r/n)``, by what Stirling leaves out."""
        inside = self.falls_below & self.falls_above
        r, rest = (np.where(inside, count, 1.0) for count in (self.successes, self.failures))
        error = stirling_error(r + rest) - stirling_error(r) - stirling_error(rest)
        peak = error + 0.5 * (np.log(r + rest) - np.log(r) - np.log(rest) - LOG_2PI)
        return np.where(inside, peak, 0.0) + self.log_given_sum

    @cached_property
    def centre(self) -> Floats:
        """``log((r + ½)/(n − r + ½)) − shift``."""
        return np.log((self.successes + 0.5) / (self.failures + 0.5)) - self.shift

    @cached_property
    def information(self) -> Floats:
        """``(r + ½)(n − r + ½)/(n + 1)``."""
        return (self.successes + 0.5) * (self.failures + 0.5) / (self.trials + 1)

    @property
    def bend_range(self) -> Floats:
        """14 sds, or as far as 0.05 of the rarer outcome are expected."""
        far = FARTHEST * self.information**-0.5
        below = np.minimum(far, np.log((self.successes + 0.5) / BARELY))
        above = np.minimum(far, np.log((self.failures + 0.5) / BARELY))
        return np.stack([self.centre - below, self.centre + above], axis=1)

    @cached_property
    def falls_below(self) -> Flags:
        """Whether r > 0."""
        return self.successes > 0

    @cached_property
    def falls_above(self) -> Flags:
        """Whether r < n."""
        return self.failures > 0

    @cached_property
    def _reference(self) -> tuple[Floats, ...]:
        """Where the leaf is compared with, by the rarer outcome; (k, 1) each.

        Sign that makes this outcome the success, its count a, n, a share b of it, the θ that makes
        it so frequent, and the log likelihood there.  Where it never occurred b is as if half of
        one did; else it is ``a/n``.
        """
        sign = np.where(self.successes <= self.failures, 1.0, -1.0)
        count = np.minimum(self.successes, self.failures)
        inside, n = count > 0, self.trials
        r, rest = (np.where(inside, x, 1.0) for x in (self.successes, self.failures))
        place = np.where(inside, np.log(r) - np.log(rest) - self.shift, self.centre)
        share = np.where(inside, count / np.where(inside, n, 1.0), 0.5 / (n + 1))
        height = np.where(inside, 0.0, n * np.log1p(-share))
        return tuple(x[:, None] for x in (sign, count, n, share, place, height))

    def log_likelihood(self, theta: Floats) -> Floats:
        """``a d − n log(1 + b(e^d − 1))`` with d the distance of the logit from that of b.

        So no large terms cancel near the top.
        """
        sign, a, n, b, place, height = self._reference
        d = sign * (theta - place)
        near = np.minimum(d, LARGEST)
        log_likelihood = np.expm1(near)
        log_likelihood *= b
        np.log1p(log_likelihood, out=log_likelihood)
        log_likelihood += d - near  # 0, or how far it has gone on straight
        log_likelihood *= -n
        log_likelihood += a * d + height
        return log_likelihood

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``r − np`` and ``np(1 − p)``."""
        from scipy.special import expit

        logit = theta + self.shift[:, None]
        n, p, q = self.trials[:, None], expit(logit), expit(-logit)
        # The same as r − np, without 1 − p where p is nearly 1.
        slope = self.successes[:, None] * q - self.failures[:, None] * p
        return slope, n * p * q

    def expansion(self, theta: Floats) -> tuple[Floats, Floats, Floats]:
        """All three of ``x = e^d − 1``, with d as in :meth:`log_likelihood`.

        ``a d − n log(1 + bx)``, ``(a − nb − (n − a) b x)/(1 + bx)`` and
        ``nb(1 − b)(1 + x)/(1 + bx)²``.
        """
        sign, a, n, b, place, height = self._reference
        d = sign * (theta - place)
        near = np.minimum(d, LARGEST)
        x = power_less_one(near, self.trials)
        bx = b * x
        value = np.log1p(bx)
        value += d - near
        value *= -n
        value += a * d + height
        x += 1
        x *= n * b * (1 - b)
        slope = bx * (sign * (a - n))
        slope += sign * np.where(a > 0, 0.0, -n * b)
        bx += 1
        slope /= bx
        x /= bx
        x /= bx
        return value, slope, x

    @property
    def places(self) -> Floats | None:
        """``log r`` and ``log(n − r)``, if all have the same shift."""
        if len(self) == 0 or np.ptp(self.shift) > 0:
            return None
        with np.errstate(divide="ignore"):
            return np.log(np.stack([self.successes, self.failures], axis=1))

    def at(self, places: Floats) -> Self:
        """Leaves at other places (v, 2)."""
        successes, failures = np.exp(places).T
        nothing = np.zeros(len(places))
        return type(self)(successes, failures, nothing + self.shift[0], nothing)
