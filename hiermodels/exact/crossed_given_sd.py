"""Deviations given one sd, of crossed groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_given_sd import PLACES, SPACING
from hiermodels.exact.blocks.sd_laws import heaviest, weights_given_sd
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.posterior import CrossedPosterior, effects_at, moments_of
from hiermodels.exact.crossed_data import crossed_model
from hiermodels.exact.crossed_reference import CrossedReference
from hiermodels.exact.kernels.blocks.moments import CoefficientLaw
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

TAIL_MASS = 1e-10  # of the lattice's points, that is left out
MAX_MEMBERS = 200  # of all columns but the largest: 25 lattices of their matrices take 20 seconds


def crossed_moments_given_sd(
    spec: Spec, data: GroupedData, sd: str, effect: str, ends: tuple[float, float]
) -> tuple[Floats, Floats, Floats]:
    """Values of an sd, and means and sds of a column's deviations given each; (k,), (k, u) twice.

    Where σ is integrated and coefficients are flat, the lattice of the posterior tells.  Else the
    sd is fixed at each of its values in turn, and all others integrated out anew: its own prior
    does not matter to what is said given it.

    Parameters
    ----------
    spec, data, sd, effect
        As in :func:`hiermodels.exact.given_sd.moments_given_sd`.
    ends : (float, float)
        Quantiles of the sd between which its values are.
    """
    model = crossed_model(spec, data)
    known = reference_posterior(spec, data)
    assert isinstance(known, CrossedReference)
    low, high = known.quantile(list(ends), [sd])[sd].to_numpy().tolist()
    places = np.linspace(low, high, PLACES)
    column, factor = model.names.index(sd), spec.level_of(effect)
    if model.relative and not model.precision.any():
        return places, *_on_lattice(known.posterior, column, factor, places)
    _require_few(model, sd)
    moments = [_given(model, column, value).effect_moments(factor) for value in places.tolist()]
    mean, spread = (np.array(each) for each in zip(*moments, strict=True))
    return places, mean, spread


def _on_lattice(
    posterior: CrossedPosterior, column: int, factor: int, places: Floats
) -> tuple[Floats, Floats]:
    """Means and sds (k, u) of a factor's deviations given one sd, from the posterior's own nodes.

    With σ integrated and flat coefficients, the mean m at a node does not depend on σ, and the
    variance is ``σ² v``; of the factor's own effects ``τ² v/θ²``, which stays smooth where τ is
    small.
    """
    nodes = heaviest(posterior.lattice.weights, TAIL_MASS)
    weights, scaled = weights_given_sd(posterior, column, np.log(places), nodes)
    theta2 = np.ones(len(nodes))
    values, root = posterior.values.at(nodes), posterior.root.at(nodes)
    if column == factor:
        theta2, scaled = np.exp(2 * values.log_theta[column]), weights * places[:, None] ** 2
    unit = CoefficientLaw(root.mean, root.covariance, np.ones(len(nodes)))
    first = second = np.zeros((len(places), posterior.model.rows.sizes[factor]))
    for part, effects in effects_at(posterior.marginal, values):
        mean, variance = moments_of(effects, unit.at(part), factor)
        first = first + weights[:, part] @ mean
        second = second + weights[:, part] @ mean**2
        second = second + (scaled[:, part] / theta2[part]) @ variance
    total = weights.sum(axis=1, keepdims=True)
    mean = first / total
    return mean, np.sqrt(second / total - mean**2)


def _given(model: CrossedModel, column: int, value: float) -> CrossedPosterior:
    """The posterior given one sd, on a wide lattice of the others."""
    priors = list(model.sd_priors)
    priors[column] = Fixed(value)
    marginal = CrossedMarginal.of(replace(model, sd_priors=tuple(priors)))
    return CrossedPosterior(marginal, *marginal.laid(SPACING))


def _require_few(model: CrossedModel, sd: str) -> None:
    """Raise if the matrices of all lattices would take minutes."""
    members = model.design.n_others
    if members > MAX_MEMBERS:
        raise SpecError(
            f"given {sd}: for each of {PLACES} values all other sds are integrated anew, which "
            f"takes minutes where all columns but the largest have more than {MAX_MEMBERS} groups; "
            f"found {members:,}. plot_variance shows the density of {sd}, plot_shrinkage what the "
            f"posterior makes of each group's own rows"
        )
