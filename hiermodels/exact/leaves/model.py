"""Two levels with one-dimensional leaves: what is observed, and what is assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.leaves.integral import LeafIntegrals, Masses
from hiermodels.families.leaves import Leaves
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed


@dataclass(frozen=True, eq=False)
class Gathered:
    """Places that stand for the nodes of a lattice, in sums over an effect's posterior at each.

    Attributes
    ----------
    mu, tau : (Q,)
    weights : (m, Q) or (m, u, Q)
        For all of u leaves, or for each.
    log_integrals : (u, Q)
        Of the leaves.
    """

    mu: Floats
    tau: Floats
    weights: Floats
    log_integrals: Floats

    def masses(self, integrals: LeafIntegrals, some: slice) -> Iterator[Masses]:
        """Posterior masses of the effects of leaves with these integrals, for some weights."""
        return integrals.masses(self.mu, self.tau, self.weights[some], self.log_integrals)


@dataclass(frozen=True, eq=False)
class Alike:
    """Groups with the same covariates.

    Attributes
    ----------
    x : (p,)
    leaves : Leaves
        Those that are distinct, u of them.
    groups : (k',)
        Which groups of the model these are.
    leaf_of : (k',)
        Which distinct leaf each has.
    """

    x: Floats
    leaves: Leaves
    groups: Indices
    leaf_of: Indices

    @cached_property
    def integrals(self) -> LeafIntegrals:
        """Of the distinct leaves."""
        return LeafIntegrals.of(self.leaves)

    @cached_property
    def counts(self) -> Floats:
        """How many groups have each; (u,)."""
        return np.bincount(self.leaf_of, minlength=len(self.leaves)).astype(float)

    @property
    def sets(self) -> tuple[Self]:
        """These groups alone."""
        return (self,)

    def of_groups(self, values: Floats) -> Floats:
        """Values of the groups, from those of the distinct leaves; (m, u) to (m, k')."""
        return values[:, self.leaf_of]

    @property
    def first(self) -> Indices:
        """A group of the model that has each of the leaves; (u,)."""
        return self.groups[np.unique(self.leaf_of, return_index=True)[1]]

    def log_integrals(self, tau: Floats, gamma: Floats) -> Floats:
        """``log m_i`` of the distinct leaves at nodes (J,) and (J, p); (u, J)."""
        return self.integrals.log_integrals(gamma @ self.x, tau)

    def gathered(
        self, tau: Floats, gamma: Floats, weights: Floats, own: Callable[[], Floats]
    ) -> Gathered:
        """Where the groups see the nodes.

        Parameters
        ----------
        tau : (J,)
        gamma : (J, p)
        weights : (m, J)
            Of the nodes.
        own : callable
            That returns :meth:`log_integrals` there, (u, J).
        """
        return Gathered(gamma @ self.x, tau, weights, own())


@dataclass(frozen=True, eq=False)
class LeafModel:
    """k groups: ``L_i(θ_i)``, ``θ_i ~ N(x_i'γ, τ²)``, with priors of γ and τ.

    Attributes
    ----------
    leaves : Leaves
        k of them.
    x : (k, p)
        Covariates, with a column of ones for an intercept; p = 0 is a mean of 0.
    mean, precision : (p,)
        Of the normal prior of each coefficient; precision 0 is flat, with density 1.
    prior : VariancePrior
        Of τ; ``Fixed(0)`` makes θ_i the linear predictor itself.
    """

    leaves: Leaves
    x: Floats
    mean: Floats
    precision: Floats
    prior: VariancePrior

    def __post_init__(self) -> None:
        k, p = len(self.leaves), len(self.mean)
        if self.x.shape != (k, p) or self.precision.shape != (p,):
            raise SpecError(
                f"expected covariates of {k} groups with {p} coefficients, and a precision for "
                f"each; found shapes {self.x.shape} and {self.precision.shape}"
            )

    @property
    def fixed_sd(self) -> float | None:
        """Value of τ, if it is known."""
        return self.prior.value if isinstance(self.prior, Fixed) else None

    @property
    def fixed_sds(self) -> tuple[float | None]:
        """The same, of all levels."""
        return (self.fixed_sd,)

    @cached_property
    def alike(self) -> tuple[Alike, ...]:
        """All groups, in sets with the same covariates."""
        return tuple(self._alike())

    def _alike(self) -> Iterator[Alike]:
        rows, of_row = np.unique(self.x, axis=0, return_inverse=True)
        order = np.argsort(of_row.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(of_row.ravel(), minlength=len(rows)))
        for x, groups in zip(rows, np.split(order, ends[:-1]), strict=True):
            leaves, leaf_of = self.leaves.take(groups).distinct()
            yield Alike(x, leaves, groups, leaf_of)

    @cached_property
    def constant(self) -> float:
        """Logarithm of the product of all leaves' suprema."""
        return float(self.leaves.constant.sum())

    @cached_property
    def is_informative(self) -> Floats:
        """1 for each group whose leaf is not constant, else 0; (k,)."""
        return (self.leaves.falls_below | self.leaves.falls_above).astype(float)

    def log_prior(self, gamma: Floats) -> Floats:
        """Log prior density of the coefficients (J, p); (J,)."""
        return log_prior_of_coefficients(gamma, self.mean, self.precision)

    def moment_exists(self, order: int) -> bool:
        """Whether τ, and with it coefficients with flat priors, have a finite moment of an order.

        As τ → ∞ the likelihood falls as ``τ^(p − k_I)`` with p flat coefficients and k_I groups
        whose leaves fall to both sides.
        """
        if self.fixed_sd is not None:
            return True
        inside = int((self.leaves.falls_below & self.leaves.falls_above).sum())
        flat = int((self.precision == 0).sum())
        return self.prior.upper_tail + (flat - inside + order) / 2 < 0

    def sd_moment_exists(self, level: int, order: int) -> bool:
        """The same of the sd of a level: there is but one."""
        assert level == 0
        return self.moment_exists(order)

    def coefficient_moments_exist(self, order: int) -> Flags:
        """Which coefficients have a moment of an order: those with a normal prior, or all; (p,)."""
        return (self.precision > 0) | self.moment_exists(order)


def log_prior_of_coefficients(gamma: Floats, mean: Floats, precision: Floats) -> Floats:
    """Log density of independent normal coefficients (J, p); those of precision 0 count 1; (J,)."""
    constant = 0.5 * (np.log(precision[precision > 0]) - LOG_2PI).sum()
    return constant - 0.5 * ((gamma - mean) ** 2 @ precision)
