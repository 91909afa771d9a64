"""Draws of members in chunks, of which each has random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.threads import for_each


def drawn_in_chunks(
    wanted: Indices, n: int, size: int, draws: int, draw: Callable[[int, Indices], Floats]
) -> Floats:
    """Draws of some of n members, the same whichever others are wanted.

    Parameters
    ----------
    wanted : (g,)
    n, size : int
        Members 0 to n − 1 are in chunks of this size.
    draws : int
        Number of draws, M.
    draw : callable
        From the number of a chunk and its members (m,) to their draws (m, M).

    Returns
    -------
    (g, M)
    """
    chunks, chunk_of = np.unique(wanted // size, return_inverse=True)
    drawn = np.empty((len(wanted), draws))

    def draw_chunk(part: int) -> None:
        own = np.arange(chunks[part] * size, min((chunks[part] + 1) * size, n))
        here = np.flatnonzero(chunk_of == part)
        drawn[here] = draw(int(chunks[part]), own)[wanted[here] - own[0]]

    for_each(draw_chunk, range(len(chunks)))
    return drawn
