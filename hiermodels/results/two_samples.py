"""Draws against draws: Monte Carlo error on both sides.

Where the exact posterior has a Monte Carlo error of its own, its independent draws take the place
of its distribution functions.  Everything that is tested is again the mean of a function h, now the
difference of its means over draws x and over exact draws y::

    mean          h(x) = x
    quantile      h = q − 1[x ≤ c],  c the quantile of all draws together
    uniformity    h = √(2j + 1) P_j(2u − 1), …, as in :mod:`hiermodels.results.draw_tests`

with u = F(x), F being the empirical distribution function of all draws together: linear rank
statistics.  As F is that of both sides, its own error cancels from the difference to first order,
and what is left has variance ``e_x² + e_y²``, with Monte Carlo errors of either side that allow for
autocorrelation.  Its ratio to the root of that has about Student's t distribution (Welch 1947).

References
----------
Hájek, Šidák & Sen (1999), Theory of Rank Tests, 2nd ed., chapters 5 and 6 (linear rank statistics).
Welch (1947), Biometrika 34:28.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import QUANTILES
from hiermodels.numerics.monte_carlo_error import Means, batch_means, excess
from hiermodels.results.draw_tests import (
    IN_TAIL,
    LARGEST_TAIL,
    Columns,
    by_member,
    chunks,
    row,
    smooth_components,
    uniformity_row,
)


def tests_of_both(draws: xr.DataArray, exact: xr.DataArray, moments: tuple[bool, ...]) -> Columns:
    """Columns of the table for one variable, as :func:`hiermodels.results.draw_tests.tests_of`.

    Parameters
    ----------
    draws, exact : DataArray
        (chain, draw, …), with the same members.
    moments : tuple of bool
        Whether the variable has a mean, an sd, and a fourth moment.
    """
    x, y = (own.to_numpy().reshape(*own.shape[:2], -1) for own in (draws, exact))
    parts = [_statistics(x[..., some], y[..., some], moments) for some in chunks(x.shape[2])]
    return by_member(parts)


def share_below(draws: xr.DataArray, exact: xr.DataArray) -> xr.DataArray:
    """The empirical distribution function of exact draws at draws, between 0 and 1."""
    x, y = (own.to_numpy().reshape(-1, *own.shape[2:]) for own in (draws, exact))
    flat, known = x.reshape(len(x), -1), y.reshape(len(y), -1)
    below = [_midranks(column, own) for column, own in zip(flat.T, known.T, strict=True)]
    shares = (np.stack(below, axis=1) + 0.5) / (len(known) + 1)
    return draws.copy(data=shares.reshape(draws.shape))


def difference(a: Means, b: Means) -> Means:
    """Of means of independent draws, with Welch's degrees of freedom."""
    squares = a.error**2 + b.error**2
    with np.errstate(invalid="ignore", divide="ignore"):
        df = squares**2 / (a.error**4 / a.df + b.error**4 / b.df)
    return Means(a.mean - b.mean, np.sqrt(squares), np.where(squares > 0, df, a.df + b.df))


