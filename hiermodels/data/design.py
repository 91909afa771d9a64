"""From the terms of a formula to columns of numbers, and whether they can be told apart.

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
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import compress
from math import prod
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.codec import storable
from hiermodels.core.messages import LARGEST, listed, plural, rows_named
from hiermodels.core.options import mapping, names
from hiermodels.errors import DataError, SpecError
from hiermodels.model.formula.terms import Factor, factors, quote
from hiermodels.model.formula.tokens import CENTER

type Term = tuple[Factor, ...]
type Part = tuple[str, str | None]
type Constants = Mapping[str, tuple[float, float]]

MOST_COLUMNS = 1000
MOST_CONDITION = 1e8  # half the digits of a floating-point number
NEGLIGIBLE = 1e-6  # of the largest coefficient: rounding times MOST_CONDITION is less
NUMBERS = ("integer", "floating", "decimal", "mixed-integer-float")
LABELS = ("string", "boolean", "categorical")
_CODED = re.compile(r"x(?P<column>\d+)(\[(T\.)?(?P<level>\d+)\])?")


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
        for factor in _distinct(terms):
            _check_column(new_frame, factor.column, "Fill them, or leave these rows out")
        names, matrix = _expand(new_frame, terms, self.levels, self.constants, self.intercept)
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
        Whether its columns can be told apart is for :func:`check_rank` to say.

    Raises
    ------
    DataError
        If a column is missing, has gaps, infinite values, values of mixed kinds, a single level,
        or so many levels that it should be a group.
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
    known = declared_levels(declared, [factor.column for factor in _distinct(parsed)])
    levels: dict[str, tuple[str, ...]] = {}
    constants: dict[str, tuple[float, float]] = {}
    for factor in _distinct(parsed):
        name = factor.column
        _check_column(frame, name, "Fill them, or leave these rows out with missing='drop'")
        if factor.is_moved:
            constants[name] = _constants(factor, frame[name], name in known)
        elif name in known:
            levels[name] = known[name]
        elif factor.categorical or _kind(frame[name]) in LABELS:
            levels[name] = levels_of(name, frame[name])
    _check_size(parsed, levels)
    names, matrix = _expand(frame, parsed, levels, constants, intercept)
    return Design(names, matrix, levels, tuple(terms), constants, intercept=intercept)


def _constants(factor: Factor, series: pd.Series[Any], is_declared: bool) -> tuple[float, float]:
    """What ``center(x)`` or ``scale(x)`` subtracts, and what it divides by."""
    if is_declared or _kind(series) not in NUMBERS:
        refuse_moved(factor, f"{series.tolist()[0]!r} in {rows_named(series.index[:1].tolist())}")
    values = _floats(series)
    middle = float(values[0])
    away = values - middle
    mean = float(away.mean())
    size = float(np.abs(away).max()) or 1.0  # squares of small numbers would be 0
    sd = size * float(np.std(away / size, ddof=1)) if len(away) > 1 else 0.0
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
        _refuse_constant(factor.column, f"{mean:g}")
    return mean, sd


def refuse_moved(factor: Factor, found: str) -> NoReturn:
    """Refuse to subtract the mean of what is not numbers."""
    raise DataError(
        f"column {factor.column!r}: {factor} needs numbers; found {found}. Write the column by "
        f"itself if it is categorical; of truth values make 0 and 1"
    )


def moved(terms: Sequence[str]) -> dict[str, Factor]:
    """Columns of which the mean is subtracted, each as it is written."""
    found = _distinct([factors(term) for term in terms])
    return {factor.column: factor for factor in found if factor.is_moved}


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


def check_rank(names: Sequence[str], matrix: Floats, intercept: bool = True) -> None:
    """Refuse columns whose coefficients, under flat priors, cannot be told apart.

    Nor may they be such that they cannot be told from the intercept.

    The condition number of the columns, centred and scaled to length 1, may be up to
    ``MOST_CONDITION``.

    Parameters
    ----------
    names : sequence of q str
    matrix : (N, q)
        Finite numbers, without the intercept.
    intercept : bool
        Whether there is one.

    Raises
    ------
    DataError
        If a column is constant, if one is a linear combination of others and the intercept (all
        of them are named), or if there are more coefficients than rows.
    """
    rows, count = matrix.shape
    if not count:
        return
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    largest = np.maximum(np.abs(low), np.abs(high))
    least = 8 * np.finfo(float).eps * largest
    for i in np.flatnonzero(high - low <= least if intercept else largest == 0):
        _refuse_constant(names[int(i)], f"{high[i]:g}", intercept)
    _require_rows(names, rows, intercept)
    scaled = matrix / largest
    if intercept:
        scaled -= scaled.mean(axis=0)
    scaled /= np.linalg.norm(scaled, axis=0)
    triangle = np.linalg.qr(scaled, mode="r")
    if not _is_sound(triangle):
        _explain_dependence(names, triangle, intercept)


def check_products(
    names: Sequence[str],
    varies: NDArray[np.bool_],
    some: Floats,
    product: Floats,
    rows: int,
    intercept: bool = True,
) -> None:
    """Refuse what :func:`check_rank` refuses, from cross-products.

    These have the square of the columns' condition number, which may be up to ``MOST_CONDITION``:
    of columns that are nearly dependent, cross-products say less than rows.

    Parameters
    ----------
    names : sequence of q str
    varies : (q,)
        Whether a column is not constant; without an intercept, whether it is not 0 in every row.
    some : (q,)
        A value of each column.
    product : (q, q)
        Cross-products of the columns around their means; without an intercept, around 0.
    rows : int
    intercept : bool
        Whether there is one.
    """
    if not names:
        return
    for i in np.flatnonzero(~varies):
        _refuse_constant(names[int(i)], f"{some[i]:g}", intercept)
    _require_rows(names, rows, intercept)
    length = np.sqrt(np.diag(product))
    values, vectors = np.linalg.eigh(product / length / length[:, None])
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    if not _is_sound(root, MOST_CONDITION**0.5):
        _explain_dependence(names, root, intercept, MOST_CONDITION**0.5)


def _require_rows(names: Sequence[str], rows: int, intercept: bool) -> None:
    if len(names) + intercept > rows:
        raise DataError(
            f"covariates: {len(names)} columns{' and an intercept' if intercept else ''} need at "
            f"least {len(names) + intercept} rows; found {rows}. The columns are {listed(names)}. "
            f"Leave some out, or give their coefficients normal priors"
        )


def _refuse_constant(name: str, value: str, intercept: bool = True) -> NoReturn:
    if not intercept:
        raise DataError(
            f"column {name!r} is {value} in every row, which says nothing of its coefficient. "
            f"Leave it out, or give its coefficient a normal prior"
        )
    raise DataError(
        f"column {name!r} is constant: it is {value} in every row, and cannot be told from the "
        f"intercept. Leave it out, or give its coefficient a normal prior"
    )


def _is_sound(columns: Floats, most: float = MOST_CONDITION) -> bool:
    return bool(np.linalg.cond(columns) <= most)


def _explain_dependence(
    names: Sequence[str], triangle: Floats, intercept: bool, most: float = MOST_CONDITION
) -> NoReturn:
    """Name the first column that depends on those before it, and which of them."""
    first = bisect_left(
        range(len(names)), True, key=lambda i: not _is_sound(triangle[:, : i + 1], most)
    )
    weights = np.linalg.lstsq(triangle[:, :first], triangle[:, first])[0]
    others = list(compress(names, np.abs(weights) > NEGLIGIBLE * np.abs(weights).max()))
    also = "the intercept and " if intercept else ""
    raise DataError(
        f"column {names[first]!r} is a linear combination of {also}{listed(others)}, exactly or "
        f"nearly so: their coefficients cannot be told apart. Leave one of these columns out, or "
        f"give their coefficients normal priors"
    )


def _distinct(terms: Sequence[Term]) -> Iterator[Factor]:
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


def _kind(series: pd.Series[Any]) -> str:
    return str(pd.api.types.infer_dtype(series))


def _check_column(frame: pd.DataFrame, name: str, remedy: str) -> None:
    """Refuse a column that is missing, has gaps, or holds values that are not understood."""
    found = list(frame.columns)
    if found.count(name) != 1:
        number = "more than one column" if name in found else "no column"
        raise DataError(f"covariates: there is {number} {name!r}; the data have {listed(found)}")
    series = frame[name]
    gaps = np.asarray(series.isna(), dtype=bool)
    if gaps.any():
        raise DataError(
            f"column {name!r}: {gaps.sum()} missing value{plural(gaps.sum())}, in "
            f"{rows_named(frame.index[gaps].tolist())}. {remedy}"
        )
    if _kind(series) in NUMBERS:
        _check_finite(name, frame.index, _floats(series))
    elif _kind(series) not in LABELS:
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


def is_number(value: object) -> bool:
    """Whether it is a real number; NumPy takes a time span for an integer."""
    kinds = (int, float, Decimal, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, (bool, np.timedelta64))


def as_float(value: Any) -> float:
    """Turn a number into a floating-point one, infinite where it is too large for that."""
    try:
        with np.errstate(over="ignore"):  # of a longdouble
            return float(value)
    except OverflowError:
        return float(np.copysign(np.inf, 1 if value > 0 else -1))


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
        _refuse_constant(name, repr(levels[0]))
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


def _check_size(terms: Sequence[Term], levels: Mapping[str, Sequence[str]]) -> None:
    """Refuse a design that is so wide that a covariate must be a group."""
    counts = {name: len(values) for name, values in levels.items()}
    width = sum(prod(counts.get(f.column, 2) - 1 for f in term) for term in terms)
    if width > MOST_COLUMNS:
        most = max(counts, key=counts.__getitem__, default=None)
        remedy = (
            f"Column {most!r} has {counts[most]} levels: if these are groups, write "
            f"(1 | {quote(most)})"
            if most
            else "Take some out"
        )
        raise DataError(
            f"covariates: {width} columns are more than {MOST_COLUMNS}, the most that are "
            f"supported. {remedy}"
        )


def _expand(
    frame: pd.DataFrame,
    terms: Sequence[Term],
    levels: Mapping[str, Sequence[str]],
    constants: Constants,
    intercept: bool,
) -> tuple[tuple[str, ...], Floats]:
    """Names and values of the columns that the terms stand for."""
    if not terms:
        return (), np.empty((len(frame), 0))
    columns = [factor.column for factor in _distinct(terms)]
    coded = pd.DataFrame(
        {
            f"x{i}": _codes(name, frame[name], levels[name])
            if name in levels
            else _moved_by(constants.get(name), _numbers(name, frame[name]))
            for i, name in enumerate(columns)
        }
    )
    written = [":".join(f"x{columns.index(f.column)}" for f in term) for term in terms]
    labels, matrix = _code(coded, written, intercept)
    names = _names([_parts(label, columns, levels) for label in labels], terms)
    for name, values in zip(names, matrix.T, strict=True):
        _check_finite(name, frame.index, values)
    return names, matrix


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
    columns = [factor.column for factor in _distinct(parsed)]
    size = max(len(levels.get(name, ())) for name in columns) + 1
    example = {
        f"x{i}": pd.Categorical.from_codes(
            np.arange(size) % len(levels[name]), categories=pd.RangeIndex(len(levels[name]))
        )
        if name in levels
        else np.arange(float(size))
        for i, name in enumerate(columns)
    }
    written = [":".join(f"x{columns.index(f.column)}" for f in term) for term in parsed]
    labels, _ = _code(pd.DataFrame(example), written, intercept)
    parts = [_parts(label, columns, levels) for label in labels]
    return _names(parts, parsed), parts


def _code(coded: pd.DataFrame, terms: Sequence[str], intercept: bool) -> tuple[list[str], Floats]:
    """Let formulaic write out the terms, after an intercept that is then left out, or none."""
    import formulaic  # here, as it takes most of a second

    formula = formulaic.Formula(["1", *terms] if intercept else [*terms, "-1"])
    result = formula.get_model_matrix(coded, context={}, output="numpy", na_action="raise")
    labels = list(result.model_spec.column_names)
    first = int(intercept)
    return labels[first:], np.ascontiguousarray(np.asarray(result)[:, first:])


def _parts(
    label: str, columns: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> tuple[Part, ...]:
    """Users' names for the factors of one of formulaic's columns: x1[T.2] is M of sex."""
    found: list[Part] = []
    for factor in label.split(":"):
        match = _CODED.fullmatch(factor)
        assert match
        column, level = columns[int(match["column"])], match["level"]
        found.append((column, None if level is None else levels[column][int(level)]))
    return tuple(found)


def _moved_by(constants: tuple[float, float] | None, values: Floats) -> Floats:
    """Numbers less the first constant, divided by the second."""
    return values if constants is None else (values - constants[0]) / constants[1]


def _names(parts: Sequence[tuple[Part, ...]], terms: Sequence[Term]) -> tuple[str, ...]:
    """Names of the columns, such as ses:sex[M]; refuses a name that two would have."""
    functions = {f.column: f.function for f in _distinct(terms) if f.is_moved}

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
    if _kind(series) not in NUMBERS:
        raise DataError(
            f"column {name!r}: expected numbers, as in the data that were fitted; found "
            f"{series.tolist()[0]!r} in {rows_named(series.index[:1].tolist())}"
        )
    return _floats(series)


def _codes(name: str, series: pd.Series[Any], levels: Sequence[str]) -> pd.Categorical[Any]:
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
