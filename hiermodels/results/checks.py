"""Predictive checks: whether these data look like data from the model.

Replicated data are drawn from the posterior, for the same design.  Two kinds of replicates ask two
questions.  With the *same* units, their values are kept and the rows drawn anew: is each unit's
value, and the noise around it, right?  With *new* units, the values are drawn anew from their
parents too: do the units look like draws from one normal distribution?  The second is the check
of the hierarchy; the first hardly tests it, because each value was fitted to the unit's own data.

Statistics are functions of the units' weighted means and of the scatter of the rows around these,
which are drawn directly; the rows are not.

References
----------
Gelman, Meng & Stern (1996), Statistica Sinica 6:733.
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., chapter 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.errors import SpecError
from hiermodels.exact.kernels.tree.tree import Floats, starts
from hiermodels.exact.moments import KINDS, MEAN, SD, Moment, moments_of
from hiermodels.exact.standardize import Standardized, standardize
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import (
    SAMPLE_DIMS,
    Posterior,
    Seed,
    group_draws,
    named_seed,
    with_posterior_predictive,
)
from hiermodels.posterior.tables import Summary, with_header

NEW, SAME = "groups", "rows"
NEGLIGIBLE = 1e-12  # scatter of a covariate within groups that is rounding, as a part of all


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


def check(posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None) -> Summary:
    """Compare test statistics of the data with their posterior predictive distributions.

    At each level: the largest and the smallest of the units' means, and their sd (for inner
    groups around their outer unit's mean), or the mean of a single unit; and the sd of the rows
    within groups, in units of their standard errors where these are known.  Means are weighted by
    ``1/se²`` where standard errors are known.

    Parameters
    ----------
    posterior : Posterior
    replicate : str
        ``"groups"``: new units at every level.  ``"rows"``: the same units, new rows.  The name
        of a column: new units at this level and below.
    random_seed : int or numpy.random.Generator, optional

    Returns
    -------
    Summary
        A row for each statistic: ``observed``; ``mean`` and ``sd`` of the replicates, nan where
        these have none, and then the ``median`` besides; ``p``, the probability of a larger value.
        A p near 0 or 1 is a misfit; p is not uniform under the model, but gathers around ½.

    Raises
    ------
    SpecError
        If the model has no groups, or ``replicate`` is none of the above.

    References
    ----------
    Gelman, Meng & Stern (1996), Statistica Sinica 6:733.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> fit.check(random_seed=1).index.tolist()
    ['largest school mean', 'smallest school mean', 'sd of school means']
    """
    found = statistics_of(posterior, replicate=replicate, random_seed=random_seed)
    columns = {
        "observed": found.observed,
        "mean": found.replicated.mean(),
        "sd": found.replicated.std(ddof=1),
        "p": found.tail_probability,
    }
    table = pd.DataFrame({name: _numbers(values) for name, values in columns.items()})
    sizes = found.replicated.sizes
    notes = [f"{sizes['chain'] * sizes['draw']} replicates: {describe(posterior, replicate)}"]
    known = moments_of(posterior.spec, posterior.data)
    shown = list(_moments(posterior.spec, _top_level(posterior, replicate), table.index))
    why = known.why(shown)
    if why:
        table.insert(
            list(table.columns).index("sd") + 1, "median", _numbers(found.replicated.median())
        )
        for moment in shown:
            if not known.exist(moment.names, moment.order):
                table.loc[moment.label, {MEAN: "mean", SD: "sd"}[moment.order]] = np.nan
        notes.append(why)
    return with_header(table, posterior.spec, *notes)


def _numbers(values: xr.Dataset) -> pd.Series[float]:
    """A number for each statistic."""
    return pd.Series({str(name): float(value) for name, value in values.items()})


def _moments(spec: Spec, top: int, statistics: Iterable[str]) -> Iterator[Moment]:
    """Means and sds of statistics of replicates, and the sds of which each is made up.

    What is drawn anew is as wide as the sds of the levels up to the top one; sds of units that
    share a parent do not see those above.  Where covariates leave a value at x = 0 unbounded, the
    means of rows at their own x are not.
    """
    rows = () if spec.se else ("sigma",)
    outer, inner = f"sd of {spec.groups[0]} means", f"sd of {spec.groups[-1]} means"
    for name in statistics:
        seen = top
        if name != outer and name.startswith(inner):
            seen = min(top, 0)
        elif name != outer and name.startswith("sd of rows"):
            seen = -1
        for order in (MEAN, SD):
            yield Moment(KINDS[order], name, order, (*spec.spreads[: seen + 1], *rows))


def statistics_of(
    posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None
) -> Statistics:
    """Compute the statistics of :func:`check` for the data and for each replicate."""
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    values = _values(posterior, replicate, rng)
    standard = standardize(posterior.data)
    draws = posterior.datatree["posterior"].to_dataset()
    shape = tuple(draws.sizes[name] for name in SAMPLE_DIMS)
    means, scatter = _replicate(posterior, standard, values, rng)
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
    means, _ = _replicate(posterior, standard, _values(posterior, replicate, rng), rng)
    dim, coords = posterior.spec.groups[-1], {name: draws[name] for name in SAMPLE_DIMS}
    means = means.reshape(*(draws.sizes[name] for name in SAMPLE_DIMS), -1)
    coords[dim] = xr.DataArray(posterior.data.labels[-1], dims=dim)
    return xr.DataArray(means, coords, (*SAMPLE_DIMS, dim), name=posterior.spec.outcome)


def describe(posterior: Posterior, replicate: str) -> str:
    """What is drawn anew, for people to read."""
    top = _top_level(posterior, replicate)
    names = posterior.spec.groups[len(posterior.spec.groups) - 1 - top :]
    return f"new {' and '.join(names)}" if top >= 0 else "the same units, new rows"


def _top_level(posterior: Posterior, replicate: str) -> int:
    """The highest level whose values are drawn anew, 0 for the groups; −1 for none."""
    groups = posterior.spec.groups
    if not groups:
        raise SpecError("these checks need groups; this model has one population")
    levels = {SAME: -1, NEW: len(groups) - 1}
    levels = dict(zip(reversed(groups), range(len(groups)), strict=True)) | levels
    if replicate not in tuple(levels):  # a tuple takes what cannot be hashed
        raise SpecError(f"replicate: expected {', '.join(map(repr, levels))}; found {replicate!r}")
    return levels[replicate]


def _values(posterior: Posterior, replicate: str, rng: np.random.Generator) -> Floats:
    """The groups' values theta, as they were drawn or drawn anew from above; (n, g)."""
    spec, data = posterior.spec, posterior.data
    top = _top_level(posterior, replicate)
    if top < 0:
        return group_draws(posterior).to_numpy().reshape(-1, data.sizes[0])
    draws = posterior.datatree["posterior"].to_dataset()
    n = draws.sizes["chain"] * draws.sizes["draw"]
    values = draws[spec.values[top + 1]].to_numpy().reshape(n, -1)
    for level in range(top, -1, -1):
        size = data.sizes[level]
        parent = data.parents[level] if level < len(data.parents) else np.zeros(size, dtype=int)
        spread = draws[spec.spreads[level]].to_numpy().reshape(n, 1)
        values = values[:, parent] + spread * rng.standard_normal((n, size))
    return values


