"""The likelihood of the coefficients and τ, the groups' effects integrated out.

    f_τ(γ) = Σ_g log ∫ exp{Σ_{i∈g} v_i(o_i + x_i'γ + b)} N(b | 0, τ²) db

With ``b = τz`` each integral is a trapezoid sum in z around its largest value.  The integrand is
log-concave, and its curvature at least 1, so that 8 sds to either side are ``exp(−32)`` of a normal
one; where an end is higher than ``exp(−28)``, the sum is made wider.

Where τ is large and all or none of a group's trials succeeded, its integrand is half a normal law
that ends within a few units of b.  Then the sum is one in t, ``b = c + w sinh(t)``, with c where
the integrand ends and w how fast: its points lie close there and far apart elsewhere, and their
number grows like log τ.

Its derivatives are moments of b given τ and γ: with the scores ``s_g = Σ_i x_i (y_i − μ_i)``

    ∇f = Σ_g E s_g,      −∇²f = Σ_g K_g,      K_g = E Σ_i var_i x_i x_i' − Cov(s_g).

References
----------
Louis (1982), Journal of the Royal Statistical Society B 44:226 (observed information).
Trefethen & Weideman (2014), SIAM Review 56:385 (the trapezoid rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.rows import CountRows

STEP = 0.6  # sds between the points of a sum
REACH = 8.0  # sds from the middle to the ends
END = -28.0  # logarithm of what the ends may be of the largest term
MANY_POINTS = 400  # of a sum with equal distances in b, beyond which they are stretched
LONG = 10_000  # points for which room is made in those
MAX_POINTS = 100_000
STRETCHED_STEP = 0.15  # in t
NUMBERS = 1 << 17  # that are worked on at a time
COMPILED = 16  # times as many where loops are compiled
NEWTON_STEPS = 100
XTOL = 1e-9  # of a mode in z
FARTHEST_STEP = 4.0  # of Newton's method, in z and in b
MAX_HALVINGS = 60  # of the distance from a mode
ASIDE = 1.5  # sds from the mode at which the information is looked at, too


@dataclass(frozen=True)
class Middles:
    """Where to integrate: modes z and inverse widths of the groups' integrands; (G, J) each."""

    z: Floats
    root: Floats

    def moved(self, by: Floats) -> Self:
        """With modes elsewhere."""
        return replace(self, z=self.z + by)


def middles_of(
    rows: CountRows,
    eta: Floats,
    tau: Floats,
    start: Floats | None = None,
    near: float = XTOL,
) -> Middles:
    """Find the modes by Newton's method, kept between places where the slope changes its sign.

    Parameters
    ----------
    eta : (N, J)
        Linear predictors without effects.
    tau : (J,)
    start : (G, J), optional
    near : float
        Length of a step, in sds of the integrand, that ends the search.
    """
    z = np.zeros((rows.n_groups, len(tau))) if start is None else start
    farthest = FARTHEST_STEP / np.maximum(1.0, tau)
    z = climb(lambda z: _slope_and_curvature(rows, eta, tau, z), z, farthest, near)
    return Middles(z, np.sqrt(_largest_curvature(rows, eta, tau, z)))


def climb(
    expansion: Callable[[Floats], tuple[Floats, Floats]], z: Floats, farthest: Floats, near: float
) -> Floats:
    """Find the modes of concave functions, from places z of any shape.

    Parameters
    ----------
    expansion : callable
        From places to slopes and minus the second derivatives there.
    farthest : (J,)
        Longest step.
    near : float
        As in :func:`middles_of`.
    """
    low, high = np.full(z.shape, -np.inf), np.full(z.shape, np.inf)
    for _ in range(NEWTON_STEPS):
        slope, curvature = expansion(z)
        low, high = np.where(slope > 0, z, low), np.where(slope < 0, z, high)
        step = np.clip(slope / curvature, -farthest, farthest)
        moved = z + step
        outside = (moved < low) | (moved > high)
        with np.errstate(invalid="ignore"):
            z = np.where(outside & np.isfinite(high - low), low / 2 + high / 2, moved)
        if (np.abs(step) * np.sqrt(curvature) < near * np.maximum(1.0, np.abs(z))).all():
            break
    return z


