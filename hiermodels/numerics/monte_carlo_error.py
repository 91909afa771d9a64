"""Means of autocorrelated draws: their Monte Carlo errors, and how sure these are.

The variance of a mean over n draws is ``τ s²/n``, with s² the variance of a draw and τ the
integrated autocorrelation time.  It is estimated from the means of batches of consecutive draws,
which are independent when a batch is much longer than τ; then ``(mean − truth)/error`` has
Student's t distribution, with one degree of freedom fewer than there are batches.  Batches
are made as long as each quantity needs, by doubling.

References
----------
Flyvbjerg & Petersen (1989), J. Chem. Phys. 91:461 (blocking).
Geyer (1992), Statistical Science 7:473 (batch means).
Liu & Xie (2020), JASA 115:393 (Cauchy combination).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats

SHORTEST_BATCH = 8  # draws
LONG_ENOUGH = 3.0  # times τ: then the batches are doubled once more
FEWEST_BATCHES = 4  # in all chains together
ROUNDING = 1e-28  # variance of what does not vary, as a part of its square
HIGHEST = 0.99  # p-value: a share of draws can be exactly right, and p = 1 would outweigh all else


@dataclass(frozen=True)
class Means:
    """Means of columns of draws, each array of shape (u,).

    Attributes
    ----------
    mean : (u,)
    error : (u,)
        Monte Carlo standard error of the mean.
    df : (u,)
        Degrees of freedom of the error.
    """

    mean: Floats
    error: Floats
    df: Floats

    @property
    def t(self) -> Floats:
        """The mean in units of its error; 0 where both are 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.mean == 0, 0.0, self.mean / self.error)

    @property
    def p(self) -> Floats:
        """Probability of a larger ``|t|`` if the expectation is 0."""
        from scipy.special import stdtr

        return 2 * stdtr(self.df, -np.abs(self.t))

    def at_least(self, factor: Floats | float, other: Means) -> Means:
        """With an error of at least ``factor`` times another mean's.

        A rare event may not have happened at all, and then the draws tell nothing of how often
        it should.
        """
        least = factor * other.error
        return Means(
            self.mean,
            np.maximum(self.error, least),
            np.where(self.error < least, other.df, self.df),
        )

    def ess(self, variance: Floats) -> Floats:
        """Effective sample size: how many independent draws of this variance err as much."""
        with np.errstate(divide="ignore"):
            return variance / self.error**2


def batch_means(draws: Floats) -> Means:
    """Average draws (c, n, u) over c chains of n draws."""
    chains, size, columns = draws.shape
    count = _finest(size)
    edges = np.linspace(0, size, count + 1).astype(np.intp)
    batches = np.add.reduceat(draws, edges[:-1], axis=1) / np.diff(edges)[:, None]
    variance = draws.var(axis=(0, 1))
    variance[variance <= ROUNDING * np.abs(draws[0, 0]) ** 2] = np.inf  # all draws are the same
    error, df = np.zeros((2, columns))
    state = np.full(columns, 2)  # doublings to go: 2 until a batch is long enough, then 1, 0
    while True:
        length = size / count
        spread = batches.reshape(-1, columns).var(axis=0, ddof=1)
        time = length * spread / variance
        spread = spread * _inflation(time, length)
        open_ = state > 0
        error[open_] = np.sqrt(spread[open_] / (chains * count))
        df[open_] = chains * count - 1
        state[(state == 1) | ((state == 2) & (length >= LONG_ENOUGH * time))] -= 1
        if not (state > 0).any() or count == 1 or chains * count // 2 < FEWEST_BATCHES:
            break
        batches = batches.reshape(chains, count // 2, 2, columns).mean(axis=2)
        count //= 2
    return Means(draws.mean(axis=(0, 1)), error, df)


def excess(events: NDArray[np.bool_], probability: Floats | float) -> Means:
    """How much more often events (c, n, u) happen than with a probability q, by one or for each.

    Its error is the one under q: that of the draws times ``√(q(1 − q)/(p(1 − p)))``, with p the
    share that was seen.  The draws' own is too small where few events happened, and too large
    where many did, so that t would be skewed, and far out too often.

    References
    ----------
    Wilson (1927), JASA 22:209 (the score test of a share).
    """
    means = batch_means(events - np.asarray(probability, dtype=float))
    seen = events.mean(axis=(0, 1))
    ratio = np.zeros_like(seen)  # of variances; with no event, or nothing else, there is no error
    expected = np.broadcast_to(probability * (1 - probability), seen.shape)
    np.divide(expected, seen * (1 - seen), out=ratio, where=(seen > 0) & (seen < 1))
    return Means(means.mean, means.error * np.sqrt(ratio), means.df)


def combine(p: Floats) -> float:
    """One p-value for the hypothesis that all of several hold, however they depend.

    ``T = mean cot(π p)`` has for small p-values a standard Cauchy tail, whether the tests are
    independent or not: ``p = ½ − arctan(T)/π``.  Unlike Bonferroni's bound it does not grow with
    the number of tests that say the same.
    """
    p = np.clip(np.ravel(p), np.finfo(float).tiny, HIGHEST)
    total = float(np.mean(1 / np.tan(np.pi * p)))
    return float(np.arctan2(1, total) / np.pi)


def _finest(size: int) -> int:
    """Number of the shortest batches in a chain: a power of 2, to be halved."""
    return 2 ** int(np.log2(max(size // SHORTEST_BATCH, 1)))


def _inflation(time: Floats, length: float) -> Floats:
    """What the variance of batch means lacks because neighbours are correlated.

    Of ``τ s²/L`` they show about ``1 − (τ − 1)/(2L)``, exactly so for slow autoregression.
    """
    return 1 / (1 - np.clip((time - 1) / (2 * length), 0.0, 0.5))
