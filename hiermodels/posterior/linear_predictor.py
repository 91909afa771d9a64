"""Linear predictors of rows, from draws of effects and coefficients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedRows
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec


def linear_predictor(spec: Spec, rows: GroupedRows, variables: Mapping[str, Floats]) -> Floats:
    """``z_i'theta + x_i'beta`` of each row, x being the covariates that do not vary.

    Of crossed groups it is ``mu + theta_a[i] + theta_b[i] + … + x_i'beta``.

    Parameters
    ----------
    variables : mapping of str to array
        Draws of any shape (...,): scalars with this shape, effects (..., u) or (..., u, e), and
        ``beta`` (..., q).

    Returns
    -------
    (..., N)
    """
    total: Floats = np.zeros(len(rows.y))
    varying = {} if spec.is_crossed else innermost(spec)
    members = rows.memberships
    for level, member in zip(spec.levels, members, strict=True) if spec.is_crossed else ():
        total = total + variables[level.effect][..., member]
    for term, (number, place) in varying.items():
        effects = variables[spec.levels[number].effect]
        own = effects[..., place] if spec.levels[number].has_slopes else effects
        total = total + own[..., members[number]] * _column(spec, rows, term)
    if spec.intercept and INTERCEPT not in varying:
        total = total + variables[spec.intercept][..., None]
    rest = [j for j, name in enumerate(spec.covariates) if name not in varying]
    if rest:
        total = total + variables["beta"][..., rest] @ rows.design.matrix[:, rest].T
    return total


def innermost(spec: Spec) -> dict[str, tuple[int, int]]:
    """The innermost level at which each term varies, and its place among that level's terms."""
    return {
        term: (number, place)
        for number, level in enumerate(spec.levels)
        for place, term in enumerate(level.terms)
    }


def _column(spec: Spec, rows: GroupedRows, term: str) -> Floats | float:
    return 1.0 if term == INTERCEPT else rows.design.matrix[:, spec.covariates.index(term)]
