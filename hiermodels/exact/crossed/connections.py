"""What to say of columns of crossed groups that few rows connect, or that covariates explain."""

from __future__ import annotations

import numpy as np

from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.propriety import contrasts


def said_of_connections(model: CrossedModel) -> list[str]:
    """Sentences on a design that leaves something unknown.

    Two columns may fall into parts without common rows: how these differ is known from the priors
    of effects alone.  A column is a function of covariates if ``rank [X Z] = rank X``: then only
    priors say how its groups differ.
    """
    return [*_parts(model), *_explained(model)]


def _parts(model: CrossedModel) -> list[str]:
    """Into how many parts the members of two columns fall."""
    if len(model.columns) != 2:
        return []
    number = len(np.unique(model.rows.parts(0, 1)))
    a, b = model.columns
    return [f"{a} and {b} fall into {number} parts that share no rows"] if number > 1 else []


def _explained(model: CrossedModel) -> list[str]:
    """Which columns covariates explain, beside those that have a single group."""
    return [
        f"{model.columns[k]} is a function of the covariates: nothing but priors says how its "
        f"groups differ"
        for k in model.varying
        if model.rows.used(k) > 1 and contrasts(model, (k,)).number == 0
    ]
