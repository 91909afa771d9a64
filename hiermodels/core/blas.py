"""The same bits whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

from hiermodels.core.threads import Shared


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _limited() -> Iterator[None]:
    """Set the number of threads to one, and put it back, whichever threads do this and that."""
    _take_control()
    limiter = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        _take_control()
        limiter.restore_original_limits()


def _take_control() -> None:
    """Become the thread that sets OpenBLAS's threads: from 3.8 on, threadpoolctl ignores others."""
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


_ONE_THREAD = Shared(_limited)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrix products use one thread; a context or a decorator.

    With several, a sum is split among them and rounded otherwise for each number of threads.
    """
    with _ONE_THREAD.held():
        yield
