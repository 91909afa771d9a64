"""Parameters of records, such as a prior's or a family's: numbers, checked where they are given."""

from __future__ import annotations

import math
import numbers
from dataclasses import fields

from hiermodels.core.messages import short
from hiermodels.errors import SpecError


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
