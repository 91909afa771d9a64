"""PyMC models of groups with several effects, or of three columns of groups.

Effects of a group are stated one after the other, with the Cholesky factor C of the correlations:

    theta_i = parent_i + tau_i Σ_(j≤i) C_ij a_j,    a_j ~ N(0, 1).

Non-centred the innovations a_j are sampled, as ``theta[Days]_offset``; centred the effects are,
each given those before it.  Where the intercept's effects are centred, those that are sampled
belong to the means of the covariates that do not vary, as ``theta[Intercept]_centre``.

Of the rows the likelihood takes p sums for each group, which say all of its p effects, and what is
left of them: the array [R | D] of :mod:`hiermodels.exact.kernels.blocks.blocks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.names import COEFFICIENT_DIM, ROOT
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.exact.block_data import block_model, place_of_residual_sds, strata_order
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.mcmc.block_approximation import BlockApproximation
from hiermodels.mcmc.block_marginal import ResidualSds, log_likelihood
from hiermodels.mcmc.levels import add_beta, add_parents, is_moved
from hiermodels.mcmc.outcome import add_outcome
from hiermodels.mcmc.parameterization import Choice, Form, Observed
from hiermodels.mcmc.transforms import PartialCorrelations, UnitScale, matrix_times
from hiermodels.model.level import INTERCEPT, Level
from hiermodels.model.priors.covariance import cholesky_rows
from hiermodels.model.spec import Spec
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.linear_predictor import innermost

SUMS, REST = "_sums", "_rest"
SUM_DIM, CELL_DIM = "sum_of_rows", "cell_of_rows"

type Rows = list[list[Any]]
"""Of a Cholesky factor, below the diagonal and on it."""
type Effects = dict[str, tuple[int, TensorVariable]]
"""Of each term: the level at which it varies, or the root, and its effects there."""


def build_blocks_model(
    spec: Spec, data: GroupedData, choice: Choice, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build the model; the arguments are those of :func:`hiermodels.mcmc.model.build_model`.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If PyMC cannot state a prior.
    """
    near = BlockApproximation.of(spec, data)
    blocks = near.marginal.model.blocks
    with pm.Model(coords=coords_of(spec, data)) as model:
        if exchangeable:
            for name, value in _statistics(blocks).items():
                pm.Data(name, value, shape=value.shape)
        factors = _add_covariances(near)
        sigma = _add_residual_sds(near, data)
        if choice.name == "marginal":
            sums, rest = (_statistic(name, blocks) for name in (SUMS, REST))
            pm.Potential("log_likelihood", log_likelihood(near, factors, sigma, sums, rest))
            return model
        parents = add_parents(spec, data, observed)
        effects = _add_effects(near, parents, factors, choice.forms)
        if observed == "rows":
            _add_rows(spec, data, effects, model["sigma"] if spec.has_sigma else pt.ones(()))
        else:
            _add_sums(near, parents, effects, sigma)
    return model


def outcome_of_blocks(spec: Spec, data: GroupedData) -> dict[str, Floats]:
    """All that a model takes from an outcome of its rows, by the name of its ``pm.Data``."""
    return _statistics(block_model(spec, data).blocks)


def component(level: Level, term: str) -> str:
    """Name of the effects of a term: ``theta``, or of several ``theta[Days]``."""
    return f"{level.effect}[{term}]" if level.has_slopes else level.effect


def _statistics(blocks: Blocks) -> dict[str, Floats]:
    """The sums of the outcome, (p, g), and what is left of it, (m,)."""
    return {SUMS: blocks.outcome[:, -1], REST: blocks.rest[:, -1]}


def _statistic(name: str, blocks: Blocks) -> Floats | TensorVariable:
    """The open model's data if it has such, or a constant."""
    model = pm.modelcontext(None)
    return model[name] if name in model else _statistics(blocks)[name]


def _add_covariances(near: BlockApproximation) -> list[Rows]:
    """Add sds and correlations; return ``diag(tau) C`` of each level."""
    spec, factors = near.layout.spec, []
    for number, level in enumerate(spec.levels):
        starts = near.sds[near.layout.sds(number)].tolist()
        taus = [
            prior.to_pymc(pm, name, start or 1.0)
            for name, prior, start in zip(level.sds, level.priors, starts, strict=True)
        ]
        if level.has_slopes:
            pm.Deterministic(level.sd, pt.stack(taus), dims=spec.dims(level.sd))
        rows = _add_correlations(spec, level)
        factors.append(
            [[tau * value for value in row] for tau, row in zip(taus, rows, strict=True)]
        )
    return factors


