"""Moments of variances, over a lattice of sds that is wide enough for fourth moments.

With σ integrated at each node, of relative variances q

    E v = Σ w q E σ²,    Var v = Σ w (q² Var σ² + (q E σ² − E v)²).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.variance import Fixed
from hiermodels.numerics.lattice import Lattice, ModesAndScale
from hiermodels.posterior.moments import FOURTH

MAX_NODES = 1 << 14  # at which the law of σ is held at a time


@dataclass(frozen=True, eq=False)
class SdSquares:
    """Moments of squares of a posterior's sds.

    Attributes
    ----------
    posterior : SdPosterior
    """

    posterior: SdPosterior[Any]

    def moments_of_sd(self, sd: int) -> tuple[float, float]:
        """Mean and sd of the square of an sd, σ being behind the last; nan, where there is none."""
        model = self.posterior.model
        prior = (*model.sd_priors, model.sigma)[sd]
        if isinstance(prior, Fixed):
            return float(prior.value) ** 2, 0.0
        theta2 = np.exp(2 * self.values.log_theta)
        theta2 = np.vstack([theta2, np.ones(theta2.shape[1])])
        return self.moments(theta2[sd], (sd,))

    def moments(self, q: Floats, sds: Sequence[int]) -> tuple[float, float]:
        """Mean and sd of ``q σ²``, which sds take part in; nan where they do not exist.

        Sums over pairs of lattices have weights that are a little below 0, where they are nothing.
        """
        tails = self._marginal.tails
        center, variance = self.sigma2
        exists = [all(tails.moment_exists(sd, order) for sd in sds) for order in (2, FOURTH)]
        mean = float(self.weights @ (q * center)) if exists[0] else np.nan
        if not exists[1]:
            return mean, np.nan
        root = np.sqrt(np.abs(self.weights))  # beside which squares are not too large for a number
        squares = (root * q) ** 2 * variance + (root * (q * center - mean)) ** 2
        return mean, float(np.sqrt((np.sign(self.weights) * squares).sum()))

    @property
    def weights(self) -> Floats:
        """Of the nodes."""
        return self._laid[0].weights

    @cached_property
    def values(self) -> Values:
        """Hyperparameters at the nodes."""
        return self._marginal.coordinates.values(self._laid[0].points)

    @cached_property
    def sigma2(self) -> tuple[Floats, Floats]:
        """Mean and variance of σ² at the nodes; (n,) each."""
        (_, root), values, scale = self._laid, self.values, self._marginal.scale
        if values.log_sigma is not None:
            return np.exp(2 * values.log_sigma), np.zeros(len(values.log_sigma))
        mean, variance = np.empty((2, len(root.log_det)))
        for first in range(0, len(mean), MAX_NODES):
            part = np.arange(first, min(first + MAX_NODES, len(mean)))
            s, weights = scale.rule(root.at(part), values.log_theta[:, part])
            sigma2 = np.exp(2 * s)
            mean[part] = (weights * sigma2).sum(axis=1)
            variance[part] = (weights * (sigma2 - mean[part, None]) ** 2).sum(axis=1)
        return mean, variance

    @cached_property
    def _laid(self) -> tuple[Lattice | PairNodes, Root]:
        """A lattice that is wide enough for fourth moments, and what the rows say at its nodes."""
        if isinstance(self.posterior.lattice, PairNodes):
            return self.posterior.lattice, self.posterior.root
        laid: tuple[Lattice, Root] = self._marginal.laid(self.posterior.lattice.spacing)
        return laid

    @cached_property
    def _marginal(self) -> Any:
        marginal: Any = self.posterior.marginal
        return replace(marginal, tails=replace(marginal.tails, highest=FOURTH))


@dataclass(frozen=True, eq=False)
class SdSpreads:
    """Variances of intercepts: see :class:`~variance_shares.Spreads`.

    In units of σ², where that is integrated; else as they are, so that one that is fixed is fixed
    along a line on which σ grows.

    Attributes
    ----------
    posterior : SdPosterior
    residual : float
        Variance of a typical row in units of σ².
    """

    posterior: SdPosterior[Any]
    residual: float

    @property
    def lattice(self) -> Lattice:
        """The posterior's."""
        assert isinstance(self.posterior.lattice, Lattice)
        return self.posterior.lattice

    @property
    def _axes(self) -> tuple[SdAxis | float | None, ...]:
        coordinates = self.posterior.marginal.coordinates
        return (*coordinates.axes, coordinates.sigma_axis)

    @property
    def columns(self) -> tuple[int, ...]:
        """Sds that are not fixed, σ behind the last where it is on the lattice."""
        return tuple(j for j, axis in enumerate(self._axes) if isinstance(axis, SdAxis))

    @property
    def mode_and_scale(self) -> ModesAndScale:
        """Where the posterior lies."""
        return self.posterior.marginal.mode_and_scale

    def log_density(self, points: Floats) -> Floats:
        """Of the coordinates (n, d); (n,)."""
        return self.posterior.marginal.log_density(points)

    def variances(self, points: Floats) -> Floats:
        """Of each level, the outermost first, then the residual variance."""
        values = self.posterior.marginal.coordinates.values(points)
        log_sigma = np.zeros(len(points)) if values.log_sigma is None else values.log_sigma
        rest = self.residual * np.exp(2 * log_sigma)
        return np.column_stack([*np.exp(2 * (values.log_theta + log_sigma)), rest])

    def coordinate(self, axis: int, variance: Floats) -> Floats:
        """Where a variance of a coordinate stands on its axis; (n,)."""
        column = self.columns[axis]
        own, is_residual = self._axes[column], column == len(self._axes) - 1
        assert isinstance(own, SdAxis)
        return own.coordinate(np.sqrt(variance / self.residual if is_residual else variance))
