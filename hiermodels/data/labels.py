"""Labels that are asked for, among those that were fitted: the same, nearly the same, or others.

Labels are compared as they are written.  Numbers and dates are compared by their value, however
they are written: 3.0 is 3, and the text ``"2024-01-01"`` is the first moment of that day.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hiermodels.core.arrays import Indices
from hiermodels.core.messages import short
from hiermodels.core.scalars import is_number

DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
EXACT = 2**53  # up to which floating-point numbers have all whole ones
WHOLE = "whole numbers"
TRUTH = {"True", "False"}

type Value = tuple[str, Hashable]
"""What a label stands for: its kind, and what is the same for all spellings."""


def spelled(known: Iterable[Any], asked: Sequence[Any]) -> list[str | None]:
    """Write each label as the known ones are written, where it is one of them; None for a gap.

    A number or a date that several known labels spell stays as it is.

    Parameters
    ----------
    known : iterable of int or str
    asked : sequence
        Labels of any kind.
    """
    texts = dict.fromkeys(map(str, known))
    written = [None if is_gap(label) else str(label) for label in asked]
    values = {
        text: value_of(label)
        for label, text in zip(asked, written, strict=True)
        if text is not None and text not in texts
    }
    if not any(values.values()):
        return written
    pairs = [(value_of_text(text), text) for text in texts]
    counts = Counter(value for value, _ in pairs)
    by_value = {value: text for value, text in pairs if value and counts[value] == 1}
    other = {text: by_value.get(value, text) for text, value in values.items() if value}
    return [text if text is None else other.get(text, text) for text in written]


def places_of(known: NDArray[Any], asked: Sequence[Any]) -> Indices:
    """Index of each label among those that are known; −1 where it is none of them."""
    kind = (int, np.integer) if known.dtype.kind == "i" else str
    if all(isinstance(label, kind) and not isinstance(label, bool) for label in asked):
        places = pd.Index(known).get_indexer(pd.Index(asked, dtype=pd.Index(known).dtype))
        if (places >= 0).all():
            return places
    index = {str(label): place for place, label in enumerate(known)}
    return np.array([index.get(text or "", -1) for text in spelled(known, asked)], dtype=np.intp)


def nearly(known: Iterable[Any], label: Any) -> str:
    """What to say of a known label that a label is nearly: nothing, if there is none."""
    like = fold(str(label))
    return next((f"; there is {short(one)}" for one in known if fold(str(one)) == like), "")


def value_of(label: Any) -> Value | None:
    """What a number or a date stands for, or text that is a date; None for all else."""
    if isinstance(label, str):
        return _date(label) if DATE.fullmatch(label) else None
    if is_number(label):
        return _number(label)
    if isinstance(label, (datetime.date, np.datetime64)):
        return _date(label)
    return None


def value_of_text(text: str) -> Value | None:
    """What text stands for that may have been a number or a date when it was written."""
    if DATE.fullmatch(text):
        return _date(text)
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            return _number(number)
    return None


def kind_of(known: NDArray[Any]) -> str:
    """What labels are, all of them: whole numbers, dates, truth values, or text."""
    if known.dtype.kind == "i":
        return WHOLE
    texts = set(map(str, known))
    kinds = {value[0] if DATE.fullmatch(text) and (value := _date(text)) else "" for text in texts}
    if len(kinds) == 1 and (kind := kinds.pop()):
        return kind
    return "True or False" if texts <= TRUTH else "text"


def is_of_kind(label: Any, kind: str) -> bool:
    """Whether a label of a new group is of the kind that those of known ones are."""
    if kind == "text":
        return isinstance(label, str)
    value = value_of(label)
    if value is None:
        return False
    if kind == WHOLE:
        return isinstance(value[1], Fraction) and value[1].denominator == 1
    return value[0] == kind


def fold(text: str) -> Hashable:
    """What is the same for labels that a reader might take for one another.

    Capitals, spaces around and between words, characters that are not seen, other ways to write
    the same characters in Unicode, and zeros of numbers do not count.
    """
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFKC", " ".join(text.casefold().split()))
    if NUMBER.fullmatch(text):
        whole, _, part = text.lstrip("+-").partition(".")
        sign = "-" if text.startswith("-") else ""
        return f"{sign}{whole.lstrip('0') or '0'}.{part.rstrip('0')}"
    return (DATE.fullmatch(text.upper()) and _date(text.upper())) or text


def is_gap(label: Any) -> bool:
    """Whether a label is missing: None, or no number."""
    try:
        missing = pd.isna(label)
    except ArithmeticError:  # of a signalling NaN
        return True
    return isinstance(missing, (bool, np.bool_)) and bool(missing)


def _number(number: Any) -> Value | None:
    """A number without rounding; None where it is rounded already, or is not finite."""
    if isinstance(number, (int, np.integer)):
        return ("number", Fraction(int(number)))
    if isinstance(number, Decimal):
        return ("number", Fraction(number)) if number.is_finite() else None
    return ("number", Fraction(float(number))) if abs(number) < EXACT else None


def _date(label: Any) -> Value | None:
    """A moment, however it is written, if it is one."""
    try:
        moment = pd.Timestamp(label)
    except (ValueError, OverflowError, TypeError):
        return None
    if moment.tz is not None:
        return ("dates with a time zone", moment.tz_convert("UTC").isoformat())
    text = moment.isoformat()
    return ("dates", text) if text != "NaT" else None
