"""Statistics of the rows of each group: their number, weight, mean and scatter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.data.grouped import GroupedRows
from hiermodels.data.slopes import slopes_of_rows
from hiermodels.data.stratum_statistics import StratumStatistics
from hiermodels.numerics.group_sums import group_means, two_sum


def moments_of_rows(rows: GroupedRows, n_groups: int) -> dict[str, Any]:
    """Moments of each of so many groups by the names of statistics."""
    z = np.column_stack([rows.design.matrix, rows.y])
    total, some, shift = group_means(z, weight := rows.precision, rows.group, n_groups)
    mean, rest = two_sum(some, shift)
    deviations = np.sqrt(weight)[:, None] * ((z - mean[rows.group]) - rest[rows.group])
    return {
        "count": np.bincount(rows.group, minlength=n_groups),
        "weight": total,
        "mean": mean,
        "rest": rest,
        "scatter": deviations.T @ deviations,
        "slopes": slopes_of_rows(rows, deviations),
    }


def stratum_of_rows(rows: GroupedRows, some: NDArray[np.bool_]) -> StratumStatistics:
    """Statistics of some of the rows (N,)."""
    present, group = np.unique(rows.group[some], return_inverse=True)
    own = replace(
        rows,
        y=rows.y[some],
        design=replace(rows.design, matrix=rows.design.matrix[some]),
        group=group,
        columns={name: column[some] for name, column in rows.columns.items()},
    )
    return StratumStatistics(group=present, **moments_of_rows(own, len(present)))
