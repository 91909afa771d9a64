"""Single values: whether one is a real number, and which floating-point number it is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np


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
