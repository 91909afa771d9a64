"""A bar for those who wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def showing_progress(what: str, total: int, show: bool | None) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a progress bar on; by default it is shown on terminals.

    Parameters
    ----------
    what : str
        What is counted.
    total : int
        How many there are.
    show : bool, optional
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    shown = console.is_terminal if show is None else show
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
