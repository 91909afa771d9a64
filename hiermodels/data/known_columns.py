"""What is known of a frame's columns, in memory or not, where roles are inferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hiermodels.core.arrays import Floats


class Columns(Protocol):
    """What is known of a frame's columns where roles are inferred."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""

    def require(self, name: str) -> None:
        """Raise an error if a name is not that of a column."""

    def is_continuous(self, name: str) -> bool:
        """Whether a column holds floating-point numbers."""

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories."""

    def whole_numbers(self, name: str) -> Floats | None:
        """The values of a column of whole numbers from 0; None if it is another, or not at hand."""

    def check_gaps(self, names: Sequence[str]) -> None:
        """Raise an error if values are missing."""

    def strings(self, name: str) -> list[str]:
        """Return the values of a column, written out."""

    def nameless_labels(self) -> str:
        """What to do where an index without a name holds the labels; empty where it does not."""
