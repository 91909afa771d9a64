"""How the terms of a formula become columns of numbers: levels, constants, codes and names.

Columns are coded as if an intercept stood before them, though it is not among them: the model has
its own.  A categorical covariate has a column of 0 and 1 for each level but the first, its
reference; where a main effect is left out, its interactions have the columns that it would have
had.  Without an intercept, the first categorical covariate has a column for each of its levels.
``center(x)`` and ``scale(x)`` take their constants from the rows that the design is built from, and
keep them for all others.  formulaic does the coding.  It is given columns called x0, x1, … and
levels called 0, 1, …, so that nothing that a user wrote ever reaches its evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST, listed, plural, rows_named
from hiermodels.core.options import mapping, names
from hiermodels.core.scalars import as_float
from hiermodels.errors import DataError, SpecError
from hiermodels.model.formula.terms import Factor, factors
from hiermodels.model.formula.tokens import CENTER

type Term = tuple[Factor, ...]
type Part = tuple[str, str | None]
type Constants = Mapping[str, tuple[float, float]]

NUMBERS = ("integer", "floating", "decimal", "mixed-integer-float")
LABELS = ("string", "boolean", "categorical")
_CODED = re.compile(r"x(?P<column>\d+)(\[(T\.)?(?P<level>\d+)\])?")


def constants_of_rows(
    factor: Factor, series: pd.Series[Any], is_declared: bool
) -> tuple[float, float]:
    """What ``center(x)`` or ``scale(x)`` subtracts, and what it divides by."""
    if is_declared or kind_of_values(series) not in NUMBERS:
        refuse_moved(factor, f"{series.tolist()[0]!r} in {rows_named(series.index[:1].tolist())}")
    values = _floats(series)
    middle = float(values[0])
    deviations = values - middle
    mean = float(deviations.mean())
    size = float(np.abs(deviations).max()) or 1.0  # squares of small numbers would be 0
    sd = size * float(np.std(deviations / size, ddof=1)) if len(deviations) > 1 else 0.0
    return constants_of(factor, middle + mean, sd)


def constants_of(factor: Factor, mean: float, sd: float) -> tuple[float, float]:
    """Constants of ``center(x)`` or ``scale(x)``, from the mean and the sd of the rows.

    Raises
    ------
    DataError
        If the sd to divide by is 0.
    """
    if factor.function == CENTER:
        return mean, 1.0
    if sd <= 8 * np.finfo(float).eps * abs(mean):
        raise DataError(
            f"column {factor.column!r} is constant: it is {mean:g} in every row, and its sd is 0, "
            f"by which scale({factor.column}) cannot divide. Leave it out"
        )
    return mean, sd


def refuse_moved(factor: Factor, given: str) -> NoReturn:
    """Raise DataError if the mean is to be subtracted from what is not numbers."""
    raise DataError(
        f"column {factor.column!r}: {factor} needs numbers; found {given}. Write the column by "
        f"itself if it is categorical; of truth values make 0 and 1"
    )


def moved(terms: Sequence[str]) -> dict[str, Factor]:
    """Columns of which the mean is subtracted, each as it is written."""
    parts = distinct_factors([factors(term) for term in terms])
    return {factor.column: factor for factor in parts if factor.is_moved}


def declared_levels(
    declared: Mapping[str, Sequence[str]] | None, columns: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Check levels that a user has declared."""
    known = {}
    for name, given in mapping("levels", declared, "{'sex': ['F', 'M']}").items():
        if name not in columns:
            raise SpecError(f"levels: {name!r} is no covariate; these are {listed(columns)}")
        levels = tuple(map(level_text, names("levels", "level", given)))
        if isinstance(given, str) or len(levels) < 2 or len(set(levels)) < len(levels):
            raise SpecError(f"levels: {name!r} needs two levels or more, each once; found {given}")
        known[name] = levels
    return known


def distinct_factors(terms: Sequence[Term]) -> Iterator[Factor]:
    """Factors of the terms, each once; refuses a column that is written in two ways."""
    written: dict[str, Factor] = {}
    for factor in (factor for term in terms for factor in term):
        other = written.setdefault(factor.column, factor)
        if other != factor:
            raise SpecError(
                f"covariates: column {factor.column!r} is written both as {other} and as {factor}. "
                f"Write it in one way, or make a second column"
            )
    yield from written.values()


