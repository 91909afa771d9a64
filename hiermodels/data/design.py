"""The design of a model: the columns of numbers that the terms of its formula stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from math import prod

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.codec import storable
from hiermodels.core.messages import rows_named
from hiermodels.data.coding import (
    LABELS,
    Constants,
    Part,
    Term,
    check_column,
    constants_of_rows,
    declared_levels,
    distinct_factors,
    expand,
    kind_of_values,
    levels_of,
    multiply_out,
)
from hiermodels.data.collinearity import require_size
from hiermodels.errors import DataError
from hiermodels.model.formula.terms import factors, quote

MAX_COLUMNS = 1000


@storable
@dataclass(frozen=True)
class Design:
    """Columns of the covariates, the intercept not among them.

    Attributes
    ----------
    names : tuple of str
        Names of the columns, such as ``ses``, ``sex[M]`` and ``ses:sex[M]``.
    matrix : (N, q)
        Without rows, (0, q), where the data are statistics.
    levels : mapping of str to tuple of str
        Levels of each categorical column of the data, as text; the first is the reference.
    terms : tuple of str
        The terms that the columns were made from.
    constants : mapping of str to (float, float)
        Of each column of the data written ``center(x)`` or ``scale(x)`` what is subtracted, and
        what the difference is divided by: the mean of the rows, and 1 or their sd.
    empty : tuple of str
        Names of the columns of interactions that were left out, being 0 in every row: their cell
        is empty.
    intercept : bool
        Whether the model has one beside these columns; without it, the mean at the top is 0.
    """

    names: tuple[str, ...]
    matrix: Floats
    levels: Mapping[str, tuple[str, ...]]
    terms: tuple[str, ...]
    constants: Constants = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    intercept: bool = True

    def empty_cells(self, is_zero: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the columns that are 0 in every row are those of an interaction; (q,)."""
        if not is_zero.any():
            return is_zero
        products = dict(zip(*self.layout, strict=True))
        return is_zero & np.array([len(products[name]) > 1 for name in self.names])

    @property
    def layout(self) -> tuple[tuple[str, ...], list[tuple[Part, ...]]]:
        """Names of all columns, empty cells among them, and what each is the product of."""
        return layout(self.terms, self.levels, self.intercept)

    def without(self, left_out: NDArray[np.bool_]) -> Design:
        """The same without some columns (q,), which are of empty cells."""
        return replace(
            self,
            names=tuple(compress(self.names, ~left_out)),
            matrix=self.matrix[:, ~left_out],
            empty=tuple(compress(self.names, left_out)),
        )

    def apply(self, new_frame: pd.DataFrame) -> Floats:
        """Return the same columns for other rows; shape (rows, q).

        Raises
        ------
        DataError
            If a column is missing, has gaps, or holds levels or a kind of values that it had not
            when the design was built; or if a row lies in a cell that was empty then.
        """
        terms = [factors(term) for term in self.terms]
        for factor in distinct_factors(terms):
            check_column(new_frame, factor.column, "Fill them, or leave these rows out")
        names, matrix = expand(new_frame, terms, self.levels, self.constants, self.intercept)
        for name in self.empty:
            inside = matrix[:, names.index(name)] != 0
            if inside.any():
                raise DataError(
                    f"covariates: {rows_named(new_frame.index[inside].tolist())} lie in the cell "
                    f"{name!r}, in which the data that were fitted have no row: nothing is known "
                    f"of its coefficient. Leave these rows out"
                )
        return matrix[:, [name not in self.empty for name in names]]


