"""Priors as PyMC states them.

Improper priors are distributions of our own, ``Flat()`` or ``FlatVariance()`` in a model's table.
PyMC's ``Flat`` and ``HalfFlat`` raise an error where it draws to learn a shape, as ``model.table``
and ``pm.model_to_graphviz`` do.  There is nothing to draw from here either, and a draw is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import log
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.errors import SpecError
from hiermodels.model.priors.variance import (
    Exponential,
    Fixed,
    FlatSD,
    FlatVariance,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Jeffreys,
    Uniform,
    VariancePrior,
)
from hiermodels.model.spec import Spec


def _no_draws(*parameters: Any, rng: Any = None, size: Any = None) -> Floats:
    """What an improper prior has instead of draws; the shape is all that can be learnt from it."""
    return np.full(() if size is None else tuple(size), np.nan)


def _add_power(name: str, prior: VariancePrior, unit: float) -> TensorVariable:
    """Add an sd whose improper density is a power: ``p(τ) = C τ^(2a − 1)``.

    The exponent a of τ² in ``p(log τ)`` is that of either tail.
    """
    constant, power = prior.log_density_log_sd(np.zeros(1))[0], 2 * prior.lower_tail - 1
    return pm.CustomDist(
        name,
        logp=lambda sd: constant + power * pt.log(sd),
        random=_no_draws,
        transform=log,
        initval=unit,
        class_name=type(prior).__name__,
    )


def add_inverse_gamma(name: str, prior: InverseGamma) -> TensorVariable:
    """Add an sd whose square is inverse gamma."""
    return pm.CustomDist(
        name,
        prior.alpha,
        prior.beta,
        dist=lambda alpha, beta, size: pt.sqrt(pm.InverseGamma.dist(alpha, beta, size=size)),
        transform=log,
        class_name="RootInverseGamma",
    )


# From a parameter's name, its prior and the data's unit to its sd, in an open model.  A prior
# without a scale of its own starts at the data's unit.  The type must be the very one: a subclass
# may have another density.
SD_PRIORS: Mapping[type[VariancePrior], Callable[[str, Any, float], TensorVariable]] = {
    FlatVariance: _add_power,
    FlatSD: _add_power,
    Jeffreys: _add_power,
    HalfNormal: lambda name, prior, unit: pm.HalfNormal(name, prior.sd),
    HalfCauchy: lambda name, prior, unit: pm.HalfCauchy(name, prior.beta),
    HalfStudentT: lambda name, prior, unit: pm.HalfStudentT(name, prior.nu, prior.sigma),
    Exponential: lambda name, prior, unit: pm.Exponential(name, scale=prior.mean),
    Uniform: lambda name, prior, unit: pm.Uniform(name, 0, prior.upper),
    InverseGamma: lambda name, prior, unit: add_inverse_gamma(name, prior),
}


def add_residual_sd(spec: Spec, unit: float) -> TensorVariable:
    """Add the sd of a regression's rows; its prior may come with those of the coefficients."""
    prior = spec.residual_prior
    if prior is None:
        return add_sd(spec, "sigma", unit)
    return add_inverse_gamma("sigma", in_double(prior))


def add_sd(spec: Spec, name: str, unit: float) -> TensorVariable:
    """Add an unknown sd with its prior."""
    prior = spec.variance_prior(name)
    if isinstance(prior, Fixed):
        return pm.Deterministic(name, pt.as_tensor(np.float64(prior.value)))
    if type(prior) not in SD_PRIORS:
        known = ", ".join(kind.__name__ for kind in SD_PRIORS)
        raise SpecError(
            f"priors: PyMC cannot state {prior} of {name!r}, of which only the density in NumPy is "
            f"known. Use one of {known}; or engine='exact', which takes any prior"
        )
    return SD_PRIORS[type(prior)](name, in_double(prior), unit)


def in_double(prior: Any) -> Any:
    """Give a prior 64-bit parameters: PyTensor keeps 10.0, and takes its logarithm, in 32 bits."""
    return replace(prior, **{f.name: np.float64(getattr(prior, f.name)) for f in fields(prior)})


def add_flat(name: str, **how: Any) -> TensorVariable:
    """Add a mean, or coefficients, with the density 1 on the whole line."""
    return pm.CustomDist(name, logp=pt.zeros_like, random=_no_draws, class_name="Flat", **how)


def add_normal_or_flat(
    name: str, mean: Floats, precision: Floats | TensorVariable, **how: Any
) -> TensorVariable:
    """Add coefficients that are normal, or flat where the precision is 0."""
    return pm.CustomDist(
        name,
        mean,
        precision,
        logp=_normal_or_flat,
        random=_no_draws,
        class_name="NormalOrFlat",
        **how,
    )


def _normal_or_flat(
    value: TensorVariable, mean: TensorVariable, precision: TensorVariable
) -> TensorVariable:
    """Log density of ``Normal(mean, 1/precision)``, and 0 where the precision is 0."""
    square = precision * (value - mean) ** 2
    log_precision = pt.log(pt.switch(precision > 0, precision, 2 * np.pi))
    return 0.5 * (log_precision - LOG_2PI - square)
