"""Put on PYTHONPATH: a process writes down each connection to another machine, import and opened file of interest."""

from __future__ import annotations

import os
import sys
from typing import Any

PLACE = os.environ.get("AUDIT_FILE")


def audit(event: str, args: tuple[Any, ...]) -> None:
    """Called for every audited event of the process; must be quick and may not fail."""
    if event == "socket.connect" and not isinstance(args[1], str | bytes):
        note(f"connect {args[1]}")
    elif event in ("socket.getaddrinfo", "urllib.Request"):
        note(f"{event} {args[0]}")
    elif event == "open" and isinstance(args[0], str) and ("passwd" in args[0] or "evil" in args[0]):
        note(f"open {args[0]}")
    elif event == "import" and "evil" in args[0]:
        note(f"import {args[0]}")


def note(line: str) -> None:
    """Append a line; by descriptor, since opening a file is audited itself."""
    os.write(FILE, line.encode() + b"\n")


if PLACE:
    FILE = os.open(PLACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sys.addaudithook(audit)
