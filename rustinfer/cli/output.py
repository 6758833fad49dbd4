"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError

WIDE = 200  # columns of a table that goes to a file or a pipe


def console() -> Any:
    """A rich console on standard output; wide where no terminal says how wide it is."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Tells whoever waits at a terminal why, in a line that is gone afterwards. Says nothing to a file or a pipe."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"Loading {model}", end="\r", file=sys.stderr, flush=True)  # a bar, if one comes, is drawn over it
    try:
        yield
    finally:
        if shown:
            print("\x1b[2K", end="\r", file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table. Cells are shown as they are: brackets in them are no markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Not the table's own title, which is folded to the width of the table.
    if title:
        print(title)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(str(cell)) for cell in row))
    console().print(shown)


def as_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


class Unwritten(UserError):
    """The work is done, and its result could not be kept."""

    exit_code = 1


def write(name: str, text: str) -> None:
    """Write a file whole, or leave it as it was; a device just gets the text. Raises Unwritten."""
    path = Path(name).resolve()
    whole = not path.exists() or path.is_file()
    part = path.with_name(f"{path.name}.part") if whole else path
    try:
        part.write_text(text)
        if whole:
            part.replace(path)
    except OSError as error:
        if whole:
            part.unlink(missing_ok=True)
        raise Unwritten(f"{name} could not be written: {error.strerror}") from None
