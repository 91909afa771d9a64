"""Independent draws from the exact posterior.

The unknown variances, one to three of them, are drawn by rejection from a lattice
(:mod:`hiermodels.numerics.lattice`); given these, all else is drawn from its normal
distributions (:mod:`hiermodels.exact.kernels.tree.tree`).  No chain, no tuning, no convergence:
``chain`` is a label that ArviZ expects.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.core.progress import showing_progress
from hiermodels.core.seeds import generator
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_effects import BlockEffects
from hiermodels.exact.blocks.draws import BlockDraws, draw_sigma
from hiermodels.exact.conjugate import ConjugatePosterior
from hiermodels.exact.crossed.connections import said_of_connections
from hiermodels.exact.crossed.draws import CrossedDraws
from hiermodels.exact.crossed_effects import CrossedEffects
from hiermodels.exact.drawn import Drawn, Job, refits_by, with_effects
from hiermodels.exact.effects import Effects
from hiermodels.exact.glmm_effects import GlmmEffects
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.grid import BlockGrid, CrossedGrid, Grid, LeafGrid, grid_of
from hiermodels.exact.leaf_effects import LeafEffects
from hiermodels.exact.precision import sd_quadrature_error
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.model.spec import Spec
from hiermodels.numerics import rejection
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.numerics.rejection import Draws
from hiermodels.posterior.engine import Request
from hiermodels.posterior.record import Posterior


@one_blas_thread()
def sample(spec: Spec, data: GroupedData, request: Request, /, **options: Any) -> Posterior:
    """Draw independently from the posterior.

    Parameters
    ----------
    spec, data
    request : Request
        Where draws would take more than the budget, those of the groups' effects are left out and
        drawn on demand, by ``Fit.draws``.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If an option is given, if the draws of what stands above the groups take more than the
        budget (64 MiB are always allowed), or if draws of counts with covariates that vary within
        groups would take many minutes.
    """
    job = Job("exact", spec, data, request)
    rng = generator(request.random_seed)
    job.require_possible(options)
    size, keep = job.size, job.keep
    grid = request.grid or grid_of(spec, data)
    if isinstance(grid, CrossedGrid):
        drawn = _draw_crossed(grid, size, rng, keep)
    elif isinstance(grid, GlmmGrid):
        drawn = _draw_rows(grid, size, rng, keep, request.progressbar)
    elif isinstance(grid, LeafGrid):
        drawn = _draw_counts(grid, size, rng, keep)
    elif isinstance(grid, BlockGrid):
        of = _draw_blocks if spec.is_blocks else _draw_with_sigma
        drawn = of(grid, size, rng, keep)
    elif isinstance(grid, Grid) and spec.groups:
        drawn = _draw_hierarchy(grid, size, rng, keep)
    else:
        drawn = _draw_population(spec, data, size, rng)
    return job.posterior(drawn)


prepare_refits = refits_by(sample)


def _draw_population(spec: Spec, data: GroupedData, size: int, rng: np.random.Generator) -> Drawn:
    """Draw from the closed form of a model without groups."""
    if spec.is_regression:
        regression = RegressionPosterior.of(spec, data)
        drawn = regression.draw(size, rng)
        how = {"draws": "independent, from the closed form"}
        return Drawn(drawn, {}, how)
    exact = ConjugatePosterior.of(spec, data)
    theta, sigma = exact.law.draw(size, rng)
    return Drawn(
        {"theta": theta, "sigma": sigma},
        {},
        {"draws": "exact and independent, from the closed form"},
    )


def _draw_hierarchy(grid: Grid, size: int, rng: np.random.Generator, keep: bool) -> Drawn:
    """Draw the variances from a lattice, and all else given them."""
    marginal, laid = grid.marginal, grid.lattice
    drawn = rejection.draw(laid, marginal.log_density, size, rng)
    quadrature_error = sd_quadrature_error(marginal, laid)
    attrs = {"certificate": quadrature_error, **_attrs(drawn)}
    effects = Effects.draw(marginal, marginal.sds(drawn.points), rng)
    return with_effects(effects, attrs, _describe(laid, drawn), keep)


def _draw_with_sigma(grid: BlockGrid, size: int, rng: np.random.Generator, keep: bool) -> Drawn:
    """Draw sds relative to σ from a lattice, then σ given these, and all else given both."""
    marginal, laid = grid.marginal, grid.lattice
    assert isinstance(laid, Lattice)  # pairs of lattices are for slopes
    drawn = rejection.draw(laid, marginal.log_density, size, rng)
    values = marginal.coordinates.values(drawn.points)
    sigma = draw_sigma(marginal, values, marginal.root(values), rng)
    sds = dict(zip(grid.model.names, np.exp(values.log_theta) * sigma, strict=True))
    sds["sigma"] = sigma
    given = grid.of_all_sds
    effects = Effects.draw(given, np.stack([sds[name] for name in given.names], axis=1), rng)
    return with_effects(effects, _attrs(drawn), _describe(laid, drawn), keep)


def _draw_blocks(grid: BlockGrid, size: int, rng: np.random.Generator, keep: bool) -> Drawn:
    """Draw sds and correlations from a lattice, and all else given these."""
    made = BlockDraws.draw(grid.marginal, size, rng, grid.lattice)
    effects = BlockEffects(grid.spec, grid.data, made)
    variables = effects.variables() if keep else effects.above_groups()
    on_demand = None if keep else effects.groups
    return Drawn(variables, _attrs(made.drawn), _describe(made.lattice, made.drawn), on_demand)


def _draw_crossed(grid: CrossedGrid, size: int, rng: np.random.Generator, keep: bool) -> Drawn:
    """Draw sds from a lattice, and all else given these."""
    made = CrossedDraws.draw(grid.marginal, size, rng, grid.laid)
    effects = CrossedEffects(grid.spec, made)
    variables = effects.variables() if keep else effects.above_groups()
    on_demand = None if keep else effects
    how = _describe(made.lattice, made.drawn)
    if said := said_of_connections(grid.marginal.model):
        how["groups"] = "; ".join(said)
    return Drawn(variables, _attrs(made.drawn), how, on_demand)


def _draw_counts(grid: LeafGrid, size: int, rng: np.random.Generator, keep: bool) -> Drawn:
    """Draw the sds and the coefficients from a lattice, and all effects given them."""
    grid.require_existence()
    effects, laid, drawn = LeafEffects.draw(grid, size, rng)
    return with_effects(effects, _attrs(drawn), _describe(laid, drawn), keep)


def _draw_rows(
    grid: GlmmGrid, size: int, rng: np.random.Generator, keep: bool, show: bool | None
) -> Drawn:
    """Draw τ and the coefficients below a bound of their density, and all effects given them."""
    start = grid.marginal
    with showing_progress("Drawing", size, show) as progress:
        effects, drawn = GlmmEffects.draw(grid, size, rng, progress)
    attrs = {"largest_ratio": float(np.exp(drawn.largest)), "ratio_bound": 1.0}
    attrs["acceptance"] = drawn.kept * drawn.accepted
    certificate = {
        "draws": f"exact and independent, by rejection below a proven bound around the modes of "
        f"{len(start.path)} values of {' and '.join(level.sd for level in grid.spec.levels)}",
        "largest ratio": f"{np.exp(drawn.largest):.4f} of density to bound; at most 1 is exact "
        f"({drawn.kept:.0%} of directions, {drawn.accepted:.0%} of densities accepted)",
    }
    return with_effects(effects, attrs, certificate, keep)


def _attrs(drawn: Draws) -> dict[str, float]:
    """How rejection went."""
    return {
        "largest_ratio": drawn.largest_ratio,
        "ratio_bound": drawn.bound,
        "acceptance": drawn.acceptance,
    }


def _describe(laid: Lattice | ProductLattice, drawn: Draws) -> dict[str, str]:
    """What is said of draws, which are exact on any lattice: the attrs tell how wide it is."""
    if isinstance(laid, ProductLattice):
        parts = laid.first, laid.second
        sizes = " and ".join(f"{len(part)} in {len(part.origin)} dimensions" for part in parts)
        of = f"all pairs of two lattices' points, {sizes}"
    elif not len(laid.origin):
        return {"draws": "independent, from the closed form, as all sds are fixed"}
    else:
        d = len(laid.origin)
        of = f"a lattice of {len(laid)} points in {d} dimension{'s' if d > 1 else ''}"
    return {
        "draws": f"exact and independent, by rejection from {of}",
        "largest ratio": f"{drawn.largest_ratio:.3f} of density to interpolant; at most "
        f"{drawn.bound:.3f} is exact ({drawn.acceptance:.0%} accepted)",
    }
