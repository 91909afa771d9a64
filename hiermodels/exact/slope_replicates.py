"""Normal rows drawn anew where slopes vary, and their statistics; effects drawn anew at any level.

Given their groups' effects rows are drawn one by one.  Of the rows of each group, besides their
mean, there are the least squares of the effects that vary between groups, and what these leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.data.strata import strata_of
from hiermodels.exact.block_data import Layout
from hiermodels.exact.block_joint import correlation_matrices, parents_effects
from hiermodels.exact.group_statistics import extremes, of_levels, sd_of
from hiermodels.exact.row_replicates import RowsAnew
from hiermodels.families.raw import RawValues, sums_by_group
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec

RTOL = 1e-9  # singular value of a group's columns that is 0, as a part of the largest


def effects_anew(
    spec: Spec,
    data: GroupedData,
    variables: Mapping[str, Floats],
    top: int,
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Draw the effects of some levels anew, ``θ_u ~ N(θ_parent, T)``, from the outermost down.

    Parameters
    ----------
    variables : mapping of str to array
        Draws: scalars (n,), others (n, ...).
    top : int
        The outermost level that is drawn.

    Returns
    -------
    dict of str to array
        By the names of the levels' effects; (n, u) or (n, u, e).
    """
    known, drawn = dict(variables), {}
    for number in range(top, len(spec.levels)):
        level = spec.levels[number]
        sds = np.asarray(known[level.sd])
        sds = sds if level.has_slopes else sds[:, None]
        root = np.linalg.cholesky(correlation_matrices(level, known))
        noise = rng.standard_normal((len(sds), len(data.levels[number]), len(level.terms)))
        noise = noise @ np.swapaxes(root, -1, -2)
        effects = parents_effects(spec, data, number, known) + sds[:, None] * noise
        drawn[level.effect] = effects if level.has_slopes else effects[..., 0]
        known |= drawn
    return drawn


@dataclass(frozen=True)
class SlopeReplicates(RowsAnew):
    """Rows that are drawn anew, in groups with slopes or of strata."""

    purpose = "a check of slopes"

    def raw(self, y: Floats) -> RawValues:
        """Weighted means of the innermost groups, of outcomes (..., N)."""
        group, size, weight = self.rows.group, self.rows.n_groups, self.rows.precision
        return RawValues(sums_by_group(weight * y, group, size), sums_by_group(weight, group, size))

    def statistics(self, y: Floats) -> dict[str, Floats]:
        """Test statistics of outcomes (..., N); (...,) each.

        Of the groups' means; of their slopes, where their rows determine them; and the sd of the
        rows around lines of their own in each innermost group.
        """
        spec = self.posterior.spec
        statistics = of_levels(self.posterior.data, self.raw(y), spec.family.raw_word)
        for number, level in enumerate(spec.levels):
            if not level.has_slopes:
                continue
            lines = self._lines(number, level.terms)
            slopes, known = lines.coefficients(y)
            for j, term in enumerate(level.terms):
                if term != INTERCEPT:
                    name, own = f"{level.column} {term} slope", slopes[..., known[:, j], j]
                    statistics |= extremes(name, own) | sd_of(name, own)
        return statistics | self._around_lines(y)

    def _around_lines(self, y: Floats) -> dict[str, Floats]:
        """Sd of the rows around the lines of their innermost groups, of all and of each stratum."""
        spec = self.posterior.spec
        lines = self._lines(len(spec.levels) - 1, Layout(spec).terms)
        if not lines.df:
            return {}
        unit = ", in se" if spec.has_known_errors else ""
        where = "around lines of" if spec.has_slopes else "within"
        name = f"sd of rows {where} {spec.groups[-1]}{unit}"
        squares = lines.squares(y)
        found = {name: np.sqrt(squares.sum(axis=-1) / lines.df)}
        for k, label in enumerate(spec.strata):
            own = strata_of(self.rows.columns) == k
            df = lines.df * own.mean()
            found[f"{name}, {label}"] = np.sqrt(squares[..., own].sum(axis=-1) / df)
        return found

    def _lines(self, level: int, terms: tuple[str, ...]) -> Lines:
        """Least squares on some terms in each group of a level."""
        matrix, covariates = self.rows.design.matrix, self.posterior.spec.covariates
        columns = [
            np.ones(len(matrix)) if term == INTERCEPT else matrix[:, covariates.index(term)]
            for term in terms
        ]
        members = self.rows.memberships[level]
        return Lines(np.column_stack(columns), self.rows.precision, members)


@dataclass(frozen=True)
class Lines:
    """Weighted least squares in each of u groups.

    Attributes
    ----------
    z : (N, e)
    weight : (N,)
    group : (N,)
    """

    z: Floats
    weight: Floats
    group: Indices

    @cached_property
    def _groups(self) -> list[tuple[Indices, Floats, Floats, Flags]]:
        """Rows of each group, an orthonormal basis of its columns, solver and what is determined.

        The rows ``√ω y`` have the coefficients ``solver y``; (e, m).
        """
        order, size = np.argsort(self.group, kind="stable"), np.bincount(self.group)
        every = []
        for own in np.split(order, np.cumsum(size)[:-1]):
            z = np.sqrt(self.weight[own, None]) * self.z[own]
            scale = np.linalg.norm(z, axis=0)
            scale = np.where(scale > 0, scale, 1.0)
            left, values, right = np.linalg.svd(z / scale, full_matrices=False)
            some = values > RTOL * max(values.max(initial=0.0), 1e-300)
            axes = right[some]
            solver = (axes.T / values[some]) @ left[:, some].T / scale[:, None]
            determined = np.abs((axes**2).sum(axis=0) - 1) < RTOL
            every.append((own, left[:, some], solver, determined))
        return every

    @property
    def df(self) -> int:
        """Number of rows beyond those that the lines can fit."""
        return len(self.group) - sum(basis.shape[1] for _, basis, _, _ in self._groups)

    def coefficients(self, y: Floats) -> tuple[Floats, Flags]:
        """Coefficients (..., u, e) of outcomes (..., N), and which are determined; (u, e)."""
        scaled = y * np.sqrt(self.weight)
        solved = [scaled[..., own] @ solver.T for own, _, solver, _ in self._groups]
        known = np.array([determined for *_, determined in self._groups])
        return np.stack(solved, axis=-2), known

    def squares(self, y: Floats) -> Floats:
        """Weighted squares of rows around all lines, of outcomes (..., N); (..., N)."""
        scaled = y * np.sqrt(self.weight)
        squares = np.empty_like(scaled)
        for own, basis, _, _ in self._groups:
            rows = scaled[..., own]
            squares[..., own] = (rows - rows @ basis @ basis.T) ** 2
        return squares
