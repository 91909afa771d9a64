"""From a specification and data to the arrays of crossed groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hiermodels.data.cells import rows_of_cells
from hiermodels.data.grouped import GroupedData
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.propriety import CrossedTails, check
from hiermodels.exact.crossed.rows import CrossedRows
from hiermodels.exact.kernels.blocks.root import cholesky
from hiermodels.exact.kernels.crossed.design import Scatter
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import ExistingMoments, Shortage


def crossed_model(spec: Spec, data: GroupedData) -> CrossedModel:
    """The model as arrays: the coefficients are the intercept, if there is one, then β."""
    rows = rows_of_cells(data)
    names = [*spec.top, *spec.coefficients]
    priors = [spec.coefficient_prior(name).mean_and_precision() for name in names]
    mean, precision = np.array(priors, dtype=float).reshape(-1, 2).T
    return CrossedModel(
        rows=CrossedRows(
            x=with_intercept(spec, rows.design.matrix),
            y=rows.y,
            members=tuple(rows.memberships),
            sizes=tuple(len(level) for level in data.levels),
            weights=rows.precision,
            scatter=_scatter(spec, data) if isinstance(data, SufficientStatistics) else None,
        ),
        sd_priors=tuple(level.priors[0] for level in spec.levels),
        sigma=spec.variance_prior("sigma") if spec.has_sigma else Fixed(1.0),
        mean=mean,
        precision=precision,
        names=tuple(level.sd for level in spec.levels),
        columns=spec.groups,
    )


def _scatter(spec: Spec, data: SufficientStatistics) -> Scatter:
    """What statistics say beyond the means of cells."""
    triangle = cholesky(data.scatter[:, :, None])[:, :, 0]
    intercept = np.zeros((len(triangle), len(spec.top)))
    return Scatter(np.hstack([intercept, triangle]), data.n_rows, data.log_weight)


@dataclass(frozen=True)
class CrossedMoments(ExistingMoments):
    """The moments, from how the posterior falls where sds grow without end.

    Attributes
    ----------
    spec : Spec
    tails : CrossedTails
    """

    spec: Spec
    tails: CrossedTails

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> CrossedMoments:
        """By counting, without computing the posterior.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        """
        return cls(spec, check(crossed_model(spec, data)))

    def shortage(self, name: str, order: int) -> Shortage | None:
        """What a variable's moment of this order lacks."""
        if self._exists(name, order):
            return None
        sd = self._sd(name)
        slow = [ray for ray in self.tails.slow(order) if sd is None or sd in ray.sds]
        worst = max(slow, key=lambda ray: ray.exponent)
        names = (*self.tails.model.names, "sigma")
        of = " and ".join(names[j] for j in worst.sds)
        one = worst.contrasts.number == 1
        number = "contrast that says something" if one else "contrasts that say something"
        return Shortage(
            worst.contrasts.number,
            f"{number} of {of}",
            math.floor(2 * worst.prior + order) + 1,
        )

    def _sd(self, name: str) -> int | None:
        """Which sd a variable is, or has; none of a coefficient."""
        if name == "sigma":
            return len(self.spec.levels)
        for number, level in enumerate(self.spec.levels):
            if name in (level.sd, level.effect):
                return number
        return None

    def _exists(self, name: str, order: int) -> bool:
        sd = self._sd(name)
        if sd is None:
            exist = self.tails.coefficients_exist(order)
            own = slice(0, 1) if name in self.spec.top else slice(len(self.spec.top), None)
            return bool(np.all(exist[own]))
        if name in self.spec.effects:
            return self.tails.effects_exist(sd, order)
        return self.tails.moment_exists(sd, order)
