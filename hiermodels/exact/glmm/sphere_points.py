"""Weighted points along random directions: the posterior of many coefficients, to three digits.

Along τ they are a lattice, whose sums converge geometrically.  At each node the coefficients are
``γ = γ̂ + U t``, ``t = r u``: distances r by the trapezoid rule in ``log r``, and directions u of a
rule for the sphere that is turned at random (:mod:`hiermodels.exact.glmm.directions`).  It is exact
for polynomials of low degree, so that what is left, of a density that is nearly normal, is small.
Sets of rules that are turned independently tell how large.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.glmm.directions import frames, with_corners
from hiermodels.exact.glmm.draws import shares_of_groups
from hiermodels.exact.glmm.envelope import RadialLaw, log_drop, reach
from hiermodels.exact.glmm.path import ModePath
from hiermodels.exact.glmm.points import WeightedPoints, moments_at
from hiermodels.exact.glmm.proposals import Proposals
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.modes import find_modes

SETS = 4  # of frames
SPACING = 1.0  # sds of the coordinate of τ: the trapezoid rule leaves exp(−20)
RADIAL_STEP = 0.8  # sds of log r: 1e-5 of an integral over three numbers, 1e-7 over more
REACH = 5.5  # sds of log r
HEAVY = 6.0  # log of what a node of τ may be below the heaviest, to have rules of degree 5
PRUNED = 13.0  # log of what a point's mass may at most be of the heaviest, that is left out
DROP = 15.0  # log of what nodes and distances count that are left out
MOST = 1 << 20  # points, beyond which no more are taken
ENOUGH = 9.5e-4  # posterior sds
SEED = 20240901


@dataclass(frozen=True, eq=False)
class SpherePoints(WeightedPoints):
    """Some sets of points, of which each would do.

    Attributes
    ----------
    of_set : (n,)
        Which set each belongs to.
    """

    of_set: Indices

    @classmethod
    def of(cls, proposals: Proposals, enough: float = ENOUGH, most: int = MOST) -> Self:
        """Turn rules more often until the sets agree, or there are very many points."""
        laid, nodes = _nodes(proposals)
        turns = 0
        while True:
            found = cls._with(proposals, laid, nodes, turns)
            if found.error <= enough or 2 * len(found.tau) > most:
                return found
            turns = 2 * turns or 1

    @classmethod
    def _with(cls, proposals: Proposals, laid: Lattice, nodes: Indices, turns: int) -> Self:
        """With so many turns of each set at each node."""
        path = proposals.path
        taus = proposals.tau_of(laid.points[nodes])
        between = path.weights(taus) @ (path.height + proposals.log_volume)
        log_prior = laid.log_density[nodes] - between
        of_nodes = laid.log_density[nodes]
        turns_at = np.where(of_nodes > of_nodes.max() - HEAVY, turns, 0)
        every = [
            _Rays.of(path, float(tau), int(own), np.random.default_rng([SEED, number]))
            for number, (tau, own) in enumerate(zip(taus, turns_at, strict=True))
        ]
        bounds = [rays.log_bound + own for rays, own in zip(every, log_prior, strict=True)]
        least = max(float(bound.max()) for bound in bounds) - PRUNED
        kept = [bound > least for bound in bounds]
        parts = [rays.points(some) for rays, some in zip(every, kept, strict=True)]
        node = np.repeat(np.arange(len(nodes)), [int(some.sum()) for some in kept])
        gamma, log_weight, of_set = (np.concatenate(part) for part in zip(*parts, strict=True))
        moments = moments_at(path, taus[node], gamma)
        log_mass = moments[0].sum(axis=0) + path.model.log_prior(gamma) + log_weight
        log_mass += log_prior[node]
        mass = np.exp(log_mass - log_mass.max())
        with np.errstate(divide="ignore"):
            sums = np.log(np.bincount(node, mass, len(nodes)) / SETS) + log_mass.max()
        log_density = np.full(len(laid), -np.inf)
        log_density[nodes] = sums
        known = Lattice(laid.origin, laid.step, laid.index, log_density, laid.spacing)
        weight = mass / mass.sum()
        return cls(path, known, taus[node], weight, gamma, *moments, of_set)  # type: ignore[call-arg]

    def errors(self, values: Floats) -> Floats:
        """Standard errors of the means of values (m, n), from the sets of frames; (m,)."""
        each = [self.weight * (self.of_set == k) for k in range(SETS)]
        means = np.array([values @ own / own.sum() for own in each])
        return means.std(axis=0, ddof=1) / np.sqrt(SETS)

    @cached_property
    def error(self) -> float:
        """Twice the largest standard error of a mean or an sd, in posterior sds."""
        values = np.vstack([self.tau, self.gamma.T])
        away = values - self.means(values)[:, None]
        sd = np.sqrt(self.means(away**2))
        free = sd > 0
        away = away[free] / sd[free, None]
        both = np.concatenate([self.errors(away), self.errors(away**2) / 2])
        return 2 * float(both.max(initial=0.0))

    @property
    def is_random(self) -> bool:
        """Directions are."""
        return True

    @property
    def how(self) -> str:
        """What the points are, in words."""
        return (
            f"{len(self.tau):,} points of tau and the coefficients, along directions at random; "
            f"{SETS} independent sets of these tell the precision"
        )


def _nodes(proposals: Proposals) -> tuple[Lattice, Indices]:
    """A lattice over τ, by Laplace's approximation, and which of its points count."""
    if proposals.axis is None:
        height = proposals.path.height + proposals.log_volume
        return Lattice.of_nothing(height), np.zeros(1, dtype=np.intp)

    start = proposals.lattice.points[[int(np.argmax(proposals.lattice.log_density))]]
    scale = find_modes(proposals.log_mass, start)
    laid = lattice.grow(proposals.log_mass, scale, SPACING, lambda points: np.zeros(len(points)))
    return laid, np.flatnonzero(laid.log_density > laid.log_density.max() - DROP)


