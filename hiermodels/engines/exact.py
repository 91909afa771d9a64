"""Independent draws from the exact posterior.

The unknown variances, one to three of them, are drawn by rejection from a lattice
(:mod:`hiermodels.lattice`); given these, all values are drawn from their normal distributions
(:mod:`hiermodels.gaussian`).  No chain, no tuning, no convergence: ``chain`` is a label that
ArviZ expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels import gaussian, lattice
from hiermodels.conjugate import ConjugatePosterior
from hiermodels.data import GroupedData
from hiermodels.engines import Seed
from hiermodels.errors import SpecError
from hiermodels.gaussian import Floats
from hiermodels.integrated import sd_certificate
from hiermodels.lattice import Draws, Lattice
from hiermodels.marginal import Marginal
from hiermodels.posterior import Posterior, build_datatree
from hiermodels.spec import Spec
from hiermodels.sufficient import standardize

SPACING = {1: 0.25, 2: 0.75, 3: 1.0}  # the draws are exact on any lattice; a wide one is quick


def sample(
    spec: Spec,
    data: GroupedData,
    *,
    draws: int = 1000,
    chains: int = 4,
    random_seed: Seed = None,
    progressbar: bool | None = None,
    **options: Any,
) -> Posterior:
    """Draw independently from the posterior.

    Parameters
    ----------
    spec, data
    draws : int
        Number of draws in each chain.
    chains : int
        Number of chains: the draws are independent within them and between them.
    random_seed : int, Generator, SeedSequence or None
        The same seed gives the same bits.
    progressbar : bool, optional
        Not needed: there is nothing to wait for.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    SpecError
        If an option is given: this engine has none.
    """
    if options:
        raise SpecError(f"engine 'exact' has no option {next(iter(options))!r}; it needs none")
    rng = np.random.default_rng(random_seed)
    draw = _draw_hierarchy if spec.groups else _draw_population
    drawn = draw(spec, data, chains * draws, rng)
    datatree = build_datatree(
        spec,
        data,
        {name: _by_chain(values, chains) for name, values in drawn.variables.items()},
        {"lp": _by_chain(drawn.log_density, chains)},
        {"engine": "exact", **drawn.attrs},
    )
    return Posterior(spec, data, "exact", datatree, drawn.certificate)


@dataclass(frozen=True)
class _Drawn:
    """Draws of all variables, scalars (n,) and values (u, n), and how they were made."""

    variables: dict[str, Floats]
    log_density: Floats
    attrs: dict[str, float]
    certificate: dict[str, str]


def _draw_population(spec: Spec, data: GroupedData, size: int, rng: np.random.Generator) -> _Drawn:
    """Draw from the conjugate model's closed form."""
    exact = ConjugatePosterior.of(spec, data)
    theta, sigma = exact.law.draw(size, rng)
    return _Drawn(
        {"theta": theta, "sigma": sigma},
        exact.law.log_density(theta, sigma),
        {},
        {"draws": "independent, from the closed form"},
    )


def _draw_hierarchy(spec: Spec, data: GroupedData, size: int, rng: np.random.Generator) -> _Drawn:
    """Draw the variances from a lattice, and all else given them."""
    marginal = Marginal.of(spec, standardize(data))
    grid = marginal.lattice(SPACING[len(marginal.names)])
    drawn = lattice.draw(grid, marginal.log_density, size, rng)
    certificate = sd_certificate(marginal, grid)
    attrs = {
        "certificate": certificate,
        "largest_ratio": drawn.largest_ratio,
        "ratio_bound": drawn.bound,
        "acceptance": drawn.acceptance,
    }
    variables = _draw_variables(marginal, drawn.points, rng)
    return _Drawn(variables, drawn.log_density, attrs, _describe(grid, drawn, certificate))


def _draw_variables(
    marginal: Marginal, points: Floats, rng: np.random.Generator
) -> dict[str, Floats]:
    """Draw all variables given the variances; scalars (n,), values of groups (u, n)."""
    spec, standard = marginal.spec, marginal.data
    values = gaussian.draw_values(
        standard.tree, marginal.variances(points), marginal.coefficients, rng
    )
    variables = dict(zip(marginal.names, marginal.sds(points).T, strict=True))
    at_zero = standard.location - standard.scale * (standard.origin @ values.beta)
    for name, level in zip(spec.values, values.levels, strict=True):
        own_unit = standard.scale * level + at_zero
        variables[name] = own_unit if spec.dims(name) else own_unit[0]
    if spec.covariates:
        variables["beta"] = standard.scale * (standard.basis @ values.beta)
    return variables


def _by_chain(values: Floats, chains: int) -> Floats:
    """From (..., n) to (chains, draws, ...), a view."""
    split = values.reshape(*values.shape[:-1], chains, -1)
    return np.moveaxis(split, (-2, -1), (0, 1))


def _describe(grid: Lattice, drawn: Draws, certificate: float) -> dict[str, str]:
    d = grid.points.shape[1]
    return {
        "draws": "independent, by rejection from a lattice of "
        f"{len(grid)} points in {d} dimension{'s' if d > 1 else ''}",
        "largest ratio": f"{drawn.largest_ratio:.3f} of density to interpolant; at most "
        f"{drawn.bound:.3f} is exact ({drawn.acceptance:.0%} accepted)",
        "quadrature": f"two spacings differ by {certificate:.1e} posterior sd",
    }
