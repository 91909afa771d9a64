"""σ integrated: what is left of the posterior given the covariances relative to σ².

With θ = τ/σ, and s = log σ, at each node

    log p(y, θ, s) = log p(y | Θ, σ) + Σ_j log p_j(log θ_j + s) + log p_σ(s),

where the p_j are densities of log τ: moving from (log τ, s) to (log θ, s) has the Jacobian 1.  No
value of s needs another evaluation of the effects.

If all priors are powers, ``p_j(t) = e^(c_j + κ_j t)``, and coefficients have flat priors,

    ∫ p ds = e^Σc_j ½ Γ(a) (S/2)^(−a) e^Σκ_j log θ_j · (factors free of σ),
    a = (n − c − δ)/2,    δ = Σ κ_j + κ_σ,    σ² | Θ ~ InverseGamma(a, S/2).

So ``s − ½ log S`` has one law at all nodes: places and weights are the first node's, moved.

With any other priors the integral is a sum over evenly spaced s, placed at each node by the mode
and the curvature there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import LOG_2, LOG_2PI, Floats
from hiermodels.exact.blocks.normal_model import NormalModel
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.model.priors.base import VariancePrior
from hiermodels.numerics.gauss_rules import gauss_rules
from hiermodels.numerics.stirling import log_gamma_half

DROP = 40.0  # of the log density of s, at which its places end
ENDED = 34.0  # at least, whatever the priors
FARTHER, MAX_REACHES = 1.6, 8  # times as far each time, and how often
STEP = 0.5  # between places, in standard deviations at the mode,
LONGEST = 0.14  # and at most: of s, in which the density is analytic within a strip of π/4
NEWTON_STEPS, MAX_STEPS = 4, 80
CLOSE = 0.1  # step from the mode, in standard deviations
WIDTH = 0.1  # of differences, in standard deviations by the rows alone
MAX_NUMBERS = 1 << 20  # that are held at a time


@dataclass(frozen=True)
class ScaleLaw:
    """Law of σ, and with it of the coefficients, at n nodes.

    Attributes
    ----------
    sigma : (n,)
        Mean of σ.
    coefficients : CoefficientLaw
    """

    sigma: Floats
    coefficients: CoefficientLaw


@dataclass(frozen=True, eq=False)
class ResidualScale:
    """The integral over σ of a model.

    Attributes
    ----------
    model : NormalModel
    """

    model: NormalModel

    @property
    def priors(self) -> tuple[VariancePrior, ...]:
        """Priors of all sds, and of σ last."""
        return (*self.model.sd_priors, self.model.sigma)

    @property
    def is_closed(self) -> bool:
        """Whether the integral is known in closed form."""
        return self.model.flat_coefficients and all(
            prior.lower_tail == prior.upper_tail for prior in self.priors
        )

    @cached_property
    def degree(self) -> float:
        """``δ``: sum of the powers with which the priors of log sds start at 0.

        Of those that end there faster than any power, of the powers with which they fall.
        """
        powers = [
            prior.lower_tail if math.isfinite(prior.lower_tail) else prior.upper_tail
            for prior in self.priors
        ]
        return 2 * sum(powers)

    @cached_property
    def shape(self) -> float:
        """``a``: σ² falls as ``σ^(−2a)``, or faster."""
        rows = self.model.n_rows - self.model.n_coefficients
        return (rows + int(np.count_nonzero(self.model.precision)) - self.degree) / 2

    def law(self, root: Root, log_theta: Floats) -> ScaleLaw:
        """Integrate at n nodes.

        Parameters
        ----------
        root : Root
        log_theta : (m, n)
        """
        if self.is_closed:
            return self._closed(root)
        parts = [self._summed(part, log) for part, log in self._parts(root, log_theta)]
        return ScaleLaw(
            np.concatenate([part.sigma for part in parts]),
            CoefficientLaw(
                np.concatenate([part.coefficients.mean for part in parts], axis=1),
                np.concatenate([part.coefficients.covariance for part in parts], axis=2),
                np.concatenate([part.coefficients.sigma2 for part in parts]),
            ),
        )

    def log_integral(self, root: Root, log_theta: Floats) -> Floats:
        """Logarithm of the density, σ integrated out; (n,).

        It is −∞ where digits of the rows are lost, as where sds of strata differ by a factor 1e8.
        """
        kept = (root.square > 0) & np.isfinite(root.log_scale)
        if not kept.all():
            total = np.full(len(kept), -np.inf)
            some = np.flatnonzero(kept)
            if len(some):
                total[some] = self.log_integral(root.at(some), log_theta[:, some])
            return total
        if self.is_closed:
            return self._log_closed(root, log_theta)
        parts = []
        for part, log in self._parts(root, log_theta):
            s, step = self.places(part, log)
            values = self.log_density(part, log, s)
            parts.append(_log_sum(values) + np.log(step))
        return np.concatenate(parts)

    def log_density(self, root: Root, log_theta: Floats, s: Floats) -> Floats:
        """Log density of s (n, k) at n nodes; (n, k).

        At nodes whose own density counts as 0 it is that of s alone, up to a constant: sums over
        nodes give it the weight 0.
        """
        model, sigma, lost = self.model, np.exp(s), np.isneginf(root.log_det)
        if lost.any():
            root = Root(root.triangle, np.where(lost, 0.0, root.log_det))
        if model.flat_coefficients:
            total = root.log_likelihood(sigma, model.n_rows, model.log_weight)
        else:
            at = self._with_prior(root, sigma)
            total = at.log_likelihood(sigma.ravel(), model.n_rows, model.log_weight)
        return total.reshape(s.shape) + self.log_prior(log_theta, s)

    def density(self, root: Root, log_theta: Floats, s: Floats) -> Floats:
        """Density of s (k,), given the node, at n nodes; (n, k)."""
        if not self.is_closed:
            log_density = self.log_density(
                root, log_theta, np.broadcast_to(s, (len(root.log_det), len(s)))
            )
            total = self.log_integral(root, log_theta)[:, None]
            return np.exp(log_density - np.where(np.isneginf(total), np.inf, total))
        a, mode2 = self.shape, root.square / (2 * self.shape)
        highest = LOG_2 + a * math.log(a) - a - math.lgamma(a)
        beyond = 2 * s - np.log(mode2)[:, None]
        return np.exp(highest - a * (beyond - 1 + mode2[:, None] * np.exp(-2 * s)))

    def _with_prior(self, root: Root, sigma: Floats) -> Root:
        """Add the coefficients' priors at σ (n, k); the nodes are the n·k pairs."""
        at = root.at_each(sigma.shape[1])
        return at.with_prior(self.model.mean, self.model.precision, sigma.ravel())

    def log_prior(self, log_theta: Floats, s: Floats) -> Floats:
        """Log prior density of s (n, k) and log θ (m, n)."""
        with np.errstate(over="ignore"):
            total = np.array(self.model.sigma.log_density_log_sd(s))
            for prior, log in zip(self.model.sd_priors, log_theta, strict=True):
                total += prior.log_density_log_sd(log[:, None] + s)
        return total

    def places(self, root: Root, log_theta: Floats) -> tuple[Floats, Floats]:
        """Places s (n, k) at which all but ``exp(−DROP)`` of the density lies, and steps (n,)."""
        if self.is_closed and len(root.log_det) > 1:
            s, step = self.places(root.at(slice(1)), log_theta[:, :1])
            return s + self._moved(root)[:, None], np.repeat(step, len(root.log_det))
        mode, sd, top = self._mode(root, log_theta)
        step = np.minimum(STEP * sd, LONGEST)
        low, high = (
            math.ceil(float((self._reach(root, log_theta, mode, end * sd, top) / step).max()))
            for end in self._ends
        )
        return mode[:, None] + step[:, None] * np.arange(-low, high + 1), step

    def _reach(
        self, root: Root, log_theta: Floats, mode: Floats, reach: Floats, top: Floats
    ) -> Floats:
        """How far from the mode the density ends, at least at ``reach``, to one side; (n,)."""
        for _ in range(MAX_REACHES):
            end = self.log_density(root, log_theta, (mode + reach)[:, None])[:, 0]
            short = end > top - ENDED
            if not short.any():
                break
            reach = np.where(short, FARTHER * reach, reach)
        return np.abs(reach)

    def rule(self, root: Root, log_theta: Floats) -> tuple[Floats, Floats]:
        """Places s (n, k), and weights of sum 1 at each node: the law of s given Θ."""
        if self.is_closed and len(root.log_det) > 1:
            return self._as_first(self.rule(root.at(slice(1)), log_theta[:, :1]), root)
        s, _ = self.places(root, log_theta)
        values = self.log_density(root, log_theta, s)
        return s, np.exp(values - _log_sum(values)[:, None])

    def gauss_rule(self, root: Root, log_theta: Floats, size: int) -> tuple[Floats, Floats]:
        """The same with few places, by Gauss's rule; (n, size) each."""
        if self.is_closed and len(root.log_det) > 1:
            return self._as_first(self.gauss_rule(root.at(slice(1)), log_theta[:, :1], size), root)
        return gauss_rules(*self.rule(root, log_theta), size)

    def _as_first(self, rule: tuple[Floats, Floats], root: Root) -> tuple[Floats, Floats]:
        """A rule (1, k) of the first node at all nodes, (n, k), where the integral is closed."""
        s, weights = rule
        return s + self._moved(root)[:, None], np.repeat(weights, len(root.log_det), axis=0)

    @staticmethod
    def _moved(root: Root) -> Floats:
        """How far the law of s is from the first node's, where the integral is closed; (n,)."""
        log_square = np.log(np.maximum(root.square, np.finfo(float).tiny))
        return np.asarray((log_square - log_square[0]) / 2)

    def _mode(self, root: Root, log_theta: Floats) -> tuple[Floats, Floats, Floats]:
        """Mode of s, standard deviation by the curvature and log density there; (n,) each.

        By Newton's method on differences.  The log density is concave; where Newton's steps are
        short of the mode, as down a prior that falls exponentially, it is bracketed and halved.
        """
        a = max(self.shape, 0.5)
        with np.errstate(divide="ignore"):
            mode = 0.5 * np.log(np.maximum(root.square, np.finfo(float).tiny) / (2 * a))
        low, high = np.full(len(mode), -np.inf), np.full(len(mode), np.inf)
        curvature, top, left = np.ones(len(mode)), np.zeros(len(mode)), np.arange(len(mode))
        for i in range(MAX_STEPS):
            at, log, own = root.at(left), log_theta[:, left], mode[left]
            slope, curvature[left], top[left] = self._bend(at, log, own)
            newton = slope / curvature[left]
            close = np.abs(newton) * np.sqrt(curvature[left]) < CLOSE
            low[left] = np.where(slope > 0, own, low[left])
            high[left] = np.where(slope > 0, high[left], own)
            move = _move(newton, low[left] - own, high[left] - own, i)
            mode[left] += np.where(close, newton, move)
            left = left[~close]
            if not len(left):
                break
        return mode, 1 / np.sqrt(curvature), top

    def _bend(self, root: Root, log_theta: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
        """Slope, curvature and height of the log density at s (n,); (n,) each."""
        width = WIDTH / (2 * math.sqrt(max(self.shape, 0.5)))
        away = width * np.array([-1.0, 0.0, 1.0])
        with np.errstate(over="ignore", invalid="ignore"):
            minus, here, plus = self.log_density(root, log_theta, s[:, None] + away).T
            slope, bend = (plus - minus) / (2 * width), (plus - 2 * here + minus) / width**2
        slope = np.nan_to_num(slope, nan=-1.0, neginf=-1.0)  # a prior's density is 0 to the right
        return slope, np.maximum(np.nan_to_num(-bend, nan=1.0, posinf=1.0), 0.25), here

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Where ``−2a s − a e^(−2s)`` has dropped by ``DROP``, in standard deviations."""
        a, ends = max(self.shape, 0.5), []
        for sign in (-1.0, 1.0):
            low, high = 0.0, sign * (DROP / a + 20.0)
            for _ in range(60):
                middle = (low + high) / 2
                if 2 * a * middle + a * math.expm1(min(-2 * middle, 700.0)) < DROP:
                    low = middle
                else:
                    high = middle
            ends.append(high * 2 * math.sqrt(a))
        return ends[0], ends[1]

    def _closed(self, root: Root) -> ScaleLaw:
        a, square = self.shape, root.square / 2
        ratio = math.exp(-log_gamma_half(a - 0.5)) if a > 0.5 else math.inf
        sigma2 = square / (a - 1) if a > 1 else np.full(len(square), math.inf)
        law = CoefficientLaw(root.mean, root.covariance * sigma2, sigma2)
        return ScaleLaw(np.sqrt(square) * ratio, law)

    def _log_closed(self, root: Root, log_theta: Floats) -> Floats:
        model, a = self.model, self.shape
        df = model.n_rows - model.n_coefficients
        constant = math.lgamma(a) - LOG_2 + 0.5 * (model.log_weight - df * LOG_2PI)
        with np.errstate(divide="ignore"):
            total = root.log_scale + constant - a * np.log(root.square / 2)
        return total + self.log_prior(log_theta, np.zeros((len(total), 1)))[:, 0]

    def _parts(self, root: Root, log_theta: Floats) -> Iterator[tuple[Root, Floats]]:
        """Nodes whose places can be held at a time."""
        k = (self._ends[1] - self._ends[0]) / STEP
        step = max(1, int(MAX_NUMBERS / (k * (1 + (root.n_coefficients + 1) ** 2))))
        for first in range(0, root.triangle.shape[2], step):
            part = slice(first, first + step)
            yield root.at(part), log_theta[:, part]

    def _summed(self, root: Root, log_theta: Floats) -> ScaleLaw:
        s, weights = self.rule(root, log_theta)
        sigma = np.exp(s)
        first, second = (weights * sigma).sum(axis=1), (weights * sigma**2).sum(axis=1)
        law = CoefficientLaw(root.mean, root.covariance * second, second)
        if not self.model.flat_coefficients:
            law = _mixed(self._with_prior(root, sigma), weights, sigma, second)
        return ScaleLaw(first, law)


def _move(newton: Floats, low: Floats, high: Floats, step: int) -> Floats:
    """Newton's steps, or where they will not do into the middle of the bracket, or out to find one.

    Parameters
    ----------
    newton : (n,)
        Newton's steps, whose signs are right.
    low, high : (n,)
        The bracket, counted from the present place; infinite where it is not known.
    step : int
        How many were taken before.
    """
    bracketed = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        middle = (low + high) / 2
        fast = (newton > low) & (newton < high) & ((step % 2 == 0) | (high - low < 1))
    stride = np.sign(newton) * 2.0 ** max(0, step - NEWTON_STEPS)
    within = np.where(fast, newton, middle)
    return np.where(bracketed, within, np.clip(newton, -1, 1) if step < NEWTON_STEPS else stride)


def _mixed(root: Root, weights: Floats, sigma: Floats, sigma2: Floats) -> CoefficientLaw:
    """Moments of the coefficients over places of σ, with weights (n, k) of sum 1."""
    c, shape = root.n_coefficients, weights.shape
    mean = root.mean.reshape(c, *shape)
    covariance = root.covariance.reshape(c, c, *shape) * sigma**2
    center = (weights * mean).sum(axis=2)
    away = mean - center[:, :, None]
    covariance = covariance + away[:, None] * away
    return CoefficientLaw(center, (weights * covariance).sum(axis=3), sigma2)


def _log_sum(values: Floats) -> Floats:
    """Logarithm of the sum of exponentials along the last axis."""
    top = values.max(axis=-1)
    return top + np.log(np.exp(values - top[..., None]).sum(axis=-1))
