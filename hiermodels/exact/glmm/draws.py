"""Independent draws of τ and of the coefficients, by rejection below a proven bound.

A proposal is a τ, a direction u and a distance r from the mode γ̂(τ), ``γ = γ̂ + r U u``:

1. τ from ``p(τ) e^{f̂(τ)} |U| R(M)``, M being a bound on N over all directions
   (:mod:`hiermodels.exact.glmm.envelope`), and u uniform on the sphere;
2. kept with probability ``R(N)/R(M)``, N that of this direction;
3. r from its density below the bound;
4. accepted with probability ``exp{f_τ(γ) − f̂ + ψ_N(r)}``, the only step with a likelihood.

The bound is a theorem about the exact mode and curvature.  Those between the nodes of the path are
interpolated: N is taken 2 % larger, the bound ``1e-4`` higher, or with nested groups ``5e-3``, and
the largest ratio that was met is told.  One above the bound ends the draw with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.threads import for_each
from hiermodels.errors import PrecisionError, SpecError
from hiermodels.exact.glmm.envelope import (
    RadialLaw,
    log_drop,
    packed,
    reach,
    squares,
)
from hiermodels.exact.glmm.modes import Modes
from hiermodels.exact.glmm.proposals import WIDER, AnyProposals

AT_ONCE = 256  # proposals whose likelihoods are computed in one piece
BATCH = 1 << 22  # numbers of rows and proposals that are looked at together
MOST = 4000  # proposals of one batch
RAREST = 1e-3  # share of the proposals that must be accepted where that is much work
OTHER_WORK = 200  # that a proposal makes, in rows
MAX_WORK = 5e9  # rows times proposals, some minutes, beyond which a draw is not begun
MANY_NODES = 50  # of the path, beyond which fewer proposals are looked at together


@dataclass(frozen=True, eq=False)
class CountDraws:
    """Draws, and how rejection went.

    Attributes
    ----------
    tau : (n,), or of nested groups κ and τ (n, 2)
    gamma : (n, p)
    largest : float
        Largest log ratio of the density to its bound; at most 0 is exact.
    kept, accepted : float
        Shares of the directions and of the distances that were accepted.
    """

    tau: Floats
    gamma: Floats
    largest: float
    kept: float
    accepted: float


@dataclass(frozen=True, eq=False)
class _Kept:
    """Proposals whose direction was kept; J of them.

    Attributes
    ----------
    tau : (J,), or (J, 2)
        The sds.
    r, height, n : (J,)
    direction : (J, p)
        ``U u``.
    weights : (J, k)
        Of the path's nodes.
    """

    tau: Floats
    n: Floats
    r: Floats
    height: Floats
    direction: Floats
    weights: Floats


def draw(
    proposals: AnyProposals[Any],
    size: int,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda done: None,
) -> CountDraws:
    """Draw τ and γ independently.

    Parameters
    ----------
    proposals : Proposals, or those of nested groups
    size : int
    rng : numpy.random.Generator
    progress : callable, optional
        Is told how many draws were added.

    Raises
    ------
    SpecError
        If it would take too long, as the mass below the bound tells beforehand.
    PrecisionError
        If a density exceeds its bound.
    """
    _require_speed(proposals, size)
    rows = proposals.path.model.rows
    batch = max(AT_ONCE, min(MOST, BATCH // len(rows.y)))
    taus, gammas = [], []
    tried = kept = done = total = 0
    largest = -np.inf
    while done < size:
        some = _directions(proposals, batch, rng)
        tried, kept = tried + batch, kept + len(some.tau)
        gamma, ratio = _ratios(proposals, some)
        largest = max(largest, float(ratio.max(initial=-np.inf)))
        if largest > 0:
            raise PrecisionError(
                f"a draw's density exceeded its bound, by {largest:.1e} of its logarithm, where no "
                f"rounding explains it. Center and scale the covariates, or use engine='nuts'"
            )
        accepted = ratio + rng.standard_exponential(len(ratio)) > 0
        taus.append(some.tau[accepted])
        gammas.append(gamma[accepted])
        total += int(accepted.sum())
        more = min(int(accepted.sum()), size - done)
        done += more
        progress(more)
    return CountDraws(
        np.concatenate(taus)[:size],
        np.concatenate(gammas)[:size],
        largest,
        kept / tried,
        total / max(kept, 1),
    )


def _require_speed(proposals: AnyProposals[Any], size: int) -> None:
    """Raise SpecError where so many draws would take too long."""
    share = proposals.acceptance
    n, p = len(proposals.path.model.outermost.y), proposals.path.gamma.shape[1]
    if share < RAREST and (n + OTHER_WORK) * size / share > MAX_WORK:
        raise SpecError(
            f"engine 'exact' would accept about 1 of {1 / share:,.0f} proposals: {size:,} draws "
            f"would take too long, as with {p} coefficients and {n:,} rows its bound is far above "
            f"the density. engine='importance' draws from the same posterior in seconds, "
            f"resampled by weights, which it shows; or use fewer covariates"
        )


def _directions(proposals: AnyProposals[Any], size: int, rng: np.random.Generator) -> _Kept:
    """Steps 1 to 3, of so many proposals."""
    path = proposals.path
    rows, p = path.model.outermost, path.gamma.shape[1]
    tau = proposals.tau(size, rng)
    weights = path.weights(tau)
    unit = rng.standard_normal((size, p))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    direction = (path.factors(weights) @ unit[..., None])[..., 0]
    shares = shares_of_groups(path, weights, unit)
    n = WIDER * (shares * reach(rows, rows.x @ direction.T)).sum(axis=0)
    law = RadialLaw(n, p)
    ratio = law.log_mass - weights @ proposals.log_radial
    if ratio.max() > proposals.higher:
        raise PrecisionError(
            f"a direction's bound exceeded that of all directions, by {ratio.max():.1e} of its "
            f"logarithm. Center and scale the covariates, or use engine='nuts'"
        )
    kept = ratio + rng.standard_exponential(size) > 0
    r = law.draw(rng)[kept]
    height = weights[kept] @ path.height
    return _Kept(tau[kept], n[kept], r, height, direction[kept], weights[kept])


def shares_of_groups(path: Modes, weights: Floats, unit: Floats) -> Floats:
    """``k_g`` of unit vectors u (J, p), of sum 1 with that of the priors; (G, J)."""
    own, information = squares(unit), packed(path.information)
    k = np.empty((information.shape[1], len(own)))
    step = len(own) if len(path) < MANY_NODES else AT_ONCE
    for start in range(0, len(own), step):
        some = slice(start, start + step)
        by_node = information @ own[some].T  # (nodes, G, J)
        k[:, some] = np.maximum(np.einsum("jn,ngj->gj", weights[some], by_node), 0.0)
    of_priors = np.maximum((weights * (own @ packed(path.of_priors).T)).sum(axis=1), 0.0)
    return k / (k.sum(axis=0) + of_priors)


def _ratios(proposals: AnyProposals[Any], some: _Kept) -> tuple[Floats, Floats]:
    """Coefficients (J, p), and logs of the density there to its bound (J,)."""
    path = proposals.path
    gamma = some.weights @ path.gamma + some.r[:, None] * some.direction
    bound = some.height - log_drop(some.n, some.r) + proposals.higher
    return gamma, log_densities(path, some.tau, gamma, some.weights) - bound


def log_densities(path: Modes, tau: Floats, gamma: Floats, weights: Floats) -> Floats:
    """``f_τ(γ) + log p(γ)`` at J settings, by the integrals of all groups; (J,)."""
    model, result = path.model, np.empty(len(tau))
    parts = [slice(i, i + AT_ONCE) for i in range(0, len(tau), AT_ONCE)]

    def evaluate(part: slice) -> None:
        middles = path.near_middles(gamma[part], weights[part])
        result[part] = model.log_integrals(gamma[part], tau[part], middles).sum(axis=0)

    for_each(evaluate, parts)
    return result + model.log_prior(gamma)
