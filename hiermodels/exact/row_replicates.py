"""Rows of any family drawn anew from the posterior, and their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedRows, require_rows
from hiermodels.exact.group_statistics import of_levels
from hiermodels.exact.leaf_data import rows_or_totals
from hiermodels.exact.raw_values import columns_of, raw_of_rows
from hiermodels.families.raw import RawValues, sums_by_group
from hiermodels.posterior.record import Posterior, rows_given
from hiermodels.posterior.rows import draw

BLOCK = 1 << 20  # rows times draws that are drawn at a time


@dataclass(frozen=True)
class RowsAnew:
    """Rows that are drawn anew.

    Attributes
    ----------
    posterior : Posterior
    rows : GroupedRows
    """

    purpose: ClassVar[str] = "a check"
    posterior: Posterior
    rows: GroupedRows

    @classmethod
    def of(cls, posterior: Posterior) -> Self:
        """Take the rows of a posterior's data."""
        return cls(posterior, require_rows(posterior.data, cls.purpose))

    def draw(self, effects: Mapping[str, Floats], rng: np.random.Generator) -> Iterator[Floats]:
        """Draw outcomes (n, N) given draws of all levels' effects (n, ...), some at a time."""
        spec, given = self.posterior.spec, draws_of(self.posterior) | dict(effects)
        size = len(next(iter(given.values())))
        step = max(1, BLOCK // self.rows.n_rows)
        for first in range(0, size, step):
            some = {name: values[first : first + step] for name, values in given.items()}
            eta, columns = rows_given(spec, self.rows, some)
            yield draw(spec, self.rows, eta, columns, rng)


@dataclass(frozen=True)
class RowReplicates(RowsAnew):
    """Rows, or totals of rows, that are drawn anew."""

    @classmethod
    def of(cls, posterior: Posterior) -> Self:
        """Take the rows of a posterior's data; of statistics, a row for each group."""
        return cls(posterior, rows_or_totals(posterior.data)[0])

    def raw(self, y: Floats) -> RawValues:
        """Raw values of the innermost groups, of outcomes (..., N)."""
        return raw_of_rows(self.posterior.spec, self.rows, y)

    def statistics(self, y: Floats) -> dict[str, Floats]:
        """Test statistics of outcomes (..., N); (...,) each.

        Of the raw values of the groups; of counts besides their total, and how many groups have
        none of the events or, where that is possible, nothing else; of real numbers the sd within
        groups, in standard errors.
        """
        family, raw = self.posterior.spec.family, self.raw(y)
        statistics = of_levels(self.posterior.data, raw, family.raw_word)
        if family.is_discrete:
            return statistics | self._of_counts(y)
        return statistics | self._within_groups(y, raw)

    def _of_counts(self, y: Floats) -> dict[str, Floats]:
        """Total, and numbers of groups at either end of what their rows allow."""
        rows, (*_, inner) = self.rows, self.posterior.spec.groups
        own = [
            sums_by_group(np.broadcast_to(end, rows.n_rows), rows.group, rows.n_groups)
            for end in self.posterior.spec.family.support(columns_of(rows)[0])
        ]
        low, high = own
        total, is_open = sums_by_group(y, rows.group, rows.n_groups), low < high
        statistics = {f"total {self.posterior.spec.outcome}": y.sum(axis=-1)}
        for name, end in {"zero": low, "full": high}.items():
            if np.isfinite(end[is_open]).any():
                at_end = ((total == end) & is_open).sum(axis=-1).astype(float)
                statistics[f"{name} counts of {inner}"] = at_end
        return statistics

    def _within_groups(self, y: Floats, raw: RawValues) -> dict[str, Floats]:
        """Sd of the rows around their groups' means, in standard errors."""
        rows, (*_, inner) = self.rows, self.posterior.spec.groups
        df = rows.n_rows - rows.n_groups
        if not df:
            return {}
        total, weight = self.posterior.spec.family.raw(y, *columns_of(rows))
        squares = weight * (total / weight - raw.value[..., rows.group]) ** 2
        return {f"sd of rows within {inner}, in se": np.sqrt(squares.sum(axis=-1) / df)}


def draws_of(posterior: Posterior) -> dict[str, Floats]:
    """Draws of all variables that were kept; (n, ...)."""
    draws = posterior.datatree["posterior"].to_dataset()
    size = draws.sizes["chain"] * draws.sizes["draw"]
    return {
        str(name): draws[name].to_numpy().reshape(size, *draws[name].shape[2:])
        for name in draws.data_vars
    }
