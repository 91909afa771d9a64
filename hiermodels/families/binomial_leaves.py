"""Leaves of binomial counts with a logit link."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.families.leaves import (
    BARELY,
    FARTHEST,
    STEPS_PER_SD,
    WIDEST_STEP,
    shared_rows,
)
from hiermodels.numerics.stirling import stirling_error

FAR = 30.0  # of the logit from the observed one, beyond which the tail is taken apart


@dataclass(frozen=True)
class BinomialLeaves:
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

    log_concave: ClassVar[bool] = True

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
        arrays = np.broadcast_arrays(successes, failures, shift, log_given_sum)
        return cls(*(np.array(a, dtype=float) for a in arrays))

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
    def step(self) -> Floats:
        """At most ``0.1``, and half of an sd."""
        return np.minimum(WIDEST_STEP, self.information**-0.5 / STEPS_PER_SD)

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
    def _rarer(self) -> tuple[Floats, Floats, Floats]:
        """Sign that makes the rarer outcome the success, its count, and its own logit or −shift."""
        sign = np.where(self.successes <= self.failures, 1.0, -1.0)
        count = np.minimum(self.successes, self.failures)
        inside = count > 0
        with np.errstate(divide="ignore"):
            logit = np.log(np.where(inside, self.successes, 1.0)) - np.log(
                np.where(inside, self.failures, 1.0)
            )
        return sign, count, logit - self.shift

    def log_likelihood(self, theta: Floats) -> Floats:
        """``a d − n log(1 + b(e^d − 1))`` with the rarer outcome's count a = nb.

        Here d is the distance of its logit from the observed one.  So no large terms cancel near
        the top, and none overflow far from it: beyond 30 the same is
        ``−(n − a) d − n log(b + (1 − b) e^{−d})``.  Without any successes, or failures, it is
        ``−n log(1 + e^d)`` with the logit d.
        """
        sign, a, top = (column[:, None] for column in self._rarer)
        n = self.trials[:, None]
        d = sign * (theta - top)
        b = np.where(a > 0, a / np.maximum(n, 1.0), 0.5)
        near = np.minimum(d, FAR)
        log_likelihood = a * near - n * np.log1p(b * np.expm1(near))
        extreme = a[:, 0] == 0
        if extreme.any():
            log_likelihood[extreme] = -n[extreme] * np.logaddexp(0.0, d[extreme])
        far = (d > FAR) & (a > 0)
        if far.any():
            a, b, n = (np.broadcast_to(x, d.shape)[far] for x in (a, b, n))
            tail = n * np.log(b + (1 - b) * np.exp(-d[far]))
            log_likelihood[far] = -(n - a) * d[far] - tail
        return log_likelihood

    def slope_and_information(self, theta: Floats) -> tuple[Floats, Floats]:
        """``r − np`` and ``np(1 − p)``."""
        from scipy.special import expit

        logit = theta + self.shift[:, None]
        n, p, q = self.trials[:, None], expit(logit), expit(-logit)
        # The same as r − np, without 1 − p where p is nearly 1.
        slope = self.successes[:, None] * q - self.failures[:, None] * p
        return slope, n * p * q

    def take(self, groups: Indices) -> Self:
        """Leaves of some groups, in this order."""
        return type(self)(
            self.successes[groups],
            self.failures[groups],
            self.shift[groups],
            self.log_given_sum[groups],
        )

    def distinct(self) -> tuple[Self, Indices]:
        """Leaves with distinct counts and shifts, and which of these each group has; (k,)."""
        first, inverse = shared_rows(self.successes, self.failures, self.shift)
        return self.take(first), inverse
