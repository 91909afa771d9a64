"""Replicated data, drawn from the posterior for the same design, and their statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.errors import SpecError
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.numerics.group_sums import starts
from hiermodels.posterior.arviz_groups import with_posterior_predictive
from hiermodels.posterior.record import Posterior, group_draws

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
    standard = standardize(posterior.data)
    draws = posterior.datatree["posterior"].to_dataset()
    shape = tuple(draws.sizes[name] for name in SAMPLE_DIMS)
    means, scatter = _replicate(posterior, standard, effects, rng)
    replicated = _statistics(posterior, standard, means, scatter)
    observed = _statistics(posterior, standard, standard.group_means, standard.tree.scatter[-1, -1])
    coords = {name: draws[name] for name in SAMPLE_DIMS}
    return Statistics(
        xr.Dataset({name: float(value) for name, value in observed.items()}),
        xr.Dataset(
            {name: (SAMPLE_DIMS, value.reshape(shape)) for name, value in replicated.items()},
            coords,
        ),
    )


def replicated_means(
    posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None
) -> xr.DataArray:
    """Draw the mean of each group's rows anew; dims (chain, draw, group)."""
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    standard = standardize(posterior.data)
    draws = posterior.datatree["posterior"].to_dataset()
    means, _ = _replicate(posterior, standard, _effects(posterior, replicate, rng), rng)
    dim, coords = posterior.spec.groups[-1], {name: draws[name] for name in SAMPLE_DIMS}
    means = means.reshape(*(draws.sizes[name] for name in SAMPLE_DIMS), -1)
    coords[dim] = xr.DataArray(posterior.data.labels[-1], dims=dim)
    return xr.DataArray(means, coords, (*SAMPLE_DIMS, dim), name=posterior.spec.outcome)


def describe(posterior: Posterior, replicate: str) -> str:
    """What is drawn anew, for people to read."""
    top = top_level(posterior, replicate)
    names = posterior.spec.groups[top:]
    return f"new {' and '.join(names)}" if names else "the same groups, new rows"


def top_level(posterior: Posterior, replicate: str) -> int:
    """The outermost level whose effects are drawn anew; for none, that of the rows."""
    groups = posterior.spec.groups
    if not groups:
        raise SpecError("these checks need groups, and this model has none")
    levels = {name: level for level, name in reversed(list(enumerate(groups)))}
    levels |= {SAME: len(groups), NEW: 0}
    if replicate not in tuple(levels):  # a tuple takes what cannot be hashed
        raise SpecError(f"replicate: expected {', '.join(map(repr, levels))}; found {replicate!r}")
    return levels[replicate]


def _effects(posterior: Posterior, replicate: str, rng: np.random.Generator) -> Floats:
    """The groups' effects theta, as they were drawn or drawn anew from above; (n, g)."""
    spec, data = posterior.spec, posterior.data
    top = top_level(posterior, replicate)
    if top == len(spec.levels):
        return group_draws(posterior).to_numpy().reshape(-1, data.n_groups)
    draws = posterior.datatree["posterior"].to_dataset()
    n = draws.sizes["chain"] * draws.sizes["draw"]
    above = spec.levels[top - 1].effect if top else spec.intercept
    effects = draws[above].to_numpy().reshape(n, -1) if above else np.zeros((n, 1))
    for level, groups in zip(spec.levels[top:], data.levels[top:], strict=True):
        sd = draws[level.sd].to_numpy().reshape(n, 1)
        effects = effects[:, groups.parent] + sd * rng.standard_normal((n, len(groups)))
    return effects


def _replicate(
    posterior: Posterior, standard: Standardized, effects: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Means of the groups' rows (n, g), and the standardised scatter around them (n,).

    A mean has variance ``σ²/weight`` around ``theta + x̄'β``.  The scatter is the squared length
    of ``x'β + noise`` within groups: along each of the r axes along which x varies there it is
    normal, across them ``σ² χ²`` with the degrees of freedom that are left.
    """
    spec, tree = posterior.spec, standard.tree
    draws, n = posterior.datatree["posterior"].to_dataset(), len(effects)
    sigma = np.ones(n) if spec.se else draws["sigma"].to_numpy().ravel() / standard.scale
    noise = rng.standard_normal(effects.shape) / np.sqrt(tree.weight)
    means = effects + standard.scale * sigma[:, None] * noise
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
    *outer, inner = spec.groups
    statistics = _extremes(inner, means)
    if not outer:
        statistics |= _spread(inner, means)
    for name in outer:
        parent = tree.group_parent
        first, df = starts(parent), len(parent) - int(parent[-1]) - 1
        if df:
            centre = np.add.reduceat(means, first, axis=-1) / np.bincount(parent)
            squares = ((means - centre[..., parent]) ** 2).sum(axis=-1)
            statistics[f"sd of {inner} means within {name}"] = np.sqrt(squares / df)
        total = np.add.reduceat(means * tree.weight, first, axis=-1)
        upper = total / np.add.reduceat(tree.weight, first)
        statistics |= _extremes(name, upper) | _spread(name, upper)
    df = tree.n_rows - tree.n_groups
    if df:
        unit, text = (1.0, ", in se") if spec.se else (standard.scale, "")
        statistics[f"sd of rows within {inner}{text}"] = unit * np.sqrt(scatter / df)
    return statistics


def _extremes(name: str, means: Floats) -> dict[str, Floats]:
    """Largest and smallest of a level's means (..., u), or the only one."""
    if means.shape[-1] == 1:
        return {f"{name} mean": means[..., 0]}
    return {
        f"largest {name} mean": means.max(axis=-1),
        f"smallest {name} mean": means.min(axis=-1),
    }


def _spread(name: str, means: Floats) -> dict[str, Floats]:
    """Sd of a level's means (..., u), which a single one has not."""
    return {f"sd of {name} means": means.std(axis=-1, ddof=1)} if means.shape[-1] > 1 else {}


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
    if top_level(posterior, replicate) == len(posterior.spec.levels):
        kept = "posterior_predictive" in posterior.datatree.children
        return posterior if kept else with_posterior_predictive(posterior, random_seed)
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    draws = posterior.datatree["posterior"].to_dataset()
    shape = (draws.sizes["chain"], draws.sizes["draw"], -1)
    theta = _effects(posterior, replicate, rng).reshape(shape)
    anew, tree = posterior.datatree.copy(), posterior.datatree.copy()
    dims = (*SAMPLE_DIMS, posterior.spec.groups[-1])
    anew["posterior"] = xr.DataTree(draws.assign(theta=(dims, theta)))
    fresh = replace(posterior, datatree=anew, draw_groups=None)
    drawn = with_posterior_predictive(fresh, random_seed)
    tree["posterior_predictive"] = drawn.datatree["posterior_predictive"]
    return replace(posterior, datatree=tree)
