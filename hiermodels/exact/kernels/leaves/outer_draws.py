"""Exact draws of outer groups' effects given what stands above them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.interpolated import Interpolants, draw_within_bound
from hiermodels.exact.kernels.leaves.outer import REACH, OuterTables
from hiermodels.exact.kernels.leaves.outer_functions import OuterFunctions
from hiermodels.exact.kernels.leaves.tangents import draw_below_tangents

DROP = 30.0  # of the log density, beyond which it is negligible
STEP = 0.5  # of an sd
MAX_NUMBERS = 1 << 20  # that are held at a time


def draw_outer(
    tables: OuterTables, some: Indices, draws: Indices, rng: np.random.Generator
) -> Floats:
    """Draw ``μ_s ∝ exp F_s(μ) N(μ | λ, κ²)`` once for each pair; where κ is 0, it is λ.

    Parameters
    ----------
    tables : OuterTables
    some : (g,)
        Outer groups.
    draws : (m,)
    rng : numpy.random.Generator

    Returns
    -------
    (g, m)
    """
    order = np.argsort(tables.groups.tau[draws], kind="stable")
    functions = tables.functions(some, draws[order])
    lam, kappa = tables.groups.lam[functions.draw], tables.groups.kappa[functions.draw]
    if tables.groups.leaves.log_concave:
        mu = draw_below_tangents(functions, lam[:, None], kappa[:, None], rng)[:, 0]
    else:
        mu = _draw_from_interpolants(functions, lam, kappa, rng)
    drawn = np.empty((len(some), len(draws)))
    drawn[:, order] = mu.reshape(drawn.shape)
    return drawn


def _draw_from_interpolants(
    functions: OuterFunctions, lam: Floats, kappa: Floats, rng: np.random.Generator
) -> Floats:
    """Draw from functions of any shape, whose priors have means λ and sds κ; (P,) each."""
    mu, spread = lam.copy(), np.flatnonzero(kappa > 0)
    parts = partial(_interpolants, functions.take(spread), lam[spread], kappa[spread])
    mu[spread] += kappa[spread] * draw_within_bound(parts, len(spread), rng)
    return mu


def _interpolants(
    functions: OuterFunctions, lam: Floats, kappa: Floats
) -> Iterator[tuple[Indices, Interpolants]]:
    """Yield the interpolants of some of the pairs at a time, and which these are.

    Places are even in u, as far from λ as all that is farther is negligible.
    """
    reach, left = REACH, np.arange(len(lam))
    while len(left):
        wider = []
        ends, size = _ends(functions.take(left), lam[left], kappa[left], reach)
        step = max(1, MAX_NUMBERS // size)
        for first in range(0, len(left), step):
            here, own = left[first : first + step], ends[:, first : first + step]
            some, mean, sd = functions.take(here), lam[here], kappa[here]
            mu = some.sheet.axis.mu(np.linspace(own[0], own[1], size), some.tau[some.draw]).T
            values = [some.log_likelihood(column[:, None])[:, 0] for column in mu.T]
            z = (mu - mean[:, None]) / sd[:, None]
            log_density = np.stack(values, axis=1) - z**2 / 2
            at_ends = log_density[:, [0, -1]].max(axis=1)
            done = np.flatnonzero(at_ends < log_density.max(axis=1) - DROP)
            wider.append(np.delete(here, done))
            starts = size * np.arange(len(done))
            log_leaf = partial(_values, some.take(done))
            arrays = (z[done].ravel(), log_density[done].ravel(), starts, starts + size)
            if len(done):
                yield here[done], Interpolants(log_leaf, mean[done], sd[done], *arrays)
        left, reach = np.concatenate(wider), 2 * reach


def _values(functions: OuterFunctions, pairs: Indices, mu: Floats) -> Floats:
    return functions.take(pairs).log_likelihood(mu[:, None])[:, 0]


def _ends(
    functions: OuterFunctions, lam: Floats, kappa: Floats, reach: float
) -> tuple[Floats, int]:
    """Ends of u (2, P), and how many places between them are near enough for all pairs.

    From one to the next is at most half of κ, about half of an sd of the effect where it is likely,
    and a step of the sheet.
    """
    axis, tau = functions.sheet.axis, functions.tau[functions.draw]
    mu = lam + reach * np.stack([-kappa, kappa])
    ends, width = axis.u(mu, tau), np.hypot(axis.width, tau)
    farthest = np.hypot(width, np.abs(mu - axis.middle).max(axis=0))
    sd = 1 / np.sqrt(1 / kappa**2 + functions.information)
    step = np.minimum(STEP * np.minimum(kappa / farthest, sd / width), functions.sheet.step)
    return ends, int(np.ceil((np.diff(ends, axis=0) / step).max())) + 1
