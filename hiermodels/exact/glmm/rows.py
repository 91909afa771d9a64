"""Counts row by row: their log likelihood and its derivatives, summed over each group.

With ``η_i = o_i + x_i'γ + b_g`` the log likelihood of a row is, up to a constant,

    v_i(η) = y_i η − m_i log(1 + e^η)      (binomial, m trials)
    v_i(η) = y_i η − e^η                   (Poisson, the log exposure being part of the offset).

Rows stand in the order of their groups.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.glmm.products import AT_ONCE, log_products, logistic_sums

LARGEST = 40.0  # linear predictor of which the exponentials of 16 rows can be multiplied
MOST = 600.0  # the same of one row
BISECTIONS = 12  # for where a likelihood changes fastest
COMPILED = 500  # rows from which on compiled loops are worth their loading


@dataclass(frozen=True)
class EndOfIntegrand:
    """Where a group's likelihood, as a function of its effect b, changes fastest; (g, J) each.

    Attributes
    ----------
    place : (g, J)
    width : (g, J)
        Within which it changes there.
    reach : (g, J)
        How far from there single rows still change.
    """

    place: Floats
    width: Floats
    reach: Floats


@dataclass(frozen=True, eq=False)
class CountRows(ABC):
    """Counts of N rows in G groups.

    Attributes
    ----------
    y : (N,)
    x : (N, p)
        Covariates, the intercept's column of ones among them.
    offset : (N,)
    first : (G,)
        Number of the first row of each group.
    are_some : bool
        Of so many that loops over them are worth compiling.
    """

    y: Floats
    x: Floats
    offset: Floats
    first: Indices
    are_some: bool = field(default=False, kw_only=True)

    @property
    def n_groups(self) -> int:
        """Number of groups, G."""
        return len(self.first)

    @cached_property
    def sizes(self) -> Indices:
        """Number of rows of each group; (G,)."""
        return np.diff(np.append(self.first, len(self.y)))

    @cached_property
    def group(self) -> Indices:
        """Each row's group; (N,)."""
        return np.repeat(np.arange(self.n_groups), self.sizes)

    @cached_property
    def total(self) -> Floats:
        """Sum of the counts of each group; (G,)."""
        return self.sums(self.y)

    def sums(self, values: Floats) -> Floats:
        """Sums over the rows of each group: from (N, …) to (G, …)."""
        return np.add.reduceat(values, self.first, axis=0)

    def take(self, rows: Indices, first: Indices) -> Self:
        """Some of the rows, in groups that begin with these of them."""
        names = [own.name for own in fields(self) if own.name not in ("first", "are_some")]
        arrays = {name: getattr(self, name)[rows] for name in names}
        return type(self)(first=first, **arrays, are_some=self.are_many)

    @property
    def are_many(self) -> bool:
        """Whether loops over rows are compiled."""
        return self.are_some or len(self.y) >= COMPILED

    def linear(self, gamma: Floats) -> Floats:
        """``o + Xγ`` at coefficients (J, p); (N, J)."""
        return self.offset[:, None] + self.x @ gamma.T

    @cached_property
    def _by_size(self) -> tuple[Indices, ...]:
        """Numbers of the groups that have equally many rows."""
        order = np.argsort(self.sizes, kind="stable")
        return tuple(np.split(order, np.flatnonzero(np.diff(self.sizes[order])) + 1))

    def blocks(self, most: int) -> Iterator[tuple[Indices, Indices]]:
        """Yield groups (g,) of m rows each, with these rows (g, m); at most so many rows at once.

        A single group may have more.
        """
        for alike in self._by_size:
            m = int(self.sizes[alike[0]])
            step = max(1, most // m)
            for start in range(0, len(alike), step):
                groups = alike[start : start + step]
                yield groups, self.first[groups, None] + np.arange(m)

    @property
    @abstractmethod
    def widest_step(self) -> float:
        """Widest spacing in b at which the trapezoid rule leaves 1e-10 of a group's integral."""

    @abstractmethod
    def mean_and_variance(self, eta: Floats, rows: Indices | slice) -> tuple[Floats, Floats]:
        """Means and variances of some rows at linear predictors (*rows, …)."""

    def sums_of_moments(self, eta: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Sums over the groups of means and variances, linear predictors ``eta + b``; (G, J) each.

        Parameters
        ----------
        eta : (N, J)
        b : (G, J)
        """
        mean, variance = self.mean_and_variance(eta + b[self.group], slice(None))
        return self.sums(mean), self.sums(variance)

    def own_sums_of_moments(
        self, eta: Floats, rows: Indices, theta: Floats
    ) -> tuple[Floats, Floats]:
        """The same of k groups of m rows with linear predictors of their own; (k, K) each.

        Parameters
        ----------
        eta : (k, m)
        rows : (k, m)
        theta : (k, K)
            Effects.
        """
        mean, variance = self.mean_and_variance(eta[..., None] + theta[:, None], rows)
        return mean.sum(axis=1), variance.sum(axis=1)

    @abstractmethod
    def log_likelihood(self, eta: Floats, rows: Indices) -> Floats:
        """``v_i`` of rows (g,) at linear predictors (g, …)."""

    @abstractmethod
    def normaliser(self, eta: Floats, rows: Indices, b: Floats) -> Floats:
        """``Σ_i (y_i η_i − v_i(η_i))`` over the rows of groups, ``η_i = eta_i + b``.

        Parameters
        ----------
        eta : (g, m, J)
        rows : (g, m)
        b : (g, J, K)

        Returns
        -------
        (g, J, K)
        """

    @abstractmethod
    def end_of_integrand(self, eta: Floats, rows: Indices) -> EndOfIntegrand:
        """Where likelihoods of groups change fastest; eta (g, m, J), rows (g, m)."""


@dataclass(frozen=True, eq=False)
class BinomialRows(CountRows):
    """Successes of trials; ``trials`` (N,)."""

    trials: Floats

    @property
    def widest_step(self) -> float:
        """The poles of ``1/(1 + e^η)`` lie at ±iπ: ``exp(−2π²/0.7)`` is 6e-13."""
        return 0.7

    @cached_property
    def _are_single(self) -> bool:
        """Whether every row is one trial."""
        return bool((self.trials == 1).all())

    def mean_and_variance(self, eta: Floats, rows: Indices | slice) -> tuple[Floats, Floats]:
        """``m p`` and ``m p (1 − p)``."""
        tail = np.exp(-np.abs(eta))
        other = 1 / (1 + tail)
        m = self.trials[rows]
        m = m.reshape(*m.shape, *[1] * (eta.ndim - m.ndim))
        return m * np.where(eta > 0, other, tail * other), m * tail * other**2

    def sums_of_moments(self, eta: Floats, b: Floats) -> tuple[Floats, Floats]:
        """The same: of many rows compiled."""
        if not self.are_many or eta.max() + b.max() > MOST:
            return super().sums_of_moments(eta, b)
        return logistic_sums(np.exp(eta), np.exp(b), self.trials, self.first)

    def own_sums_of_moments(
        self, eta: Floats, rows: Indices, theta: Floats
    ) -> tuple[Floats, Floats]:
        """The same."""
        if not self.are_many or eta.max() + theta.max() > MOST:
            return super().own_sums_of_moments(eta, rows, theta)
        factor = np.broadcast_to(np.exp(eta).reshape(-1, 1), (eta.size, theta.shape[1]))
        first = np.arange(len(eta)) * eta.shape[1]
        return logistic_sums(factor, np.exp(theta), self.trials[rows].ravel(), first)

    def log_likelihood(self, eta: Floats, rows: Indices) -> Floats:
        """``y η − m log(1 + e^η)``."""
        y, m = (a[rows].reshape(-1, *[1] * (eta.ndim - 1)) for a in (self.y, self.trials))
        return y * eta - m * np.logaddexp(0, eta)

    def normaliser(self, eta: Floats, rows: Indices, b: Floats) -> Floats:
        """``Σ m_i log(1 + e^{η_i})``: of single trials logarithms of products of 16 factors."""
        if eta.max() + b.max() > (LARGEST if self._are_single else MOST):
            return self._slowly(eta, rows, b)
        factor, shift = np.exp(eta), np.exp(b)
        if self._are_single and self.are_many:
            return log_products(factor, shift)
        total, factor, shift = np.zeros(b.shape), factor[..., None], shift[:, None]
        for start in range(0, rows.shape[1], AT_ONCE):
            some = slice(start, start + AT_ONCE)
            part = factor[:, some] * shift
            part += 1
            if self._are_single:
                total += np.log(np.multiply.reduce(part, axis=1))
            else:
                np.log(part, out=part)
                total += np.einsum("gm,gmjk->gjk", self.trials[rows[:, some]], part)
        return total

    def end_of_integrand(self, eta: Floats, rows: Indices) -> EndOfIntegrand:
        """Where ``Σ m_i p_i`` is the number of successes, half of one away from 0 and from all."""
        trials = self.trials[rows][..., None]
        most = np.maximum(trials.sum(axis=1), 1.0)
        share = self.y[rows].sum(axis=1)[:, None] / most
        aim = most * share + 0.5 - share
        beyond = np.log(2 * most + 2)
        low, high = -eta.max(axis=1) - beyond, -eta.min(axis=1) + beyond
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            mean, variance = self.mean_and_variance(eta + middle[:, None], rows)
            is_low = mean.sum(axis=1) < aim
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        width = 1 / np.sqrt(np.maximum(variance.sum(axis=1), aim * (1 - aim / most)))
        return EndOfIntegrand(middle, width, np.abs(eta + middle[:, None]).max(axis=1))

    def _slowly(self, eta: Floats, rows: Indices, b: Floats) -> Floats:
        """The same where exponentials would overflow."""
        total = np.zeros(b.shape)
        for i in range(rows.shape[1]):
            trials = self.trials[rows[:, i], None, None]
            total += trials * np.logaddexp(0, eta[:, i, :, None] + b)
        return total


@dataclass(frozen=True, eq=False)
class PoissonRows(CountRows):
    """Counts of events."""

    @property
    def widest_step(self) -> float:
        """In the complex plane ``exp(−e^b)`` falls up to ±iπ/2: ``exp(−π²/0.3)`` is 5e-15."""
        return 0.3

    def mean_and_variance(self, eta: Floats, rows: Indices | slice) -> tuple[Floats, Floats]:
        """``e^η`` twice, where that is a number; elsewhere a very large one."""
        mean = np.exp(np.minimum(eta, MOST))
        return mean, mean

    def log_likelihood(self, eta: Floats, rows: Indices) -> Floats:
        """``y η − e^η``."""
        y = self.y[rows].reshape(-1, *[1] * (eta.ndim - 1))
        return y * eta - np.exp(np.minimum(eta, MOST))

    def normaliser(self, eta: Floats, rows: Indices, b: Floats) -> Floats:
        """``e^b Σ e^{η_i}``."""
        return np.exp(np.minimum(b + _log_sum(eta)[..., None], MOST))

    def end_of_integrand(self, eta: Floats, rows: Indices) -> EndOfIntegrand:
        """Where ``Σ e^{η_i}`` is the number of events and one more."""
        aim = np.broadcast_to(self.y[rows].sum(axis=1)[:, None] + 1, (len(eta), eta.shape[2]))
        return EndOfIntegrand(np.log(aim) - _log_sum(eta), 1 / np.sqrt(aim), np.zeros(aim.shape))


def _log_sum(eta: Floats) -> Floats:
    """``log Σ e^{η_i}`` over the rows of groups; from (g, m, J) to (g, J)."""
    top = eta.max(axis=1)
    return top + np.log(np.exp(eta - top[:, None]).sum(axis=1))
