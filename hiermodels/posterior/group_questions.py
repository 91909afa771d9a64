"""What else a posterior without Monte Carlo error is asked, most of it of groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.covariates import Place
from hiermodels.errors import SpecError
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.variance_shares import VarianceShares


class GroupQuestions(ABC):
    """Questions that each posterior answers in its own way; without groups most have no answer."""

    @abstractmethod
    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""

    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of effects of some members of a level, or of some coefficients; (p, u)."""
        raise SpecError(f"a model without groups has no members of {name}")

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups from sds as numbers; by default by the most usual method.

        Parameters
        ----------
        method : str, optional
            As in :meth:`hiermodels.Fit.estimates`.
        place : Place
            Covariates at which the effects are.
        """
        raise SpecError("a model without groups has no estimates to compare; see .summary()")

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        raise SpecError(ONE_VARIANCE)

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each level's share of the total variance."""
        raise SpecError(ONE_VARIANCE)


ONE_VARIANCE = "a model without groups has one variance only; see .summary()"
