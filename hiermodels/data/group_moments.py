"""What means and cross-products of groups say of all rows together."""

from __future__ import annotations

from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.collinearity import check_products
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import DataError


class GroupMoments(GroupedData):
    """Groups by their number of rows, weight and mean, and a scatter.

    Attributes
    ----------
    count, weight, mean, rest, scatter
        As in :class:`hiermodels.SufficientStatistics`.
    """

    count: Indices
    weight: Floats
    mean: Floats
    rest: Floats
    scatter: Floats

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.count.sum())

    @property
    def total(self) -> tuple[Floats, Floats]:
        """Weighted mean of all rows and their cross-products around it; (q + 1,), (q + 1, q + 1).

        The mean is seen from the first group's ``mean``.
        """
        deviations = self.away(self.mean[0])
        centre = self.weight / self.weight.sum() @ deviations
        deviations = deviations - centre
        return centre, self.scatter + (self.weight[:, None] * deviations).T @ deviations

    def away(self, point: Floats) -> Floats:
        """Means of the groups as seen from a point among them; (g, q + 1)."""
        return (self.mean - point) + self.rest

    @property
    def outcome_sd(self) -> float:
        """Sd of the outcome over all rows, which only rows of equal weight leave behind."""
        self._require_equal_weights("the sd of the outcome")
        return float(np.sqrt(self.total[1][-1, -1] / max(self.n_rows - 1, 1)))

    @property
    def mean_covariates(self) -> Floats:
        """Means of the covariates over the rows, if these have equal weights; (q,)."""
        if not self.design.names:
            return np.empty(0)
        self._require_equal_weights("the mean of the covariates")
        return (self.mean[0] + self.total[0])[:-1]

    @property
    def covariate_sizes(self) -> Floats:
        """Sds of the covariates over the rows, or their sizes if constant; (q,)."""
        self._require_equal_weights("the sd of the covariates")
        spread = np.sqrt(np.diag(self.total[1])[:-1] / self.n_rows)
        return np.where(spread > 0, spread, np.abs(self.mean[0, :-1]))

    @property
    def covariates(self) -> dict[str, Floats]:
        """Means of each covariate within the groups; (g,) each."""
        return dict(zip(self.design.names, (self.mean + self.rest)[:, :-1].T, strict=True))

    @property
    def varies_within(self) -> Flags:
        """Which columns differ between rows of one group; (q + 1,)."""
        return np.diag(self.scatter) > 0

    def _require_equal_weights(self, what: str) -> None:
        if self.roles.is_weighted:
            why = "the standard errors are known" if self.roles.se else "rows have weights"
            require_rows(self, f"{what} where {why}")


def require_shape(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise DataError if statistics have another shape, or are not finite."""
    if values.shape != shape or not np.isfinite(values).all():
        raise DataError(
            f"statistics: {name}: expected finite numbers of shape {shape}; found shape "
            f"{values.shape} with {int((~np.isfinite(values)).sum())} that are not finite"
        )


def require_distinct(data: GroupMoments, flat: Flags | None = None) -> None:
    """Raise DataError if coefficients, those of some columns (q,), cannot be told apart."""
    names, intercept = data.design.names, data.design.intercept
    middle, product = data.total
    if intercept:
        varies = data.varies_within | (data.mean != data.mean[0]).any(axis=0)
    else:
        middle = data.mean[0] + middle
        product = product + data.weight.sum() * np.outer(middle, middle)
        varies = data.varies_within | data.mean.any(axis=0)
    some = np.ones(len(names), dtype=bool) if flat is None else flat
    check_products(
        list(compress(names, some)),
        varies[:-1][some],
        data.mean[0, :-1][some],
        product[:-1, :-1][np.ix_(some, some)],
        data.n_rows,
        intercept,
    )
