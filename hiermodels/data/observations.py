"""What was observed, and what was given, as variables along one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Observations:
    """What was observed, along one dimension.

    Attributes
    ----------
    dim : str
    observed : mapping of str to (n,)
        What the model explains.
    constant : mapping of str to (n,)
        What it takes as given.
    """

    dim: str
    observed: Mapping[str, NDArray[Any]]
    constant: Mapping[str, NDArray[Any]]
