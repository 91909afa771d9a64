"""PyMC models straight from a data frame: of any model, and of those with a name of their own."""

from __future__ import annotations

from typing import Any, Unpack

import pymc as pm

from hiermodels.core.arguments import checked
from hiermodels.data.arguments import ModelArguments, takes_model
from hiermodels.data.grouped import GroupedData
from hiermodels.data.prepare import announce, prepare
from hiermodels.data.read_rows import Missing
from hiermodels.errors import SpecError
from hiermodels.mcmc import model as models
from hiermodels.mcmc.parameterization import Observed, Parameterization
from hiermodels.model.priors.base import Priors
from hiermodels.model.spec import Spec


@takes_model
def build_model(
    data: Any,
    formula: str | GroupedData | None = None,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    *,
    spec: Spec | None = None,
    exchangeable: bool = False,
    **model: Unpack[ModelArguments],
) -> pm.Model:
    """Build the PyMC model of any specification, without sampling it.

    Either from a data frame and a formula or columns, ``build_model(df, "y ~ x + (1 + x | g)")``;
    or from what a fit has made of these, ``build_model(fit.spec, fit.data)``.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`.
    family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
        Likewise: what the rows are.
    parameterization : {"auto", "noncentered", "centered", "marginal"} or mapping
        How the levels are stated: see :func:`hiermodels.mcmc.model.build_model`.
    observed : {"means", "rows"}
        What the likelihood takes: means or sums of rows, or each row.
    spec : Spec, optional
        The model of ``data``, which are then those of a fit.
    exchangeable : bool
        Whether what the model takes from the outcome is ``pm.Data``.

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
    >>> sleep = hm.datasets.load_sleepstudy()
    >>> model = hm.build_model(sleep, "Reaction ~ Days + (1 + Days | Subject)")
    >>> [variable.name for variable in model.free_RVs]  # doctest: +NORMALIZE_WHITESPACE
    ['tau[Intercept]', 'tau[Days]', 'rho', 'sigma', 'beta', 'mu_centre',
     'theta[Intercept]', 'theta[Days]']
    """
    if isinstance(data, Spec):
        spec, data, formula = data, formula, None
    if spec is None:
        spec, grouped = prepare(data, formula, **model)  # type: ignore[arg-type]
        announce(grouped)
    else:
        given = [name for name, value in {"formula": formula, **model}.items() if value is not None]
        if given:
            raise SpecError(
                f"{given[0]}: a specification says it already; leave it out, or give a data frame"
            )
        grouped = data
    return models.build_model(spec, grouped, parameterization, observed, exchangeable=exchangeable)


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
    return models.build_model(spec, grouped, observed=observed)


@takes_model
def two_level(
    data: Any,
    formula: str | None = None,
    *,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    **model: Unpack[ModelArguments],
) -> pm.Model:
    """Build the PyMC model of two levels.

    The model, for rows i of groups g::

        y_i ~ Normal(theta_g[i], sigma_i)      theta_g ~ Normal(mu, tau)

    with ``sigma_i`` known, or one unknown ``sigma`` for all rows; covariates add ``x_i'beta``.  In
    place of normal rows there may be others, such as counts, as in :func:`hiermodels.fit`.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`; ``groups`` is one column.
    family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
        Likewise: what the rows are.
    parameterization, observed
        As in :func:`build_model`; of counts ``"means"`` are sums.

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
    spec, grouped = prepare(data, formula, **model)
    _require_columns("two_level", spec, "one column", 1)
    announce(grouped)
    return models.build_model(spec, grouped, parameterization, observed)


@takes_model
def three_level(
    data: Any,
    formula: str | None = None,
    *,
    parameterization: Parameterization = "auto",
    observed: Observed = "means",
    **model: Unpack[ModelArguments],
) -> pm.Model:
    """Build the PyMC model of three levels.

    The model, for rows i of groups g in outer groups s::

        y_i ~ Normal(theta_g[i], sigma_i)
        theta_g ~ Normal(mu_s[g], tau)      mu_s ~ Normal(lam, kappa)

    with ``sigma_i`` known, or one unknown ``sigma`` for all rows; covariates add ``x_i'beta``.  In
    place of normal rows there may be others, such as counts, as in :func:`hiermodels.fit`.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`; ``groups`` is two columns, the outer one first.
    family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
        Likewise: what the rows are.
    parameterization, observed
        As in :func:`build_model`; of counts ``"means"`` are sums.

    Returns
    -------
    pymc.Model
        Ready for ``pm.sample``.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.
    """
    spec, grouped = prepare(data, formula, **model)
    _require_columns("three_level", spec, "two columns, the outer one first", 2)
    announce(grouped)
    return models.build_model(spec, grouped, parameterization, observed)


def _require_columns(builder: str, spec: Spec, expected: str, count: int) -> None:
    """Raise SpecError if the groups do not make the levels that the builder's name promises."""
    if len(spec.groups) != count:
        raise SpecError(
            f"{builder}: groups: expected {expected}; found {list(spec.groups)}. Name the columns "
            f"with groups=…, or build the model that they make with build_model"
        )