def _add_residual_sds(near: BlockApproximation, data: GroupedData) -> ResidualSds:
    """Add σ, or one for each stratum; 1 where errors are known."""
    spec, blocks = near.layout.spec, near.marginal.model.blocks
    if not spec.has_sigma:
        return ResidualSds(pt.ones(1), blocks)
    starts = near.sds[place_of_residual_sds(spec, data)].tolist()
    each = [
        spec.variance_prior(name).to_pymc(pm, name, start)
        for name, start in zip(spec.residual_sds, starts, strict=True)
    ]
    every = pt.stack(each)
    if spec.strata:
        pm.Deterministic("sigma", every, dims=spec.dims("sigma"))
    return ResidualSds(every[strata_order(spec, data)], blocks)


def _add_correlations(spec: Spec, level: Level) -> Rows:
    """Add the correlations of a level's effects; return their Cholesky factor."""
    e = len(level.terms)
    if level.correlation is None:
        return [[*np.zeros(i), 1.0] for i in range(e)]
    prior: Any = spec.priors.get(level.correlation) or spec.priors[level.sd]
    several = len(level.pairs) > 1
    options: dict[str, Any] = {"transform": PartialCorrelations(e)} if several else {}
    dims = spec.dims(level.correlation) or None
    rho = prior.to_pymc(pm, level.correlation, effects=e, dims=dims, **options)
    each = [rho[k] for k in range(len(level.pairs))] if several else [rho]
    return cholesky_rows(each, pt.sqrt)


def _add_effects(
    near: BlockApproximation,
    parents: Sequence[Indices | TensorVariable],
    factors: Sequence[Rows],
    forms: Mapping[str, Form],
) -> Effects:
    """Add intercept, coefficients and the effects of all levels, from the top downwards."""
    spec = near.layout.spec
    effects, centre = _add_top(near)
    for number, level in enumerate(spec.levels):
        innovations: list[TensorVariable] = []
        for j, term in enumerate(level.terms):
            above, parent = effects[term]
            if above != ROOT:
                parent = parent[_ancestors(parents, number, above)]
            *known, own = factors[number][j]
            mean = parent + sum(c * a for c, a in zip(known, innovations, strict=True))
            name = component(level, term)
            if forms[level.effect] == "noncentered":
                innovation = pm.Normal(f"{name}_offset", dims=level.column)
                value = mean + own * innovation
                pm.Deterministic(name, value, dims=level.column)
            else:
                place = _Place(*(part[:, j] for part in near.effects[number]))
                moved = centre if term == INTERCEPT else None
                value = place.add(level.column, name, (mean, own), moved)
                innovation = (value - mean) / own
            innovations.append(innovation)
            effects[term] = (number, value)
        if level.has_slopes:
            columns = [effects[term][1] for term in level.terms]
            pm.Deterministic(level.effect, pt.stack(columns, axis=1), dims=spec.dims(level.effect))
    return effects


@dataclass(frozen=True)
class _Place:
    """Where effects lie, about, and their size; (u,) both."""

    mean: Floats
    sd: Floats

    def add(
        self,
        column: str,
        name: str,
        law: tuple[TensorVariable, TensorVariable],
        centre: tuple[TensorVariable, float] | None,
    ) -> TensorVariable:
        """Add effects with this mean and sd, sampled at x = 0 or, with what that adds, elsewhere.

        Parameters
        ----------
        centre : (scalar, float), optional
            What the covariates add there, and about how much that is.
        """
        mean, sd = law
        shift, about = centre or (0.0, 0.0)
        unit = UnitScale(self.mean + about, self.sd)
        how = {"dims": column, "transform": unit, "initval": self.mean + about}
        if centre is None:
            return pm.Normal(name, mean, sd, **how)
        sampled = pm.Normal(f"{name}_centre", mean + shift, sd, **how)
        return pm.Deterministic(name, sampled - shift, dims=column)


def _add_top(near: BlockApproximation) -> tuple[Effects, tuple[TensorVariable, float] | None]:
    """Add β and the intercept.

    Returns
    -------
    effects
        Of all terms at the root: 0 for an intercept that there is not.
    centre : (scalar, float), optional
        What the covariates that do not vary add at their means, and about how much that is.
    """
    spec = near.layout.spec
    effects: Effects = {INTERCEPT: (ROOT, pt.zeros(()))}
    centre, shift, about = None, pt.zeros(()), 0.0
    if spec.covariates:
        mean, basis = near.beta
        beta = add_beta(spec, mean, UnitScale(mean, basis))
        effects |= {term: (ROOT, beta[j]) for j, term in enumerate(spec.covariates)}
        fixed = [spec.covariates.index(name) for name in spec.fixed_covariates]
        if is_moved(spec):
            shift, about = matrix_times(near.shift, beta), float(near.shift @ mean)
            if fixed:
                at = near.shift[fixed]
                centre = (matrix_times(at, beta[fixed]), float(at @ mean[fixed]))
    for name in spec.top:
        unit = UnitScale(near.intercept + about, near.error_of_intercept)
        own = f"{name}_centre" if is_moved(spec) else name
        prior = spec.coefficient_prior(name)
        how = {"shift": shift, "transform": unit}
        sampled = prior.to_pymc(pm, own, near.intercept + about, **how)
        if is_moved(spec):
            sampled = pm.Deterministic(name, sampled - shift)
        effects[INTERCEPT] = (ROOT, sampled)
    return effects, centre


