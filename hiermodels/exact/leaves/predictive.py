"""What the posterior says of groups left out, of new groups, and of further counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals
from hiermodels.exact.leaves.linear import LinearLaw, hermite_rule
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.inversion import quantiles
from hiermodels.numerics.lattice import Lattice

XTOL = 1e-13  # of a quantile, in about sds
BEYOND = 9.0  # τ beyond the outermost node, where quantiles are looked for
MAX_NUMBERS = 1 << 20  # that are held at a time


@one_blas_thread()
def leave_out(posterior: LeafPosterior, weights: Floats | None = None) -> Floats:
    """Log density of each group's rows given all other groups; (k,).

    The posterior without a group is the whole one divided by the group's own integral:

        log p(y_i | y_−i) = −log Σ_j W_j/m_ij + constant_i.

    Parameters
    ----------
    posterior : LeafPosterior
    weights : (J,), optional
        Of the nodes, where they are not those of the whole lattice.
    """
    weights = posterior.lattice.weights if weights is None else weights
    log_weight = np.log(np.maximum(weights, np.finfo(float).tiny))
    log_density = np.empty(len(posterior.model.leaves))
    for alike, own in posterior.log_integrals():
        log_density[alike.groups] = -np.logaddexp.reduce(log_weight - own, axis=1)[alike.leaf_of]
    return log_density + posterior.model.leaves.constant


@one_blas_thread()
def new_groups(posterior: LeafPosterior, leaves: Leaves, x: Floats) -> Floats:
    """Log density of the rows of new groups, each by itself; (m,).

    With every count as a leaf this is the predictive distribution of a new group's count.

    Parameters
    ----------
    posterior : LeafPosterior
    leaves : Leaves
        m of them.
    x : (p,)
        Covariates of all of them.
    """
    log_weight = np.log(np.maximum(posterior.lattice.weights, np.finfo(float).tiny))
    own = LeafIntegrals.of(leaves).log_integrals(posterior.gamma @ x, posterior.tau)
    return np.logaddexp.reduce(own + log_weight, axis=1) + leaves.constant


@one_blas_thread()
def new_group_means(
    posterior: LeafPosterior, x: Floats, function: Function, order: int = 0
) -> Floats:
    """Means of functions of the linear predictor η of a new group; (m,).

    A new group is one without data, whose leaf is constant.  With a function that grows as
    ``e^(mη)``,

        E f(η) = Σ_j W_j e^(mμ_j + ½m²τ_j²) E f(η) e^(−mη)    under N(μ_j + mτ_j², τ_j²),

    over a lattice that is wide enough.

    Parameters
    ----------
    posterior : LeafPosterior
        At the same covariates that of :func:`grown`, if the functions grow.
    x : (p,)
        Covariates of the new group.
    function : callable
        From linear predictors (1, Z) to values (m, Z).
    order : int
        The m of their growth; 0 of what is bounded, or a power.
    """
    return normal_means(posterior.lattice, posterior.gamma @ x, posterior.tau, function, order)


def normal_means(
    lattice: Lattice, mu: Floats, tau: Floats, function: Function, order: int
) -> Floats:
    """The same of ``η ~ N(μ_j, τ_j²)`` at the nodes of a lattice; (m,)."""
    constant = LeafIntegrals.of(BinomialLeaves.of(np.zeros(1), np.zeros(1)))
    nothing = np.zeros((1, len(lattice)))
    log_weight = lattice.log_density - lattice.log_sum
    log_weight += order * mu + 0.5 * (order * tau) ** 2
    top, total = log_weight.max(), np.zeros(1)
    weights = np.exp(log_weight - top)[None]
    for part in constant.masses(mu + order * tau**2, tau, weights, nothing):
        theta = np.atleast_2d(part.theta)
        with np.errstate(over="ignore", invalid="ignore"):
            values = part.mass[0] * function(theta) * np.exp(-order * theta)
        total = total + np.where(np.isfinite(values), values, 0.0).sum(axis=-1)  # 0·∞, far out
    return np.asarray(np.exp(top) * total)


def grown(posterior: LeafPosterior, x: Floats, order: int) -> LeafPosterior:
    """The posterior on a lattice that holds the mean of ``e^(mη)`` of a new group, which exists."""

    def growth(tau: Floats, gamma: Floats) -> Floats:
        return order * gamma @ x + 0.5 * (order * tau) ** 2

    laid = posterior.marginal.lattice(posterior.lattice.spacing, growth=growth)
    return replace(posterior, lattice=laid)


def further_rows(posterior: LeafPosterior, leaves: Leaves) -> Floats:
    """Log density of further rows of every known group, at its own covariates; (k,).

    Parameters
    ----------
    posterior : LeafPosterior
    leaves : Leaves
        One for each group.
    """

    def likelihood(groups: Indices, theta: Floats) -> Floats:
        return np.exp(leaves.take(groups).log_likelihood(theta))

    with np.errstate(divide="ignore"):
        return np.log(posterior.effect_means(likelihood)) + leaves.constant


@dataclass(frozen=True, eq=False)
class NewEffect:
    """The effect of a new group, ``N(x'γ, τ²)`` given γ and τ.

    Attributes
    ----------
    law : LinearLaw
        Of ``x'γ``.
    """

    law: LinearLaw

    @classmethod
    def of(cls, posterior: LeafPosterior, x: Floats) -> Self:
        """Make the law of a new group's effect at covariates (p,)."""
        return cls(LinearLaw.of(posterior, x))

    def cdf(self, values: Floats) -> Floats:
        """Probability that the effect is at most each of the values; of their shape."""
        from scipy.special import ndtr, sici

        flat, law = np.ravel(values)[:, None], self.law
        blends = np.flatnonzero(~law.is_comb & (law.tau > 0))
        wide, probability = law.part(blends), np.zeros(flat.size)
        for some in self._parts(flat.size):
            probability[some] = ndtr((flat[some] - wide.mu) / wide.tau) @ wide.weight
        for line, z, weight in self._lines:
            for at, share in zip(z, weight, strict=True):
                place = (line.place(flat + line.tau[:1] * at)[0] - line.v) / line.spacing
                probability += share * ((0.5 + sici(np.pi * place)[0] / np.pi) @ line.weight)
        return np.clip(probability, 0.0, 1.0).reshape(np.shape(values))

    def density(self, values: Floats) -> Floats:
        """Density of the effect; of the values' shape."""
        flat, density = np.ravel(values), np.zeros(np.size(values))
        for some in self._parts(flat.size):
            density[some] = self.law.columns(flat[some]) @ self.law.weight
        return np.maximum(density, 0.0).reshape(np.shape(values))

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""
        law = self.law
        best = int(np.argmax(law.weight))
        middle, scale = law.mu[best], np.hypot(law.tau[best], law.c[best])
        ends = (law.mu - BEYOND * law.tau).min(), (law.mu + BEYOND * law.tau).max()
        low, high = (float(np.arcsinh((end - middle) / scale)) for end in ends)

        def moved(w: Floats) -> tuple[Floats, Floats]:
            x = middle + scale * np.sinh(w)
            return self.cdf(x), self.density(x) * scale * np.cosh(w)

        found = quantiles(moved, probabilities, (low, high), XTOL)
        return middle + scale * np.sinh(found)

    @cached_property
    def _lines(self) -> list[tuple[LinearLaw, Floats, Floats]]:
        """Nodes of each narrow τ, with the places and weights of an expectation over its normal."""
        comb = self.law.is_comb | (self.law.tau == 0)
        lines = [np.flatnonzero(self.law.tau == tau) for tau in np.unique(self.law.tau[comb])]
        parts = [self.law.part(line) for line in lines]
        widths = [float(part.tau[0] / (part.spacing[0] * part.c[0])) for part in parts]
        return [(part, *hermite_rule(width)) for part, width in zip(parts, widths, strict=True)]

    def _parts(self, size: int) -> list[slice]:
        step = max(1, MAX_NUMBERS // len(self.law.tau))
        return [slice(first, first + step) for first in range(0, size, step)]
