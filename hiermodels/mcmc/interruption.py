"""Sampling that is interrupted ends as an interruption, never as a shorter fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import xarray as xr


class EndsAll:
    """Sees to it that PyMC samples no further chain after one that was interrupted.

    In one process PyMC takes an interruption for the end of the present chain.  It calls this after
    each draw.

    Parameters
    ----------
    size : int
        Number of draws of a whole chain, those of tuning included.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: dict[int, int] = {}

    def __call__(self, *, draw: Any, **_: Any) -> None:
        """Take note of a draw, or end its chain, too."""
        before = self._drawn.get(draw.chain - 1, 0) if draw.chain else self._size
        if before < self._size:
            raise KeyboardInterrupt
        self._drawn[draw.chain] = draw.draw_idx + 1


@contextmanager
def interruption_told() -> Iterator[None]:
    """Call an interruption by its name where PyMC was still tuning, and looks for draws in vain."""
    try:
        yield
    except ValueError as error:
        if "Not enough samples" not in str(error):
            raise
        raise KeyboardInterrupt("sampling was interrupted while it was tuned") from error


def require_whole(raw: xr.DataTree, draws: int, chains: int) -> None:
    """Pass on an interruption, after which samplers return the draws that they have.

    A fit of fewer draws or chains than were asked for would look like one that is complete.
    """
    sizes = raw["posterior"].sizes
    if (sizes["chain"], sizes["draw"]) != (chains, draws):
        raise KeyboardInterrupt(
            f"sampling was interrupted: {sizes['chain']} chains × {sizes['draw']} draws of "
            f"{chains} × {draws}"
        )
