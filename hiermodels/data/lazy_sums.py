"""Sums of the groups of a lazy frame, by queries that keep their digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.core.messages import LARGEST
from hiermodels.data.lazy_columns import LazyColumns, array_of, as_number, collected, gaps_of
from hiermodels.data.roles import Roles
from hiermodels.errors import DataError
from hiermodels.families.normal import WEIGHTS

TOLERANCE = 1e-12  # of the scatter, by rounding, where deviations are not from the groups' means


@dataclass(frozen=True)
class Sums:
    """Sums over each innermost group of deviations d of the columns z from a centre.

    Attributes
    ----------
    keys : narwhals.DataFrame
        Labels of the groups, a column for each level.
    count, weight : (g,)
    filled : (g, q + 1)
        Number of rows in which a column is not missing.
    log_weight : float
        Sum of ``log ω`` over all rows.
    centre : (g, q + 1)
    deviation : (g, q + 1)
        ``Σ ω d``
    product : (q + 1, q + 1)
        ``Σ ω d d'``, over all groups.
    varies : (q + 1,)
        Which columns differ between rows of one group.
    slopes : (r,)
        Columns whose slopes vary between groups.
    own : (g, r, q + 1)
        ``Σ ω d d'`` of these with all columns, of each group.
    flat : (g, q + 1)
        Which columns are known to be the same in all rows of a group.
    """

    keys: nw.DataFrame[Any]
    count: Indices
    weight: Floats
    filled: Floats
    log_weight: float
    centre: Floats
    deviation: Floats
    product: Floats
    varies: Flags
    slopes: Indices
    own: Floats
    flat: Flags

    @property
    def complete(self) -> bool:
        """Whether no row lacks a value or a label, and all values are in range."""
        labels = (self.keys[name] for name in self.keys.columns)
        if any(gaps_of(column, column.dtype).any() for column in labels):
            return False
        if (self.filled != self.count[:, None]).any() or not np.isfinite(self.deviation).all():
            return False
        with np.errstate(all="ignore"):
            largest = np.abs(self.centre).max(axis=0) + np.sqrt(np.diag(self.product))
        return bool((largest <= LARGEST).all())

    @property
    def scatter(self) -> Floats:
        """Cross-products around the groups' means; exactly 0 for a column that does not vary."""
        correction = (self.deviation / self.weight[:, None]).T @ self.deviation
        return np.where(np.outer(self.varies, self.varies), self.product - correction, 0.0)

    @property
    def own_scatter(self) -> Floats:
        """Cross-products of columns with slopes with all, around each group's mean; as ``own``."""
        deviation = self.deviation[:, self.slopes] / self.weight[:, None]
        around = self.own - deviation[:, :, None] * self.deviation[:, None]
        nothing = self.flat[:, self.slopes, None] | self.flat[:, None]
        return np.where(nothing, 0.0, around)

    @property
    def rounding(self) -> float:
        """About the largest relative error of the sums of squares in the scatter.

        A sum of n positive numbers has a relative error of about ``√n ε`` (Higham & Mary, 2019,
        SIAM J. Sci. Comput. 41:A2815); what cancels makes it larger by as much.  Of columns whose
        slopes vary that of each group counts.
        """
        with np.errstate(all="ignore"):
            left = np.diag(self.scatter)[self.varies] / np.diag(self.product)[self.varies]
            own = _squares(self.own_scatter, self.slopes) / _squares(self.own, self.slopes)
        own = own[~self.flat[:, self.slopes]]
        share = min(left.min(initial=1.0), own.min(initial=1.0))
        if not share > 0:
            return float("inf")
        return float(np.finfo(float).eps * np.sqrt(self.count.max()) / share)


def design_rows(
    frame: nw.LazyFrame[Any], columns: LazyColumns, roles: Roles, z: Sequence[nw.Expr]
) -> nw.LazyFrame[Any]:
    """The rows, of labels ``k``, columns ``z`` of the design and outcome, and weight ``w``."""
    weight = {}
    if roles.se is not None:
        power = 1 if roles.se_scale == "variance" else 2
        weight = {"w": 1.0 / as_number(roles.se) ** power}
    elif roles.is_weighted:
        weight = {"w": as_number(roles.columns[WEIGHTS])}
    labels = {
        key: columns.label(name) for key, name in zip(_keys(roles), roles.groups, strict=True)
    }
    return frame.select(**labels, **{f"z{j}": column for j, column in enumerate(z)}, **weight)


def _keys(roles: Roles) -> list[str]:
    return [f"k{i}" for i in range(len(roles.groups))]


def _weighted(roles: Roles, name: str) -> nw.Expr:
    return nw.col("w") * nw.col(name) if roles.is_weighted else nw.col(name)


def with_all_digits(sums: Sums, rows: nw.LazyFrame[Any], roles: Roles) -> Sums:
    """The sums, or those around the groups' means where rounding would show."""
    if sums.rounding <= TOLERANCE:
        return sums
    again = _sums_around_means(rows, roles, len(sums.varies), sums.slopes)
    check_unchanged(int(sums.count.sum()), int(again.count.sum()))
    return again


def check_unchanged(checked: int, added: int) -> None:
    """Raise DataError if these are not the rows that a query before has checked."""
    if added != checked:
        raise DataError(
            f"data: {checked} rows were checked, and then {added} were added up: they changed in "
            f"between, or each query draws others. Store them, and fit what was stored"
        )


