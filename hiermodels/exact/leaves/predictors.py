"""Linear predictors of rows at any covariates, of known groups and of new ones.

Of a known group i they are ``θ_i + (x − x_i)'γ``; of a new group, ``N(x'γ, τ²)`` given γ and τ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.effects import predictor_laws
from hiermodels.exact.leaves.laying import DROP
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import NewEffect

STEP = 0.6  # of places of a normal density in its sds, and of a link's function in its units
REACH = 8.5  # sds, and as many more as the function may pull
MAX_PLACES = 600  # of a node
EDGE = 4.0  # logarithm of the density's rise from the lattice's end over what is its edge
LOST = 1e-8  # share of a moment that the edge may hold
MAX_NUMBERS = 1 << 20  # that are held at a time


@dataclass(frozen=True, eq=False)
class MemberPredictors:
    """Linear predictors ``θ_i + (x_r − x_i)'γ`` of r rows of known groups.

    Attributes
    ----------
    posterior : LeafPosterior
    members : (r,)
        Whose row each is.
    x : (r, p)
    """

    posterior: LeafPosterior
    members: Indices
    x: Floats

    def moments(self) -> tuple[Floats, Floats]:
        """Means and sds; (r,) each; nan, where they do not exist."""
        return self.posterior.predictor_moments(self.members, self.x)

    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each, such as the probability; (r,) each."""
        mean, sd = np.empty((2, len(self.members)))
        for laws in self._laws:
            mean[laws.groups], sd[laws.groups] = laws.moments(function)
        return mean, sd

    def cdf(self, values: Floats) -> Floats:
        """Probabilities that they are at most values (r, n); (r, n)."""
        probability = np.empty(values.shape)
        for laws in self._laws:
            probability[laws.groups] = laws.cdf(values[laws.groups])
        return probability

    def density(self, values: Floats) -> Floats:
        """Densities at values (r, n); (r, n)."""
        density = np.empty(values.shape)
        for laws in self._laws:
            density[laws.groups] = laws.density(values[laws.groups])
        return density

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles of all of them; (r, p)."""
        quantile = np.empty((len(self.members), len(probabilities)))
        for laws in self._laws:
            quantile[laws.groups] = laws.quantile(probabilities)
        return quantile

    @cached_property
    def _laws(self) -> list[EffectLaws]:
        return list(predictor_laws(self.posterior, self.members, self.x))


@dataclass(frozen=True, eq=False)
class NewPredictors:
    """Linear predictors of r rows of groups that were not observed, each of a group of its own.

    Attributes
    ----------
    posterior : LeafPosterior
    x : (r, p)
    """

    posterior: LeafPosterior
    x: Floats

    def moments(self) -> tuple[Floats, Floats]:
        """Means and sds, ``E x'γ`` and ``√(Var x'γ + E τ²)``; (r,) each.

        They are nan where they do not exist.
        """
        mean, sd = self.posterior.linear_moments(self.x)
        between = float(self.posterior.lattice.weights @ self.posterior.tau**2)
        missing = (0.0 if self.posterior.model.moment_exists(m) else np.nan for m in (1, 2))
        return mean + next(missing), np.sqrt(sd**2 + between) + next(missing)

    @one_blas_thread()
    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of each, such as the probability; (r,) each.

        A moment that nodes at the lattice's edge hold a part of is nan: it does not exist, or lies
        so far in the tails that this lattice cannot tell.  Of a rate ``e^θ`` it is often so.
        """
        moments = [_new_moments(self.posterior, x, function) for x in self._rows]
        columns = np.array(moments, dtype=float).reshape(-1, 2)[self._row_of]
        return columns[:, 0], columns[:, 1]

    def cdf(self, values: Floats) -> Floats:
        """Probabilities that they are at most values (r, n); (r, n)."""
        return self._of_rows("cdf", values)

    def density(self, values: Floats) -> Floats:
        """Densities at values (r, n); (r, n)."""
        return self._of_rows("density", values)

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles of all of them; (r, p)."""
        quantiles = np.empty((len(self._laws), len(probabilities)))
        for law, own in zip(self._laws, quantiles, strict=True):
            own[:] = law.quantile(probabilities)
        return quantiles[self._row_of]

    def _of_rows(self, what: str, values: Floats) -> Floats:
        result = np.empty(values.shape)
        for i, law in enumerate(self._laws):
            some = self._row_of == i
            result[some] = getattr(law, what)(values[some])
        return result

    @cached_property
    def _distinct(self) -> tuple[Floats, Indices]:
        rows, row_of = np.unique(self.x, axis=0, return_inverse=True)
        return rows, row_of.ravel()

    @property
    def _rows(self) -> Floats:
        """Covariates that differ; (r', p)."""
        return self._distinct[0]

    @property
    def _row_of(self) -> Indices:
        """Which of them each row has; (r,)."""
        return self._distinct[1]

    @cached_property
    def _laws(self) -> list[NewEffect]:
        return [NewEffect.of(self.posterior, x) for x in self._rows]


def _new_moments(posterior: LeafPosterior, x: Floats, function: Function) -> tuple[float, float]:
    """Mean and sd of a function of a new group's effect at covariates (p,), or nan."""
    laid, mu, weights = posterior.lattice, posterior.gamma @ x, posterior.lattice.weights
    edge = laid.log_density < laid.log_density.max() - DROP + EDGE
    origin = function(mu[[weights.argmax()]])[0]
    sums, at_edge, sizes = np.zeros((3, 2))
    for tau in np.unique(posterior.tau):
        z, share = _normal_places(float(tau))
        line = np.flatnonzero((posterior.tau == tau) & (weights > 0))
        size = max(1, MAX_NUMBERS // len(z))
        for nodes in (line[i : i + size] for i in range(0, len(line), size)):
            with np.errstate(over="ignore", invalid="ignore"):
                away = function(mu[nodes, None] + tau * z) - origin
                means = np.stack([away @ share, away**2 @ share]) * weights[nodes]
            sums += means.sum(axis=1)
            sizes += np.abs(means).sum(axis=1)
            at_edge += np.abs(means[:, edge[nodes]]).sum(axis=1)
    mean, square = np.where(at_edge <= LOST * sizes, sums, np.nan)
    return float(origin + mean), float(np.sqrt(max(square - mean**2, 0.0)))


def _normal_places(tau: float) -> tuple[Floats, Floats]:
    """Places z and weights of the trapezoid rule for a normal variable with sd τ, in sds.

    A link's inverse bends over about 1, and may grow as ``e^θ``.
    """
    step, reach = STEP / max(1.0, tau), REACH + min(tau, REACH)
    half = min(int(np.ceil(reach / step)), MAX_PLACES // 2)
    z = np.linspace(-reach, reach, 2 * half + 1)
    weight: Floats = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    return z, weight
