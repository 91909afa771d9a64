"""The likelihood of the coefficients and both sds, the effects of nested groups integrated out.

Smoothing is done level after level.  Of an outer group with groups w in it,

    f(γ) = log ∫ N(z | 0, 1) Π_w I_w(κz) dz,      I_w(a) = ∫ exp L_w(c) N(c | a, τ²) dc,

as in :mod:`hiermodels.exact.glmm.windows`.  Both are trapezoid sums: over places z_k around the
mode of the outer effect, and over places c_j that all groups of an outer one share, so that

    I_w(κz_k) = Σ_j Φ_kj exp L_w(c_j),      Φ_kj = h N(c_j | κz_k, τ²),

a product of two matrices.  Rows are looked at only at the places c_j.  Where τ is so small that
these would be very many, Gauss's rule with places ``κz_k + τζ_j`` takes their place.

Given both effects the rows are independent.  So with the posterior weights of z_k and c_j, and the
scores ``s_w = Σ_i x_i (y_i − μ_i)`` of a group,

    ∇f = Σ_w E s_w,    −∇²f = E Σ_i var_i x_i x_i' − Cov(Σ_w E[s_w | z]) − Σ_w E Cov(s_w | z).

References
----------
Louis (1982), Journal of the Royal Statistical Society B 44:226 (observed information).
Trefethen & Weideman (2014), SIAM Review 56:385 (the trapezoid rule).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.integrals import Expansion
from hiermodels.exact.glmm.nested_rows import NestedRows
from hiermodels.exact.glmm.windows import REACH, Windows, inner_modes, windows_of

OUTER_STEP = 0.8  # sds of z between its places
STEP = 0.6  # sds of c given a, between its places
GAUSS = 13  # places of Gauss's rule
SMALL_SLOPE, SMALL_CURVATURE = 1.0, 0.1  # in units of τ, for which it is right to 1e-11
MAX_PLACES = 20_000
NUMBERS = 1 << 17  # of rows and places that are worked on at a time
LEAST = 1e-200  # integral relative to the highest, below which none counts
VALUES = 1 << 18  # of groups and places that are held at a time
END = -20.0  # logarithm of what the ends may be of the largest term
AGREED = 5e-3  # relative difference to every second place; what is left is its fourth power
ATTEMPTS = 20
ROUGHLY = 0.05  # sds, to which modes are found again
FINER = 1.5  # times as many places, where they are too far apart
FARTHER = 1.4  # times the distance, where they do not reach far enough


@dataclass(frozen=True, eq=False)
class Places:
    """Places of z and of c for H outer groups at J settings.

    Attributes
    ----------
    sds : (J, 2)
        κ and τ.
    z : (H, J, K)
    step : (H, J)
        Between places of z.
    c : (H, J, C)
    is_small : bool
        Whether the places of c are those of Gauss's rule around each a.
    """

    sds: Floats
    z: Floats
    step: Floats
    c: Floats
    is_small: bool

    @classmethod
    def of(
        cls, nested: NestedRows, sds: Floats, at: Windows, is_small: bool, reach: float = REACH
    ) -> Places:
        """Lay them over windows; those of all settings are equally many.

        Parameters
        ----------
        reach : float
            Of z, in its sds.
        """
        kappa, tau = sds.T
        step = OUTER_STEP / at.root
        half = int(np.ceil(reach / OUTER_STEP))
        z = at.z[..., None] + step[..., None] * np.arange(-half, half + 1)
        a = kappa[:, None] * z
        if is_small:
            node, _ = gauss()
            c = a[..., None] + tau[:, None, None] * (node if tau.any() else node[:1] * 0)
            return cls(sds, z, step, c.reshape(*step.shape, -1), is_small)
        size = int(counts(nested, sds, at).max())
        low = kappa * at.z - at.below
        c = low[..., None] + (at.below + at.above)[..., None] * np.linspace(0, 1, size)
        return cls(sds, z, step, c, is_small)

    def kernel(self, outer: int) -> Floats:
        """Φ of one outer group; (J, K, C)."""
        kappa, tau = self.sds.T
        shape = (*self.z.shape[1:], self.c.shape[2])
        if self.is_small:
            weight = gauss()[1] if tau.any() else np.ones(1)
            block = np.eye(shape[1])[:, :, None] * weight
            return np.broadcast_to(block.reshape(shape[1:]), shape)
        c, a = self.c[outer], (kappa[:, None] * self.z[outer])[..., None]
        away = (c[:, None] - a) / tau[:, None, None]
        scale = (c[:, 1] - c[:, 0]) / (tau * np.sqrt(2 * np.pi))
        return scale[:, None, None] * np.exp(-0.5 * away**2)


def gauss() -> tuple[Floats, Floats]:
    """Places and weights of Gauss's rule for the standard normal distribution."""
    node, weight = np.polynomial.hermite_e.hermegauss(GAUSS)
    return node, weight / weight.sum()


