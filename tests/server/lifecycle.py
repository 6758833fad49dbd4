"""What tests of the server's life have in common: a long request, the events of a stream, the server as a process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from .conftest import MODEL

LONG = {"model": MODEL, "prompt": "a", "max_tokens": 500, "temperature": 0}


def events(text: str) -> list[Any]:
    return [e.removeprefix("data: ") for e in text.split("\n\n") if e]


class Process:
    """`rustinfer-server` as a process of its own."""

    def __init__(self, address: str, *more: str) -> None:
        command = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, "--port", "0", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Ready: http://127.0.0.1:")
        return line.split()[1]