def _largest_curvature(rows: CountRows, eta: Floats, tau: Floats, z: Floats) -> Floats:
    """The largest curvature at the modes and 1.5 sds beside them, sds as these curvatures have it.

    A side where the curvature grows fast, so that the integrand ends there, is looked at nearer.
    """
    largest = _slope_and_curvature(rows, eta, tau, z)[1]
    for side in (-ASIDE, ASIDE):
        away = side / np.sqrt(largest)
        for _ in range(MAX_HALVINGS):
            beside = _slope_and_curvature(rows, eta, tau, z + away)[1]
            far = away**2 * beside > 2 * ASIDE**2
            if not far.any():
                break
            away = np.where(far, away / 2, away)
        largest = np.maximum(largest, np.where(far, largest, beside))
    return largest


def _slope_and_curvature(
    rows: CountRows, eta: Floats, tau: Floats, z: Floats
) -> tuple[Floats, Floats]:
    """First and minus the second derivative of the log integrands with respect to z; (G, J)."""
    mean, variance = rows.sums_of_moments(eta, tau * z)
    return tau * (rows.total[:, None] - mean) - z, 1 + tau**2 * variance


@dataclass(frozen=True)
class _Block:
    """Some groups of equally many rows at J settings.

    Attributes
    ----------
    rows : CountRows
    index : (g, m)
        The groups' rows.
    total : (g,)
        Their counts.
    eta : (g, m, J)
    tau : (J,)
    z, root : (g, J)
        Where to integrate, as :class:`Middles`.
    """

    rows: CountRows
    index: Indices
    total: Floats
    eta: Floats
    tau: Floats
    z: Floats
    root: Floats

    @classmethod
    def of(
        cls,
        rows: CountRows,
        eta: Floats,
        tau: Floats,
        middles: Middles,
        some: tuple[Indices, Indices],
    ) -> _Block:
        """Take some groups and their rows of all: eta (N, J), tau (J,)."""
        groups, index = some
        z, root = middles.z[groups], middles.root[groups]
        return cls(rows, index, rows.total[groups], eta[index], tau, z, root)

    @property
    def linear(self) -> Floats:
        """``Σ y_i eta_i``; (g, J)."""
        return np.einsum("gm,gmj->gj", self.rows.y[self.index], self.eta)

    def terms(self, reach: float = REACH) -> tuple[Floats, Floats, Floats]:
        """Points b (g, J, K), distances between them (g, J), and logs of the sum's terms (g, J, K).

        The terms are without ``Σ y_i eta_i``, and reach as far as they matter.
        """
        with np.errstate(divide="ignore"):
            step = np.minimum(STEP / self.root, self.rows.widest_step / self.tau)
        half = int(np.ceil((reach / (self.root * step)).max()))
        if 2 * half + 1 > MANY_POINTS and reach == REACH:
            return self._stretched()
        z = self.z[..., None] + step[..., None] * np.arange(-half, half + 1)
        b, log_terms = self._log_integrand(z)
        ends = np.maximum(log_terms[..., 0], log_terms[..., -1])
        if (ends > log_terms.max(axis=2) + END).any():
            return self.terms(2 * reach)
        return b, step, log_terms

    def _log_integrand(self, z: Floats) -> tuple[Floats, Floats]:
        """Effects b at points z, and logs of the integrand there; (g, J, K) each."""
        b = self.tau[:, None] * z
        log_terms = self.total[:, None, None] * b
        log_terms -= 0.5 * z**2
        log_terms -= self.rows.normaliser(self.eta, self.index, b)
        return b, log_terms

    def _stretched(self) -> tuple[Floats, Floats, Floats]:
        """The same by a sum in t, ``b = c + w sinh(t)``."""
        end = self.rows.end_of_integrand(self.eta, self.index)
        low, high = (
            np.arcsinh((self.tau * (self.z + side) - end.place) / end.width)
            for side in (-REACH, REACH)
        )
        most = np.minimum(STRETCHED_STEP, self.rows.widest_step / np.hypot(end.width, end.reach))
        n = int(np.ceil(((high - low) / most).max())) + 1
        if n > MAX_POINTS:
            raise PrecisionError(
                f"a group's integral needs {n:,} points at tau = {self.tau.max():.3g}, more than "
                f"{MAX_POINTS:,}. Give tau a narrower prior, or use engine='nuts'"
            )
        step = (high - low) / (n - 1)
        t = low[..., None] + step[..., None] * np.arange(n)
        width, tau = end.width[..., None], self.tau[:, None]
        b, log_terms = self._log_integrand((end.place[..., None] + width * np.sinh(t)) / tau)
        return b, step, log_terms + np.log(width * np.cosh(t) / tau)


