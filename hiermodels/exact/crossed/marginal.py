"""The marginal posterior of the sds of crossed groups, and its lattice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.blocks.sd_marginal import SdMarginal
from hiermodels.exact.crossed.coordinates import CrossedCoordinates
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.propriety import CrossedTails, check
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.kernels.crossed.upward import evaluate
from hiermodels.numerics.lattice import LogDensity

DEAR = 200  # members of all factors but the largest, with more of which each node is dear
DEAR_STEP = 4.0  # of the pilot grid then


@dataclass(frozen=True, eq=False)
class CrossedMarginal(SdMarginal[CrossedModel]):
    """``p(y, u)`` at points u, with what integrates the rest out.

    Attributes
    ----------
    model : CrossedModel
    tails : CrossedTails
        Which moments exist.
    """

    model: CrossedModel
    tails: CrossedTails

    @classmethod
    def of(cls, model: CrossedModel) -> CrossedMarginal:
        """Check that the posterior exists, and set it up."""
        return cls(model, check(model))

    @property
    def shift(self) -> Floats:
        """Coefficients by least squares without effects; (c,)."""
        return self.model.design.anchor

    @property
    def is_dear(self) -> bool:
        """Whether there are so many members that each node is dear."""
        return self.model.design.n_others > DEAR

    @property
    def scan_step(self) -> float:
        """Distance of points on the pilot grid."""
        return DEAR_STEP if self.is_dear else super().scan_step

    @property
    def climbed(self) -> LogDensity:
        """The log density; where each node is dear, none is evaluated twice."""
        return Remembered(self.log_density) if self.is_dear else self.log_density

    @cached_property
    def residual(self) -> CrossedModel:
        """The model of the outcome less what the shift explains."""
        return self.model.less_anchor()

    @cached_property
    def coordinates(self) -> CrossedCoordinates:
        """Of the sds."""
        return CrossedCoordinates(self.residual)

    @one_blas_thread()
    def root(self, values: Values) -> Root:
        """What all rows say of the coefficients, less the shift, and of σ."""
        return evaluate(self.model.design, np.exp(values.log_theta))


class Remembered:
    """A function of points (n, d), each by itself, that is evaluated at new ones alone."""

    def __init__(self, function: LogDensity) -> None:
        self._function = function
        self._known: dict[bytes, float] = {}

    def __call__(self, points: Floats) -> Floats:
        """Values at points; (n,)."""
        keys = [point.tobytes() for point in points]
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            self._known |= zip(new, self._function(points[list(new.values())]), strict=True)
        return np.array([self._known[key] for key in keys])
