"""Which values of outcomes and columns a family cannot take, and what it expects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats

OUTCOME = "outcome"  # what stands for the outcome among the names of columns
LARGEST_COUNT = 2.0**53  # up to which floating-point numbers hold every whole number


class Invalid(NamedTuple):
    """Rows whose value of a column no family of this kind takes.

    Attributes
    ----------
    column : str
        Name of the column in :attr:`Family.columns`, or ``"outcome"``.
    rows : (N,) of bool
        Which rows; at least one.
    expected : str
        What follows "expected" in a message.
    """

    column: str
    rows: NDArray[np.bool_]
    expected: str


def where_any(*checks: Invalid) -> Iterator[Invalid]:
    """Those of the checks that some row fails."""
    return (check for check in checks if check.rows.any())


def whole(column: str, values: Floats) -> Invalid:
    """Rows without a whole number, at least 0; if all have one, those where it is too large."""
    is_large = (values > LARGEST_COUNT) & np.isfinite(values)
    wrong = ~is_whole(values) & ~is_large
    if wrong.any() or not is_large.any():
        return Invalid(column, wrong, "a whole number, at least 0")
    return Invalid(
        column, is_large, "at most 2^53, since double precision is not exact for larger counts"
    )


def positive(column: str, values: Floats) -> Invalid:
    """Rows without a positive, finite number."""
    return Invalid(column, ~((values > 0) & np.isfinite(values)), "a positive, finite number")


def finite(column: str, values: Floats) -> Invalid:
    """Rows without a finite number."""
    return Invalid(column, ~np.isfinite(values), "a finite number")


def is_whole(values: Floats) -> NDArray[np.bool_]:
    """Whether each is a whole number, at least 0; of nan and infinity it is false."""
    return (values >= 0) & (values <= LARGEST_COUNT) & (values == np.floor(values))
