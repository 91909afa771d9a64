"""Shares of the variances of levels in all variance.

A share is at most q in a region of the plane of τ and κ.  Along one direction of the lattice, or
along a diagonal for the share of both, it rises; so each line of points in this direction enters
the region's end at one place a*, and with sinc interpolation along the lines

    P(share ≤ q) = Σ_j W_j (½ + Si(π(a*_j − a_j))/π),

a being counted in points.  Across the lines the sum integrates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.nested.posterior import NestedPosterior

FARTHEST = 80.0  # logit of a share
BISECTIONS = 60
BEYOND = 5.0  # points beyond the outermost of the lattice
ALONG = {(0,): (0, 1), (1,): (1, 0), (0, 1): (1, 1)}  # by levels: direction in τ's index and κ's


def share_quantiles(
    posterior: NestedPosterior, levels: list[int], rest: float, probabilities: Floats
) -> Floats:
    """Quantiles of the share of some levels' variances in those of all levels and a rest; (p,).

    Parameters
    ----------
    posterior : NestedPosterior
    levels : list of int
        0 for the outer groups' κ², 1 for τ².
    rest : float
        Variance above 0.
    probabilities : (p,)
    """
    free = [level for level in (0, 1) if posterior.coordinates.sd_axes[level] is not None]
    if len(free) == 2:
        return _Shares(posterior, tuple(levels), rest).quantile(probabilities)
    rises = not free or free[0] in levels
    at = probabilities if rises else 1 - probabilities
    variances = np.stack([posterior.sd_quantiles(level, at) ** 2 for level in (0, 1)])
    return np.asarray(variances[levels].sum(axis=0) / (variances.sum(axis=0) + rest))


@dataclass(frozen=True, eq=False)
class _Shares:
    """The distribution of a share where both sds are unknown.

    Attributes
    ----------
    posterior : NestedPosterior
    levels : tuple of int
    rest : float
    """

    posterior: NestedPosterior
    levels: tuple[int, ...]
    rest: float

    @cached_property
    def _points(self) -> tuple[Floats, Floats, Indices, Floats]:
        """Lines' indices at a = 0 (M, h); and of points a, line and weight; (n,).

        They are those of all coordinates up to κ's, h of them.
        """
        lattice, along = self.posterior.lattice, self._along
        plane, point_of = np.unique(lattice.index[:, : len(along)], axis=0, return_inverse=True)
        weight = np.bincount(point_of.ravel(), lattice.weights)
        a = plane[:, 0] if along[0] else plane[:, -1]
        lines, line = np.unique(plane - a[:, None] * along, axis=0, return_inverse=True)
        return lines.astype(float), a.astype(float), line.ravel(), weight

    @property
    def _along(self) -> tuple[int, ...]:
        """The direction, in the index of τ, of each β, and of κ; (h,)."""
        first, last = ALONG[self.levels]
        return (first, *[0] * self.posterior.model.n_slopes, last)

    def _logit(self, a: Floats) -> Floats:
        """Logit of the share at places a of all lines; (M,)."""
        lattice = self.posterior.lattice
        index = self._points[0] + a[:, None] * self._along
        points, some = np.zeros((len(a), len(lattice.origin))), slice(len(self._along))
        points[:, some] = lattice.origin[some] + index @ lattice.step[some, some].T
        variances = self.posterior.coordinates.sds(points) ** 2
        own = variances[:, list(self.levels)].sum(axis=1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(own) - np.log(variances.sum(axis=1) - own + self.rest))

    def cdf(self, logit: float) -> float:
        """Probability that the share is at most ``1/(1 + e^(−logit))``."""
        from scipy.special import sici

        lines, a, line, weight = self._points
        low, high = (np.full(len(lines), end) for end in (a.min() - BEYOND, a.max() + BEYOND))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            below = self._logit(middle) < logit
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return float(weight @ (0.5 + sici(np.pi * (low[line] - a))[0] / np.pi))

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles, by bisection; (p,)."""
        found = np.empty(len(probabilities))
        for i, probability in enumerate(probabilities):
            low, high = -FARTHEST, FARTHEST
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                low, high = (middle, high) if self.cdf(middle) < probability else (low, middle)
            found[i] = 1 / (1 + np.exp(-low))
        return found