def _ancestors(parents: Sequence[Any], level: int, above: int) -> Any:
    """Index of the ancestor, at a level above, of each member of a level."""
    index = parents[level]
    for outer in range(level - 1, above, -1):
        index = parents[outer][index]
    return index


def _turned(axes: Any, own: TensorVariable) -> TensorVariable:
    """``axes' own``, from the entries of each column of a sparse matrix that are not 0; (g,)."""
    columns = axes.tocsc()
    count = np.diff(columns.indptr)
    place = np.arange(columns.nnz) - np.repeat(columns.indptr[:-1], count)
    at = np.repeat(np.arange(len(count)), count), place
    index = np.zeros((len(count), count.max()), dtype=np.intp)
    entry = np.zeros(index.shape)
    index[at], entry[at] = columns.indices, columns.data
    return matrix_times(entry, own[index])


def _add_sums(
    near: BlockApproximation,
    parents: Sequence[Indices | TensorVariable],
    effects: Effects,
    sigma: ResidualSds,
) -> None:
    """Add the sums of each group, and what is left of the rows.

    ``D_y ~ N(R θ + D_x β, σ²)``, p for each group, or for each stratum of its rows, and rows
    [x | y] that are free of θ, with ``exp(−½ ‖y − x β‖²/σ²)`` times a constant and a power of σ.
    """
    spec, blocks, inner = (
        near.layout.spec,
        near.marginal.model.blocks,
        len(near.layout.spec.levels) - 1,
    )
    mean: Any = 0.0
    has_cells = len(blocks.sizes) > inner + 1
    for j, term in enumerate(near.layout.terms):
        level, value = effects[term]
        own = value if level == inner else value[_ancestors(parents, inner, level)]
        if blocks.turned is not None:
            own = _turned(blocks.turned.axes, own)
        own = own[blocks.parents[-1]] if has_cells else own
        mean = mean + blocks.designs[:, j, blocks.design] * own
    left: Any = _statistic(REST, blocks)
    for j, term in enumerate(near.layout.others):
        value = effects[term][1]
        mean = mean + blocks.outcome[:, j] * value
        left = left - blocks.rest[:, j] * value
    dims, model = (SUM_DIM, CELL_DIM if has_cells else spec.groups[-1]), pm.modelcontext(None)
    model.add_coord(SUM_DIM, np.arange(blocks.p))
    if has_cells:
        model.add_coord(CELL_DIM, np.arange(blocks.sizes[-1]))
    sums = _statistic(SUMS, blocks)
    pm.Normal(f"{spec.outcome}_sum", mean, sigma.of_sums, observed=sums, dims=dims)
    rows = blocks.n_rows - blocks.outcome[:, -1].size
    constant = 0.5 * (blocks.log_weight - rows * LOG_2PI) + sigma.log_det_of_sums - sigma.log_det
    pm.Potential("within_groups", constant - 0.5 * ((left / sigma.of_rest) ** 2).sum())


def _add_rows(spec: Spec, data: GroupedData, effects: Effects, sigma: TensorVariable) -> None:
    """Add the rows, each given ``z_i'theta + x_i'beta``."""
    model, rows = pm.modelcontext(None), require_rows(data, "observed='rows'")
    model.add_coord("row", np.arange(len(rows.y)))
    x: Any = None
    if spec.covariates:
        x = pm.Data("x", rows.design.matrix, dims=("row", COEFFICIENT_DIM))
    members: Any = pm.Data(f"{spec.groups[-1]}_of_row", rows.group, dims="row")
    eta: Any = effects[INTERCEPT][1] if INTERCEPT not in innermost(spec) else 0.0
    above = {len(spec.levels) - 1: members}
    for number in range(len(spec.levels) - 1, 0, -1):
        above[number - 1] = _parents_in(model, spec, data, number)[above[number]]
    for term, (level, value) in effects.items():
        if level == ROOT and term == INTERCEPT:
            continue
        own = value if level == ROOT else value[above[level]]
        eta = eta + (own if term == INTERCEPT else own * x[:, spec.covariates.index(term)])
    add_outcome(spec, rows, eta, sigma)


def _parents_in(model: pm.Model, spec: Spec, data: GroupedData, number: int) -> Any:
    """Parents of a level's members, which a model of rows has as data."""
    return model[f"{spec.groups[number - 1]}_of_{spec.groups[number]}"]
