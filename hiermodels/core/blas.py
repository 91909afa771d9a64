"""The same bits whatever the number of threads.

NumPy and SciPy have each a BLAS of their own.  SciPy's is loaded where it is needed, which may be
after the number of threads was set: see :func:`scipy_linalg`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from hiermodels.core.threads import Shared


def _controller() -> ThreadpoolController:
    return _controller_of("scipy.linalg._flapack" in sys.modules)


@cache
def _controller_of(with_scipy: bool) -> ThreadpoolController:
    """Of the libraries that are loaded: without SciPy's, or with it."""
    del with_scipy
    return ThreadpoolController()


@contextmanager
def _limited() -> Iterator[None]:
    """Set the number of threads to one, and put it back, whichever threads do this and that."""
    controller = _controller()
    _take_control(controller)
    limiter = controller.limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        _take_control(controller)
        limiter.restore_original_limits()


def _take_control(controller: ThreadpoolController) -> None:
    """Become the thread that sets OpenBLAS's threads: from 3.8 on, threadpoolctl ignores others."""
    for library in controller.lib_controllers:
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


@cache
def scipy_linalg() -> Any:
    """``scipy.linalg``, with one thread too where :func:`one_blas_thread` is in force already."""
    from scipy import linalg

    _ONE_THREAD.renew()
    return linalg
