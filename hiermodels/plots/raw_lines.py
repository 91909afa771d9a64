"""Intercepts, slopes and lines of each group: the posterior's, and those of its own rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import xarray as xr

import hiermodels.plots.layout as layout
from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.messages import listed
from hiermodels.core.names import ROOT, SAMPLE_DIMS
from hiermodels.core.options import mapping
from hiermodels.data.coding import term_columns
from hiermodels.data.covariates import Place, locate
from hiermodels.data.grouped import GroupedRows, require_rows
from hiermodels.errors import SpecError
from hiermodels.exact.block_raw import coefficients, raw_coefficients
from hiermodels.exact.raw_values import members_of
from hiermodels.model.formula.terms import factors
from hiermodels.model.level import INTERCEPT
from hiermodels.posterior.record import Posterior, with_groups
from hiermodels.posterior.shown_effects import coefficient_of_members


def middles(posterior: Posterior) -> dict[str, Floats]:
    """A value of each variable: medians of sds, means of others, medians where there are none.

    Means of correlations make a correlation matrix, as medians may not.
    """
    draws = with_groups(posterior).datatree["posterior"].to_dataset()
    sds = {level.sd for level in posterior.spec.levels} | {"sigma"}
    return {
        name: draws[name].median(SAMPLE_DIMS).to_numpy()
        if name in sds
        else layout.centre(posterior, draws[name])[0].to_numpy()
        for name in posterior.spec.variables
        if name in draws
    }


def raw_terms(posterior: Posterior, name: str, place: Place, terms: Sequence[str]) -> xr.DataArray:
    """Effects by least squares of each group's own rows, intercepts at the place; (group, term).

    Parameters
    ----------
    posterior : Posterior
        With its own values, whatever the place is.
    name : str
        Of the effects.
    place : Place
    terms : sequence of str
        Which of the effects.
    """
    spec, data = posterior.spec, posterior.data
    number = spec.level_of(name)
    table = raw_coefficients(spec, data, middles(posterior), number)
    x = np.atleast_2d(place.of(number))
    known = {INTERCEPT: table[:, 0] + (table[:, 1:] * x).sum(axis=1)}
    known |= {term: table[:, 1 + j] for j, term in enumerate(spec.covariates)}
    dim = spec.levels[number].column
    values = np.column_stack([known[term] for term in terms])
    coords = {dim: data.coords[dim], "term": list(terms)}
    return xr.DataArray(values, coords, (dim, "term"), name)


@dataclass(frozen=True, eq=False)
class GroupLines:
    """What the mean outcome of each group of a level is over a column of the data.

    Lines are straight: a column enters a design once, by itself or times others.

    Attributes
    ----------
    posterior : Posterior
    level : int
    column : str
        Along x.
    ends : (2,)
        Smallest and largest value of the column.
    design : (2, 1 + q)
        1 and the covariates at these ends, all others as they are held.
    others : str
        At which values others are held; empty if there are none.
    members : (u,)
        Which groups of the level.
    """

    posterior: Posterior
    level: int
    column: str
    ends: Floats
    design: Floats
    others: str
    members: Indices

    @classmethod
    def of(
        cls, posterior: Posterior, level: str | None, x: str | None, at: Mapping[str, Any] | None
    ) -> Self:
        """Lines of all groups of a level.

        Raises
        ------
        SpecError
            If the rows are not normal, or there is no such level or column.
        """
        spec, data = posterior.spec, require_rows(posterior.data, "plot_lines")
        if spec.is_crossed:
            raise SpecError(
                "plot_lines: expected nested groups, each with a line of its own; that of a "
                "crossed group depends on what it is crossed with. See plot_shrinkage and "
                "plot_caterpillar"
            )
        if not spec.is_normal:
            raise SpecError(
                f"plot_lines: expected normal rows, whose means are lines; found "
                f"{spec.family.describe('…', spec.columns)}"
            )
        number = spec.level_of(spec.effect_of(level))
        column = _column(posterior, number, x)
        held = dict(mapping("at", at, "{'sex': 'F'}"))
        if column in held:
            raise SpecError(f"at: {column!r} runs along x; hold other columns at values")
        values = _values(data, column)
        ends = np.array([values.min(), values.max()])
        places = [locate(data, held | {column: end}) for end in ends.tolist()]
        design = np.array([[1.0, *place.of(ROOT)] for place in places])
        words = places[0].words.partition(", ")[2] if set(_columns(data)) - {column} else ""
        return cls(
            with_groups(posterior),
            number,
            column,
            ends,
            design,
            words,
            np.arange(len(data.levels[number])),
        )

    def of_members(self, members: Indices) -> GroupLines:
        """The same of some groups."""
        return replace(self, members=members)

    @cached_property
    def known(self) -> dict[str, Floats]:
        """A value of each variable: see :func:`middles`."""
        return middles(self.posterior)

    @property
    def word(self) -> str:
        """What these are of the effects: the posterior mean, or the median."""
        name = self.posterior.spec.levels[self.level].effect
        draws = self.posterior.datatree["posterior"].to_dataset()
        return layout.centre(self.posterior, draws[name])[1]

    @property
    def dim(self) -> str:
        """Column of the groups."""
        return self.posterior.spec.levels[self.level].column

    def middle(self) -> xr.DataArray:
        """Posterior means (medians, where there are none) at both ends; (group, vertex)."""
        spec, data = self.posterior.spec, self.posterior.data
        table = coefficients(spec, data, self.known, self.level)
        return self._over_groups(table[self.members] @ self.design.T)

    def raw(self) -> xr.DataArray:
        """By least squares of each group's own rows; (group, vertex)."""
        spec, data = self.posterior.spec, self.posterior.data
        table = raw_coefficients(spec, data, self.known, self.level)
        return self._over_groups(table[self.members] @ self.design.T)

    def population(self) -> Floats:
        """The population's posterior means at both ends; (2,)."""
        known, top = self.known, self.posterior.spec.intercept
        values = [known[top] if top else 0.0, *np.atleast_1d(known["beta"])]
        return self.design @ np.array(values, dtype=float)

    def interval(self, ci_prob: float, points: int) -> tuple[Floats, xr.DataArray, xr.DataArray]:
        """Places along x (v,), and ends of equal-tailed intervals there; (group, vertex) each."""
        spec, data = self.posterior.spec, self.posterior.data
        draws = self.posterior.datatree["posterior"].to_dataset()
        columns = [
            coefficient_of_members(spec, data, draws, self.level, term)
            for term in (INTERCEPT, *spec.covariates)
        ]
        own = [c[..., self.members] if c.shape[-1] > 1 else c for c in columns]
        share = np.linspace(0, 1, points)
        design = self.design[0] + share[:, None] * (self.design[1] - self.design[0])
        lines = sum(c[..., None] * design[:, j] for j, c in enumerate(own))
        by_draw = self._over_groups(lines, SAMPLE_DIMS)
        x = self.ends[0] + share * np.ptp(self.ends)
        low, high = layout.interval(by_draw, ci_prob)
        return x, low, high

    def rows(self) -> tuple[xr.DataArray, xr.DataArray]:
        """The rows of each group: x, and y where others are as they are held; (group, row).

        Outcomes are moved by what the group's posterior means say of other covariates.
        """
        spec, data = self.posterior.spec, require_rows(self.posterior.data, "plot_lines")
        group = members_of(data, data.group, self.level)
        x = _values(data, self.column)
        span = np.ptp(self.ends)
        share = (x - self.ends[0]) / (span if span > 0 else 1.0)
        here = self.design[0] + share[:, None] * (self.design[1] - self.design[0])
        table = coefficients(spec, data, self.known, self.level)[group]
        y = data.y - ((data.design.matrix - here[:, 1:]) * table[:, 1:]).sum(axis=1)
        own = [np.flatnonzero(group == member) for member in self.members]
        padded = np.full((2, len(own), max(map(len, own))), np.nan)
        for i, some in enumerate(own):
            padded[:, i, : len(some)] = x[some], y[some]
        xs, ys = (self._over_groups(values, (), "row") for values in padded)
        return xs, ys

    def _over_groups(
        self, values: Any, dims: tuple[str, ...] = (), along: str = "vertex"
    ) -> xr.DataArray:
        labels = self.posterior.data.coords[self.dim][self.members]
        name = self.posterior.spec.levels[self.level].effect
        return xr.DataArray(values, {self.dim: labels}, (*dims, self.dim, along), name)


