"""Rows and groups left out of a posterior of crossed groups.

Of a row with the weight ω, the residual r of its posterior mean at a node and this mean's variance
``σ² v`` (given all rows)

    p(y | the rest, Θ, σ) = N(r/(1 − ωv); 0, σ²/(ω(1 − ωv))),

and of another row with the same outcome, given all, ``N(r; 0, σ²(1/ω + v))``.  Groups are taken
from all rows, and added to them once more under a new member of their column; what the rows say is
then summed up anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.errors import SpecError
from hiermodels.exact.block_left_out import sums_over
from hiermodels.exact.blocks.left_out import LeftOut, SigmaAtNodes
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed.posterior import effects_at
from hiermodels.exact.crossed.rows import CrossedRows
from hiermodels.exact.kernels.blocks.root import Root
from hiermodels.exact.left_out import OnLattice, Refit, leave_out_by_quadrature
from hiermodels.posterior.left_out import LogDensities, Units

MAX_NUMBERS = 1 << 20  # of rows at nodes that are held at a time


def leave_out_of_crossed(
    reference: OnLattice, marginal: CrossedMarginal, units: Units, refit: Refit
) -> LogDensities:
    """Log density of each unit given all others."""
    rows = marginal.model.rows
    if len(units) == 1:
        raise SpecError(
            f"loo: leaving out the only group of {marginal.model.columns[units.level]!r} leaves no "
            f"rows to learn from. Leave out rows, unit='row', or groups of another column"
        )
    of: CrossedSingles | CrossedMembers
    if units.level == len(rows.sizes):
        of = CrossedSingles(np.argsort(units.index))
    else:
        of = CrossedMembers(units.level, units.index)
    count = np.bincount(units.index, minlength=len(units))
    log_weight = np.bincount(units.index, np.log(rows.weights), len(units))
    constant = (log_weight - count * LOG_2PI) / 2
    return leave_out_by_quadrature(
        reference, units, partial(sums_over, marginal, of, constant), refit
    )


@dataclass(frozen=True)
class CrossedSingles:
    """Rows, each of which is a unit.

    Attributes
    ----------
    row : (u,)
        Which each is.
    """

    row: Indices

    def left_out(
        self, marginal: CrossedMarginal, values: Values, sigma: SigmaAtNodes, some: Indices
    ) -> Iterator[tuple[slice, Indices, LeftOut]]:
        """Yield nodes, places among ``some`` and densities."""
        rows = marginal.model.rows
        y = rows.y - rows.x @ marginal.shift
        for nodes, effects in effects_at(marginal, values):
            own = sigma.at(nodes)
            law = own.law_at(nodes)
            size = max(1, MAX_NUMBERS // law.mean.shape[1])
            for first in range(0, len(some), size):
                part = np.arange(first, min(first + size, len(some)))
                i = self.row[some[part]]
                row, spread = effects.sums([m[i] for m in rows.members])
                row[..., :-1] += rows.x[i]
                row, spread = (np.repeat(a, law.each, axis=0) for a in (row, spread))
                mean = row[..., -1] + np.einsum("nrc,cn->nr", row[..., :-1], law.mean)
                turned = np.einsum("nrc,cdn->nrd", row[..., :-1], law.covariance)
                v = ((turned * row[..., :-1]).sum(axis=2) + spread).T * rows.weights[i, None]
                square = (y[i, None] - mean.T) ** 2 * rows.weights[i, None]
                one = np.ones((len(part), 1))
                with np.errstate(divide="ignore", invalid="ignore"):
                    kept = 1 - v
                    less = own.log_ratio(np.array([-np.log(kept) / 2, -square / kept]), -one)
                    more = own.log_ratio(np.array([-np.log1p(v) / 2, square / (1 + v)]), one)
                least = kept.reshape(*less.shape, -1).min(axis=-1)
                yield nodes, part, LeftOut(less, more, least)


@dataclass(frozen=True)
class CrossedMembers:
    """Members of a factor, each with all its rows.

    Attributes
    ----------
    factor : int
    index : (N,)
        The unit of each row.
    """

    factor: int
    index: Indices

    def left_out(
        self, marginal: CrossedMarginal, values: Values, sigma: SigmaAtNodes, some: Indices
    ) -> Iterator[tuple[slice, Indices, LeftOut]]:
        """Yield nodes, places among ``some`` and densities."""
        rows, nodes = marginal.model.rows, values.log_theta.shape[1]
        every = sigma.with_prior(marginal, marginal.root(values))
        for place, unit in enumerate(some.tolist()):
            own = self.index == unit
            parts = [
                sigma.with_prior(changed, changed.root(values))
                for changed in (
                    replace(marginal, model=replace(marginal.model, rows=other))
                    for other in (_without(rows, own), _twice(rows, own, self.factor))
                )
            ]
            number = float(np.count_nonzero(own))
            less, more = (
                sigma.log_ratio(_change(part, every), np.array([[count]]))
                for part, count in zip(parts, (-number, number), strict=True)
            )
            kept = _kept(parts[0], every).reshape(1, nodes, -1).min(axis=-1)
            yield slice(0, nodes), np.array([place]), LeftOut(less, more, kept)


def _change(part: Root, every: Root) -> Floats:
    """``log_scale`` and ``square`` less those of all rows; (2, 1, n)."""
    change = [part.log_scale - every.log_scale, part.square - every.square]
    return np.array(change)[:, None]


def _kept(part: Root, every: Root) -> Floats:
    """Least share of the information on a coefficient, given those behind it; (n,)."""
    own, whole = (np.einsum("iin->in", root.triangle)[:-1] ** 2 for root in (part, every))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((own / whole).min(axis=0, initial=1.0))


def _without(rows: CrossedRows, some: Flags) -> CrossedRows:
    members = tuple(own[~some] for own in rows.members)
    return CrossedRows(rows.x[~some], rows.y[~some], members, rows.sizes, rows.weights[~some])


def _twice(rows: CrossedRows, some: Flags, factor: int) -> CrossedRows:
    """With some rows once more, under a new member of a factor."""
    size, sizes = rows.sizes[factor], list(rows.sizes)
    again = [np.concatenate([own, own[some]]) for own in rows.members]
    again[factor][len(rows.y) :] = size
    sizes[factor] += 1
    x, y, w = (np.concatenate([part, part[some]]) for part in (rows.x, rows.y, rows.weights))
    return CrossedRows(x, y, tuple(again), tuple(sizes), w)
