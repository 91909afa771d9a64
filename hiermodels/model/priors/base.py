"""What every prior is."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from hiermodels.core.messages import short
from hiermodels.errors import SpecError

type Scale = Literal["sd", "variance"]


class Prior(ABC):
    """A prior of one parameter."""

    @property
    @abstractmethod
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""

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

    def _require_proper(self) -> None:
        if not self.is_proper:
            raise SpecError(f"{self} is improper: there is nothing to draw from")

    def __str__(self) -> str:
        values = ", ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({values})"


type Priors = Mapping[str, Prior] | str | None
"""Priors by parameter, ``"weak"``, ``"lecture"``, or None for the defaults."""