def kind_of_values(series: pd.Series[Any]) -> str:
    """Kind of a column's values, among ``NUMBERS``, ``LABELS`` or others."""
    return str(pd.api.types.infer_dtype(series))


def check_column(frame: pd.DataFrame, name: str, remedy: str) -> None:
    """Raise DataError if a column is missing, has gaps, or holds values that are not understood."""
    columns = list(frame.columns)
    if columns.count(name) != 1:
        number = "more than one column" if name in columns else "no column"
        raise DataError(f"covariates: there is {number} {name!r}; the data have {listed(columns)}")
    series = frame[name]
    gaps = np.asarray(series.isna(), dtype=bool)
    if gaps.any():
        raise DataError(
            f"column {name!r}: {gaps.sum()} missing value{plural(gaps.sum())}, in "
            f"{rows_named(frame.index[gaps].tolist())}. {remedy}"
        )
    if kind_of_values(series) in NUMBERS:
        _check_finite(name, frame.index, _floats(series))
    elif kind_of_values(series) not in LABELS:
        kinds = sorted({type(value).__name__ for value in series})
        raise DataError(
            f"column {name!r}: expected numbers, truth values, text or categories; found "
            f"{', '.join(kinds)}. Make them all numbers, or all text"
        )


def _check_finite(name: str, index: pd.Index[Any], values: Floats) -> None:
    bad = ~(np.abs(values) <= LARGEST)
    if bad.any():
        raise DataError(
            f"column {name!r}: expected finite numbers of size up to {LARGEST:g}; found "
            f"{values[bad][0]} in {rows_named(index[bad].tolist())}"
        )


def _floats(series: pd.Series[Any]) -> Floats:
    if series.dtype == object:
        return np.array([as_float(value) for value in series])
    return np.asarray(series.to_numpy(dtype=float))


def levels_of(name: str, series: pd.Series[Any]) -> tuple[str, ...]:
    """Levels that occur, as text: sorted, or in the order of the categories.

    Raises
    ------
    DataError
        If there is one only, or if two are written alike.
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        values = series.cat.remove_unused_categories().cat.categories.tolist()
    else:
        values = sorted(series.unique().tolist())
    levels = tuple(map(level_text, values))
    if len(levels) == 1:
        raise DataError(
            f"column {name!r}: expected two levels or more to compare; found {levels[0]!r} in "
            f"every row. Leave the column out"
        )
    if len(set(levels)) < len(levels):
        raise DataError(
            f"column {name!r}: some levels differ but are written alike, such as 1 and '1'; make "
            f"them all text"
        )
    return levels


def level_text(value: object) -> str:
    """Write a level, a whole number as an integer whatever its type."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def expand(
    frame: pd.DataFrame,
    terms: Sequence[Term],
    levels: Mapping[str, Sequence[str]],
    constants: Constants,
    intercept: bool,
) -> tuple[tuple[str, ...], Floats]:
    """Names and values of the columns that the terms stand for.

    Parameters
    ----------
    frame : DataFrame
        Checked by :func:`check_column`.
    terms : sequence of sequence of Factor
    levels : mapping of str to sequence of str
        Of each categorical column; the first is the reference.
    constants : mapping of str to (float, float)
        What is subtracted from a column, and what the difference is divided by.
    intercept : bool
        Whether the model has one beside these columns.

    Returns
    -------
    names : tuple of str
    matrix : (rows, q)
    """
    if not terms:
        return (), np.empty((len(frame), 0))
    columns = [factor.column for factor in distinct_factors(terms)]
    coded = pd.DataFrame(
        {
            f"x{i}": _level_codes(name, frame[name], levels[name])
            if name in levels
            else _moved_by(constants.get(name), _numbers(name, frame[name]))
            for i, name in enumerate(columns)
        }
    )
    names, _, matrix = multiply_out(coded, terms, levels, intercept)
    for name, values in zip(names, matrix.T, strict=True):
        _check_finite(name, frame.index, values)
    return names, matrix


