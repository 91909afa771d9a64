"""Simulation from the model: parameters from the priors, effects down the tree, rows from these.

No engine has a part in it: it is what the engines are held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.exact.block_joint import parents_effects
from hiermodels.exact.conjugate import NormalGammaLaw
from hiermodels.model.priors.covariance import LKJ, correlation_matrix
from hiermodels.model.spec import Spec
from hiermodels.posterior import rows
from hiermodels.posterior.arviz_groups import attributes
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.outcome_scale import with_outcome_scale
from hiermodels.posterior.record import Posterior, rows_given


def require_proper(spec: Spec, purpose: str) -> None:
    """Raise SpecError if a prior cannot be drawn from.

    Raises
    ------
    SpecError
        Naming every improper prior.
    """
    improper = [name for name, prior in spec.priors.items() if not prior.is_proper]
    if improper:
        priors = "; ".join(f"{name} ~ {spec.describe_priors()[name]}" for name in improper)
        raise SpecError(
            f"{purpose} needs proper priors, and there is nothing to draw from in "
            f"{priors}. Give proper ones with priors={{…}}, such as Normal(mean=…, sd=…) for a "
            f"mean and HalfNormal(sd=…) for an sd"
        )


def draw_variables(
    spec: Spec, data: GroupedData, size: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw all variables of the specification from the priors.

    Parameters
    ----------
    spec : Spec
        With proper priors.
    data : GroupedData
        For its groups; its outcome is not looked at.
    size : int
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to array
        Scalars (size,), groups' effects and coefficients (size, members), several effects of a
        group (size, members, effects).
    """
    if spec.is_regression:
        return _draw_regression(spec, size, rng)
    if not spec.groups:
        theta, sigma = NormalGammaLaw.of_prior(spec.conjugate_prior).draw(size, rng)
        return {"theta": theta, "sigma": sigma}
    if spec.is_blocks:
        return _draw_blocks(spec, data, size, rng)
    drawn = {name: spec.variance_prior(name).draw(size, rng) for name in spec.sds}
    drawn |= {name: spec.coefficient_prior(name).draw(size, rng) for name in spec.top}
    top = drawn[spec.intercept][:, None] if spec.intercept else np.zeros((size, 1))
    effect = np.zeros((size, 1)) if spec.is_crossed else top
    for level, groups in zip(spec.levels, data.levels, strict=True):
        noise = rng.standard_normal((size, len(groups)))
        above = 0.0 if spec.is_crossed else effect[:, groups.parent]
        effect = above + drawn[level.sd][:, None] * noise
        drawn[level.effect] = effect
    drawn |= _draw_beta(spec, size, rng)
    drawn = with_outcome_scale(spec, data, drawn)
    return {name: drawn[name] for name in spec.variables}


