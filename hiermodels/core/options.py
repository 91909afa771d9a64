"""Options as users give them: numbers and names, or a word on what was found instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.core.scalars import is_number
from hiermodels.core.suggestions import did_you_mean
from hiermodels.errors import SpecError


def real_numbers(name: str, given: Any) -> Floats:
    """Numbers in an array of any shape; infinite ones may be among them.

    Raises
    ------
    SpecError
        If there is something else: text, complex numbers, None or nan.
    """
    try:
        array = np.asarray(given)
        is_real = array.dtype.kind in "iufO" and not any(map(np.iscomplexobj, array.flat))
        numbers = array.astype(float) if is_real else np.full(1, np.nan)
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
    number = real_numbers(name, given)
    if number.ndim:
        raise SpecError(f"{name}: expected one number; found {short(given)}")
    return float(number)


def probabilities(name: str, given: Any) -> Floats:
    """Probabilities strictly between 0 and 1, one or a list of them; (p,).

    Raises
    ------
    SpecError
        If there is none, or another number.
    """
    values = np.atleast_1d(real_numbers(name, given))
    if values.ndim > 1 or not len(values) or not ((values > 0) & (values < 1)).all():
        raise SpecError(
            f"{name}: expected probabilities strictly between 0 and 1; found {short(given)}"
        )
    return values


def require_probability(name: str, given: Any) -> None:
    """Raise SpecError if this is not a number strictly between 0 and 1.

    Raises
    ------
    SpecError
        If it is another, or none.
    """
    if not (is_number(given) and 0 < given < 1):
        raise SpecError(f"{name}: expected a number between 0 and 1; found {short(given)}")


def one_of(
    name: str, given: Any, known: Iterable[str], other_names: Mapping[str, str] | None = None
) -> str:
    """One of several words, of which some may have other names elsewhere: for a suggestion.

    Raises
    ------
    SpecError
        If it is something else.
    """
    words = list(known)
    if not isinstance(given, str) or given not in words:
        raise SpecError(
            f"{name}: expected one of {', '.join(map(repr, words))}; found {short(given)}"
            f"{did_you_mean(given, words, other_names)}"
        )
    return given


def flag(name: str, given: Any) -> bool:
    """True or False.

    Raises
    ------
    SpecError
        If it is something else.
    """
    if not isinstance(given, bool | np.bool_):
        raise SpecError(f"{name}: expected True or False; found {short(given)}")
    return bool(given)


def count(name: str, given: Any, least: int = 1) -> int:
    """An integer of at least ``least``, small enough for an array.

    Raises
    ------
    SpecError
        If it is something else.
    """
    is_integer = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if not (is_integer and least <= given <= np.iinfo(np.int64).max):
        expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise SpecError(f"{name}: expected {expected}; found {short(given)}")
    return int(given)


def mapping(name: str, given: Any, example: str) -> dict[str, Any]:
    """A mapping whose keys are names, as a dict; empty for None.

    Raises
    ------
    SpecError
        If it is something else.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise SpecError(f"{name}: expected a mapping, such as {example}; found {short(given)}")
    return dict(given)


def names(what: str, kind: str, given: Any) -> list[str]:
    """One name, several in a list, tuple or array, or none, as a list.

    Raises
    ------
    SpecError
        If something else was given, such as a set, which has no order.
    """
    listing = [given] if isinstance(given, str) else [] if given is None else given
    listing = listing.tolist() if hasattr(listing, "tolist") else listing  # arrays, an Index
    if not isinstance(listing, (list, tuple)):
        raise SpecError(
            f"{what}: expected the name of a {kind}, or a list of names; found {short(given)}"
        )
    return list(listing)


def variables_among(known: Sequence[str], given: Any, said: str) -> list[str]:
    """Names of the variables that were asked for, which must be known; of all by default.

    Raises
    ------
    SpecError
        If one is not known; it says so, then ``said``, such as "this model has", and those known.
    """
    asked = names("var_names", "variable", given)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise SpecError(f"there is no variable {unknown[0]!r}; {said} {', '.join(known)}")
    return asked or list(known)
