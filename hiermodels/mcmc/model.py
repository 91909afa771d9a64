"""PyMC models of a specification: all levels stated, or all means integrated out.

PyMC states each level given the one above it.  Of the rows the likelihood takes the groups' means
and the scatter around them, which is all that the posterior needs of them; or, where asked for,
each row.  Three parameterizations have the same posterior::

    noncentered   theta = mu + tau·theta_offset     theta_offset ~ N(0, 1)
    centered      theta ~ N(mu, tau²)
    marginal      sds alone are sampled; all else can be drawn from its exact distribution given
                  them (:mod:`hiermodels.exact.kernels.tree.tree`)

The posterior's variables bear the names of :attr:`Spec.variables`.  What else is sampled serves the
parameterization: ``theta_offset``; and with covariates ``mu_centre`` and ``theta_centre``, the
values at the covariates' means, which do not depend on β as much as those at x = 0 do.

Improper priors are distributions of our own, ``Flat()`` or ``FlatVariance()`` in a model's table.
PyMC's ``Flat`` and ``HalfFlat`` raise an error where it draws to learn a shape, as ``model.table``
and ``pm.model_to_graphviz`` do.  There is nothing to draw from here either, and a draw is nan.

This module imports PyMC, which takes seconds: nothing but the NUTS engine imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import log
from pymc.logprob.transforms import Transform
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arguments import checked
from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.names import COEFFICIENT_DIM
from hiermodels.data.grouped import GroupedData, Missing, require_rows
from hiermodels.data.prepare import announce, prepare
from hiermodels.errors import SpecError
from hiermodels.exact.conjugate import ConjugatePosterior
from hiermodels.exact.kernels.tree.tree import Coefficients
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.mcmc.parameterization import Form, Observed, Parameterization, choose
from hiermodels.model.priors.base import Priors
from hiermodels.model.priors.coefficients import NormalInverseGamma
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
from hiermodels.model.standard_errors import error_role, from_se

type Sds = Mapping[str, TensorVariable]


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


def _add_inverse_gamma(name: str, prior: InverseGamma) -> TensorVariable:
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
    InverseGamma: lambda name, prior, unit: _add_inverse_gamma(name, prior),
}


class UnitScale(Transform):  # type: ignore[misc]
    """Sample ``matrix⁻¹ (value − location)`` in a variable's place.

    Samplers start within a unit or so of the initial point, with steps of that size.  Where the
    outcome's own unit is a million times smaller or larger, or coefficients depend on one another,
    they fail or take minutes.

    Parameters
    ----------
    location : float or (q,)
    matrix : float or (q, q)
        Of a scale, for a variable with any shape; or of a change of basis, for a vector.
    """

    name = "unit"

    def __init__(self, location: float | Floats, matrix: float | Floats) -> None:
        self.location = location
        self.matrix = matrix
        self.ndim_supp = np.ndim(matrix) // 2

    def forward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``matrix⁻¹ (value − location)``."""
        if self.ndim_supp:
            return _apply(np.linalg.inv(self.matrix), value - self.location)
        return (value - self.location) / self.matrix

    def backward(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``location + matrix·value``."""
        if self.ndim_supp:
            return self.location + _apply(self.matrix, value)
        return self.location + self.matrix * value

    def log_jac_det(self, value: TensorVariable, *inputs: Any) -> TensorVariable:
        """``log |matrix|``."""
        if self.ndim_supp:
            return pt.as_tensor(np.linalg.slogdet(self.matrix)[1])
        return pt.full_like(value, np.log(self.matrix))


@checked
def build_model(
    spec: Spec,
    data: GroupedData,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    *,
    exchangeable: bool = False,
) -> pm.Model:
    """Build the PyMC model of a specification and data, without sampling it.

    Parameters
    ----------
    spec : Spec
    data : GroupedData
    parameterization : {"auto", "noncentered", "centered", "marginal"} or mapping
        ``"noncentered"`` suits levels of which the data say little of each unit, ``"centered"``
        those of which they say much.  ``"auto"`` chooses between the two for each level, see
        :func:`hiermodels.mcmc.parameterization.choose`; a mapping, such as
        ``{"theta": "centered", "mu": "noncentered"}``, states a choice.  ``"marginal"`` suits
        either case: it has one to three dimensions, and neither ``theta`` nor ``mu``.  A model
        without groups is the same for all.
    observed : {"means", "rows"}
        What the likelihood takes.  ``"means"``: the groups' means and the scatter around them,
        which are sufficient and so few that sampling takes the same time for any number of rows.
        ``"rows"``: each row, to extend the model, to draw from it with
        ``pm.sample_posterior_predictive``, or to show it; group, covariates and standard errors
        of the rows are ``pm.Data``.
    exchangeable : bool
        Whether what the model takes from the outcome is ``pm.Data``, which can be exchanged for
        :func:`outcome_statistics` of other outcomes of the same rows; with ``"means"`` only.

    Returns
    -------
    pymc.Model
        With ``spec.variables`` among its variables, on ``data.coords``.  Observed is a variable
        with the outcome's name; with ``_mean`` after it where it holds the means of several rows.
        Its log density is that of parameters and rows together, constants included.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If PyMC has no such prior, a column has the name of a variable, or there is no such
        parameterization.

    Notes
    -----
    Nothing can be drawn from an improper prior: ``pm.sample_prior_predictive`` returns nan.

    ``pm.sample_posterior_predictive`` takes draws of all that is sampled, as ``pm.sample`` of the
    same model returns them; what is missing among them it draws from its prior.
    """
    choice = choose(parameterization, spec, data, observed)
    _require_free_names(spec, observed)
    if spec.is_regression:
        return _build_regression(spec, data, observed, exchangeable)
    if not spec.groups:
        return _build_population(spec, data, observed, exchangeable)
    marginal = Marginal.of(spec, standardize(data))
    with pm.Model(coords=data.coords) as model:
        if exchangeable:
            _add_statistics(marginal.data)
        sds = {name: _add_sd(spec, name, marginal.data.scale) for name in spec.sds}
        if choice.name == "marginal":
            if len(spec.fixed) == len(spec.sds):
                raise SpecError(
                    "parameterization='marginal' samples the sds, and all of them are fixed; take "
                    "'noncentered', or engine='exact'"
                )
            pm.Potential("log_likelihood", log_likelihood(marginal, sds))
            return model
        beta = _add_coefficients(spec, marginal.data)
        parents = _add_parents(spec, data, observed)
        theta = _add_values(spec, parents, marginal.data, sds, beta, choice.forms)
        if observed == "rows":
            _add_rows(spec, data, sds)
        else:
            _add_means(spec, marginal.data, theta, sds, beta)
    return model


def outcome_statistics(standard: Standardized) -> dict[str, Floats]:
    """Return all that a model takes from the outcome, by the name of its ``pm.Data``.

    Parameters
    ----------
    standard : Standardized
        In the location and scale of the data that the model was built with.
    """
    tree = standard.tree
    return {"_means": standard.group_means, "_rows": tree.mean, "_scatter": tree.scatter}


@checked
def normal_inverse_gamma(
    data: Any,
    *,
    outcome: str | None = None,
    priors: Priors = None,
    missing: Missing = "error",
    observed: Observed = "means",
) -> pm.Model:
    """Build the PyMC model of one normal population.

    The model, for rows i::

        y_i ~ Normal(theta, sigma)   theta ~ Normal(m, s·sigma)   sigma² ~ InverseGamma(alpha, beta)

    Parameters
    ----------
    data, outcome, missing
        As in :func:`hiermodels.fit`.
    priors : mapping of str to Prior, optional
        ``{"theta": NormalInverseGamma(m=…, s=…, alpha=…, beta=…)}``; by default its flat limit.
    observed
        As in :func:`build_model`.

    Returns
    -------
    pymc.Model
        Ready for ``pm.sample``.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.
    """
    spec, grouped = prepare(
        data, outcome=outcome, groups=(), se=False, priors=priors, missing=missing
    )
    announce(grouped)
    return build_model(spec, grouped, observed=observed)


@checked
def two_level(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Priors = None,
    missing: Missing = "error",
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
) -> pm.Model:
    """Build the PyMC model of two levels.

    The model, for rows i of groups g::

        y_i ~ Normal(theta_g[i], sigma_i)      theta_g ~ Normal(mu, tau)

    with ``sigma_i`` known, or one unknown ``sigma`` for all rows; covariates add ``x_i'beta``.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`; ``groups`` is one column.
    parameterization, observed
        As in :func:`build_model`.

    Returns
    -------
    pymc.Model
        Ready for ``pm.sample``.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.

    Examples
    --------
    >>> import hiermodels as hm
    >>> schools = hm.datasets.load_eight_schools()
    >>> model = hm.two_level(schools, outcome="y", groups="school", se="sigma")
    >>> [variable.name for variable in model.free_RVs]
    ['tau', 'mu', 'theta_offset']
    """
    spec, grouped = prepare(
        data,
        formula,
        outcome=outcome,
        groups=groups,
        se=se,
        variance=variance,
        covariates=covariates,
        priors=priors,
        missing=missing,
    )
    _require_columns("two_level", spec, "one column", 1)
    announce(grouped)
    return build_model(spec, grouped, parameterization, observed)


@checked
def three_level(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Priors = None,
    missing: Missing = "error",
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
) -> pm.Model:
    """Build the PyMC model of three levels.

    The model, for rows i of groups g in outer groups s::

        y_i ~ Normal(theta_g[i], sigma_i)
        theta_g ~ Normal(mu_s[g], tau)      mu_s ~ Normal(lam, kappa)

    with ``sigma_i`` known, or one unknown ``sigma`` for all rows; covariates add ``x_i'beta``.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`; ``groups`` is two columns, the outer one first.
    parameterization, observed
        As in :func:`build_model`.

    Returns
    -------
    pymc.Model
        Ready for ``pm.sample``.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.
    """
    spec, grouped = prepare(
        data,
        formula,
        outcome=outcome,
        groups=groups,
        se=se,
        variance=variance,
        covariates=covariates,
        priors=priors,
        missing=missing,
    )
    _require_columns("three_level", spec, "two columns, the outer one first", 2)
    announce(grouped)
    return build_model(spec, grouped, parameterization, observed)


def log_likelihood(marginal: Marginal, sds: Sds) -> TensorVariable:
    """``log p(y | sds)`` in PyTensor, values of all units and coefficients integrated out.

    The recursion of :func:`hiermodels.exact.kernels.tree.marginal.upward`, where its steps are
    derived, for one setting of the variances and with a gradient.

    Parameters
    ----------
    marginal : Marginal
    sds : mapping of str to scalar
        The unknown sds, in the outcome's unit.

    Returns
    -------
    scalar
    """
    tree, scale = marginal.data.tree, marginal.data.scale
    sigma2 = _row_variance(marginal.data, sds)
    total = _log_normalizer(marginal.data, sigma2) - tree.sizes[0] * np.log(scale)
    quadratic = _statistic(marginal.data, "_scatter") / sigma2
    mean, error = pt.as_tensor(_statistic(marginal.data, "_rows")), sigma2 / tree.weight
    for level, name in enumerate(marginal.spec.spreads):
        variance = error + (sds[name] / scale) ** 2
        mean, error, product, log_factor = _pool(mean, variance, tree.parent(level))
        quadratic += product
        total += log_factor
    return total + _integrate_coefficients(mean[0], error[0], quadratic, marginal.coefficients)


def _pool(
    mean: TensorVariable, variance: TensorVariable, parent: Indices
) -> tuple[TensorVariable, TensorVariable, TensorVariable, TensorVariable]:
    """Pool units (b,) with mean rows (b, q + 1) under their parents (u,).

    Returns
    -------
    mean (u, q + 1), error (u,)
        What the units say of their parents.
    product (q + 1, q + 1)
        Weighted cross-products of the units around their parents' means.
    log factor
        What is left of the units' densities.
    """

    def add_up(values: TensorVariable) -> TensorVariable:
        shape = (int(parent[-1]) + 1, *values.type.shape[1:])
        return pt.inc_subtensor(pt.zeros(shape)[parent], values)

    weight = 1 / variance
    precision = add_up(weight)
    pooled = add_up(weight[:, None] * mean) / precision[:, None]
    away = mean - pooled[parent]
    product = (weight[:, None, None] * away[:, :, None] * away[:, None, :]).sum(axis=0)
    log_factor = -0.5 * (LOG_2PI + pt.log(variance)).sum()
    log_factor += 0.5 * (LOG_2PI - pt.log(precision)).sum()
    return pooled, 1 / precision, product, log_factor


def _integrate_coefficients(
    mean: TensorVariable, error: TensorVariable, quadratic: TensorVariable, prior: Coefficients
) -> TensorVariable:
    """Integrate out the intercept, of which the root's mean row (q + 1,) tells, and β (q,)."""
    total = pt.as_tensor(np.float64(prior.log_normalizer))
    if prior.root_precision > 0:
        variance = error + prior.root_spread
        away = mean - prior.root_row
        quadratic += pt.outer(away, away) / variance
        total -= 0.5 * (LOG_2PI + pt.log(variance))
    q = len(prior.mean)
    if not q:
        return total - 0.5 * quadratic[0, 0]
    # The last pivot of a Cholesky factor is T_yy − T_yx T_xx⁻¹ T_xy, what regression leaves; the 1
    # keeps it above 0 where the fit is perfect.
    shifted = np.column_stack([np.eye(q), prior.mean])
    corner = np.zeros((q + 1, q + 1))
    corner[q, q] = 1.0
    factor = pt.linalg.cholesky(quadratic + shifted.T @ prior.precision @ shifted + corner)
    total += 0.5 * q * LOG_2PI - pt.log(pt.diag(factor)[:q]).sum()
    return total - 0.5 * (factor[q, q] ** 2 - 1)


def _build_population(
    spec: Spec, data: GroupedData, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build the model without groups: to the data, it is one group."""
    ConjugatePosterior.of(spec, data)  # raises an error if the posterior does not exist
    standard = standardize(as_one_group(data))
    own_unit = UnitScale(standard.location, standard.scale)
    with pm.Model() as model:
        if exchangeable:
            _add_statistics(standard)
        prior = spec.conjugate_prior
        if prior is None:
            sigma = _add_sd(spec, "sigma", standard.scale)
            theta = _add_flat("theta", initval=standard.location, transform=own_unit)
        else:
            prior = _in_double(prior)
            sigma = _add_inverse_gamma("sigma", InverseGamma(prior.alpha, prior.beta))
            theta = pm.Normal("theta", prior.m, prior.s * sigma, transform=own_unit)
        if observed == "rows":
            _add_rows(spec, data, {"sigma": sigma})
        else:
            _add_means(spec, standard, theta[None], {"sigma": sigma}, pt.zeros(0))
    return model


def _build_regression(
    spec: Spec, data: GroupedData, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build a regression without groups: to the data, it is one group, whose value is mu."""
    RegressionPosterior.of(spec, data)  # raises an error if the posterior does not exist
    standard = standardize(as_one_group(data))
    with pm.Model(coords=data.coords) as model:
        if exchangeable:
            _add_statistics(standard)
        sds = {} if spec.se else {"sigma": _add_residual_sd(spec, standard.scale)}
        beta = _add_coefficients(spec, standard, sds.get("sigma"))
        mu = _add_values(spec, (), standard, sds, beta, {})
        if observed == "rows":
            _add_rows(spec, data, sds)
        else:
            _add_means(spec, standard, mu[None], sds, beta)
    return model


def _add_residual_sd(spec: Spec, unit: float) -> TensorVariable:
    """Add the sd of a regression's rows; its prior may come with those of the coefficients."""
    prior = spec.residual_prior
    if prior is None:
        return _add_sd(spec, "sigma", unit)
    return _add_inverse_gamma("sigma", _in_double(prior))


def as_one_group(data: GroupedData) -> GroupedData:
    """Return data without groups as a single group."""
    return replace(require_rows(data, "the model without groups"), labels=(np.zeros(1),))


def _add_statistics(standard: Standardized) -> None:
    """Add what the model takes from the outcome as data that can be exchanged."""
    for name, value in outcome_statistics(standard).items():
        pm.Data(name, value, shape=value.shape)


def _statistic(standard: Standardized, name: str) -> Floats | TensorVariable:
    """Return a statistic of the outcome: the open model's data if it has such, or a constant."""
    model = pm.modelcontext(None)
    return model[name] if name in model else outcome_statistics(standard)[name]


def _add_sd(spec: Spec, name: str, unit: float) -> TensorVariable:
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
    return SD_PRIORS[type(prior)](name, _in_double(prior), unit)


def _in_double(prior: Any) -> Any:
    """Give a prior 64-bit parameters: PyTensor keeps 10.0, and takes its logarithm, in 32 bits."""
    return replace(prior, **{f.name: np.float64(getattr(prior, f.name)) for f in fields(prior)})


def _add_flat(name: str, **how: Any) -> TensorVariable:
    """Add a mean, or coefficients, with the density 1 on the whole line."""
    return pm.CustomDist(name, logp=pt.zeros_like, random=_no_draws, class_name="Flat", **how)


def _add_coefficients(
    spec: Spec, standard: Standardized, sigma: TensorVariable | None = None
) -> TensorVariable:
    """Add β; return it in the tree's coordinates, with shape (q,)."""
    if not spec.covariates:
        return pt.zeros(0)
    basis = standard.scale * standard.basis
    priors = [spec.priors[name] for name in spec.coefficients]
    mean, sd = np.array([spec.scaled_prior(name) or (0.0, np.inf) for name in spec.coefficients]).T
    unit: Any = 1.0
    if any(isinstance(prior, NormalInverseGamma) for prior in priors):
        unit = sigma
    start = np.zeros(len(mean)) if spec.has_intercept else basis @ standard.tree.left.anchor
    own_unit = UnitScale(0.0 if spec.has_intercept else start, basis)
    how: dict[str, Any] = {"dims": spec.dims("beta"), "transform": own_unit}
    if np.isfinite(sd).all():
        beta = pm.Normal("beta", mean, sd * unit, **how)
    elif np.isinf(sd).all():
        beta = _add_flat("beta", initval=start, **how)
    else:
        beta = pm.CustomDist(
            "beta",
            mean,
            sd**-2.0 / unit**2,
            logp=_normal_or_flat,
            random=_no_draws,
            initval=start,
            class_name="NormalOrFlat",
            **how,
        )
    return _apply(np.linalg.inv(basis), beta)


def _normal_or_flat(
    value: TensorVariable, mean: TensorVariable, precision: TensorVariable
) -> TensorVariable:
    """Log density of ``Normal(mean, 1/precision)``, and 0 where the precision is 0."""
    square = precision * (value - mean) ** 2
    log_precision = pt.log(pt.switch(precision > 0, precision, 2 * np.pi))
    return 0.5 * (log_precision - LOG_2PI - square)


def _add_parents(
    spec: Spec, data: GroupedData, observed: Observed
) -> tuple[Indices | TensorVariable, ...]:
    """Index of each unit's parent, as :attr:`GroupedData.parents`; to be seen, beside rows."""
    if observed == "means":
        return data.parents
    pairs = zip(reversed(spec.groups), data.parents, strict=False)
    return tuple(
        pm.Data(f"{spec.groups[-2 - level]}_of_{unit}", parent, dims=unit)
        for level, (unit, parent) in enumerate(pairs)
    )


def _add_values(
    spec: Spec,
    parents: Sequence[Indices | TensorVariable],
    standard: Standardized,
    sds: Sds,
    beta: TensorVariable,
    forms: Mapping[str, Form],
) -> TensorVariable:
    """Add the values of all units, from the top downwards; return the groups'.

    The groups' values that are returned (g,), and those that are sampled, belong to the
    covariates' means; those that are reported belong to x = 0, less by ``centre'β``.  Without an
    intercept, all belong to x = 0, and the value at the top is 0.
    """
    own_unit = UnitScale(standard.location, standard.scale)
    is_moved = bool(spec.covariates and spec.intercept)
    shift = standard.scale * _apply(standard.origin, beta) if is_moved else 0.0
    centre = "_centre" if is_moved else ""

    def report(name: str, value: TensorVariable) -> TensorVariable:
        if name in pm.modelcontext(None):
            return value
        reported = pm.Deterministic(name, value - shift, dims=spec.dims(name))
        return value if is_moved else reported

    value = pt.zeros(())
    for name in spec.top:
        prior = spec.priors[name]
        found = spec.scaled_prior(name)
        if found:
            mean, sd = np.array(found)
            sd = sd * sds["sigma"] if isinstance(prior, NormalInverseGamma) else sd
            value = pm.Normal(name + centre, mean + shift, sd, transform=own_unit)
        else:
            value = _add_flat(name + centre, initval=standard.location, transform=own_unit)
        value = report(name, value)
    for level in reversed(range(len(spec.groups))):
        name, spread = spec.values[level], sds[spec.spreads[level]]
        parent = value[parents[level]] if level < len(parents) else value
        dims = spec.dims(name)
        if forms[name] == "noncentered":
            value = parent + spread * pm.Normal(f"{name}_offset", dims=dims)
        else:
            value = pm.Normal(name + centre, parent, spread, dims=dims, transform=own_unit)
        value = report(name, value)
    return value


def _add_rows(spec: Spec, data: GroupedData, sds: Sds) -> None:
    """Add the rows: ``y_i ~ N(theta_g[i] + x_i'β, σ_i²)``."""
    model = pm.modelcontext(None)
    model.add_coord("row", np.arange(len(data.y)))
    mean = model[spec.values[0]] if spec.values else pt.zeros(())
    if spec.groups:
        mean = mean[pm.Data(f"{spec.groups[-1]}_of_row", data.group, dims="row")]
    if spec.covariates:
        x = pm.Data("x", data.design.matrix, dims=("row", COEFFICIENT_DIM))
        mean = mean + _apply(x, model["beta"])
    sigma = sds["sigma"] if spec.se is None else _known_sd(spec, data)
    pm.Normal(spec.outcome, mean, sigma, observed=data.y, dims="row")


def _known_sd(spec: Spec, data: GroupedData) -> TensorVariable:
    """The rows' standard errors, from a column of the data."""
    assert data.se is not None
    known = pm.Data(str(spec.se), from_se(data.se, spec.se_scale), dims="row")
    return pt.sqrt(known) if spec.se_scale == "variance" else known


def _add_means(
    spec: Spec, standard: Standardized, theta: TensorVariable, sds: Sds, beta: TensorVariable
) -> None:
    """Add the groups' means and, where groups have several rows, the rows around them.

    ``ȳ_g ~ N(theta_g + x̄_g'β, σ²/ω_g)``, with ω_g the sum of the rows' weights (their number, or
    that of ``se⁻²``); the rows around it have the density ``exp(−½ S(β)/σ²)``, with S the sum
    of squares of their residuals, times a constant and a power of σ.
    """
    tree, scale = standard.tree, standard.scale
    sigma2 = _row_variance(standard, sds)
    several = tree.n_rows > tree.sizes[0]
    pm.Normal(
        f"{spec.outcome}_mean" if several else spec.outcome,
        theta + scale * _apply(tree.mean[:, :-1], beta),
        scale * pt.sqrt(sigma2 / tree.weight),
        observed=_statistic(standard, "_means"),
        dims=spec.dims("theta") or None,
    )
    if several:
        residual = pt.concatenate([-beta, [1.0]])
        squares = _apply(_apply(_statistic(standard, "_scatter"), residual), residual)
        pm.Potential("within_groups", _log_normalizer(standard, sigma2) - 0.5 * squares / sigma2)


def _apply(matrix: Floats | TensorVariable, vector: TensorVariable) -> TensorVariable:
    """``matrix @ vector``, which Numba compiles in a second where ``@`` takes it ten or more."""
    return (matrix * vector).sum(axis=-1)


def _row_variance(standard: Standardized, sds: Sds) -> TensorVariable:
    """Variance of a standardised row of weight 1: 1 if the standard errors are known."""
    return (sds["sigma"] / standard.scale) ** 2 if "sigma" in sds else pt.as_tensor(1.0)


def _log_normalizer(standard: Standardized, sigma2: TensorVariable) -> TensorVariable:
    """What stands before the exponential in the density of rows around their group's mean."""
    tree = standard.tree
    freedom = tree.n_rows - tree.sizes[0]
    return tree.log_constant - freedom * (0.5 * (LOG_2PI + pt.log(sigma2)) + np.log(standard.scale))


def _require_columns(builder: str, spec: Spec, expected: str, count: int) -> None:
    """Refuse groups that do not make the levels that the builder's name promises."""
    if len(spec.groups) != count:
        raise SpecError(
            f"{builder}: groups: expected {expected}; found {list(spec.groups)}. Name the columns "
            f"with groups=…, or build the model that they make with build_model"
        )


def _require_free_names(spec: Spec, observed: Observed) -> None:
    """Refuse columns with the name of a variable that only PyMC's model has, or the outcome's."""
    taken = {*spec.variables, "log_likelihood", "within_groups", "__sample__"}
    taken |= {"_means", "_rows", "_scatter"}
    taken |= {name + more for name in spec.values for more in ("_offset", "_centre")}
    columns = [("outcome", spec.outcome), *(("groups", name) for name in spec.groups)]
    if observed == "rows":
        taken |= {f"{name}_of_{unit}" for name in spec.groups for unit in (*spec.groups, "row")}
        taken |= {"x"} if spec.covariates else set()
        columns += [(error_role(spec.se_scale), spec.se)] if spec.se else []
    else:
        taken.add(f"{spec.outcome}_mean")
    for role, name in columns:
        if name in taken:
            raise SpecError(
                f"{role}: the model or ArviZ has a variable or dimension {name!r} of its own; "
                f"rename this column, for example to {f'{name}_column'!r}"
            )
