"""Independent pieces of work in several threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

MOST_THREADS = 8


def for_each[Part](function: Callable[[Part], None], parts: Sequence[Part]) -> None:
    """Call a function on each part.

    Parts must not depend on one another: then the result is the same, bit for bit, for any
    number of threads.  It pays where NumPy is long in its own loops, without the interpreter's
    lock, as in drawing random numbers.
    """
    threads = min(MOST_THREADS, os.cpu_count() or 1, len(parts))
    if threads < 2:
        for part in parts:
            function(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(function, parts):
            pass
