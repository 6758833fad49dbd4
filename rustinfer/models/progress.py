"""Shows how far a fetch is: a bar on a terminal, one line elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tell = Callable[[int], None]
"""Hears how many bytes of a stage are done; often, and the same number again."""
Progress = Callable[[str, int], Tell]
"""Begins a stage: what is going on, and the bytes in all."""

log = logging.getLogger(__name__)


@contextmanager
def shown(title: str) -> Iterator[Progress]:
    """A progress bar with size and speed on standard error, or a log line for each stage where that is no terminal."""
    from rich import progress
    from rich.console import Console

    def bar(stage: str, total: int) -> Tell:
        task = bars.add_task(f"{title}: {stage}", total=total)
        return lambda done: bars.update(task, completed=min(done, total))

    def line(stage: str, total: int) -> Tell:
        log.info("%s: %s, %.0f MB", title, stage, total / 1e6)
        return lambda done: None

    console = Console(stderr=True)
    if not console.is_terminal:
        yield line
        return
    columns = (progress.DownloadColumn(), progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
    words = progress.TextColumn("{task.description}")
    with progress.Progress(words, progress.BarColumn(), *columns, console=console) as bars:
        yield bar
