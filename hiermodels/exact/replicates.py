"""Replicated data, drawn from the posterior for the same design, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.options import one_of
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.errors import SpecError
from hiermodels.exact.crossed_replicates import CrossedReplicates, crossed_effects_anew
from hiermodels.exact.group_statistics import of_levels
from hiermodels.exact.row_replicates import RowReplicates, draws_of
from hiermodels.exact.slope_replicates import SlopeReplicates, effects_anew
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.families.raw import RawValues
from hiermodels.model.spec import Spec
from hiermodels.posterior.arviz_groups import with_posterior_predictive
from hiermodels.posterior.record import Posterior, level_draws

NEW, SAME = "groups", "rows"
RTOL = 1e-12  # scatter of a covariate within groups that is rounding, as a part of all


@dataclass(frozen=True)
class Statistics:
    """Test statistics of the data and of replicated data.

    Attributes
    ----------
    observed : Dataset
        A number for each statistic, named for people to read.
    replicated : Dataset
        The same for each draw (chain, draw).
    """

    observed: xr.Dataset
    replicated: xr.Dataset

    @property
    def tail_probability(self) -> xr.Dataset:
        """``P(T(y_rep) > T(y)) + ½ P(T(y_rep) = T(y))``."""
        above = (self.replicated > self.observed).mean()
        return above + 0.5 * (self.replicated == self.observed).mean()


def statistics_of(
    posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None
) -> Statistics:
    """Compute the statistics of :func:`check` for the data and for each replicate."""
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    effects = _effects(posterior, replicate, rng)
    spec = posterior.spec
    of = _of_rows if _row_by_row(spec) else _of_normal
    observed, replicated = of(posterior, effects, rng)
    draws = posterior.datatree["posterior"].to_dataset()
    shape = tuple(draws.sizes[name] for name in SAMPLE_DIMS)
    coords = {name: draws[name] for name in SAMPLE_DIMS}
    return Statistics(
        xr.Dataset({name: float(value) for name, value in observed.items()}),
        xr.Dataset(
            {name: (SAMPLE_DIMS, value.reshape(shape)) for name, value in replicated.items()},
            coords,
        ),
    )


def _of_normal(
    posterior: Posterior, effects: Mapping[str, Floats], rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Statistics of normal rows, observed and replicated, whose means and scatter are drawn."""
    standard = standardize(posterior.data)
    means, scatter = _replicate(posterior, standard, effects, rng)
    own = standard.tree.scatter[-1, -1]
    return (
        _statistics(posterior, standard, standard.group_means, own),
        _statistics(posterior, standard, means, scatter),
    )