def _log_sums(step: Floats, log_terms: Floats) -> Floats:
    """Logarithms of the trapezoid sums; (g, J)."""
    return _log_sum(log_terms) + np.log(step) - 0.5 * LOG_2PI


def _log_sum(log_terms: Floats) -> Floats:
    """Logarithms of sums over the last axis."""
    top = log_terms.max(axis=-1)
    return top + np.log(np.exp(log_terms - top[..., None]).sum(axis=-1))


type Pieces = Iterator[tuple[Indices, slice, _Block]]


def _pieces(rows: CountRows, eta: Floats, tau: Floats, middles: Middles) -> Pieces:
    """Yield groups, settings, and both together, as much as can be worked on at a time."""
    for some, points in _settings(rows, tau, middles):
        own = Middles(middles.z[:, some], middles.root[:, some])
        settings = some.stop - some.start
        for groups, index in rows.blocks(numbers_at_once(rows) // (points * settings)):
            yield groups, some, _Block.of(rows, eta[:, some], tau[some], own, (groups, index))


def numbers_at_once(rows: CountRows) -> int:
    """Of rows, points and settings: more where compiled loops do not hold them."""
    return COMPILED * NUMBERS if rows.are_many else NUMBERS


def _settings(rows: CountRows, tau: Floats, middles: Middles) -> Iterator[tuple[slice, int]]:
    """Yield settings that need sums of one kind, as many as can be worked on, and their points."""
    widest = np.maximum(1 / STEP, tau / (rows.widest_step * middles.root.min(axis=0)))
    points = np.minimum(2 * np.ceil(REACH * widest) + 1, MANY_POINTS).astype(np.intp)
    is_long = points == MANY_POINTS
    ends = [*np.flatnonzero(np.diff(is_long)) + 1, len(tau)]
    for first, end in zip([0, *ends], ends, strict=False):
        most = LONG if is_long[first] else int(points[first:end].max())
        step = max(1, numbers_at_once(rows) // (most * int(rows.sizes.min())))
        for start in range(first, end, step):
            yield slice(start, min(start + step, end)), most


def log_integrals(rows: CountRows, eta: Floats, tau: Floats, middles: Middles) -> Floats:
    """``log ∫ …`` of each group at J settings; (G, J).

    Parameters
    ----------
    eta : (N, J)
    tau : (J,)
    middles : Middles
        About where the integrands lie: an error of 1 sd does no harm.
    """
    result = np.empty((rows.n_groups, len(tau)))
    for groups, some, block in _pieces(rows, eta, tau, middles):
        _, distance, log_terms = block.terms()
        result[groups, some] = block.linear + _log_sums(distance, log_terms)
    return result


def effect_moments(
    rows: CountRows, eta: Floats, tau: Floats, middles: Middles
) -> tuple[Floats, Floats, Floats]:
    """The same, and the mean and the variance of each group's effect b; (G, J) each."""
    result = np.empty((3, rows.n_groups, len(tau)))
    for groups, some, block in _pieces(rows, eta, tau, middles):
        b, distance, log_terms = block.terms()
        weights = np.exp(log_terms - log_terms.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        mean = (weights * b).sum(axis=2)
        result[0, groups, some] = block.linear + _log_sums(distance, log_terms)
        result[1, groups, some] = mean
        result[2, groups, some] = (weights * (b - mean[..., None]) ** 2).sum(axis=2)
    return result[0], result[1], result[2]


def rows_left_out(
    rows: CountRows, eta: Floats, tau: Floats, middles: Middles
) -> tuple[Floats, Floats]:
    """Logs of ``E[1/L_i]`` and of ``E[L_i]`` of each row's own likelihood given τ and γ; (N, J).

    ``L_i`` is without its constant.
    """
    result = np.empty((2, len(rows.y), len(tau)))
    for _, some, block in _pieces(rows, eta, tau, middles):
        b, _, log_terms = block.terms()
        log_weights = log_terms - _log_sum(log_terms)[..., None]
        for i in range(block.index.shape[1]):
            row = block.index[:, i]
            own = rows.log_likelihood(block.eta[:, i, :, None] + b, row)
            result[0, row, some] = _log_sum(log_weights - own)
            result[1, row, some] = _log_sum(log_weights + own)
    return result[0], result[1]


@dataclass(frozen=True)
class Expansion[M]:
    """f and its derivatives at one setting.

    Attributes
    ----------
    value : float
    gradient : (p,)
    information : (G, p, p)
        K_g of each group.
    middles : Middles, or those of nested groups
        With J = 1.
    slope : (G, p)
        Derivatives of the groups' modes z with respect to γ.
    """

    value: float
    gradient: Floats
    information: Floats
    middles: M
    slope: Floats


def expand(
    rows: CountRows, tau: float, gamma: Floats, start: Floats | None = None
) -> Expansion[Middles]:
    """Compute f, its gradient and the information of every group.

    Parameters
    ----------
    tau : float
    gamma : (p,)
    start : (G, 1), optional
        Where to begin the search for the groups' modes.
    """
    eta, taus = rows.linear(gamma[None]), np.array([tau])
    middles = middles_of(rows, eta, taus, start)
    value, gradient = 0.0, np.zeros(len(gamma))
    information = np.empty((rows.n_groups, len(gamma), len(gamma)))
    for groups, _, block in _pieces(rows, eta, taus, middles):
        log_values, score, information[groups] = _derivatives(block)
        value += log_values.sum()
        gradient += score.sum(axis=0)
    variance = rows.mean_and_variance(eta[:, 0] + tau * middles.z[rows.group, 0], slice(None))[1]
    moved = rows.sums(variance[:, None] * rows.x)
    slope = -tau * moved / (1 + tau**2 * rows.sums(variance))[:, None]
    return Expansion(value, gradient, information, middles, slope)


def _derivatives(block: _Block) -> tuple[Floats, Floats, Floats]:
    """Log integrals (g,), gradients (g, p) and informations (g, p, p) of groups at one setting."""
    rows, index = block.rows, block.index
    b, step, log_terms = block.terms()
    values = block.linear + _log_sums(step, log_terms)
    weights = np.exp(log_terms - log_terms.max(axis=2, keepdims=True))[:, 0]
    weights /= weights.sum(axis=1, keepdims=True)
    mean, variance = rows.mean_and_variance(block.eta + b, index)  # (g, m, K)
    x = rows.x[index]
    score = x.swapaxes(1, 2) @ (rows.y[index][..., None] - mean)
    middle = (score @ weights[..., None])[..., 0]
    spread = (score - middle[..., None]) * np.sqrt(weights)[:, None]
    within = (variance @ weights[..., None]) * x
    information = x.swapaxes(1, 2) @ within - spread @ spread.swapaxes(1, 2)
    return values[:, 0], middle, information
