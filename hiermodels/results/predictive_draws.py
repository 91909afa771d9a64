"""Draws of values that are predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT, SAMPLE_DIMS
from hiermodels.data.new_rows import NewRows
from hiermodels.families.normal import row_sds
from hiermodels.model.level import INTERCEPT, Level
from hiermodels.model.priors.covariance import correlation_factor
from hiermodels.model.spec import Spec
from hiermodels.model.standard_errors import from_se
from hiermodels.posterior.arviz_groups import attributes
from hiermodels.posterior.linear_predictor import innermost
from hiermodels.posterior.record import Posterior, group_draws


def draw_values(
    posterior: Posterior, rows: NewRows, draws: xr.Dataset, rng: np.random.Generator
) -> Iterator[Floats]:
    """Yield joint draws of what is predicted of the rows, then of their outcomes.

    First their linear predictors, on the outcome's scale where the family has one; of normal rows
    these are their means.  Arrays are (chain, draw, row).
    """
    spec = posterior.spec
    mean = _at_known_groups(posterior, rows, draws)
    for level, numbers in reversed(list(zip(spec.levels, rows.fresh, strict=True))):
        new = np.flatnonzero(numbers >= 0)
        place, members = pd.factorize(numbers[new])
        noise = _new_deviations(level, draws, len(members), rng)
        for j, term in enumerate(level.terms):
            mean[..., new] += noise[..., j][..., place] * _column(spec, rows, term)[new]
    if spec.fixed_covariates:
        rest = [spec.covariates.index(name) for name in spec.fixed_covariates]
        mean += draws["beta"].to_numpy()[..., rest] @ rows.x[:, rest].T
    columns: dict[str, Floats] = dict(rows.columns)
    mean += columns.pop("offset", 0.0)
    yield spec.family.inverse_link(mean) if spec.family.effect else mean
    if "sd" in spec.family.columns:
        known = rows.se
        columns["sd"] = row_sds(draws["sigma"].to_numpy(), columns) if known is None else known
    yield spec.family.draw(mean, columns, rng)


def _at_known_groups(posterior: Posterior, rows: NewRows, draws: xr.Dataset) -> Floats:
    """Draws of ``Σ z_j θ_j``, effects being those of the lowest known groups; (chain, draw, row).

    A term that does not vary between these has the effect of a group above, or of the population.
    """
    spec, data = posterior.spec, posterior.data
    mean = np.zeros((draws.sizes["chain"], draws.sizes["draw"], len(rows)))
    if spec.is_crossed:
        for number, unit in enumerate(rows.units):
            here = np.flatnonzero(unit >= 0)
            if len(here):
                mean[..., here] += _effects_of(posterior, number, unit[here])[..., 0]
        return mean + _at_top(spec, draws, INTERCEPT)
    for lowest in np.unique(rows.level):
        here = np.flatnonzero(rows.level == lowest)
        left, member = list(dict.fromkeys((INTERCEPT, *innermost(spec)))), rows.unit[here]
        for level in range(lowest, ROOT, -1):
            own = [term for term in spec.levels[level].terms if term in left]
            if own:
                effects = _effects_of(posterior, level, member)
            for term in own:
                place = spec.levels[level].terms.index(term)
                mean[..., here] += effects[..., place] * _column(spec, rows, term)[here]
            left = [term for term in left if term not in own]
            member = data.levels[level].parent[member]
        for term in left:
            mean[..., here] += _at_top(spec, draws, term) * _column(spec, rows, term)[here]
    return mean


def _effects_of(posterior: Posterior, level: int, member: Indices) -> Floats:
    """Draws of the effects of members (r,) of a level; (chain, draw, r, e)."""
    known = posterior.spec.levels[level]
    members, place = np.unique(member, return_inverse=True)
    labels = list(posterior.data.levels[level].labels[members])
    effects = group_draws(posterior, labels, level=known.effect).to_numpy()
    return (effects if known.has_slopes else effects[..., None])[:, :, place]


def _at_top(spec: Spec, draws: xr.Dataset, term: str) -> Floats | float:
    """Draws of the mean of a term's effects in the population; (chain, draw, 1)."""
    if term != INTERCEPT:
        return draws["beta"].to_numpy()[..., spec.covariates.index(term), None]
    return draws[spec.intercept].to_numpy()[..., None] if spec.intercept else 0.0


def _new_deviations(
    level: Level, draws: xr.Dataset, members: int, rng: np.random.Generator
) -> Floats:
    """Draws of new groups' effects less those of their parents: N(0, T); (chain, draw, u, e)."""
    sds = draws[level.sd].to_numpy()
    sds = sds if level.has_slopes else sds[..., None]
    noise = rng.standard_normal((*sds.shape[:2], members, sds.shape[-1]))
    if level.correlation:
        rho = draws[level.correlation].to_numpy()
        factor = correlation_factor(rho if len(level.pairs) > 1 else rho[..., None])
        noise = noise @ factor.swapaxes(-1, -2)
    return sds[..., None, :] * noise


def _column(spec: Spec, rows: NewRows, term: str) -> Floats:
    """What a term's effect is multiplied by in each row; (row,)."""
    if term == INTERCEPT:
        return np.ones(len(rows))
    return np.asarray(rows.x[:, spec.covariates.index(term)])


def predictive_tree(
    posterior: Posterior,
    rows: NewRows,
    known: Mapping[str, Any],
    drawn: Mapping[str, Floats],
    labels: NDArray[Any],
) -> xr.DataTree:
    """Groups for ArviZ: what was predicted, what was known of the rows, and the data of the fit.

    Parameters
    ----------
    posterior : Posterior
    rows : NewRows
    known : mapping of str to (row,)
        Labels of the rows' groups, and what is known of these.
    drawn : mapping of str to (chain, draw, row)
    labels : (row,)
    """
    spec, dims = posterior.spec, (*SAMPLE_DIMS, "row")
    draws = posterior.datatree["posterior"].to_dataset()
    coords = {dim: draws[dim] for dim in SAMPLE_DIMS} | {"row": labels}
    values: dict[str, Any] = dict(known)
    values |= zip(posterior.data.covariate_names, rows.x.T, strict=True)
    if rows.se is not None:
        values[str(posterior.data.roles.errors_column)] = from_se(rows.se, spec.se_scale)
    named = {role: name for role, name in spec.columns.items() if role in rows.columns}
    values |= {name: rows.columns[role] for role, name in named.items()}
    constant = xr.Dataset(
        {n: ("row", v) for n, v in values.items()}, {"row": labels}, attributes(())
    )
    predicted = xr.Dataset({n: (dims, v) for n, v in drawn.items()}, coords, attributes())
    fitted = {name: posterior.datatree[name] for name in ("observed_data", "constant_data")}
    return xr.DataTree.from_dict(
        {"predictions": predicted, "predictions_constant_data": constant, **fitted}
    )
