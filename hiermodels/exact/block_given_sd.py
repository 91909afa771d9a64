"""Values given one sd, of groups with several effects or of many levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_data import block_model
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks.marginal import MAX_DIMENSION, BlockMarginal
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

PLACES = 25  # of the sd, evenly spaced
SPACING = 0.9  # of the lattice of all others: values are right to about 1e-4 sd


def block_moments_given_sd(
    spec: Spec,
    data: GroupedData,
    sd: str,
    effect: str,
    term: str | None,
    ends: tuple[float, float],
    place: Place | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Values of an sd, and means and sds of a level's effects given each; (k,) and (k, u) twice.

    The sd is fixed at each of its values in turn, and all others integrated out anew: a prior of
    the sd itself does not matter to what is said given it.

    Parameters
    ----------
    spec, data, sd, effect, term, place
        As in :func:`hiermodels.exact.given_sd.moments_given_sd`.
    ends : (float, float)
        Quantiles of the sd between which its values are.
    """
    model = block_model(spec, data)
    _require_few(model, sd)
    known = reference_posterior(spec, data)
    assert isinstance(known, BlockReference)
    whole = replace(known, place=place)
    place_of_sd = model.names.index(sd)
    level, j, _ = model.sds[place_of_sd]
    own = spec.levels[level]
    quantiles = whole.quantile(list(ends), [own.sd])[own.sd]
    if own.has_slopes:
        quantiles = quantiles.isel({quantiles.dims[-1]: own.sds.index(sd)})
    low, high = quantiles.to_numpy().tolist()
    places = np.linspace(low, high, PLACES)
    several = spec.dims(effect)[1:]
    means, sds = [], []
    for value in places.tolist():
        marginal = BlockMarginal.of(_fixed(model, level, j, value))
        posterior = BlockPosterior(marginal, *marginal.laid(SPACING))
        given = replace(whole, posterior=posterior)
        moments = (part[effect] for part in (given.mean, given.sd))
        mean, spread = (_one(values, several, term) for values in moments)
        means.append(mean)
        sds.append(spread)
    return places, np.array(means), np.array(sds)


def _require_few(model: BlockModel, sd: str) -> None:
    """Raise if what is left, given one sd, has more dimensions than a lattice holds."""
    unknown = [prior for prior in model.sd_priors if not isinstance(prior, Fixed)]
    dimension = len(unknown) - 1 + len(model.correlations) + (not isinstance(model.sigma, Fixed))
    if dimension > MAX_DIMENSION:
        raise SpecError(
            f"given {sd}, {dimension} sds and correlations are unknown, and a lattice holds "
            f"{MAX_DIMENSION}: with one sd known sigma cannot be integrated by itself, and two "
            f"lattices for each of {PLACES} values would take many minutes. Instead, plot_variance "
            f"shows the density of {sd}, plot_shrinkage what the posterior makes of each group's "
            f"own estimate; or fit uncorrelated effects, (1 + x || g)"
        )


def _one(values: xr.DataArray, several: tuple[str, ...], term: str | None) -> Floats:
    """Of several effects one."""
    return np.asarray(values.sel(dict.fromkeys(several, term)).to_numpy())


def _fixed(model: BlockModel, level: int, effect: int, value: float) -> BlockModel:
    """The model with one sd fixed."""
    own = model.levels[level]
    sds = tuple(Fixed(value) if j == effect else prior for j, prior in enumerate(own.sds))
    levels = list(model.levels)
    levels[level] = replace(own, sds=sds)
    return replace(model, levels=tuple(levels))