def are_small(nested: NestedRows, sds: Floats, at: Windows) -> Flags:
    """At which settings Gauss's rule takes τ, and fewer places; (J,)."""
    tau = sds[:, 1]
    fits = (tau * at.steepest < SMALL_SLOPE) & (tau**2 * at.sharpest < SMALL_CURVATURE)
    many = counts(nested, sds, at).max(axis=0) > GAUSS * (2 * REACH / OUTER_STEP + 1)
    return np.asarray(fits.all(axis=0) & many)


def counts(nested: NestedRows, sds: Floats, at: Windows) -> Floats:
    """How many places of c each outer group needs; (H, J)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fine = np.sqrt(1 / sds[:, 1] ** 2 + at.information)
        step = np.minimum(STEP / fine, nested.rows.widest_step)
        size = np.ceil((at.below + at.above) / step) + 1
    return np.where(sds[:, 1] > 0, size, np.inf)


def log_likelihoods(nested: NestedRows, eta: Floats, c: Floats) -> Floats:
    """``L_w`` at the places of its outer group, (H, J, C); (W, J, C)."""
    rows = nested.rows
    result = np.empty((rows.n_groups, *c.shape[1:]))
    for groups, index in rows.blocks(max(1, NUMBERS // c[0].size)):
        own, b = eta[index], c[nested.outer[groups]]
        value = rows.total[groups, None, None] * b - rows.normaliser(own, index, b)
        result[groups] = value + np.einsum("gm,gmj->gj", rows.y[index], own)[..., None]
    return result


@dataclass(frozen=True, eq=False)
class Sums:
    """What is summed over the places.

    Attributes
    ----------
    nested : NestedRows
    places : Places
    log_rows : (W, J, C)
        ``L_w``.
    """

    nested: NestedRows
    places: Places
    log_rows: Floats

    @classmethod
    def of(cls, nested: NestedRows, eta: Floats, places: Places) -> Sums:
        """Look at the rows, of linear predictors (N, J) without effects."""
        return cls(nested, places, log_likelihoods(nested, eta, places.c))

    @cached_property
    def top(self) -> Floats:
        """Highest ``L_w``; (W, J)."""
        return self.log_rows.max(axis=2)

    @cached_property
    def likelihood(self) -> Floats:
        """``exp L_w`` relative to that; (W, J, C)."""
        return np.exp(self.log_rows - self.top[..., None])

    @cached_property
    def given_outer(self) -> Floats:
        """``I_w`` at the places of z, likewise relative; (W, J, K)."""
        result = np.empty((*self.top.shape, self.places.z.shape[2]))
        for outer in range(self.nested.n_outer):
            own = self.nested.members(outer)
            each = self.likelihood[own].swapaxes(0, 1)
            result[own] = (each @ self.places.kernel(outer).swapaxes(1, 2)).swapaxes(0, 1)
        return result

    @cached_property
    def log_terms(self) -> Floats:
        """Logs of the terms of the sums over z, without the step; (H, J, K)."""
        with np.errstate(divide="ignore"):
            logs = np.log(self.given_outer) + self.top[..., None]
        return np.asarray(self.nested.sums(logs) - 0.5 * self.places.z**2)

    @property
    def values(self) -> Floats:
        """The log integrals f of the outer groups; (H, J)."""
        return _log_sum(self.log_terms) + np.log(self.places.step) - 0.5 * LOG_2PI

    @cached_property
    def weights(self) -> Floats:
        """Of the places of z, with sum 1; (H, J, K)."""
        weights = np.exp(self.log_terms - self.log_terms.max(axis=2, keepdims=True))
        return np.asarray(weights / weights.sum(axis=2, keepdims=True))

    def faults(self) -> tuple[Flags, Flags, Flags]:
        """Where z does not reach far enough, its places are too far apart, or c is cut; (H, J)."""
        top = self.log_terms.max(axis=2)
        ends = np.maximum(self.log_terms[..., 0], self.log_terms[..., -1])
        even = 2 * self.weights[..., ::2].sum(axis=2)
        return ends > top + END, ~(np.abs(even - 1) < AGREED), self._is_cut()

    def _is_cut(self) -> Flags:
        """Whether the first or the last place of c counts, given the ends of z."""
        places = self.places
        if places.is_small:
            return np.zeros(places.step.shape, dtype=bool)
        kappa, tau = places.sds.T
        scale = (places.c[..., 1] - places.c[..., 0]) / (tau * np.sqrt(2 * np.pi))
        cut = np.zeros(places.step.shape, dtype=bool)
        for end in (0, -1):
            away = (places.c[..., end] - kappa * places.z[..., end]) / tau
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                own = self.likelihood[..., end] / self.given_outer[..., end]
                share = own * (scale * np.exp(-0.5 * away**2))[self.nested.outer]
            cut |= self.nested.largest(np.nan_to_num(share)) > np.exp(END)
        return cut


def _log_sum(logs: Floats) -> Floats:
    """Logs of sums of exponentials over the last axis."""
    top = logs.max(axis=-1)
    return np.asarray(top + np.log(np.exp(logs - top[..., None]).sum(axis=-1)))


def _laid(nested: NestedRows, eta: Floats, sds: Floats, at: Windows, is_small: bool) -> Sums:
    """Sums that are right.

    Where the first are not, places are laid farther or finer, and windows are looked for anew.
    """
    reach = REACH
    for attempt in range(ATTEMPTS):
        places = Places.of(nested, sds, at, is_small, reach)
        if places.c.shape[2] > MAX_PLACES:
            break
        sums = Sums.of(nested, eta, places)
        short, coarse, cut = sums.faults()
        if not (short | coarse | cut).any():
            return sums
        if attempt == 1:
            at = windows_of(nested, eta, sds, at.z, ROUGHLY)
            continue
        farther = (FARTHER if short.any() else 1.0) * (FINER if coarse.any() else 1.0)
        room = (farther - 1) * reach * sds[:, 0] / at.root
        more = np.where(cut, FARTHER, 1.0)
        below, above = more * at.below + room, more * at.above + room
        root = np.where(coarse, FINER * at.root, at.root)
        at, reach = replace(at, root=root, below=below, above=above), farther * reach
    raise PrecisionError(
        f"the integrals over nested groups need more than {MAX_PLACES:,} places at sds of "
        f"{sds[:, 0].max():.3g} and {sds[:, 1].max():.3g}. Give both narrower priors, or use "
        f"engine='nuts'"
    )


def pieces(
    nested: NestedRows, eta: Floats, sds: Floats, windows: Windows, values: int = VALUES
) -> Iterator[tuple[Indices, Sums]]:
    """Yield sums for some settings at a time, which need about equally many places.

    Parameters
    ----------
    values : int
        Numbers of groups, settings and places at a time.
    """
    small = are_small(nested, sds, windows)
    n_z = 2 * int(np.ceil(REACH / OUTER_STEP)) + 1
    size = np.full(len(sds), float(GAUSS * n_z))
    size[~small] = counts(nested, sds[~small], windows.take(~small)).max(axis=0, initial=1.0)
    for is_small in (True, False):
        which = np.flatnonzero(small == is_small)
        which = which[np.argsort(size[which], kind="stable")]
        while len(which):
            most = int(max(1, values // (nested.rows.n_groups * size[which[0]])))
            fit = max(1, int((size[which[:most]] < 1.2 * size[which[0]]).sum()))
            some, which = which[:fit], which[fit:]
            yield some, _laid(nested, eta[:, some], sds[some], windows.take(some), is_small)


def log_integrals(nested: NestedRows, eta: Floats, sds: Floats, windows: Windows) -> Floats:
    """``f`` of each outer group at J settings; (H, J).

    Parameters
    ----------
    eta : (N, J)
    sds : (J, 2)
        κ and τ.
    windows : Windows
        About where the integrands lie.
    """
    result = np.empty((nested.n_outer, len(sds)))
    for some, sums in pieces(nested, eta, sds, windows):
        result[:, some] = sums.values
    return result


def expand(
    nested: NestedRows, sds: Floats, gamma: Floats, start: Floats | None = None
) -> Expansion[Windows]:
    """Compute f, its gradient and the information of every outer group.

    Parameters
    ----------
    sds : (2,)
    gamma : (p,)
    start : (H, 1), optional
        Where to begin the search for the modes of z.
    """
    eta, both = nested.rows.linear(gamma[None]), sds[None]
    at = windows_of(nested, eta, both, start)
    sums = _laid(nested, eta, both, at, bool(are_small(nested, both, at)[0]))
    parts = [_derivatives(nested, sums, eta[:, 0], outer) for outer in range(nested.n_outer)]
    gradient, information = (np.array(part) for part in zip(*parts, strict=True))
    value = float(sums.values.sum())
    return Expansion(value, gradient.sum(axis=0), information, at, _slope(nested, eta, both, at))


def _slope(nested: NestedRows, eta: Floats, sds: Floats, at: Windows) -> Floats:
    """Derivatives of the modes of z with respect to γ; (H, p)."""
    rows, (kappa, tau) = nested.rows, sds[0]
    c = inner_modes(nested, eta, sds, at)
    variance = rows.mean_and_variance((eta + c[rows.group])[:, 0], slice(None))[1]
    information = rows.sums(variance)
    kept = 1 / (1 + tau**2 * information)
    moved = nested.sums(kept[:, None] * rows.sums(variance[:, None] * rows.x))
    curvature = 1 + kappa**2 * nested.sums(information * kept)
    return -kappa * moved / curvature[:, None]


def _derivatives(nested: NestedRows, sums: Sums, eta: Floats, outer: int) -> tuple[Floats, Floats]:
    """Gradient (p,) and information (p, p) of an outer group."""
    rows, groups = nested.rows, nested.members(outer)
    first = rows.first[groups]
    index = slice(int(first[0]), int(first[-1] + rows.sizes[groups][-1]))
    x, kernel, c = rows.x[index], sums.places.kernel(outer)[0], sums.places.c[outer, 0]
    weight, density = sums.weights[outer, 0], sums.likelihood[groups, 0]
    whole = sums.given_outer[groups, 0]
    inverse = np.divide(1, whole, out=np.zeros_like(whole), where=whole > LEAST)  # (w, K)
    joint = density * ((weight * inverse) @ kernel)  # of c; (w, C)
    mean, variance = rows.mean_and_variance(eta[index, None] + c, index)  # (m, C)
    group = rows.group[index] - groups.start
    within = x.T @ ((variance * joint[group]).sum(axis=1)[:, None] * x)
    each = x[:, None] * (rows.y[index, None] - mean)[..., None]  # (m, C, p)
    score = np.add.reduceat(each, first - first[0], axis=0)  # (w, C, p)
    middle = (joint[:, None] @ score)[:, 0]  # (w, p)
    score -= middle[:, None]
    given = inverse[..., None] * (kernel @ (density[..., None] * score))  # (w, K, p)
    spread = _square(joint, score) - _square(np.broadcast_to(weight, given.shape[:2]), given)
    return middle.sum(axis=0), within - spread - _square(weight, given.sum(axis=0))


def _square(weight: Floats, values: Floats) -> Floats:
    """Weighted sum of the squares of vectors (…, p); (p, p)."""
    own = (np.sqrt(weight)[..., None] * values).reshape(-1, values.shape[-1])
    return np.asarray(own.T @ own)
