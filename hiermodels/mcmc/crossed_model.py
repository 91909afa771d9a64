"""PyMC models of crossed groups: effects of each column, added up.

Effects are deviations from ``mu + x'beta``, centred or not by column::

    noncentered   theta_a = tau_a·theta_a_offset    theta_a_offset ~ N(0, 1)
    centered      theta_a ~ N(0, tau_a²)

Of the centred columns that whose mean effect is known least, with the largest ``τ²`` for each of
its groups, is sampled around the intercept: ``theta_a_centre = mu + theta_a``.  The two by
themselves would have to follow each other.

The likelihood takes, unless rows are asked for, the means of cells and the scatter around them: a
cell has the rows that share their group in every column, and is one group of a tree to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.cells import CELL, in_cells
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.mcmc.crossed_approximation import mean_field
from hiermodels.mcmc.levels import add_coefficients, is_moved, scaled_by
from hiermodels.mcmc.outcome import (
    Sds,
    add_means,
    add_rows,
    add_statistics,
    outcome_statistics,
)
from hiermodels.mcmc.parameterization import Choice, Form, Observed
from hiermodels.mcmc.transforms import UnitScale, matrix_times
from hiermodels.model.level import Level
from hiermodels.model.spec import Spec


@dataclass(frozen=True)
class Cells:
    """Rows that share their group in every column, as the groups of one column.

    Attributes
    ----------
    rows : GroupedData
        In c groups; or their statistics.
    members : tuple of (c,)
        Index of each cell's group in every column of the data.
    """

    rows: GroupedData
    members: tuple[Indices, ...]

    @classmethod
    def of(cls, data: GroupedData) -> Cells:
        """Find the cells that have rows."""
        return cls(*in_cells(data))


def build_crossed_model(
    spec: Spec, data: GroupedData, choice: Choice, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build the model of crossed groups, see :func:`hiermodels.mcmc.model.build_model`."""
    cells, forms = Cells.of(data), choice.forms
    standard = standardize(cells.rows)
    with pm.Model(coords=data.coords) as model:
        if exchangeable:
            add_statistics(standard)
        scale = standard.scale
        sds = {name: spec.variance_prior(name).to_pymc(pm, name, scale) for name in spec.sds}
        beta = add_coefficients(spec, standard)
        location = _add_intercept(spec, standard, beta, sds)
        around = _around_intercept(spec, data, forms)
        effects = [
            _add_values(level, location, standard, sds[level.sd])
            if level is around
            else _add_effects(level, scale, sds[level.sd], forms[level.effect])
            for level in spec.levels
        ]
        if observed == "rows":
            add_rows(spec, data, sds)
        else:
            model.add_coord(CELL, cells.rows.labels[0])
            for own, member in zip(effects, cells.members, strict=True):
                location = location + own[member]
            add_means(spec, standard, location, sds, beta, dims=(CELL,))
    return model


def outcome_of_cells(data: GroupedData, other: GroupedData) -> dict[str, Floats]:
    """What the model takes from another outcome of the same rows, see ``model.outcome_of``."""
    unit = standardize(Cells.of(data).rows)
    return outcome_statistics(standardize(Cells.of(other).rows, unit))


def _add_intercept(
    spec: Spec, standard: Standardized, beta: TensorVariable, sds: Sds
) -> TensorVariable:
    """Add the intercept, if there is one; return that at the tree's covariates, or 0."""
    location = pt.zeros(())
    for name in spec.top:
        moved = is_moved(spec)
        shift = standard.scale * matrix_times(standard.origin, beta) if moved else 0.0
        unit = UnitScale(standard.location, standard.scale)
        prior = spec.priors[name]
        how = scaled_by(sds.get("sigma"), prior) | {"shift": shift, "transform": unit}
        sampled = f"{name}_centre" if moved else name
        location = prior.to_pymc(pm, sampled, float(standard.location), **how)
        if moved and name not in pm.modelcontext(None):
            pm.Deterministic(name, location - shift)
    return location


def _around_intercept(spec: Spec, data: GroupedData, forms: Mapping[str, Form]) -> Level | None:
    """The centred column whose mean effect varies most, beside an intercept."""
    centred = [k for k, level in enumerate(spec.levels) if forms[level.effect] == "centered"]
    if not (centred and spec.intercept):
        return None
    tau2, _, totals = mean_field(spec, data)
    return spec.levels[max(centred, key=lambda k: tau2[k] / len(totals[k]))]


def _add_values(
    level: Level, location: TensorVariable, standard: Standardized, sd: TensorVariable
) -> TensorVariable:
    """Add the effects of a column, sampled around the intercept; (u,)."""
    unit, dims = UnitScale(standard.location, standard.scale), (level.column,)
    values = pm.Normal(f"{level.effect}_centre", location, sd, dims=dims, transform=unit)
    return pm.Deterministic(level.effect, values - location, dims=dims)


def _add_effects(level: Level, scale: float, sd: TensorVariable, form: Form) -> TensorVariable:
    """Add the effects of a column by themselves; (u,)."""
    name, dims = level.effect, (level.column,)
    if form == "noncentered":
        return pm.Deterministic(name, sd * pm.Normal(f"{name}_offset", dims=dims), dims=dims)
    return pm.Normal(name, 0.0, sd, dims=dims, transform=UnitScale(0.0, scale))