def multiply_out(
    coded: pd.DataFrame,
    terms: Sequence[Term],
    levels: Mapping[str, Sequence[str]],
    intercept: bool,
) -> tuple[tuple[str, ...], list[tuple[Part, ...]], Floats]:
    """Multiply the factors of each term.

    Parameters
    ----------
    coded : DataFrame
        Columns x0, x1, … of numbers, or of places of levels, in the order of the factors.
    terms, levels, intercept
        As in :func:`expand`.

    Returns
    -------
    names, parts
        Of the columns, as in :func:`hiermodels.data.design.layout`.
    matrix : (rows, q)
    """
    columns = [factor.column for factor in distinct_factors(terms)]
    written = [":".join(f"x{columns.index(f.column)}" for f in term) for term in terms]
    labels, matrix = _model_matrix(coded, written, intercept)
    parts = [_factors_of_label(label, columns, levels) for label in labels]
    return _column_names(parts, terms), parts, matrix


def _model_matrix(
    coded: pd.DataFrame, terms: Sequence[str], intercept: bool
) -> tuple[list[str], Floats]:
    """Let formulaic write out the terms, after an intercept that is then left out, or none."""
    import formulaic  # here, as it takes most of a second

    formula = formulaic.Formula(["1", *terms] if intercept else [*terms, "-1"])
    result = formula.get_model_matrix(coded, context={}, output="numpy", na_action="raise")
    labels = list(result.model_spec.column_names)
    first = int(intercept)
    return labels[first:], np.ascontiguousarray(np.asarray(result)[:, first:])


def _factors_of_label(
    label: str, columns: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> tuple[Part, ...]:
    """Users' names for the factors of one of formulaic's columns: x1[T.2] is M of sex."""
    parts: list[Part] = []
    for factor in label.split(":"):
        match = _CODED.fullmatch(factor)
        assert match
        column, level = columns[int(match["column"])], match["level"]
        parts.append((column, None if level is None else levels[column][int(level)]))
    return tuple(parts)


def _moved_by(constants: tuple[float, float] | None, values: Floats) -> Floats:
    """Numbers less the first constant, divided by the second."""
    return values if constants is None else (values - constants[0]) / constants[1]


def _column_names(parts: Sequence[tuple[Part, ...]], terms: Sequence[Term]) -> tuple[str, ...]:
    """Names of the columns, such as ses:sex[M]; refuses a name that two would have."""
    functions = {f.column: f.function for f in distinct_factors(terms) if f.is_moved}

    def name_of(column: str, level: str | None) -> str:
        if level is not None:
            return f"{column}[{level}]"
        return f"{functions[column]}({column})" if column in functions else column

    names = tuple(":".join(name_of(*part) for part in product) for product in parts)
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"covariates: two columns of the design would both be called {name!r}; rename one "
                f"of the columns that they come from"
            )
    return names


def _numbers(name: str, series: pd.Series[Any]) -> Floats:
    if kind_of_values(series) not in NUMBERS:
        raise DataError(
            f"column {name!r}: expected numbers, as in the data that were fitted; found "
            f"{series.tolist()[0]!r} in {rows_named(series.index[:1].tolist())}"
        )
    return _floats(series)


def _level_codes(name: str, series: pd.Series[Any], levels: Sequence[str]) -> pd.Categorical[Any]:
    """Code each row by the place of its level, and refuse those that have none."""
    own, values = pd.factorize(series)
    known = {level: i for i, level in enumerate(levels)}
    codes = np.array(
        [known.get(level_text(value), -1) for value in values.tolist()], dtype=np.intp
    )[own]
    unknown = codes < 0
    if unknown.any():
        raise DataError(
            f"column {name!r}: found {series[unknown].tolist()[0]!r} in "
            f"{rows_named(series.index[unknown].tolist())}; the data that were fitted "
            f"have the levels {listed(levels)}"
        )
    return pd.Categorical.from_codes(codes, categories=pd.RangeIndex(len(levels)))


def term_columns(terms: Sequence[str]) -> list[str]:
    """Columns of the data that terms are made from, each once."""
    return list(dict.fromkeys(factor.column for term in terms for factor in factors(term)))