@dataclass(frozen=True, eq=False)
class _Rays:
    """Directions from the mode at one τ, and distances along them.

    Attributes
    ----------
    mode : (p,)
    away : (D, p)
        ``U u`` of each direction, those of each set after one another.
    v : (R,)
        Logs of the distances.
    log_bound : (D, R)
        An upper bound on the logs of the points' masses, without the prior of τ.
    log_weight : (D, R)
        What their densities are multiplied with.
    """

    mode: Floats
    away: Floats
    v: Floats
    log_bound: Floats
    log_weight: Floats

    @classmethod
    def of(cls, path: ModePath, tau: float, turns: int, rng: np.random.Generator) -> Self:
        """Turn frames once in each set, or rules of degree 5 so often, if that is not 0."""
        from scipy.special import gammaln

        rows, p = path.model.rows, path.gamma.shape[1]
        of_set = [_directions(p, turns, rng) for _ in range(SETS)]
        unit, share = (np.concatenate(part) for part in zip(*of_set, strict=True))
        weights = path.weights(np.array([tau]))
        (factor,) = path.factors(weights)
        away = unit @ factor.T
        shares = shares_of_groups(path, np.repeat(weights, len(unit), axis=0), unit)
        n = (shares * reach(rows, rows.x @ away.T)).sum(axis=0)
        v, step = _log_distances(p, float(n.max()))
        area = np.log(2) + 0.5 * p * np.log(np.pi) - gammaln(0.5 * p)
        volume = float(np.log(np.diag(factor)).sum())
        log_weight = np.log(share)[:, None] + area + volume + np.log(step) + p * v
        height = float((weights @ path.height)[0])
        log_bound = height - log_drop(n[:, None], np.exp(v)) + log_weight
        return cls((weights @ path.gamma)[0], away, v, log_bound, log_weight)

    def points(self, some: Flags) -> tuple[Floats, Floats, Indices]:
        """Coefficients, logs of weights, and sets of some points, flags (D, R)."""
        direction, distance = np.nonzero(some)
        gamma = self.mode + np.exp(self.v)[distance, None] * self.away[direction]
        of_set = direction // (len(self.away) // SETS)
        return gamma, self.log_weight[some], of_set


def _directions(p: int, turns: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    return with_corners(p, turns, rng) if turns else frames(p, 1, rng)


def _log_distances(p: int, most: float) -> tuple[Floats, float]:
    """Places v of the logarithm of the distance, and what lies between them.

    ``exp(pv − r²/2)`` is about normal with variance ``1/2p``; the upper end is that of the law with
    heavier tails that the bound has.
    """
    sd = np.sqrt(0.5 / p)
    law = RadialLaw(np.array([most]), p)
    step = RADIAL_STEP * sd
    low = 0.5 * np.log(p) - max(REACH * sd, DROP / p)
    high = float(law.upper_end(DROP)[0])
    return np.arange(low, high + step, step), step
