"""Where draws of both sds of nested groups, and of the coefficients, are proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.glmm.nested_model import ModeSurface, NestedCountModel
from hiermodels.exact.glmm.proposals import SCAN, AnyProposals, axis_of
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.priors.variance import Fixed


@dataclass(frozen=True, eq=False)
class NestedProposals(AnyProposals[ModeSurface]):
    """Those of κ, τ and the coefficients.

    Attributes
    ----------
    axes : (2,)
        Coordinates of κ and τ; None of one that is fixed.
    """

    axes: tuple[SdAxis | None, SdAxis | None]
    wider_cap: ClassVar[float] = 1.12  # M has edges, which the nodes of a surface cut
    higher: ClassVar[float] = 5e-3  # as the surface is less smooth than a path

    @classmethod
    def of(cls, model: NestedCountModel, priors: Sequence[VariancePrior]) -> Self:
        """Lay the surface over what the priors of κ and τ and the rows allow."""
        path = ModeSurface.of(model, priors)
        axes = [
            None if isinstance(prior, Fixed) else axis_of(prior, own.shift, own.largest)
            for prior, own in zip(priors, path.axes, strict=True)
        ]
        return cls(path, (axes[0], axes[1]))

    @property
    def free(self) -> list[SdAxis]:
        """Coordinates of the sds that are not fixed."""
        return [axis for axis in self.axes if axis is not None]

    def tau_of(self, points: Floats) -> Floats:
        """κ and τ at their coordinates (J, d); (J, 2)."""
        columns = iter(points.T)
        sds = np.empty((len(points), 2))
        for number, axis in enumerate(self.axes):
            with np.errstate(over="ignore"):
                own = None if axis is None else np.exp(axis.log_sd(next(columns)))
            sds[:, number] = self.path.axes[number].largest if own is None else own
        return sds

    def log_prior(self, points: Floats) -> Floats:
        """Log prior density of coordinates (J, d), −∞ beyond the surface; (J,)."""
        result = np.zeros(len(points))
        for axis, own in zip(self.free, points.T, strict=True):
            result += axis.log_prior(axis.log_sd(own)) + axis.log_slope(own)
        inside = (self.tau_of(points) <= self.path.largest).all(axis=1)
        return np.where(inside, result, -np.inf)

    @property
    def pilot_places(self) -> Floats:
        """Pairs of κ and τ that are looked at first; (m, d)."""
        each = [axis.pilot_places(SCAN) for axis in self.free]
        if not each:
            return np.empty((1, 0))
        return np.stack(np.meshgrid(*each, indexing="ij"), axis=-1).reshape(-1, len(each))
