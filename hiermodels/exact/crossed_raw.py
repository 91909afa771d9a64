"""What the rows of each group say of its deviation, where groups are crossed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.cells import rows_of_cells
from hiermodels.data.grouped import GroupedData
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import rows_given


def raw_deviations(
    spec: Spec, data: GroupedData, values: Mapping[str, Floats], name: str
) -> Floats:
    """The mean of what all else leaves of each group's rows; (u,).

    That is ``Σ_i ω_i (y_i − mu − x_i'beta − Σ theta of other columns) / Σ_i ω_i``.

    Parameters
    ----------
    values : mapping of str to array
        A value of each variable: numbers, effects (u,) and ``beta`` (q,).
    name : str
        Of the effects.
    """
    rows, number = rows_of_cells(data), spec.level_of(name)
    without = {**values, name: np.zeros_like(values[name])}
    rest = rows.y - rows_given(spec, rows, without)[0]
    member, weight = rows.memberships[number], rows.precision
    return np.asarray(np.bincount(member, weight * rest) / np.bincount(member, weight))
