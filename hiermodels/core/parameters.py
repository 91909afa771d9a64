"""Parameters of records, such as a prior's or a family's: numbers, checked where they are given."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

from hiermodels.core.messages import short
from hiermodels.errors import SpecError

type Named = dict[str, Any]


def translated[T: type](translate: Callable[[Named], Named]) -> Callable[[T], T]:
    """Let a record take its parameters by other names, too, such as those of PyMC.

    Parameters
    ----------
    translate : function
        From arguments by names of either kind to arguments by the record's own.
    """

    def decorate(kind: T) -> T:
        own: Callable[..., None] = kind.__init__  # type: ignore[misc]

        @wraps(own)
        def __init__(self: Any, *args: Any, **named: Any) -> None:
            own(self, *args, **translate(named))

        kind.__init__ = __init__  # type: ignore[misc]
        return kind

    return decorate


def called[T: type](**names: str) -> Callable[[T], T]:
    """Let a record take some parameters by another name: ``sigma="sd"`` for what is its sd."""
    return translated(
        lambda named: {names.get(name, name): named[name] for name in _once(named, names)}
    )


def _once(named: Named, names: dict[str, str]) -> Named:
    """The arguments as they are, unless one is given under both of its names."""
    for other, own in names.items():
        if other in named and own in named:
            raise SpecError(f"{own}: also given as {other}; give one of them")
    return named


class Parametric:
    """Base of a frozen dataclass whose fields are numbers."""

    def _require_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not (self._number(name) > 0 and math.isfinite(value)):
                raise SpecError(
                    f"{type(self).__name__}({name}={value!r}): expected a positive, finite number"
                )

    def _require_finite(self, name: str) -> None:
        if not math.isfinite(self._number(name)):
            raise SpecError(
                f"{type(self).__name__}({name}={getattr(self, name)!r}): expected a finite number"
            )

    def _number(self, name: str) -> float:
        """A parameter, which has to be a number; nan if it is none that a float can hold."""
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise SpecError(
                f"{type(self).__name__}: {name}: expected a number; found {short(value)}"
            )
        try:
            return float(value)
        except OverflowError:
            return math.nan

    def __str__(self) -> str:
        values = ", ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({values})"