def _columns(data: GroupedRows) -> list[str]:
    """Columns of the data that are covariates."""
    return list(term_columns(data.design.terms))


def _alone(data: GroupedRows) -> dict[str, str]:
    """Numeric columns of the data that stand by themselves among the covariates, and their term."""
    single = {term: factors(term) for term in data.design.terms}
    return {
        own[0].column: term
        for term, own in single.items()
        if len(own) == 1 and own[0].column not in data.design.levels
    }


def _column(posterior: Posterior, level: int, x: str | None) -> str:
    """The column along x: the one that is asked for, or the first one whose slopes vary."""
    data = require_rows(posterior.data, "plot_lines")
    alone = _alone(data)
    if x is not None and x in alone:
        return x
    if x is None:
        varying = posterior.spec.levels[level].terms
        first = [column for column, term in alone.items() if term in varying]
        if first:
            return first[0]
    known = f"these are {listed(list(alone))}" if alone else "this model has none"
    if x is None:
        column = posterior.spec.levels[level].column
        slopes = f"say x={next(iter(alone))!r} for parallel lines along it" if alone else known
        raise SpecError(
            f"x: there is no slope that varies at this level, between the groups of {column!r}, "
            f"so that it is not clear what the lines go along; {slopes}. For intercepts alone see "
            f"plot_caterpillar and plot_shrinkage"
        )
    raise SpecError(
        f"x: expected a column of numbers that is a covariate by itself; found {x!r}; {known}"
    )


def _values(data: GroupedRows, column: str) -> Floats:
    """Values of a column of numbers, in its own units; (N,)."""
    term = _alone(data)[column]
    mean, unit = data.design.constants.get(column, (0.0, 1.0))
    return mean + unit * data.design.matrix[:, data.design.names.index(term)]
