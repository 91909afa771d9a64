"""Rows with errors of Student's t distribution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.parameters import Parametric
from hiermodels.families.family import Columns
from hiermodels.families.leaves import Leaves
from hiermodels.families.reals import Reals
from hiermodels.families.row_leaves import by_group
from hiermodels.families.student_t_leaves import StudentTLeaves, log_peak, log_shape


@storable
@dataclass(frozen=True)
class StudentT(Parametric, Reals):
    """``y ~ t_nu(η, sd)``: ``(y − η)/sd`` has a t distribution, so that outliers pull less.

    Parameters
    ----------
    nu : float
        Degrees of freedom, positive and known; normal rows are the limit of many.
    """

    nu: float
    name: ClassVar[str] = "student_t"

    def __post_init__(self) -> None:
        self._require_positive("nu")

    def describe(self, eta: str, columns: Mapping[str, str]) -> str:
        """``StudentT(nu, η, sd)``."""
        return f"StudentT({self.nu:g}, {eta}, {columns['sd']})"

    def log_likelihood(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """Log density of ``t_nu(η, sd)`` of each row."""
        nu, sd = float(self.nu), columns["sd"]
        return log_peak(nu) + log_shape((y - eta) / sd, nu) - np.log(sd)

    def moments(self, eta: Floats, columns: Columns) -> tuple[Floats, Floats]:
        """``η`` and ``sd² nu/(nu − 2)``, where nu is large enough."""
        nu, sd = float(self.nu), columns["sd"]
        spread = nu / (nu - 2) if nu > 2 else np.inf
        mean = eta if nu > 1 else np.full_like(eta, np.inf)
        return mean, np.broadcast_to(sd**2 * spread, np.broadcast_shapes(eta.shape, sd.shape))

    def cdf(self, y: Floats, eta: Floats, columns: Columns) -> Floats:
        """Student's distribution function."""
        from scipy.special import stdtr

        return stdtr(float(self.nu), (y - eta) / columns["sd"])

    def draw(self, eta: Floats, columns: Columns, rng: np.random.Generator) -> Floats:
        """Draw outcomes: ``η + sd·noise``, of the shape of η."""
        drawn = rng.standard_t(float(self.nu), eta.shape)
        drawn *= columns["sd"]
        drawn += eta
        return drawn

    def leaves(
        self, y: Floats, columns: Columns, offset: Floats, group: Indices, size: int
    ) -> Leaves:
        """Likelihoods of groups; those of several rows may have several modes."""
        return by_group(StudentTLeaves.of(y - offset, columns["sd"], self.nu), group, size)

    def to_pymc(
        self, pm: Any, name: str, eta: Any, columns: Mapping[str, Any], observed: Any, dims: str
    ) -> Any:
        """Add the rows to the open PyMC model."""
        nu, sd = np.float64(self.nu), columns["sd"]
        return pm.StudentT(name, nu, mu=eta, sigma=sd, observed=observed, dims=dims)
