"""Posterior masses of the outer effects, line by line, and of inner groups' means.

On the line of one τ and β the mass of the effect of an outer group of a kind is at places of many
nodes.  What else depends on the effect is smooth over several steps of the line's table; so each
mass is shared out among the table's places around it, by the transpose of Lagrange's interpolation.
Few masses, of groups whose rows do not say where they end, are beyond the table.

With covariates the means ``μ + x'β`` of the inner groups have masses of their own, which all lines
of the same τ share out in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.leaves.integral import Masses
from hiermodels.exact.leaves.nested.line_table import LineTable
from hiermodels.exact.leaves.nested.marginal import Line

NEGLIGIBLE = 1e-20  # mass of a place


@dataclass(frozen=True, eq=False)
class LineMasses:
    """Masses of the outer effects of all kinds on a line, under m sets of weights of its nodes.

    Attributes
    ----------
    line : Line
    places : (Z,)
        Those of the line's table, and others beyond it.
    mass : (m, S', Z)
    """

    line: Line
    places: Floats
    mass: Floats

    @classmethod
    def of(cls, line: Line, mean: Floats, kappa: Floats, weights: Floats) -> LineMasses:
        """Gather the masses over nodes (J,) with weights (m, J)."""
        table = line.table
        log_integrals = line.integrals.log_integrals(mean, kappa)
        mass = np.zeros((len(weights), len(table.kinds), len(table.values)))
        far = []
        for part in line.integrals.masses(mean, kappa, weights, log_integrals):
            mass += _gathered(table, part)
            far += list(_beyond(table, part))
        places = np.concatenate([table.places, *(place for place, _ in far)])
        return cls(line, places, np.concatenate([mass, *(own for _, own in far)], axis=2))


@dataclass(frozen=True, eq=False)
class MeanMasses:
    """Masses of the means of the inner groups, of all entries, at one τ.

    Attributes
    ----------
    tau : float
    places : (Z,)
    mass : (m, r, Z)
    row_of : (E,)
        Which of the rows is that of each entry.
    """

    tau: float
    places: Floats
    mass: Floats
    row_of: Indices

    @classmethod
    def of(cls, lines: Sequence[LineMasses]) -> Iterator[MeanMasses]:
        """Yield them, from the lines of one τ."""
        shifted = [line for line in lines if line.line.table.inner]
        for own in lines:
            table = own.line.table
            if table.inner is None:
                yield cls(table.tau, own.places, own.mass, table.kinds.kind)
        if shifted:
            yield _at_table(shifted)
            yield from map(_far, filter(_reaches_far, shifted))


def _at_table(lines: Sequence[LineMasses]) -> MeanMasses:
    """What is within the lines' tables, at places of the inner tables."""
    kinds, tables = lines[0].line.table.kinds, lines[0].line.table.inner
    assert tables is not None
    inner = tables.exact
    total = np.zeros((len(lines[0].mass), len(kinds.leaf), 0))
    for own in lines:
        table = own.line.table
        within = own.mass[:, kinds.kind, : len(table.values)]
        total = inner.share_out(table.places[0] + table.shift, within, total)
    return MeanMasses(inner.tau, inner.places, total, np.arange(len(kinds.leaf)))


def _reaches_far(own: LineMasses) -> bool:
    return len(own.places) > len(own.line.table.values)


def _far(own: LineMasses) -> MeanMasses:
    """What is beyond a line's table, at places that each entry has for itself."""
    table = own.line.table
    kinds, size = table.kinds, len(table.values)
    mass = own.mass[:, kinds.kind, size:]
    entry, place = np.nonzero(mass[0] > NEGLIGIBLE)
    means = np.zeros((*mass.shape[:2], len(entry)))
    means[:, entry, np.arange(len(entry))] = mass[:, entry, place]
    places = own.places[size:][place] + table.shift[entry]
    return MeanMasses(table.tau, places, means, np.arange(len(kinds.leaf)))


def _gathered(table: LineTable, part: Masses) -> Floats:
    """Masses of a part that lie within the table, at its places; (m, S', K)."""
    m, k = len(part.mass), len(table.values)
    gathered = np.zeros((m, len(table.kinds), k))
    if part.theta.ndim == 1:
        at = np.flatnonzero(table.within(part.theta))
        own = part.mass[:, :, at].reshape(-1, len(at))
        shared = table.shares(part.theta[at]).T @ own.T
        gathered[:, part.groups] = shared.T.reshape(m, -1, k)
        return gathered
    inside = table.within(part.theta)
    first, shares = table.between(np.where(inside, part.theta, table.ends[0]))
    cell = part.groups[:, None] * k + first
    for i, share in enumerate(shares):
        for row, own in zip(gathered, part.mass, strict=True):
            total = np.bincount(
                (cell + i).ravel(), np.where(inside, share * own, 0.0).ravel(), row.size
            )
            row += total.reshape(row.shape)
    return gathered


def _beyond(table: LineTable, part: Masses) -> Iterator[tuple[Floats, Floats]]:
    """Places (Z,) of a part beyond the table, and masses of all kinds there (m, S', Z)."""
    outside = ~table.within(part.theta) & (part.mass.max(axis=0) > NEGLIGIBLE)
    if not outside.any():
        return
    rows, columns = np.nonzero(outside)
    if part.theta.ndim == 1:
        columns, at = np.unique(columns, return_inverse=True)
        places, own = part.theta[columns], part.mass[:, rows, columns[at]]
    else:
        places, own = part.theta[rows, columns], part.mass[:, rows, columns]
        at = np.arange(len(places))
    mass = np.zeros((len(part.mass), len(table.kinds), len(places)))
    mass[:, part.groups[rows], at] = own
    yield places, mass
