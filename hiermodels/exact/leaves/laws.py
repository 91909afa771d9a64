"""What the posterior of a model with leaves says of each level, whatever their number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.on_lattice import SdsOnLattice
from hiermodels.exact.leaves.outcomes import Law
from hiermodels.families.leaves import Leaves

type OfRows = Callable[[Indices, Floats], Floats]
"""From rows (g,) and their linear predictors (g, Z) or (1, Z) to values (g, Z)."""


class Distribution(Protocol):
    """A distribution of one number."""

    def cdf(self, values: Floats) -> Floats:
        """Probability that it is at most each of the values; of their shape."""

    def density(self, values: Floats) -> Floats:
        """Density; of the values' shape."""

    def quantile(self, probabilities: Floats) -> Floats:
        """Quantiles; (p,)."""


class LeafLaws(ABC):
    """Sums over the lattice.  Level 0 is the outermost; x are covariates with the intercept's.

    Means and sds are nan, or anything, where they do not exist.

    Attributes
    ----------
    posterior : SdsOnLattice
        The lattice, and what it says of the sds and coefficients.
    """

    posterior: SdsOnLattice

    @property
    def leaves(self) -> Leaves:
        """Of the k innermost groups."""
        return self.posterior.model.leaves

    @property
    def x(self) -> Floats:
        """Covariates of the innermost groups; (k, p)."""
        return self.posterior.model.x

    @property
    def innermost(self) -> int:
        """Number of the innermost level."""
        return self.posterior.sds.shape[1] - 1

    @property
    def dimension(self) -> int:
        """Number of coordinates of the lattice."""
        return self.posterior.coordinates.dimension

    @property
    def spacing(self) -> float:
        """Smallest distance between its points along an axis, in posterior sds."""
        return float(self.posterior.lattice.spacing.min())

    def variance_moments(self, function: Callable[[Floats], Floats]) -> tuple[float, float]:
        """Mean and sd of a function of the variances of all levels, from (levels, J) to (J,)."""
        values, weights = function(self.posterior.sds.T**2), self.posterior.lattice.weights
        mean = float(weights @ values)
        return mean, float(np.sqrt(weights @ (values - mean) ** 2))

    @abstractmethod
    def share_quantiles(self, levels: list[int], rest: float, probabilities: Floats) -> Floats:
        """Quantiles of the share of some levels' variances in those of all levels and a rest."""

    @abstractmethod
    def linear(self, x: Floats) -> Distribution:
        """The distribution of ``x'γ``, for (p,)."""

    @abstractmethod
    def effect_moments(self, level: int, x: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of a level's effects, at their own covariates or at others (u, p)."""

    @abstractmethod
    def function_moments(self, function: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        """Means and sds of a function of the innermost effects, at their own covariates; (k,)."""

    @abstractmethod
    def effect_laws(
        self, level: int, members: Indices | None = None, x: Floats | None = None
    ) -> Iterator[EffectLaws]:
        """Yield the laws of effects of all members of a level, or of some; x as above."""

    @abstractmethod
    def predictor_laws(self, level: int, members: Indices, x: Floats) -> Iterator[EffectLaws]:
        """Yield the laws of linear predictors of rows of known members of a level.

        Below a member of an outer level stands a new group for each row.

        Parameters
        ----------
        level : int
        members : (r,)
            Whose row each is.
        x : (r, p)
            Covariates of the rows, which are the laws' ``groups``.
        """

    @abstractmethod
    def predictor_means(self, level: int, members: Indices, x: Floats, function: OfRows) -> Floats:
        """Means of a function of the same linear predictors; (r,)."""

    @abstractmethod
    def new_law(self, x: Floats) -> Law:
        """The linear predictor of a row whose groups are all new, at covariates (p,)."""

    @abstractmethod
    def new_means(self, x: Floats, function: Callable[[Floats], Floats], order: int = 0) -> Floats:
        """Means of functions of it, from (1, Z) to (m, Z), that grow as ``e^(order·η)``; (m,)."""

    @abstractmethod
    def exchanged(self, groups: Indices, leaves: Leaves) -> tuple[Floats, Floats]:
        """``log E[m'/m]`` with leaves (V,) in the place of innermost groups' own, and its error.

        Suprema of leaves count as 1; both are (V,).
        """

    @abstractmethod
    def of_new_groups(self, x: Floats, leaves: Leaves) -> Floats:
        """``log E[m']`` of leaves (V,) of new groups at covariates (p,), all levels new; (V,)."""

    @abstractmethod
    def leave_out(self, level: int) -> tuple[Floats, Floats]:
        """Log density of each group's rows given all other groups of a level, and its error; (u,).

        The level's members are left out one at a time, with all that is in them.
        """

    @abstractmethod
    def again(self, level: int) -> Floats:
        """Log density of the same rows in a further group of the same parent, given all; (u,)."""


def rounds(members: Indices) -> Iterator[Indices]:
    """Divide rows, so that no part has two of one group."""
    order = np.argsort(members, kind="stable")
    _, first, size = np.unique(members[order], return_index=True, return_counts=True)
    turn = np.empty(len(members), dtype=np.intp)
    turn[order] = np.arange(len(members)) - np.repeat(first, size)
    for number in range(int(size.max(initial=0))):
        yield np.flatnonzero(turn == number)
