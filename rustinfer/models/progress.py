"""Shows how far a fetch is: a bar on a terminal, one line elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
"""Called with what is going on, the bytes done and the bytes in all; often, and with the same numbers again."""

log = logging.getLogger(__name__)


@contextmanager
def shown(title: str) -> Iterator[Progress]:
    """A progress bar with size and speed on standard error, or a log line for each stage where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}", total=total)
            bars.update(bars.tasks[tasks[stage]].id, completed=min(done, total))

        yield show


def _lines(title: str) -> Progress:
    told: set[str] = set()

    def tell(stage: str, done: int, total: int) -> None:
        if stage not in told:
            told.add(stage)
            log.info("%s: %s, %.0f MB", title, stage, total / 1e6)

    return tell
