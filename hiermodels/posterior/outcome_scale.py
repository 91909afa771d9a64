"""Effects of groups on the outcome's scale: probabilities and rates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.covariates import OWN, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.model.spec import Spec


def with_outcome_scale(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Add the groups' effects on the outcome's scale, such as ``p``, at their own covariates.

    ``p_g = link⁻¹(theta_g + x_g'beta)``, with the mean x of the group's rows where they differ, and
    without an offset.

    Parameters
    ----------
    spec : Spec
    data : GroupedData
    variables : mapping of str to array
        Draws of any shape (...,), effects and coefficients (..., u).  Without those of the
        groups, nothing is added.
    """
    effect = spec.levels[-1].effect if spec.levels else ""
    if not spec.on_outcome_scale or effect not in variables:
        return dict(variables)
    (name,) = spec.on_outcome_scale
    drawn = on_outcome_scale(spec, data, variables[effect], variables.get("beta"))
    return {**variables, name: drawn}


def on_outcome_scale(
    spec: Spec,
    data: GroupedData,
    effects: Floats,
    beta: Floats | None,
    groups: Indices | None = None,
) -> Floats:
    """Effects (..., g) of all groups, or of some, on the outcome's scale; beta is (..., q)."""
    if beta is not None:
        members = slice(None) if groups is None else groups
        shift = locate(data, OWN).shift(len(spec.levels) - 1, beta, members)
        effects = np.asarray(effects + shift)
    return spec.family.inverse_link(effects)
