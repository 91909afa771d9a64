"""PyMC models of a specification: all levels stated, or all means integrated out.

PyMC states each level given the one above it.  Of the rows the likelihood takes the groups' means
and the scatter around them, which is all that the posterior needs of them; or, where asked for,
each row.  (Rows that are not normal have :mod:`hiermodels.mcmc.rows_model`, groups
with slopes and three columns of groups :mod:`hiermodels.mcmc.blocks_model`, and crossed ones
:mod:`hiermodels.mcmc.crossed_model`.)  Three
parameterizations have the same posterior::

    noncentered   theta = mu + tau·theta_offset     theta_offset ~ N(0, 1)
    centered      theta ~ N(mu, tau²)
    marginal      sds alone are sampled; all else can be drawn from its exact distribution given
                  them (:mod:`hiermodels.exact.kernels.tree.tree`)

The posterior's variables bear the names of :attr:`Spec.variables`.  What else is sampled serves the
parameterization: ``theta_offset``; and with covariates ``mu_centre`` and ``theta_centre``, the
values at the covariates' means, which do not depend on β as much as those at x = 0 do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arguments import checked
from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.cells import CELL
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.exact.conjugate import ConjugatePosterior
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.exact.row_sums import RowSums
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.mcmc.blocks_model import (
    REST,
    SUM_DIM,
    SUMS,
    build_blocks_model,
    component,
    outcome_of_blocks,
)
from hiermodels.mcmc.crossed_model import build_crossed_model, outcome_of_cells
from hiermodels.mcmc.levels import add_coefficients, add_effects, add_parents, is_moved, scaled_by
from hiermodels.mcmc.marginal import log_likelihood
from hiermodels.mcmc.outcome import Sds, add_means, add_rows, add_statistics, outcome_statistics
from hiermodels.mcmc.parameterization import (
    Choice,
    Form,
    Observed,
    Parameterization,
    choose,
)
from hiermodels.mcmc.rows_model import (
    GIVEN_SUMS,
    OUTCOMES,
    ROWS_ALIKE,
    build_rows_model,
    outcome_sums,
)
from hiermodels.mcmc.transforms import UnitScale, matrix_times
from hiermodels.model.priors.base import VariancePrior
from hiermodels.model.spec import Spec
from hiermodels.model.standard_errors import error_role


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
        ``"noncentered"`` suits levels of which the data say little of each member, ``"centered"``
        those of which they say much.  ``"auto"`` chooses between the two for each level, see
        :func:`hiermodels.mcmc.parameterization.choose`; a mapping, such as
        ``{"theta": "centered", "mu": "noncentered"}``, states a choice.  ``"marginal"`` suits
        either case: it has one to three dimensions, and neither ``theta`` nor ``mu``.  A model
        without groups is the same for all.
    observed : {"means", "rows"}
        What the likelihood takes.  ``"means"``: the groups' means and the scatter around them,
        which are sufficient and so few that sampling takes the same time for any number of rows.
        Of counts that add up, binomial and Poisson ones, the sums over the rows of a group that
        share covariates and offset, with the sums of their trials or exposures; of rows that do
        not add up, such as Student's t, each row.
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
        with the outcome's name; with ``_mean`` or ``_sum`` after it where it holds the means or
        the sums of several rows.
        Its log density is that of parameters and rows together, constants included.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If PyMC has no such prior, a column has the name of a variable, or there is no such
        parameterization: ``"marginal"`` is of normal rows only.

    Notes
    -----
    Nothing can be drawn from an improper prior: ``pm.sample_prior_predictive`` returns nan.

    ``pm.sample_posterior_predictive`` takes draws of all that is sampled, as ``pm.sample`` of the
    same model returns them; what is missing among them it draws from its prior.
    """
    choice = choose(parameterization, spec, data, observed)
    _require_free_names(spec, observed)
    if not spec.is_normal:
        return build_rows_model(spec, data, choice, observed, exchangeable)
    if spec.is_crossed:
        return build_crossed_model(spec, data, choice, observed, exchangeable)
    if spec.is_blocks:
        _require_unknown_sds(spec, choice)
        return build_blocks_model(spec, data, choice, observed, exchangeable)
    if spec.is_regression:
        return _build_regression(spec, data, observed, exchangeable)
    if not spec.groups:
        return _build_population(spec, data, observed, exchangeable)
    marginal = Marginal.of(spec, standardize(data))
    with pm.Model(coords=data.coords) as model:
        if exchangeable:
            add_statistics(marginal.data)
        scale = marginal.data.scale
        sds = {name: spec.variance_prior(name).to_pymc(pm, name, scale) for name in spec.sds}
        if choice.name == "marginal":
            _require_unknown_sds(spec, choice)
            pm.Potential("log_likelihood", log_likelihood(marginal, sds))
            return model
        beta = add_coefficients(spec, marginal.data)
        parents = add_parents(spec, data, observed)
        theta = _add_all_effects(spec, parents, marginal.data, sds, beta, choice.forms)
        if observed == "rows":
            add_rows(spec, data, sds)
        else:
            add_means(spec, marginal.data, theta, sds, beta)
    return model


