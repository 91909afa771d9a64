"""PyMC models of rows that are not normal, such as counts: all levels stated.

With ``η_i = theta_g[i] + x_i'β + offset_i`` on the scale of the family's link, each sum of rows
that are alike (:mod:`hiermodels.exact.row_sums`), or each row, has the density of its family::

    outcome ~ family(η, columns)        theta ~ N(mu, tau²)

Effects on the outcome's scale, such as ``p``, are functions of ``theta`` and β, at the groups' own
covariates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from hiermodels.core.arrays import Floats
from hiermodels.data.covariates import OWN, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.row_propriety import require_proper
from hiermodels.exact.row_sums import RowSums
from hiermodels.mcmc.approximation import Approximation
from hiermodels.mcmc.levels import add_beta, add_effects, add_parents
from hiermodels.mcmc.outcome import add_rows
from hiermodels.mcmc.parameterization import Choice, Observed
from hiermodels.mcmc.transforms import UnitScale, matrix_times
from hiermodels.model.spec import Spec

OUTCOMES, GIVEN_SUMS = "_outcomes", "_given_sums"
ROWS_ALIKE = "rows_alike"  # of sums where groups have several
INVERSE_LINKS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"identity": lambda eta: eta, "log": pm.math.exp, "logit": pm.math.sigmoid}
)


def build_rows_model(
    spec: Spec, data: GroupedData, choice: Choice, observed: Observed, exchangeable: bool
) -> pm.Model:
    """Build the model of rows, see :func:`hiermodels.mcmc.model.build_model`."""
    rows = RowSums.of(spec, data)
    require_proper(spec, rows.sums)
    near = Approximation.of(spec, rows.sums)
    with pm.Model(coords=data.coords) as model:
        sds = {name: spec.variance_prior(name).to_pymc(pm, name, near.scale) for name in spec.sds}
        beta = pt.zeros(0)
        if spec.covariates:
            beta = add_beta(spec, near.beta, UnitScale(near.beta, near.basis))
        parents = add_parents(spec, data, observed)
        unit, start = UnitScale(near.location, near.scale), {spec.levels[-1].effect: near.effect}
        shift = matrix_times(near.centre, beta)
        effects = add_effects(spec, parents, unit, shift, sds, choice.forms, start)
        _add_on_outcome_scale(spec, data, effects, beta, near.centre)
        if observed == "rows":
            add_rows(spec, data, sds)
        else:
            x = rows.sums.design.matrix - near.centre
            eta = effects[rows.sums.group] + matrix_times(x, beta)
            _add_sums(rows, data, eta, exchangeable)
    return model


def _add_on_outcome_scale(
    spec: Spec, data: GroupedData, effects: TensorVariable, beta: TensorVariable, centre: Floats
) -> None:
    """Add what :func:`hiermodels.posterior.outcome_scale.with_outcome_scale` adds to draws.

    Parameters
    ----------
    effects : (g,)
        At the covariates ``centre`` (q,).
    beta : (q,)
    """
    for name in spec.on_outcome_scale:
        own = np.atleast_2d(locate(data, OWN).of(len(spec.levels) - 1))
        eta = effects + matrix_times(own - centre, beta)
        pm.Deterministic(name, INVERSE_LINKS[spec.family.link](eta), dims=spec.dims(name))


def _add_sums(rows: RowSums, data: GroupedData, eta: TensorVariable, exchangeable: bool) -> None:
    """Add the sums, and what the rows' log density has beside theirs, a constant.

    Their linear predictors (c,) are ``eta`` and the offset.
    """
    spec, sums, model = rows.spec, rows.sums, pm.modelcontext(None)
    dims = spec.groups[-1] if rows.is_by_group else ROWS_ALIKE if rows.has_sums else "row"
    if dims not in model.coords:
        model.add_coord(dims, np.arange(len(sums.y)))
    known: Mapping[str, Any] = outcome_sums(rows, data)
    if exchangeable:
        known = {name: pm.Data(name, value, shape=value.shape) for name, value in known.items()}
    columns = dict(sums.columns) | ({} if sums.se is None else {"sd": sums.se})
    eta = eta + columns.pop("offset", 0.0)
    name = f"{spec.outcome}_sum" if rows.has_sums else spec.outcome
    spec.family.to_pymc(pm, name, eta, columns, known[OUTCOMES], dims)
    if rows.has_sums:
        pm.Potential("within_groups", pt.as_tensor(known[GIVEN_SUMS]))


def outcome_sums(rows: RowSums, data: GroupedData) -> dict[str, Floats]:
    """Return all that a model takes from an outcome of these rows, by the name of its ``pm.Data``.

    The sums (c,), and the log density of the rows given these.
    """
    given = np.asarray(rows.log_given_sums(data))
    return {OUTCOMES: rows.of_outcome(data), GIVEN_SUMS: given}
