"""Deviations given one sd, of crossed groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_given_sd import PLACES, SPACING
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed_data import crossed_model
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

MAX_MEMBERS = 200  # of all columns but the largest: 25 lattices of their matrices take 20 seconds


def crossed_moments_given_sd(
    spec: Spec, data: GroupedData, sd: str, effect: str, ends: tuple[float, float]
) -> tuple[Floats, Floats, Floats]:
    """Values of an sd, and means and sds of a column's deviations given each; (k,), (k, u) twice.

    The sd is fixed at each of its values in turn, and all others integrated out anew: its own prior
    does not matter to what is said given it.

    Parameters
    ----------
    spec, data, sd, effect
        As in :func:`hiermodels.exact.given_sd.moments_given_sd`.
    ends : (float, float)
        Quantiles of the sd between which its values are.
    """
    model = crossed_model(spec, data)
    _require_few(model, sd)
    quantiles = reference_posterior(spec, data).quantile(list(ends), [sd])[sd]
    low, high = quantiles.to_numpy().tolist()
    places = np.linspace(low, high, PLACES)
    column, factor = model.names.index(sd), spec.level_of(effect)
    moments = [_given(model, column, value).effect_moments(factor) for value in places.tolist()]
    mean, spread = (np.array(each) for each in zip(*moments, strict=True))
    return places, mean, spread


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
