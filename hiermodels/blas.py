"""The same bits whatever the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrix products use one thread; a context or a decorator.

    With several, a sum is split among them and rounded otherwise for each number of threads.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield
