"""Shares of levels in the total variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class VarianceShares:
    """Posteriors of the shares of levels in the total variance.

    Attributes
    ----------
    rows : mapping of str to sequence of float
        Mean, sd and quantiles of each share, by its name, such as ``share[school]``.
    notes : tuple of str
        What a table says of them.
    are_drawn : bool
        Whether their quantiles have Monte Carlo error.
    """

    rows: Mapping[str, Sequence[float]]
    notes: tuple[str, ...]
    are_drawn: bool = False
