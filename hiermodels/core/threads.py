"""Independent pieces of work in several threads, and settings that threads share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock

MAX_THREADS = 8


def for_each[Part](function: Callable[[Part], None], parts: Sequence[Part]) -> None:
    """Call a function on each part.

    Parts must not depend on one another: then the result is the same, bit for bit, for any
    number of threads.  It pays where NumPy is long in its own loops, without the interpreter's
    lock, as in drawing random numbers.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1, len(parts))
    if threads < 2:
        for part in parts:
            function(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(function, parts):
            pass


class Shared:
    """A setting of the whole process, made while any of its threads needs it.

    Threads that each put back what they found would, where they overlap, take the setting from one
    another, and the last would leave it as it found it: made.

    Parameters
    ----------
    setting : callable
        Returns a context that makes the setting and puts back what was before.
    """

    def __init__(self, setting: Callable[[], AbstractContextManager[object]]) -> None:
        self._setting, self._lock = setting, Lock()
        self._users, self._made = 0, ExitStack()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._lock.release,
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the setting made until the end of the block."""
        with self._lock:
            if not self._users:
                self._made.enter_context(self._setting())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._made.close()

    def renew(self) -> None:
        """Make the setting again, if it is made, of what has been loaded since."""
        with self._lock:
            if self._users:
                self._made.enter_context(self._setting())