def _require_unknown_sds(spec: Spec, choice: Choice) -> None:
    """Raise SpecError if the marginal model would have nothing to sample."""
    correlated = any(level.correlation for level in spec.levels)
    if choice.name == "marginal" and len(spec.fixed) == len(spec.sds) and not correlated:
        raise SpecError(
            "parameterization='marginal' samples the sds, and all of them are fixed; take "
            "'noncentered', or engine='exact'"
        )


def _build_population(
    spec: Spec, data: GroupedData, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build the model without groups: to the data, it is one group."""
    ConjugatePosterior.of(spec, data)  # raises an error if the posterior does not exist
    standard = standardize(as_one_group(data))
    own_unit = UnitScale(standard.location, standard.scale)
    with pm.Model() as model:
        if exchangeable:
            add_statistics(standard)
        sigma = _residual_prior(spec).to_pymc(pm, "sigma", standard.scale)
        how = scaled_by(sigma, spec.priors["theta"]) | {"transform": own_unit}
        theta = spec.priors["theta"].to_pymc(pm, "theta", standard.location, **how)
        if observed == "rows":
            add_rows(spec, data, {"sigma": sigma})
        else:
            add_means(spec, standard, theta[None], {"sigma": sigma}, pt.zeros(0))
    return model


def _build_regression(
    spec: Spec, data: GroupedData, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build a regression without groups: to the data, it is one group, whose value is mu."""
    RegressionPosterior.of(spec, data)  # raises an error if the posterior does not exist
    standard = standardize(as_one_group(data))
    with pm.Model(coords=data.coords) as model:
        if exchangeable:
            add_statistics(standard)
        sds: dict[str, TensorVariable] = {}
        if not spec.se:
            sds["sigma"] = _residual_prior(spec).to_pymc(pm, "sigma", standard.scale)
        beta = add_coefficients(spec, standard, sds.get("sigma"))
        mu = _add_all_effects(spec, (), standard, sds, beta, {})
        if observed == "rows":
            add_rows(spec, data, sds)
        else:
            add_means(spec, standard, mu[None], sds, beta)
    return model


def outcome_of(spec: Spec, data: GroupedData) -> Callable[[GroupedData], dict[str, Floats]]:
    """Return what tells, of another outcome of the same rows, all that the model takes from it.

    Parameters
    ----------
    data : GroupedData
        That the model was built with.

    Returns
    -------
    callable
        From data with another outcome to the values of the model's ``pm.Data``, by name.
    """
    if spec.is_crossed:
        return partial(outcome_of_cells, data)
    if spec.is_blocks:
        return partial(outcome_of_blocks, spec)
    if not spec.is_normal:
        return partial(outcome_sums, RowSums.of(spec, data))
    unit = standardize(data if spec.groups else as_one_group(data))

    def statistics(other: GroupedData) -> dict[str, Floats]:
        return outcome_statistics(standardize(other if spec.groups else as_one_group(other), unit))

    return statistics


def as_one_group(data: GroupedData) -> GroupedData:
    """Return data without groups as a single group."""
    return replace(require_rows(data, "the model without groups"), labels=(np.zeros(1),))


def _residual_prior(spec: Spec) -> VariancePrior:
    """Prior of the sd of rows without groups, which may come with those of the means."""
    return spec.residual_prior or spec.variance_prior("sigma")


def _add_all_effects(
    spec: Spec,
    parents: Sequence[Indices | TensorVariable],
    standard: Standardized,
    sds: Sds,
    beta: TensorVariable,
    forms: Mapping[str, Form],
) -> TensorVariable:
    """Add the intercept and all effects in the tree's unit; return the groups'."""
    unit = UnitScale(standard.location, standard.scale)
    shift = standard.scale * matrix_times(standard.origin, beta) if is_moved(spec) else 0.0
    return add_effects(spec, parents, unit, shift, sds, forms)


def _require_free_names(spec: Spec, observed: Observed) -> None:
    """Raise SpecError if a column has the name of the outcome, or of a variable of PyMC's."""
    taken = {*spec.variables, "log_likelihood", "within_groups", "__sample__"}
    taken |= {"_means", "_rows", "_scatter", OUTCOMES, GIVEN_SUMS, SUMS, REST}
    effects = {component(level, term) for level in spec.levels for term in level.terms}
    taken |= {*effects, *spec.sds}
    taken |= {name + more for name in effects | {*spec.top} for more in ("_offset", "_centre")}
    columns = [("outcome", spec.outcome), *(("groups", name) for name in spec.groups)]
    if observed == "rows":
        taken |= {f"{name}_of_{inner}" for name in spec.groups for inner in (*spec.groups, "row")}
        taken |= {"x"} if spec.covariates else set()
        columns += [(error_role(spec.se_scale), spec.se)] if spec.se else []
        columns += spec.columns.items()
    else:
        taken |= {f"{spec.outcome}_mean", f"{spec.outcome}_sum", ROWS_ALIKE, SUM_DIM, CELL}
    for role, name in columns:
        if name in taken:
            raise SpecError(
                f"{role}: the model or ArviZ has a variable or dimension {name!r} of its own; "
                f"rename this column, for example to {f'{name}_column'!r}"
            )
