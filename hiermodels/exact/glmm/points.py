"""Weighted points that stand for the posterior of τ and the coefficients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.threads import for_each
from hiermodels.exact.glmm.integrals import effect_moments
from hiermodels.exact.glmm.path import ModePath
from hiermodels.numerics.lattice import Lattice

AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class WeightedPoints(ABC):
    """Points and what is known there.

    Attributes
    ----------
    path : ModePath
    lattice : Lattice
        Its first coordinate is that of τ, with the right marginal density.
    tau, weight : (n,)
        Weights of sum 1.
    gamma : (n, p)
        In the model's coordinates.
    log_likelihood, mean, variance : (G, n)
        Log integral of each group, and moments of its effect b.
    """

    path: ModePath
    lattice: Lattice
    tau: Floats
    weight: Floats
    gamma: Floats
    log_likelihood: Floats
    mean: Floats
    variance: Floats

    def means(self, values: Floats) -> Floats:
        """Means of values at the points (m, n); (m,)."""
        return values @ self.weight

    @abstractmethod
    def errors(self, values: Floats) -> Floats:
        """About the errors of the means of values (m, n); (m,)."""

    @cached_property
    @abstractmethod
    def error(self) -> float:
        """About the largest error of a mean or an sd of τ and γ, in posterior sds."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether some of the points are at random."""

    @property
    @abstractmethod
    def how(self) -> str:
        """What the points are, in words."""


def moments_at(path: ModePath, tau: Floats, gamma: Floats) -> Floats:
    """Log integrals of all groups, and means and variances of their effects; (3, G, J).

    Parameters
    ----------
    tau : (J,)
    gamma : (J, p)
    """
    rows, moments = path.model.rows, np.empty((3, path.model.rows.n_groups, len(tau)))

    def evaluate(part: slice) -> None:
        middles = path.near_middles(gamma[part], path.weights(tau[part]))
        moments[:, :, part] = effect_moments(rows, rows.linear(gamma[part]), tau[part], middles)

    for_each(evaluate, [slice(i, i + AT_ONCE) for i in range(0, len(tau), AT_ONCE)])
    return moments
