"""The posterior of counts whose covariates vary within groups, to three or four digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.glmm.lattice_points import LatticePoints
from hiermodels.exact.glmm.laws import GlmmLaws, GlmmSums
from hiermodels.exact.glmm.normal_kernels import NormalKernels
from hiermodels.exact.glmm.points import WeightedPoints
from hiermodels.exact.glmm.proposals import Proposals
from hiermodels.exact.glmm.sphere_points import SpherePoints
from hiermodels.exact.glmm_data import groups_at_means
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.glmm_left_out import leave_out_units
from hiermodels.exact.glmm_plug_in import glmm_plug_in
from hiermodels.exact.leaf_outcomes import CountLaw, conditional, over_places
from hiermodels.exact.leaf_reference import LeafReference
from hiermodels.exact.leaves.outcomes import Law, MemberLaw
from hiermodels.exact.precision import require_precision
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.target import Target

NO_SUMS = (
    "the posterior of counts with three levels is not summed up where covariates vary within "
    "groups, or are many: this asks for reference(), which has no Monte Carlo error. Take the "
    "exact and independent draws of hm.fit, by .summary(), .check(), .predict(…).datatree and "
    ".datatree; with at most one covariate, constant within each group, reference() has all of it"
)
FAR_UP = 0.9999  # probability of a linear predictor that tells how large counts become


@dataclass(frozen=True, repr=False)
class GlmmReference(LeafReference):
    """Weighted points over τ and the coefficients, the groups' effects integrated out at each."""

    laws: GlmmLaws

    @classmethod
    @one_blas_thread()
    def of(cls, spec: Spec, data: GroupedData, tol: float = TOLERANCE) -> GlmmReference:
        """Sum the posterior up over weighted points, to three or four digits.

        Warns
        -----
        PrecisionWarning
            As these are fewer than ``tol`` asks for.
        """
        grid = GlmmGrid(spec, data)
        grid.require_existence()
        if len(spec.levels) > 1:
            raise SpecError(NO_SUMS)
        proposals, arrays = grid.marginal, grid.arrays
        assert isinstance(proposals, Proposals)
        sums = GlmmSums(
            _points(proposals),
            groups_at_means(spec, data),
            arrays.basis,
            proposals.axis,
            float(arrays.constant.sum()) + arrays.log_volume,
        )
        require_precision(sums.certificate, tol)
        return cls(spec, data, GlmmLaws(sums), grid.moments)

    @property
    def error_in_words(self) -> str:
        """What tables say of the error of their numbers."""
        is_random = self.laws.posterior.points.is_random
        return "Monte Carlo over directions" if is_random else super().error_in_words

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        points = self.laws.posterior.points
        return [
            f"quadrature: {points.how}; each group's effect integrated out at each",
            f"precision: {reached(self.certificate)} digits; means and sds are off by about "
            f"{self.certificate:.1e} posterior sd",
        ]

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_units(self.spec, self.data, self.laws, units)

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given the maximum of the likelihood."""
        return glmm_plug_in(self.spec, self.data, "ml" if method is None else method, place)

    def _count_law(self, target: Target, row: int, law: Law) -> CountLaw:
        family, columns = self.spec.family, self._one(target, row)
        assert isinstance(law, MemberLaw | NormalKernels)
        by_places = over_places(family, columns, law)
        lowest, highest = (float(end[0]) for end in family.support(columns))
        offset = float(columns.get("offset", np.zeros(1))[0])
        far_up = law.about(np.array([FAR_UP])) + offset
        expected = float(family.moments(far_up, columns)[0][0])
        outcome = conditional(family, columns, law)
        return CountLaw(by_places, by_places, outcome, (lowest, highest), expected)


def is_summed_at_random(spec: Spec, data: GroupedData) -> bool:
    """Whether the posterior is summed over points along random directions, or not at all."""
    proposals = GlmmGrid(spec, data).marginal
    return not isinstance(proposals, Proposals) or not LatticePoints.can_hold(proposals)


def _points(proposals: Proposals) -> WeightedPoints:
    """Of a lattice, where one can hold the posterior; else along random directions."""
    return (LatticePoints if LatticePoints.can_hold(proposals) else SpherePoints).of(proposals)