def _draw_beta(spec: Spec, size: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw the coefficients, if there are any, from their priors; (size, q)."""
    if not spec.covariates:
        return {}
    betas = [spec.coefficient_prior(name).draw(size, rng) for name in spec.coefficients]
    return {"beta": np.stack(betas, axis=1)}


def _draw_blocks(
    spec: Spec, data: GroupedData, size: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw all variables of groups with several effects, or of many levels.

    Deviations from the parents' effects are ``τ_i (C ε)_i``, ``C C'`` the correlations.
    """
    drawn = {name: spec.coefficient_prior(name).draw(size, rng) for name in spec.top}
    drawn |= _draw_beta(spec, size, rng)
    sigma = [spec.variance_prior(name).draw(size, rng) for name in spec.residual_sds]
    if spec.has_sigma:
        drawn["sigma"] = np.stack(sigma, axis=1) if spec.strata else sigma[0]
    for number, level in enumerate(spec.levels):
        sds = np.stack([prior.draw(size, rng) for prior in level.priors], axis=1)
        drawn[level.sd] = sds if level.has_slopes else sds[:, 0]
        noise = rng.standard_normal((size, len(data.levels[number]), len(level.terms)))
        if level.correlation:
            assert level.eta is not None
            rho = LKJ(level.eta).draw(size, rng, len(level.terms))
            drawn[level.correlation] = rho if len(level.pairs) > 1 else rho[:, 0]
            noise = noise @ np.linalg.cholesky(correlation_matrix(rho)).swapaxes(1, 2)
        effects = parents_effects(spec, data, number, drawn) + sds[:, None] * noise
        drawn[level.effect] = effects if level.has_slopes else effects[..., 0]
    return {name: drawn[name] for name in spec.variables}


def _draw_regression(spec: Spec, size: int, rng: np.random.Generator) -> dict[str, Floats]:
    """Draw mu, β and σ from the priors of a regression without groups."""
    sigma = np.ones(size)
    if spec.has_sigma:
        prior = spec.residual_prior
        assert prior is not None
        sigma = prior.draw(size, rng)
    coefficients = []
    for name in spec.means:
        place = spec.scaled_prior(name)
        assert place is not None
        coefficients.append(place[0] + place[1] * sigma * rng.standard_normal(size))
    drawn = {
        "mu": coefficients[0],
        "beta": np.array(coefficients[len(spec.top) :]).T,
        "sigma": sigma,
    }
    return {name: drawn[name] for name in spec.variables}


def draw_outcomes(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats], rng: np.random.Generator
) -> Floats:
    """Draw the outcome of every row, once for each draw of the variables; shape (..., N).

    Raises
    ------
    SpecError
        If an outcome is too large for a floating-point number to hold its square.
    """
    eta, columns = rows_given(spec, data, variables)
    outcomes = rows.draw(spec, require_rows(data, "a simulation"), eta, columns, rng)
    if not (np.abs(outcomes) <= LARGEST).all():
        raise SpecError(
            f"the priors allow outcomes of size {LARGEST:g} and more, which cannot be simulated: "
            f"{'; '.join(f'{k} ~ {v}' for k, v in spec.describe_priors().items())}. Give "
            f"narrower ones with priors={{…}}"
        )
    return outcomes


def prior_predictive(
    spec: Spec, data: GroupedData, draws: int, rng: np.random.Generator
) -> xr.DataTree:
    """Draw from the priors, and outcomes of the same rows from what was drawn.

    Returns
    -------
    xarray.DataTree
        Groups ``prior``, with the variables of the specification, ``prior_predictive`` and
        ``observed_data``, with the outcome of each row.

    Raises
    ------
    SpecError
        If a prior is improper.
    """
    from arviz_base import from_dict

    require_proper(spec, "a prior predictive")
    prior = draw_variables(spec, data, draws, rng)
    outcomes = draw_outcomes(spec, data, prior, rng)
    return from_dict(
        {
            "prior": {name: values[None] for name, values in prior.items()},
            "prior_predictive": {spec.outcome: outcomes[None]},
            "observed_data": {spec.outcome: data.y},
        },
        coords={**coords_of(spec, data), "row": np.arange(len(data.y))},
        dims={**{name: list(spec.dims(name)) for name in prior}, spec.outcome: ["row"]},
        attrs={
            "prior": attributes(),
            "prior_predictive": attributes(),
            "observed_data": attributes(()),
        },
        check_conventions=False,
    )


def with_prior(posterior: Posterior, draws: int, random_seed: Seed = None) -> Posterior:
    """Add groups ``prior`` and ``prior_predictive``: draws from the priors, and of outcomes.

    The seed may be the one that the posterior was drawn with: this stream is another.

    Raises
    ------
    SpecError
        If a prior is improper.
    """
    rng = np.random.default_rng(named_seed(random_seed, "prior_predictive"))
    drawn = prior_predictive(posterior.spec, posterior.data, draws, rng)
    tree = posterior.datatree.copy()
    for name in ("prior", "prior_predictive"):
        tree[name] = drawn[name]
    return replace(posterior, datatree=tree)
