"""`rustinfer serve` as a child of a benchmark, on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ..errors import Refused

READY = "Ready: "


class Spawned:
    """Starts at once; `url` once it is ready. Raises Refused with its last words where it ends before that."""

    def __init__(self, model: str, flags: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "rustinfer.cli", "serve", model, "--port", "0", *flags]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.url = self._wait()

    def _wait(self) -> str:
        assert self.process.stdout is not None
        said: deque[str] = deque(maxlen=5)
        for line in self.process.stdout:
            said.append(line.strip())
            if line.startswith(READY):
                # Somebody has to go on reading, or the child blocks on a full pipe.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return line.removeprefix(READY).strip()
        raise Refused(f"the server did not start: {' | '.join(said)}")

    def child(self, module: str) -> int:
        """The process id of the child that runs this module."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rsplit(") ", 1)[1].split()[1])
                command = (path / "cmdline").read_bytes().decode().split("\0")
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and module in command:
                return int(path.name)
        raise Refused(f"the server has no child that runs {module}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