def build(
    frame: pd.DataFrame,
    terms: Sequence[str],
    declared: Mapping[str, Sequence[str]] | None = None,
    intercept: bool = True,
) -> Design:
    """Make the columns of the covariates.

    Parameters
    ----------
    frame : DataFrame
        Numbers are taken as they are.  Text, truth values, categories, and numbers written
        ``C(column)`` are categorical: their levels are sorted, or in the order of the categories;
        levels that do not occur are left out.  Truth values in a column ``x`` give ``x[True]``.
        Numbers written ``center(column)`` are taken less their mean, and those written
        ``scale(column)`` are divided by their sd as well (with divisor N − 1, as in R).
    terms : sequence of str
        As :func:`hiermodels.model.formula.parse.parse` returns them.
    declared : mapping of str to sequence of str, optional
        Levels of some categorical columns, as text, whether or not they occur; the first is the
        reference.
    intercept : bool
        Whether the model has one beside these columns.

    Returns
    -------
    Design
        Whether its columns can be told apart is for :func:`hiermodels.data.collinearity.check_rank`
        to say.

    Raises
    ------
    DataError
        If a column is missing, has gaps, infinite values, values of mixed kinds, a single level,
        so many levels that it should be a group, or numbers whose squares are too small.
    SpecError
        If a term is not understood.

    Examples
    --------
    >>> import pandas as pd
    >>> from hiermodels.data.design import build
    >>> pupils = pd.DataFrame({"ses": [0.5, -1.0, 2.0], "sex": ["F", "M", "M"]})
    >>> design = build(pupils, ["ses", "sex", "ses:sex"])
    >>> design.names
    ('ses', 'sex[M]', 'ses:sex[M]')
    >>> design.matrix
    array([[ 0.5,  0. ,  0. ],
           [-1. ,  1. , -1. ],
           [ 2. ,  1. ,  2. ]])
    """
    parsed = [factors(term) for term in terms]
    known = declared_levels(declared, [factor.column for factor in distinct_factors(parsed)])
    levels: dict[str, tuple[str, ...]] = {}
    constants: dict[str, tuple[float, float]] = {}
    for factor in distinct_factors(parsed):
        name = factor.column
        check_column(frame, name, "Fill them, or leave these rows out with missing='drop'")
        if factor.is_moved:
            constants[name] = constants_of_rows(factor, frame[name], name in known)
        elif name in known:
            levels[name] = known[name]
        elif factor.categorical or kind_of_values(frame[name]) in LABELS:
            levels[name] = levels_of(name, frame[name])
    _check_size(parsed, levels)
    names, matrix = expand(frame, parsed, levels, constants, intercept)
    require_size(names, np.abs(matrix).max(axis=0, initial=0.0))
    return Design(names, matrix, levels, tuple(terms), constants, intercept=intercept)


def _check_size(terms: Sequence[Term], levels: Mapping[str, Sequence[str]]) -> None:
    """Raise DataError if the design is so wide that a covariate must be a group."""
    counts = {name: len(values) for name, values in levels.items()}
    width = sum(prod(counts.get(f.column, 2) - 1 for f in term) for term in terms)
    if width > MAX_COLUMNS:
        most = max(counts, key=counts.__getitem__, default=None)
        remedy = (
            f"Column {most!r} has {counts[most]} levels: if these are groups, write "
            f"(1 | {quote(most)})"
            if most
            else "Take some out"
        )
        raise DataError(
            f"covariates: {width} columns are more than {MAX_COLUMNS}, the most that are "
            f"supported. {remedy}"
        )


def layout(
    terms: Sequence[str], levels: Mapping[str, Sequence[str]], intercept: bool = True
) -> tuple[tuple[str, ...], list[tuple[Part, ...]]]:
    """Names of the columns of the design, and what each is the product of.

    Parameters
    ----------
    terms : sequence of str
    levels : mapping of str to sequence of str
        Of each categorical column.
    intercept : bool
        Whether the model has one beside these columns.

    Returns
    -------
    names : tuple of str
    parts : list of tuple of (str, str or None)
        A column of the data and None for its values (less their mean where so written), or a
        level and 1 where it has that level.

    Examples
    --------
    >>> from hiermodels.data.design import layout
    >>> layout(["ses", "ses:sex"], {"sex": ("F", "M")})
    (('ses', 'ses:sex[M]'), [(('ses', None),), (('ses', None), ('sex', 'M'))])
    """
    parsed = [factors(term) for term in terms]
    if not parsed:
        return (), []
    _check_size(parsed, levels)
    columns = [factor.column for factor in distinct_factors(parsed)]
    size = max(len(levels.get(name, ())) for name in columns) + 1
    example = {
        f"x{i}": pd.Categorical.from_codes(
            np.arange(size) % len(levels[name]), categories=pd.RangeIndex(len(levels[name]))
        )
        if name in levels
        else np.arange(float(size))
        for i, name in enumerate(columns)
    }
    names, parts, _ = multiply_out(pd.DataFrame(example), parsed, levels, intercept)
    return names, parts
