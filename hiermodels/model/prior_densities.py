"""Log densities of the parameters' priors at values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import CoefficientPrior, NormalInverseGamma
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
    densities: dict[str, Floats] = {}
    sigma = variables.get("sigma")
    for name in (n for n in spec.variables if n in spec.priors and n not in spec.fixed):
        densities[name] = _log_density(spec.priors[name], variables[name], sigma)
    if sigma is not None and "sigma" not in densities and spec.residual_prior:
        densities["sigma"] = spec.residual_prior.log_density_sd(sigma)
    if spec.covariates:
        beta = zip(spec.coefficients, np.moveaxis(variables["beta"], -1, 0), strict=True)
        columns = [_log_density(spec.priors[name], v, sigma) for name, v in beta]
        densities["beta"] = np.stack(columns, axis=-1)
    return densities


def _log_density(prior: Prior, values: Floats, sigma: Floats | None) -> Floats:
    """Log density of an sd, whatever the prior is stated on, of a mean or of a coefficient."""
    if isinstance(prior, VariancePrior):
        return prior.log_density_sd(values)
    if isinstance(prior, NormalInverseGamma):
        assert sigma is not None
        return prior.log_density(values, sigma)
    assert isinstance(prior, CoefficientPrior)
    return prior.log_density(values)
