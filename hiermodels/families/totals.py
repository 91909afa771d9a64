"""Rows of counts put together: totals that say as much of what the rows have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.family import Family
from hiermodels.families.leaves import Leaves
from hiermodels.families.poisson_leaves import PoissonLeaves


@dataclass(frozen=True)
class Counts:
    """Rows of one family, or totals of rows.

    Attributes
    ----------
    y : (N,)
    columns : mapping of str to (N,)
        Those of the family.
    offset : (N,)
        On the scale of the link.
    log_given : (N,)
        Log probability of what was put together given its total; 0 for a row.
    """

    y: Floats
    columns: Mapping[str, Floats]
    offset: Floats
    log_given: Floats


def totals(
    family: Family, rows: Counts, index: Indices, size: int, repeats: Floats | None = None
) -> Counts:
    """Put rows together whose linear predictors differ by their offsets only.

    Counts add up, and so do the columns that :attr:`Family.additive` names.  With a log link a row
    counts ``e^offset`` times, so that rows with any offsets add up; with another, those that are
    put together must have one offset.

    Parameters
    ----------
    family : Family
    rows : Counts
        N of them; of a family that has no additive columns, one for each total.
    index : (N,)
        In which total each is, from 0 to ``size − 1``; each total has one.
    size : int
    repeats : (N,), optional
        How many times each row is there: once by default.

    Returns
    -------
    Counts
        Of ``size`` totals.
    """
    times = np.ones(len(rows.y)) if repeats is None else repeats
    offset = np.full(size, -np.inf)
    np.maximum.at(offset, index, rows.offset)
    weight = times
    if family.link == "log":
        weight = times * np.exp(rows.offset - offset[index])
    columns = {}
    for name in family.columns:
        columns[name] = np.empty(size)
        columns[name][index] = rows.columns[name]
        if name in family.additive:
            columns[name] = np.bincount(index, weights=weight * rows.columns[name], minlength=size)
    y = np.bincount(index, weights=times * rows.y, minlength=size)
    total = Counts(y, columns, offset, np.zeros(size))
    places = leaves_of(family, total).centre  # there, no large terms cancel
    each = rows.log_given + _log_likelihood(family, rows, places[index])
    given = np.bincount(index, weights=times * each, minlength=size)
    return replace(total, log_given=given - _log_likelihood(family, total, places))


def leaves_of(family: Family, counts: Counts) -> Leaves:
    """What each row or total says of its own predictor less its offset."""
    every = np.arange(len(counts.y))
    leaves = family.leaves(counts.y, counts.columns, counts.offset, every, len(every))
    if isinstance(leaves, (BinomialLeaves, PoissonLeaves)):  # others are of single rows
        return replace(leaves, log_given_sum=leaves.log_given_sum + counts.log_given)
    return leaves


def _log_likelihood(family: Family, counts: Counts, theta: Floats) -> Floats:
    """Log probability of each at θ, what was put together given its total left aside; (N,)."""
    return family.log_likelihood(counts.y, theta + counts.offset, counts.columns)
