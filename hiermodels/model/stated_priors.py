"""Priors by the names of parameters, as those who compute with them ask for them."""

from __future__ import annotations

from collections.abc import Mapping

from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import CoefficientPrior, NormalInverseGamma
from hiermodels.model.priors.variance import InverseGamma


class StatedPriors:
    """What a specification says of its priors, each of the kind that its parameter has.

    Attributes
    ----------
    priors : mapping of str to Prior
        By parameter name.
    """

    priors: Mapping[str, Prior]

    def variance_prior(self, name: str) -> VariancePrior:
        """Prior of the sd with this name."""
        prior = self.priors[name]
        assert isinstance(prior, VariancePrior)
        return prior

    def coefficient_prior(self, name: str) -> CoefficientPrior:
        """Prior of the mean or of the coefficients with this name."""
        prior = self.priors[name]
        assert isinstance(prior, CoefficientPrior)
        return prior

    def scaled_prior(self, name: str) -> tuple[float, float] | None:
        """Mean and sd of a mean's or a coefficient's prior, in units of σ if it says so.

        None under a flat one.
        """
        prior = self.priors[name]
        if isinstance(prior, NormalInverseGamma):
            return prior.m, prior.s
        mean, precision = self.coefficient_prior(name).mean_and_precision()
        return (mean, precision**-0.5) if precision > 0 else None

    @property
    def residual_prior(self) -> InverseGamma | None:
        """Prior of σ² in a regression without groups; None for ``1/σ²``."""
        for prior in self.priors.values():
            if isinstance(prior, NormalInverseGamma):
                return prior.variance
        given = self.priors["sigma"]
        return given if isinstance(given, InverseGamma) else None

    @property
    def conjugate_prior(self) -> NormalInverseGamma | None:
        """Prior of a model without groups; None for its flat limit."""
        prior = self.priors.get("theta")
        return prior if isinstance(prior, NormalInverseGamma) else None