def _replicate(
    posterior: Posterior, standard: Standardized, values: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Means of the groups' rows (n, g), and the standardised scatter around them (n,).

    A mean has variance ``σ²/weight`` around ``theta + x̄'β``.  The scatter is the squared length
    of ``x'β + noise`` within groups: along each of the r axes along which x varies there it is
    normal, across them ``σ² χ²`` with the degrees of freedom that are left.
    """
    spec, tree = posterior.spec, standard.tree
    draws, n = posterior.datatree["posterior"].to_dataset(), len(values)
    sigma = np.ones(n) if spec.se else draws["sigma"].to_numpy().ravel() / standard.scale
    noise = rng.standard_normal(values.shape) / np.sqrt(tree.weight)
    means = values + standard.scale * sigma[:, None] * noise
    freedom, squares = tree.n_rows - tree.sizes[0], np.zeros(n)
    if spec.covariates:
        beta = draws["beta"].to_numpy().reshape(n, -1)
        beta = np.linalg.solve(standard.basis, beta.T).T / standard.scale
        means += standard.scale * beta @ (tree.mean[:, :-1] + standard.origin).T
        size, axes = np.linalg.eigh(tree.scatter[:-1, :-1])
        varies = size > NEGLIGIBLE * tree.weight.sum()
        along = beta @ axes[:, varies] * np.sqrt(size[varies])
        along += sigma[:, None] * rng.standard_normal(along.shape)
        freedom, squares = freedom - int(varies.sum()), (along**2).sum(axis=1)
    rest = rng.chisquare(freedom, n) if freedom else np.zeros(n)
    return means, squares + sigma**2 * rest


def _statistics(
    posterior: Posterior, standard: Standardized, means: Floats, scatter: Floats
) -> dict[str, Floats]:
    """Statistics from groups' means (..., g) and standardised scatter (...)."""
    spec, tree = posterior.spec, standard.tree
    inner, *outer = reversed(spec.groups)
    found = _extremes(inner, means)
    if not outer:
        found |= _spread(inner, means)
    for name in outer:
        parent = tree.parent(0)
        first, freedom = starts(parent), len(parent) - tree.sizes[1]
        if freedom:
            centre = np.add.reduceat(means, first, axis=-1) / np.bincount(parent)
            squares = ((means - centre[..., parent]) ** 2).sum(axis=-1)
            found[f"sd of {inner} means within {name}"] = np.sqrt(squares / freedom)
        total = np.add.reduceat(means * tree.weight, first, axis=-1)
        upper = total / np.add.reduceat(tree.weight, first)
        found |= _extremes(name, upper) | _spread(name, upper)
    freedom = tree.n_rows - tree.sizes[0]
    if freedom:
        unit, text = (1.0, ", in se") if spec.se else (standard.scale, "")
        found[f"sd of rows within {inner}{text}"] = unit * np.sqrt(scatter / freedom)
    return found


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

    Of the same units, those that are there already are kept.

    Parameters
    ----------
    posterior : Posterior
    replicate : str
        As in :func:`check`.
    random_seed : int or numpy.random.Generator, optional
    """
    if _top_level(posterior, replicate) < 0:
        kept = "posterior_predictive" in posterior.datatree.children
        return posterior if kept else with_posterior_predictive(posterior, random_seed)
    rng = np.random.default_rng(named_seed(random_seed, "check"))
    draws = posterior.datatree["posterior"].to_dataset()
    shape = (draws.sizes["chain"], draws.sizes["draw"], -1)
    theta = _values(posterior, replicate, rng).reshape(shape)
    anew, tree = posterior.datatree.copy(), posterior.datatree.copy()
    dims = (*SAMPLE_DIMS, posterior.spec.groups[-1])
    anew["posterior"] = xr.DataTree(draws.assign(theta=(dims, theta)))
    units = replace(posterior, datatree=anew, draw_groups=None)
    drawn = with_posterior_predictive(units, random_seed)
    tree["posterior_predictive"] = drawn.datatree["posterior_predictive"]
    return replace(posterior, datatree=tree)
