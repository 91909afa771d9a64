"""Rows of groups with several effects one by one, and those of single members of a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.nesting import GroupLevel
from hiermodels.data.sampling_covariance import SamplingCovariance
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.exact.block_data import Layout, stratum_of_rows
from hiermodels.exact.correlated_rows import (
    blocks_of_correlated,
    is_turned,
    rows_given_others,
)
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.leave_out import Follow, SingleRows
from hiermodels.exact.kernels.blocks.strata import cells, is_shared
from hiermodels.exact.kernels.blocks.stratified import stratified
from hiermodels.model.spec import Spec


@dataclass(frozen=True)
class BlockRows:
    """Rows as arrays; of statistics of one row each, the groups' own.

    Attributes
    ----------
    z, x, y : (N, p), (N, q), (N,)
        The outcome less ``x'anchor``.
    weight, group : (N,)
    covariance : SamplingCovariance, optional
        Of errors that are correlated, in place of the weights.
    strata : (N,), int and bool, optional
        Each row's stratum in the order of the arrays' residual sds, their number, and whether
        groups have rows of several.
    """

    z: Floats
    x: Floats
    y: Floats
    weight: Floats
    group: Indices
    covariance: SamplingCovariance | None = None
    strata: tuple[Indices, int, bool] | None = None

    @classmethod
    def of(cls, spec: Spec, data: GroupedData, anchor: Floats) -> BlockRows:
        """From the data, with what is taken from β: (q,)."""
        layout, covariance = Layout(spec), None
        if isinstance(data, SufficientStatistics):
            columns, weight = data.mean + data.rest, data.weight
            x, y, group = columns[:, :-1], columns[:, -1], np.arange(data.n_groups)
        else:
            x, y, group = data.design.matrix, data.y, data.group
            rows = require_rows(data, "leaving rows out")
            weight, covariance = rows.precision, rows.covariance
        z, rest = layout.split(x)
        strata = None
        if spec.strata:
            stratum = stratum_of_rows(spec, data)
            strata = stratum, len(spec.strata), is_shared(group, stratum)
        return cls(z, rest, y - rest @ anchor, weight, group, covariance, strata)

    @property
    def weight_given_others(self) -> Floats:
        """Inverse variance of each row given all others and all effects; (N,)."""
        return self.weight if self.covariance is None else self.covariance.given_others

    def single(self, order: Indices) -> SingleRows:
        """Each row by itself, in this order; where errors are correlated, given all others."""
        columns = np.column_stack([self.z, self.x, self.y])
        if self.covariance is None:
            rows = np.sqrt(self.weight)[:, None] * columns
            return self._single(rows, order)
        root = np.sqrt(self.covariance.given_others)[:, None]
        rows = self.covariance.times_inverse(columns) / root
        if not is_turned(self.group, self.covariance):
            return SingleRows(rows[order].T, self.group[order])
        rows[:, : self.z.shape[1]] = 1.0
        follow = rows_given_others(self.z[:, 0], self.group, self.covariance)
        return SingleRows(rows[order].T, order, Follow(follow, self.group))

    def _single(self, rows: Floats, order: Indices) -> SingleRows:
        """Rows in this order, those of strata in the cells of their groups."""
        group, stratum = self.group, None
        if self.strata is not None:
            stratum, _, has_cells = self.strata
            group = cells(group, stratum)[0] if has_cells else group
            stratum = stratum[order]
        return SingleRows(rows[order].T, group[order], stratum=stratum)

    def tree(self, own: Indices, levels: Sequence[GroupLevel]) -> Blocks:
        """Some rows of one member of the first of some levels, with what is below it."""
        present, group = np.unique(self.group[own], return_inverse=True)
        parents: list[Indices] = []
        for level in reversed(levels[1:]):
            present, parent = np.unique(level.parent[present], return_inverse=True)
            parents.insert(0, parent)
        columns = self.z[own], self.x[own], self.y[own]
        if self.covariance is not None:
            covariance = self.covariance.of_rows(own)
            return blocks_of_correlated(columns, group, tuple(parents), covariance)
        if self.strata is None:
            return Blocks.of(columns, group, tuple(parents), self.weight[own])
        stratum, size, has_cells = self.strata
        strata = stratum[own], size, has_cells
        return stratified(columns, group, tuple(parents), self.weight[own], None, strata)


def rows_of_units(index: Indices) -> list[Indices]:
    """Which rows each unit has, of the units (N,) of all rows."""
    return np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
