"""Options as users give them: numbers and names, or a word on what was found instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.errors import SpecError
from hiermodels.wording import short

type Floats = NDArray[np.float64]


def real_numbers(name: str, given: Any) -> Floats:
    """Numbers in an array of any shape; infinite ones may be among them.

    Raises
    ------
    SpecError
        If there is something else: text, complex numbers, None or nan.
    """
    try:
        found = np.asarray(given)
        is_real = found.dtype.kind in "iufO" and not any(map(np.iscomplexobj, found.flat))
        numbers = found.astype(float) if is_real else np.full(1, np.nan)
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(1, np.nan)
    if np.isnan(numbers).any():
        raise SpecError(f"{name}: expected numbers; found {short(given)}")
    return numbers


def real_number(name: str, given: Any) -> float:
    """One number, which may be infinite.

    Raises
    ------
    SpecError
        If it is something else.
    """
    found = real_numbers(name, given)
    if found.ndim:
        raise SpecError(f"{name}: expected one number; found {short(given)}")
    return float(found)


def probabilities(name: str, given: Any) -> Floats:
    """Probabilities strictly between 0 and 1, one or a list of them; (p,).

    Raises
    ------
    SpecError
        If there is none, or another number.
    """
    found = np.atleast_1d(real_numbers(name, given))
    if found.ndim > 1 or not len(found) or not ((found > 0) & (found < 1)).all():
        raise SpecError(
            f"{name}: expected probabilities strictly between 0 and 1; found {short(given)}"
        )
    return found


def names(what: str, kind: str, given: Any) -> list[str]:
    """One name, several in a list, tuple or array, or none, as a list.

    Raises
    ------
    SpecError
        If something else was given, such as a set, which has no order.
    """
    found = [given] if isinstance(given, str) else [] if given is None else given
    found = found.tolist() if hasattr(found, "tolist") else found  # arrays, an Index
    if not isinstance(found, (list, tuple)):
        raise SpecError(
            f"{what}: expected the name of a {kind}, or a list of names; found {short(given)}"
        )
    return list(found)
