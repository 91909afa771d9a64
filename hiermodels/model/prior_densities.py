"""Log densities of the parameters' priors at values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.families.normal import log_normal
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.coefficients import CoefficientPrior, NormalInverseGamma
from hiermodels.model.priors.variance import InverseGamma, VariancePrior
from hiermodels.model.spec import Spec


def prior_log_densities(spec: Spec, variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """Log density of each parameter's prior, of the variable as it is stored.

    Parameters
    ----------
    spec : Spec
    variables : mapping of str to array
        Draws of any shape (...,), those of ``beta`` (..., q).

    Returns
    -------
    dict of str to array
        Of the shape of each variable that has a prior; none for an sd that is fixed.
    """
    found: dict[str, Floats] = {}
    for name in (n for n in spec.variables if n in spec.priors and n not in spec.fixed):
        prior, values = spec.priors[name], variables[name]
        if isinstance(prior, NormalInverseGamma):
            found[name] = log_normal(values, prior.m, prior.s * variables["sigma"])
            variance = InverseGamma(prior.alpha, prior.beta)
            found["sigma"] = _log_sd_density(variance, variables["sigma"])
        elif isinstance(prior, VariancePrior):
            found[name] = _log_sd_density(prior, values)
        else:
            found[name] = _log_coefficient_density(prior, values)
    if spec.covariates:
        beta = zip(spec.coefficients, np.moveaxis(variables["beta"], -1, 0), strict=True)
        sigma = variables.get("sigma")
        columns = [_log_coefficient_density(spec.priors[name], v, sigma) for name, v in beta]
        found["beta"] = np.stack(columns, axis=-1)
    if spec.is_regression and not spec.se and "sigma" not in found and spec.residual_prior:
        found["sigma"] = _log_sd_density(spec.residual_prior, variables["sigma"])
    return found


def _log_sd_density(prior: VariancePrior, sd: Floats) -> Floats:
    """Log density of an sd, whatever the prior is stated on."""
    return prior.log_density_log_sd(np.log(sd)) - np.log(sd)


def _log_coefficient_density(prior: Prior, values: Floats, sigma: Floats | None = None) -> Floats:
    """Log density of a mean or a coefficient; 0 under a flat prior."""
    if isinstance(prior, NormalInverseGamma):
        assert sigma is not None
        return log_normal(values, prior.m, prior.s * sigma)
    assert isinstance(prior, CoefficientPrior)
    if not prior.is_proper:
        return np.zeros_like(values)
    mean, precision = prior.mean_and_precision()
    return log_normal(values, mean, precision**-0.5)
