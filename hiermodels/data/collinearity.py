"""Whether the coefficients of columns can be told apart from each other and from the intercept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import compress
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import listed
from hiermodels.errors import DataError

MAX_CONDITION = 1e8  # half the digits of a floating-point number
SMALLEST = 1e-140  # whose square keeps its digits where columns differ by rounding errors
MIN_COEFFICIENT = 1e-6  # of the largest coefficient: rounding times MAX_CONDITION is less


def check_rank(names: Sequence[str], matrix: Floats, intercept: bool = True) -> None:
    """Raise an error if coefficients, under flat priors, cannot be told apart.

    Nor may they be such that they cannot be told from the intercept.

    The condition number of the columns, centred and scaled to length 1, may be up to
    ``MAX_CONDITION``.

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
        refuse_constant(names[int(i)], f"{high[i]:g}", intercept)
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
    """Do as :func:`check_rank`, from cross-products.

    These have the square of the columns' condition number, which may be up to ``MAX_CONDITION``:
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
        refuse_constant(names[int(i)], f"{some[i]:g}", intercept)
    _require_rows(names, rows, intercept)
    length = np.sqrt(np.diag(product))
    values, vectors = np.linalg.eigh(product / length / length[:, None])
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    if not _is_sound(root, MAX_CONDITION**0.5):
        _explain_dependence(names, root, intercept, MAX_CONDITION**0.5)


def _require_rows(names: Sequence[str], rows: int, intercept: bool) -> None:
    if len(names) + intercept > rows:
        raise DataError(
            f"covariates: {len(names)} columns{' and an intercept' if intercept else ''} need at "
            f"least {len(names) + intercept} rows; found {rows}. The columns are {listed(names)}. "
            f"Leave some out, or give their coefficients normal priors"
        )


def refuse_constant(name: str, value: str, intercept: bool = True) -> NoReturn:
    """Raise DataError: a column with a flat prior has one value in every row."""
    if not intercept:
        raise DataError(
            f"column {name!r} is {value} in every row, which says nothing of its coefficient. "
            f"Leave it out, or give its coefficient a normal prior"
        )
    raise DataError(
        f"column {name!r} is constant: it is {value} in every row, and cannot be told from the "
        f"intercept. Leave it out, or give its coefficient a normal prior"
    )


def require_size(names: Sequence[str], largest: Floats) -> None:
    """Raise DataError if numbers are so small that their squares are no floating-point numbers.

    Parameters
    ----------
    names : sequence of q str
    largest : (q,)
        Largest size of a number in each column.

    Raises
    ------
    DataError
        If it is below ``SMALLEST`` and not 0.
    """
    for name, size in zip(names, largest, strict=True):
        if 0 < size < SMALLEST:
            raise DataError(
                f"column {name!r}: numbers are of size up to {size:g}, and their squares too small "
                f"for floating-point numbers; expected {SMALLEST:g} or more. Change the unit"
            )


def _is_sound(columns: Floats, most: float = MAX_CONDITION) -> bool:
    return bool(np.linalg.cond(columns) <= most)


def _explain_dependence(
    names: Sequence[str], triangle: Floats, intercept: bool, most: float = MAX_CONDITION
) -> NoReturn:
    """Name the first column that depends on those before it, and which of them."""
    first = bisect_left(
        range(len(names)), True, key=lambda i: not _is_sound(triangle[:, : i + 1], most)
    )
    weights = np.linalg.lstsq(triangle[:, :first], triangle[:, first])[0]
    others = list(compress(names, np.abs(weights) > MIN_COEFFICIENT * np.abs(weights).max()))
    also = "the intercept and " if intercept else ""
    raise DataError(
        f"column {names[first]!r} is a linear combination of {also}{listed(others)}, exactly or "
        f"nearly so: their coefficients cannot be told apart. Leave one of these columns out, or "
        f"give their coefficients normal priors"
    )
