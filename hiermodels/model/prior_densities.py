"""Log densities of the parameters' priors at values of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.model.level import Level
from hiermodels.model.priors.base import Prior, VariancePrior
from hiermodels.model.priors.coefficients import CoefficientPrior, NormalInverseGamma
from hiermodels.model.priors.covariance import LKJ
from hiermodels.model.priors.variance import Fixed
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
        Of the shape of each variable that has a prior, correlations one number for all; none for an
        sd that is fixed.
    """
    densities: dict[str, Floats] = {}
    sigma = variables.get("sigma")
    several = {name for level in spec.levels if level.has_slopes for name in level.dims_by_name}
    alone = (n for n in spec.variables if n in spec.priors and n not in {*spec.fixed, *several})
    for name in alone:
        densities[name] = _log_density(spec.priors[name], variables[name], sigma)
    for level in (own for own in spec.levels if own.has_slopes):
        densities |= _of_effects(spec, level, variables)
    if spec.strata:
        by_stratum = zip(spec.residual_sds, np.moveaxis(variables["sigma"], -1, 0), strict=True)
        columns = [_of_sd(spec.variance_prior(name), values) for name, values in by_stratum]
        densities["sigma"] = np.stack(columns, axis=-1)
    elif sigma is not None and "sigma" not in densities and spec.residual_prior:
        densities["sigma"] = spec.residual_prior.log_density_sd(sigma)
    if spec.covariates:
        beta = zip(spec.coefficients, np.moveaxis(variables["beta"], -1, 0), strict=True)
        columns = [_log_density(spec.priors[name], v, sigma) for name, v in beta]
        densities["beta"] = np.stack(columns, axis=-1)
    return densities


def _of_effects(spec: Spec, level: Level, variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """Of the sds (..., e) and the correlations of a level with several effects.

    Those of a flat covariance are products, too: flat on the correlations.  That of an sd that is
    fixed is 0.
    """
    sds = variables[level.sd]
    columns = zip(level.priors, np.moveaxis(sds, -1, 0), strict=True)
    of_sds = np.stack([_of_sd(prior, values) for prior, values in columns], axis=-1)
    if level.correlation is None or level.sd in spec.priors:
        return {level.sd: of_sds}
    lkj, rho = spec.priors[level.correlation], variables[level.correlation]
    assert isinstance(lkj, LKJ)
    own = rho if len(level.pairs) > 1 else rho[..., None]
    return {level.sd: of_sds, level.correlation: lkj.log_density(own)}


def _of_sd(prior: VariancePrior, values: Floats) -> Floats:
    return np.zeros_like(values) if isinstance(prior, Fixed) else prior.log_density_sd(values)


def _log_density(prior: Prior, values: Floats, sigma: Floats | None) -> Floats:
    """Log density of an sd, whatever the prior is stated on, of a mean or of a coefficient."""
    if isinstance(prior, VariancePrior):
        return prior.log_density_sd(values)
    if isinstance(prior, NormalInverseGamma):
        assert sigma is not None
        return prior.log_density(values, sigma)
    assert isinstance(prior, CoefficientPrior)
    return prior.log_density(values)
