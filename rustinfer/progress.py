"""A progress bar on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Advance = Callable[[int], None]


def progress(total: int, show: bool = True) -> AbstractContextManager[Advance]:
    """`with progress(10) as advance: advance(3)` draws on standard error if that is a terminal."""
    return _bar(total) if show and sys.stderr.isatty() else nullcontext(_nothing)


def _nothing(number: int) -> None:
    return


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Processed prompts", total=total)
        yield lambda number: bar.advance(task, number)