def _of_rows(
    posterior: Posterior, effects: Mapping[str, Floats], rng: np.random.Generator
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Statistics of rows of any family, observed and replicated."""
    rows = _rows_of(posterior)
    parts = [rows.statistics(y) for y in rows.draw(effects, rng)]
    replicated = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return rows.statistics(rows.rows.y), replicated


def replicated_means(
    posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Observed raw values of the groups, such as means, and those drawn anew.

    Of crossed groups those of the column that is drawn anew, or of the last.

    Returns
    -------
    observed : DataArray
        Dims (group,).
    replicated : DataArray
        Dims (chain, draw, group).
    """
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    effects = _effects(posterior, replicate, rng)
    draws = posterior.datatree["posterior"].to_dataset()
    shown = len(posterior.spec.groups) - 1
    if posterior.spec.is_crossed and replicate in posterior.spec.groups:
        shown = posterior.spec.groups.index(replicate)
    if not _row_by_row(posterior.spec):
        standard = standardize(posterior.data)
        observed = standard.group_means
        means, _ = _replicate(posterior, standard, effects, rng)
    else:
        rows = _rows_of(posterior)
        of = partial(rows.raw, column=shown) if isinstance(rows, CrossedReplicates) else rows.raw
        observed = of(rows.rows.y).value
        means = np.concatenate([of(y).value for y in rows.draw(effects, rng)])
    dim, coords = posterior.spec.groups[shown], {name: draws[name] for name in SAMPLE_DIMS}
    means = means.reshape(*(draws.sizes[name] for name in SAMPLE_DIMS), -1)
    labels = xr.DataArray(posterior.data.labels[shown], dims=dim)
    name = posterior.spec.outcome
    return (
        xr.DataArray(observed, {dim: labels}, (dim,), name=name),
        xr.DataArray(means, {**coords, dim: labels}, (*SAMPLE_DIMS, dim), name=name),
    )


def describe(posterior: Posterior, replicate: str) -> str:
    """What is drawn anew, for people to read."""
    names = [posterior.spec.groups[level] for level in levels_anew(posterior, replicate)]
    return f"new {' and '.join(names)}" if names else "the same groups, new rows"


def top_level(posterior: Posterior, replicate: str) -> int:
    """The outermost level whose effects are drawn anew; for none, that of the rows."""
    groups = posterior.spec.groups
    if not groups:
        raise SpecError("these checks need groups, and this model has none")
    levels = {name: level for level, name in reversed(list(enumerate(groups)))}
    levels |= {SAME: len(groups), NEW: 0}
    return levels[one_of("replicate", replicate, levels)]


def levels_anew(posterior: Posterior, replicate: str) -> list[int]:
    """Numbers of the levels whose effects are drawn anew: a column's, and of what lies in it."""
    top, lineages = top_level(posterior, replicate), posterior.data.lineages
    if posterior.spec.is_crossed and replicate not in (NEW, SAME):
        return [level for level, path in enumerate(lineages) if top in path]
    return list(range(top, len(lineages)))


def _row_by_row(spec: Spec) -> bool:
    """Whether rows are drawn one by one, and not the means and the scatter of groups."""
    of_blocks = spec.has_slopes or spec.sampling is not None or bool(spec.strata)
    return not spec.is_normal or of_blocks or spec.is_crossed


def _rows_of(posterior: Posterior) -> RowReplicates | SlopeReplicates | CrossedReplicates:
    """Rows that are drawn one by one."""
    spec = posterior.spec
    if spec.is_crossed:
        return CrossedReplicates.of(posterior)
    return (SlopeReplicates if spec.is_normal else RowReplicates).of(posterior)


def _effects(posterior: Posterior, replicate: str, rng: np.random.Generator) -> dict[str, Floats]:
    """The effects of all levels, as they were drawn or drawn anew from above; (n, u) or (n, u, e).

    Of levels whose effects are drawn anew; of all others, those that rows or what is drawn need.
    """
    spec, top = posterior.spec, top_level(posterior, replicate)
    draws = posterior.datatree["posterior"].to_dataset()
    n = draws.sizes["chain"] * draws.sizes["draw"]
    if spec.is_crossed:
        anew = levels_anew(posterior, replicate)
        kept = [level.effect for i, level in enumerate(spec.levels) if i not in anew]
        drawn = crossed_effects_anew(spec, posterior.data, draws_of(posterior), anew, rng)
        return {name: _kept(posterior, name, n) for name in kept} | drawn
    of_blocks = spec.has_slopes or spec.sampling is not None
    needed = spec.levels[:top] if of_blocks else spec.levels[:top][-1:]
    known = {level.effect: _kept(posterior, level.effect, n) for level in needed}
    if of_blocks:
        return known | effects_anew(spec, posterior.data, draws_of(posterior) | known, top, rng)
    effects = np.zeros((n, 1))
    if top:
        effects = known[spec.levels[top - 1].effect]
    elif spec.intercept:
        effects = draws[spec.intercept].to_numpy().reshape(n, 1)
    for level, groups in zip(spec.levels[top:], posterior.data.levels[top:], strict=True):
        sd = draws[level.sd].to_numpy().reshape(n, 1)
        effects = effects[:, groups.parent] + sd * rng.standard_normal((n, len(groups)))
    return {spec.levels[-1].effect: effects}


def _kept(posterior: Posterior, effect: str, n: int) -> Floats:
    """Draws of a level's effects, made now if they were not kept; (n, ...)."""
    draws = level_draws(posterior, effect)
    return draws.to_numpy().reshape(n, *draws.shape[2:])


def _replicate(
    posterior: Posterior,
    standard: Standardized,
    effects: Mapping[str, Floats],
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Means of the groups' rows (n, g), and the standardised scatter around them (n,).

    A mean has variance ``σ²/weight`` around ``theta + x̄'β``.  The scatter is the squared length
    of ``x'β + noise`` within groups: along each of the r axes along which x varies there it is
    normal, across them ``σ² χ²`` with the degrees of freedom that are left.
    """
    spec, tree = posterior.spec, standard.tree
    draws, theta = posterior.datatree["posterior"].to_dataset(), effects[spec.levels[-1].effect]
    n = len(theta)
    sigma = np.ones(n) if spec.se else draws["sigma"].to_numpy().ravel() / standard.scale
    noise = rng.standard_normal(theta.shape) / np.sqrt(tree.weight)
    means = theta + standard.scale * sigma[:, None] * noise
    df, squares = tree.n_rows - tree.n_groups, np.zeros(n)
    if spec.covariates:
        beta = draws["beta"].to_numpy().reshape(n, -1)
        beta = np.linalg.solve(standard.basis, beta.T).T / standard.scale
        means += standard.scale * beta @ (tree.mean[:, :-1] + standard.origin).T
        size, axes = np.linalg.eigh(tree.scatter[:-1, :-1])
        varies = size > RTOL * tree.weight.sum()
        along = beta @ axes[:, varies] * np.sqrt(size[varies])
        along += sigma[:, None] * rng.standard_normal(along.shape)
        df, squares = df - int(varies.sum()), (along**2).sum(axis=1)
    rest = rng.chisquare(df, n) if df else np.zeros(n)
    return means, squares + sigma**2 * rest


def _statistics(
    posterior: Posterior, standard: Standardized, means: Floats, scatter: Floats
) -> dict[str, Floats]:
    """Statistics from groups' means (..., g) and standardised scatter (...)."""
    spec, tree = posterior.spec, standard.tree
    raw = RawValues(means * tree.weight, tree.weight)
    statistics = of_levels(posterior.data, raw, spec.family.raw_word)
    df = tree.n_rows - tree.n_groups
    if df:
        unit, text = (1.0, ", in se") if spec.se else (standard.scale, "")
        statistics[f"sd of rows within {spec.groups[-1]}{text}"] = unit * np.sqrt(scatter / df)
    return statistics


def with_replicates(
    posterior: Posterior, replicate: str = SAME, random_seed: Seed = None
) -> Posterior:
    """Add a group ``posterior_predictive``: replicated outcomes of each row, (chain, draw, row).

    Of the same groups, those that are there already are kept.

    Parameters
    ----------
    posterior : Posterior
    replicate : str
        As in :func:`check`.
    random_seed : int or numpy.random.Generator, optional
    """
    if not levels_anew(posterior, replicate):
        kept = "posterior_predictive" in posterior.datatree.children
        return posterior if kept else with_posterior_predictive(posterior, random_seed)
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    draws = posterior.datatree["posterior"].to_dataset()
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    effects = {
        name: (
            (*SAMPLE_DIMS, *posterior.spec.dims(name)),
            values.reshape(*shape, *values.shape[1:]),
        )
        for name, values in _effects(posterior, replicate, rng).items()
    }
    anew, tree = posterior.datatree.copy(), posterior.datatree.copy()
    anew["posterior"] = xr.DataTree(draws.assign(effects))
    fresh = replace(posterior, datatree=anew, draw_groups=None)
    drawn = with_posterior_predictive(fresh, random_seed)
    tree["posterior_predictive"] = drawn.datatree["posterior_predictive"]
    return replace(posterior, datatree=tree)