def _midranks(values: Floats, among: Floats) -> Floats:
    """How many of some numbers are below values, ties counted half."""
    in_order = np.sort(among)
    sides = [np.searchsorted(in_order, values, side=side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / 2


def _pooled(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """F of all draws together at x (c, n, k) and at y (d, m, k)."""
    k = x.shape[2]
    every = np.concatenate([x.reshape(-1, k), y.reshape(-1, k)])
    u = np.stack([_midranks(column, column) for column in every.T], axis=1) / len(every)
    size = x.shape[0] * x.shape[1]
    return u[:size].reshape(x.shape), u[size:].reshape(y.shape)


def _statistics(x: Floats, y: Floats, moments: tuple[bool, ...]) -> dict[str, Columns]:
    """Every statistic of draws x (c, n, k) and exact draws y (d, m, k): columns (k,) for each."""
    has_mean, has_sd, light = moments
    u, v = _pooled(x, y)
    smooth = [smooth_components(own) for own in (u, v)]
    first = [own[0] for own in smooth]
    mean, sd = ([own.mean(axis=(0, 1)) for own in (x, y)], [_sd(x), _sd(y)])
    middle = mean[1]
    both = difference(batch_means(x - middle), batch_means(y - middle))
    rows = {"mean": row("mean", mean[0], mean[1], both, both.error, sd[1] ** 2)}
    rows["sd"] = _sd_row(x, y, sd)
    if not light:
        rows["mean"]["p"] = np.full_like(middle, np.nan)
    for label, columns, exists in (
        ("mean", ("mcmc", "exact"), has_mean),
        ("mean", ("mcse", "z"), has_sd),
        ("sd", ("mcmc", "exact"), has_sd),
    ):
        for column in columns:
            rows[label][column] = np.where(exists, rows[label][column], np.nan)
    for label, q in QUANTILES.items():
        above = [
            excess(own > q, 1 - q).at_least(np.sqrt(0.5 * q * (1 - q)), least)
            for own, least in zip((u, v), first, strict=True)
        ]
        shares = difference(*above)
        ends = [np.quantile(own.reshape(-1, own.shape[2]), q, axis=0) for own in (x, y)]
        error = _width(x, y, q, shares.error)
        rows[label] = row(label, ends[0], ends[1], shares, error, q * (1 - q))
    rows["uniformity"] = uniformity_row(_distance(u, v), _components(u, v, smooth))
    return rows


def _sd(x: Floats) -> Floats:
    return np.asarray(x.std(axis=(0, 1), ddof=1))


def _sd_row(x: Floats, y: Floats, sd: list[Floats]) -> Columns:
    """The sds, whose errors follow from those of the variances: ``se(s) = se(s²)/(2s)``."""
    squares = [(own - own.mean(axis=(0, 1))) ** 2 for own in (x, y)]
    both = difference(*(batch_means(own) for own in squares))
    found = row("sd", sd[0], sd[1], both, both.error / (sd[0] + sd[1]), np.nan)
    return found | {"ess": both.ess(squares[1].var(axis=(0, 1)))}


def _width(x: Floats, y: Floats, q: float, error: Floats) -> Floats:
    """About the error of the difference of quantiles, from that of the shares below; (k,)."""
    k = x.shape[2]
    in_order = np.sort(np.concatenate([x.reshape(-1, k), y.reshape(-1, k)]), axis=0)
    ends = [np.clip(q + sign * error, 0, 1) * (len(in_order) - 1) for sign in (1, -1)]
    high, low = (in_order[np.rint(end).astype(np.intp), np.arange(k)] for end in ends)
    return (high - low) / 2


def _components(u: Floats, v: Floats, smooth: list[list[Means]]) -> list[Means]:
    """Components of uniformity: differences of their means."""
    both = [difference(a, b) for a, b in zip(*smooth, strict=True)]
    size = both[0].ess(np.ones(u.shape[2]))
    tail = np.clip(IN_TAIL / size, 0.0, LARGEST_TAIL)
    least = np.sqrt(tail * (1 - tail))
    for lower in (True, False):
        ends = [
            excess((own if lower else 1 - own) <= tail, tail).at_least(least, each[0])
            for own, each in zip((u, v), smooth, strict=True)
        ]
        both.append(difference(*ends))
    return both


def _distance(u: Floats, v: Floats) -> Floats:
    """Kolmogorov's distance of the two empirical distribution functions; (k,)."""
    k = u.shape[2]
    a, b = (np.sort(own.reshape(-1, k), axis=0) for own in (u, v))
    result = np.empty(k)
    for j in range(k):
        every = np.concatenate([a[:, j], b[:, j]])
        shares = [np.searchsorted(own[:, j], every, side="right") / len(own) for own in (a, b)]
        result[j] = np.abs(shares[0] - shares[1]).max()
    return result
