"""The posterior of crossed groups without Monte Carlo error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.crossed.connections import said_of_connections
from hiermodels.exact.crossed.interpolated import InterpolatedMarginal
from hiermodels.exact.crossed.mixtures import NEW, CrossedMixtures
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed_data import CrossedMoments, crossed_model
from hiermodels.exact.crossed_left_out import leave_out_of_crossed
from hiermodels.exact.crossed_plug_in import plug_in_crossed
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.exact.sd_reference import SdReference, parts_of
from hiermodels.exact.sd_squares import SdSpreads, SdSquares
from hiermodels.exact.variance_shares import Shares, notes_of_shares, typical_se
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.numerics.normal_mixture import Components
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.moments import Lack, worst_of
from hiermodels.posterior.precision import TOLERANCE
from hiermodels.posterior.target import Target
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class CrossedReference(SdReference):
    """A lattice over the sds of crossed groups, all else integrated out.

    Effects are deviations, the same wherever the intercept is shown.
    """

    posterior: CrossedPosterior

    @classmethod
    def of(cls, spec: Spec, data: GroupedData, tol: float = TOLERANCE) -> Self:
        """Integrate the posterior: see :meth:`CrossedPosterior.of`."""
        return cls(spec, data, CrossedPosterior.of(crossed_model(spec, data), tol))

    @cached_property
    def moments(self) -> CrossedMoments:
        """Which moments exist."""
        return CrossedMoments(self.spec, self.posterior.marginal.tails)

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        return [*super().how(), *self._interpolation, *said_of_connections(self.posterior.model)]

    @property
    def _interpolation(self) -> list[str]:
        """What is said of a likelihood of the sds that is interpolated."""
        marginal = self.posterior.marginal
        if not isinstance(marginal, InterpolatedMarginal):
            return []
        return [
            f"likelihood of the sds: a polynomial of degree {marginal.polynomials.degree} through "
            f"{marginal.n_nodes} points; it errs by up to {marginal.error:.1e} of its logarithm"
        ]

    @property
    def _cause(self) -> str:
        """What the quadrature error is: the largest of three errors."""
        if self.certificate == self.posterior.marginal.error:
            return "the likelihood of the sds errs by up to"
        return super()._cause

    @cached_property
    def _mixtures(self) -> CrossedMixtures:
        return CrossedMixtures(self.posterior)

    @property
    def _beta(self) -> slice:
        """Which of the coefficients are β."""
        return slice(len(self.spec.top), None)

    @property
    def _root_row(self) -> Floats:
        """What the intercept that is shown is of the coefficients; (c,)."""
        x = np.zeros(len(self.spec.covariates)) if self.place is None else self.place.of(ROOT)
        return with_intercept(self.spec, x[None])[0]

    @property
    def _places(self) -> dict[str, int]:
        """Places of the sds among those of the arrays, by name."""
        names = [*(level.sd for level in self.spec.levels), "sigma"]
        return {name: j for j, name in enumerate(names) if name in self.spec.variables}

    def _effects_of(self, level: int) -> Indices:
        """One: a deviation."""
        del level
        return np.zeros(1, dtype=np.intp)

    def _effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of a column's deviations; (u,) each."""
        return self.posterior.effect_moments(level)

    def _shown(self, level: int, effect: int, members: Indices) -> Components:
        """Components of the deviations of some members."""
        del effect
        return self._mixtures.effects(level, members)

    def predictive_lacks(self, target: Target, order: int) -> list[Lack | None]:
        """What a moment of each predicted value lacks; None where it exists."""
        always = (*self.spec.top, *(("sigma",) if target.outcome and self.spec.has_sigma else ()))
        found: dict[tuple[bool, ...], Lack | None] = {}
        lacks = []
        for new in zip(*(own < 0 for own in target.units), strict=True):
            key = tuple(map(bool, new))
            if key not in found:
                both = zip(key, self.spec.levels, strict=True)
                own = [level.sd if is_new else level.effect for is_new, level in both]
                found[key] = worst_of(self.moments.shortage(n, order) for n in (*always, *own))
            lacks.append(found[key])
        return lacks

    def _predictive(self, target: Target) -> Iterator[tuple[slice, Components]]:
        """Yield components of predicted values, some at a time."""
        x = with_intercept(self.spec, target.x)
        weights_of = target.columns.get(WEIGHTS, np.ones(len(x)))
        is_noisy = target.outcome and target.se is None
        noise = 1 / weights_of if is_noisy else np.zeros(len(x))
        for part in parts_of(len(x)):
            members = [np.where(own[part] < 0, NEW, own[part]) for own in target.units]
            weights, mean, sd = self._mixtures.sums(members, x[part], noise[part])
            if target.outcome and target.se is not None:
                sd = np.sqrt(sd**2 + target.se[part] ** 2)
            yield part, (weights, mean, sd)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        squares = SdSquares(self.posterior)
        return [squares.moments_of_sd(self._places[name]) for name in names]

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each column's share of the total variance."""
        spec, typical = self.spec, typical_se(self.data) if self.spec.se else 1.0
        numbers = {level.column: k for k, level in enumerate(spec.levels)}
        rows = Shares.of(SdSpreads(self.posterior, typical**2), numbers).rows(probabilities)
        del rows[f"icc[{spec.groups[-1]}]"]
        return VarianceShares(rows, notes_of_shares(spec, self.data))

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given sds as numbers; by default by restricted likelihood."""
        return plug_in_crossed(self.spec, self.posterior, method, place)

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_of_crossed(
            self, self.posterior.marginal, units, partial(_refit, self.spec)
        )


def _refit(spec: Spec, data: GroupedData) -> CrossedReference:
    return CrossedReference.of(spec, data)
