"""Draws of τ and of the coefficients by importance, resampled: where rejection would take too long.

A proposal is a τ from Laplace's approximation ``p(τ) e^{f̂(τ)} |U|`` of its marginal density, and
``γ = γ̂ + U t`` with

    t ~ q(t) = 0.95 N(t | 0, I) + 0.05 t₄(t | 0, I),      weight w ∝ exp{f_τ(γ) − f̂(τ)} / q(t),

f_τ being the log density of γ given τ.  That is concave, and so falls at least exponentially: with
the heavy tails of the second part, t₄ (multivariate Student-t), weights are bounded at every τ.

Of more proposals than there shall be draws, each is taken ``size · w`` times, rounded up or down
with the right mean.  Those that are taken several times stand beside each other.  So the
autocorrelation of the draws tells how much they count for, of any function: the variance of a mean
is ``Σ c² σ²/size²``, c being how often each was taken.

References
----------
Hesterberg (1995), Technometrics 37:185 (a part with heavy tails in a mixture).
Kitagawa (1996), Journal of Computational and Graphical Statistics 5:1 (systematic resampling).
Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72) (k-hat).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.errors import PrecisionError
from hiermodels.exact.glmm.draws import log_densities
from hiermodels.exact.glmm.proposals import AnyProposals
from hiermodels.numerics import rejection

HEAVY = 0.05  # share of the proposals with heavy tails
DF = 4.0  # their degrees of freedom
RATIO = 2  # proposals to draws: then a draw is repeated only where its weight is twice the mean
FEWEST = 4000  # proposals: the shape of a tail is not known from fewer
BATCH = 4000  # proposals at a time
LARGEST_K = 0.7  # k-hat, beyond which means of weights are not to be trusted
LEAST_SHARE = 0.05  # of the proposals that must count


@dataclass(frozen=True, eq=False)
class WeightedDraws:
    """Proposals and their weights.

    Attributes
    ----------
    tau : (n,), or of nested groups κ and τ (n, 2)
    gamma : (n, p)
    log_weight : (n,)
        Up to a constant.
    """

    tau: Floats
    gamma: Floats
    log_weight: Floats

    @property
    def weight(self) -> Floats:
        """Of sum 1; (n,)."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return weight / weight.sum()

    @property
    def ess(self) -> float:
        """Effective sample size: of how many draws from the posterior a mean would err as much."""
        return float(1 / (self.weight**2).sum())

    @property
    def largest(self) -> float:
        """Largest weight, in units of their mean."""
        return float(self.weight.max() * len(self.weight))

    @property
    def k(self) -> float:
        """K-hat: the shape of the generalised Pareto tail of the weights."""
        from arviz_stats.base import array_stats

        return float(array_stats.psislw(-self.log_weight)[1])  # which takes log likelihoods

    def require_reliable(self) -> None:
        """Raise PrecisionError if a few of the weights are most of them."""
        n = len(self.log_weight)
        k, ess = self.k, self.ess
        if not k <= LARGEST_K or ess < LEAST_SHARE * n:
            raise PrecisionError(
                f"engine 'importance': the weights of its proposals vary too much to be trusted: "
                f"k-hat {k:.2f} (at most {LARGEST_K:g} is reliable), ESS {ess:,.0f} of {n:,} (at "
                f"least {LEAST_SHARE:.0%}). Use fewer covariates, normal priors of the "
                f"coefficients such as Normal(0, 2), or engine='nuts'"
            )


@dataclass(frozen=True, eq=False)
class ResampledDraws:
    """Draws of equal weight.

    Attributes
    ----------
    tau : (size,), or (size, 2)
    gamma : (size, p)
    weight : (size,)
        What the weight of each proposal was, in units of the mean of all.
    proposals : WeightedDraws
        Of which they were taken.
    distinct : int
        How many different ones were.
    """

    tau: Floats
    gamma: Floats
    weight: Floats
    proposals: WeightedDraws
    distinct: int


def draw_resampled(
    proposals: AnyProposals[Any],
    size: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda done: None,
) -> ResampledDraws:
    """Draw τ and γ by importance.

    Parameters
    ----------
    proposals, size, rng, progress
        As in :func:`hiermodels.exact.glmm.draws.draw`.

    Raises
    ------
    PrecisionError
        If weights vary too much.
    """
    weighted = draw_weighted(proposals, max(RATIO * size, FEWEST), rng, progress)
    weighted.require_reliable()
    weight = weighted.weight
    taken = resample(weight, size, rng)
    return ResampledDraws(
        weighted.tau[taken],
        weighted.gamma[taken],
        weight[taken] * len(weight),
        weighted,
        len(np.unique(taken)),
    )


def draw_weighted(
    proposals: AnyProposals[Any],
    size: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda done: None,
) -> WeightedDraws:
    """Propose τ and γ, and weigh them."""
    parts = []
    for start in range(0, size, BATCH):
        n = min(BATCH, size - start)
        parts.append(_some(proposals, n, rng))
        progress(n // RATIO)
    tau, gamma, log_weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    return WeightedDraws(tau, gamma, log_weight)


def resample(weight: Floats, size: int, rng: np.random.Generator) -> Indices:
    """Numbers of proposals, ascending: each ``size · weight`` times, rounded up or down; (size,).

    Parameters
    ----------
    weight : (n,)
        Of sum 1.
    """
    ends = np.cumsum(weight)
    return np.searchsorted(ends / ends[-1], (rng.random() + np.arange(size)) / size)


def _some(
    proposals: AnyProposals[Any], size: int, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Proposals of τ (size,) and γ (size, p), and their log weights (size,)."""
    path = proposals.path
    tau = _taus(proposals, size, rng)
    nodes = path.weights(tau)
    factor = path.factors(nodes)
    t = _standard(size, path.gamma.shape[1], rng)
    gamma = nodes @ path.gamma + (factor @ t[..., None])[..., 0]
    log_volume = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    of_tau = nodes @ (path.height + proposals.log_volume)
    log_weight = log_densities(path, tau, gamma, nodes) - of_tau + log_volume - _log_density(t)
    return tau, gamma, log_weight


def _taus(proposals: AnyProposals[Any], size: int, rng: np.random.Generator) -> Floats:
    """Draw τ from Laplace's approximation of its marginal density; (size,)."""
    return proposals.tau_of(
        rejection.draw(proposals.laplace_lattice, proposals.log_mass, size, rng).points
    )


def _standard(size: int, p: int, rng: np.random.Generator) -> Floats:
    """Draw t; (size, p)."""
    normal = rng.standard_normal((size, p))
    stretch = np.sqrt(DF / rng.chisquare(DF, size))
    heavy = rng.random(size) < HEAVY
    return normal * np.where(heavy, stretch, 1.0)[:, None]


def _log_density(t: Floats) -> Floats:
    """``log q(t)`` of t (J, p); (J,)."""
    from scipy.special import gammaln

    p, square = t.shape[1], (t**2).sum(axis=1)
    normal = -0.5 * (p * LOG_2PI + square)
    student = gammaln(0.5 * (DF + p)) - gammaln(0.5 * DF) - 0.5 * p * np.log(np.pi * DF)
    heavy = student - 0.5 * (DF + p) * np.log1p(square / DF)
    return np.logaddexp(np.log1p(-HEAVY) + normal, np.log(HEAVY) + heavy)
