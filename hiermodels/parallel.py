"""Work on parts in several threads, with results in order: the same bits for any number."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import batched

MOST_THREADS = 8
AHEAD = 2  # parts for each thread that may be finished before their turn

_here = threading.local()


def in_order[Part, Result](
    function: Callable[[Part], Result], parts: Iterable[Part]
) -> Iterator[Result]:
    """Yield ``function(part)`` for each part, in their order.

    NumPy releases the interpreter's lock in its loops, so that threads help.  Within a part
    nothing is divided further.
    """
    items = list(parts)
    threads = min(MOST_THREADS, os.cpu_count() or 1, len(items))
    if threads < 2 or getattr(_here, "is_worker", False):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, initializer=_mark) as pool:
        for batch in batched(items, AHEAD * threads):
            yield from pool.map(function, batch)


def _mark() -> None:
    _here.is_worker = True