def sums_around_point(
    rows: nw.LazyFrame[Any], roles: Roles, point: Sequence[float], slopes: Indices
) -> Sums:
    """Sums of deviations from one point for all groups, in one read of the rows.

    A covariate that is constant in each group has its value for its mean, and no deviations.
    """
    q = len(point) - 1
    deviations = rows.with_columns(**{f"d{j}": nw.col(f"z{j}") - c for j, c in enumerate(point)})
    ends = [
        end
        for j in range(q)
        for end in (nw.col(f"z{j}").min().alias(f"low{j}"), nw.col(f"z{j}").max().alias(f"high{j}"))
    ]
    sums = _added(deviations, roles, q + 1, ends)
    low, high = _stack(sums, "low", q), _stack(sums, "high", q)
    constant = np.append((low == high).all(axis=0), False)
    varies = np.append(~constant[:-1], sums["n"].max() > 1)
    centre = np.where(constant, np.column_stack([low, np.zeros(len(low))]), point)
    flat = np.column_stack([low == high, np.zeros(len(low), dtype=bool)])
    gathered = _gathered(sums, roles, centre, varies, slopes, flat)
    return replace(gathered, deviation=np.where(constant, 0.0, gathered.deviation))


def _sums_around_means(rows: nw.LazyFrame[Any], roles: Roles, size: int, slopes: Indices) -> Sums:
    """Sums of deviations from each group's own mean, in two reads of the rows.

    A column that is constant in a group has that very value for its mean there, so that its
    deviations are exactly 0.
    """
    keys = _keys(roles)
    total = nw.col("w").sum() if roles.is_weighted else nw.len()
    means = rows.with_columns(**{f"wz{j}": _weighted(roles, f"z{j}") for j in range(size)})
    means = means.group_by(*keys).agg(
        total.alias("total"),
        *(nw.col(f"wz{j}").sum().alias(f"s{j}") for j in range(size)),
        *(nw.col(f"z{j}").min().alias(f"low{j}") for j in range(size)),
        *(nw.col(f"z{j}").max().alias(f"high{j}") for j in range(size)),
    )
    means = means.select(
        *keys,
        **{
            f"m{j}": nw.when(nw.col(f"low{j}") == nw.col(f"high{j}"))
            .then(nw.col(f"low{j}"))
            .otherwise(nw.col(f"s{j}") / nw.col("total"))
            for j in range(size)
        },
    )
    joined = rows.join(means, on=keys, how="inner")
    deviations = joined.with_columns(
        **{f"d{j}": nw.col(f"z{j}") - nw.col(f"m{j}") for j in range(size)}
    )
    sums = _added(deviations, roles, size, [nw.col(f"m{j}").min() for j in range(size)])
    flat = np.column_stack([array_of(sums, f"p{j}_{j}") == 0 for j in range(size)])
    varies = ~flat.all(axis=0)
    return _gathered(sums, roles, _stack(sums, "m", size), varies, slopes, flat)


def _added(
    deviations: nw.LazyFrame[Any], roles: Roles, size: int, more: Sequence[nw.Expr]
) -> nw.DataFrame[Any]:
    """Add up deviations ``d``, their products and more over each innermost group."""
    weighted = deviations.with_columns(**{f"e{j}": _weighted(roles, f"d{j}") for j in range(size)})
    products = {f"p{j}_{k}": nw.col(f"e{j}") * nw.col(f"d{k}") for j, k in _pairs(size)}
    names = [*(f"e{j}" for j in range(size)), *products]
    if roles.is_weighted:
        products["l"] = nw.col("w").log()
        names += ["w", "l"]
    filled = [nw.col(f"e{j}").count().alias(f"f{j}") for j in range(size)]
    sums = [nw.len().alias("n"), *filled, *(nw.col(name).sum() for name in names), *more]
    return collected(weighted.with_columns(**products).group_by(*_keys(roles)).agg(*sums))


def _gathered(
    sums: nw.DataFrame[Any],
    roles: Roles,
    centre: Floats,
    varies: Flags,
    slopes: Indices,
    flat: Flags,
) -> Sums:
    """Sums of the groups as arrays."""
    size = len(varies)
    product, own = np.zeros((size, size)), np.zeros((len(flat), len(slopes), size))
    with np.errstate(all="ignore"):  # of values out of range
        for j, k in _pairs(size):
            of_groups = array_of(sums, f"p{j}_{k}")
            product[j, k] = product[k, j] = of_groups.sum()
            own[:, slopes == j, k] = own[:, slopes == k, j] = of_groups[:, None]
    count = array_of(sums, "n").astype(np.intp)
    return Sums(
        keys=sums.select(_keys(roles)),
        count=count,
        weight=array_of(sums, "w") if roles.is_weighted else count.astype(float),
        filled=_stack(sums, "f", size),
        log_weight=float(array_of(sums, "l").sum()) if roles.is_weighted else 0.0,
        centre=centre,
        deviation=_stack(sums, "e", size),
        product=product,
        varies=varies,
        slopes=slopes,
        own=own,
        flat=flat,
    )


def _squares(products: Floats, columns: Indices) -> Floats:
    """Sums of squares of some columns, from their products (g, r, q + 1) with all; (g, r)."""
    return np.einsum("grr->gr", products[:, :, columns])


def _stack(sums: nw.DataFrame[Any], name: str, size: int) -> Floats:
    """Numbered columns side by side; (g, size)."""
    columns = [array_of(sums, f"{name}{j}") for j in range(size)]
    return np.stack(columns, axis=1) if columns else np.empty((len(sums), 0))


def _pairs(q: int) -> list[tuple[int, int]]:
    """Places on and above the diagonal."""
    return [(j, k) for j in range(q) for k in range(j, q)]
