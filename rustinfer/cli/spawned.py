"""`rustinfer serve` as a child of a benchmark, on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Self

from ..child import die_with_parent
from ..errors import Refused

READY = "Ready: "


class Spawned:
    """Starts at once; `url` once it is ready, `said` its last words by then. Raises Refused where it ends before that.

    It ends with us, whatever ends us. For the main thread only, which alone may say what SIGTERM does.
    """

    def __init__(self, model: str, flags: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "rustinfer.cli", "serve", model, "--port", "0", *flags]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 - it takes no lock of any thread
        )
        self.said: deque[str] = deque(maxlen=5)
        self._before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            self.url = self._wait()
        except BaseException:
            self.__exit__()
            raise

    def _wait(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith(READY):
                # Somebody has to go on reading, or the child blocks on a full pipe.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return line.removeprefix(READY).strip()
        raise Refused(f"the server did not start: {' | '.join(self.said)}")

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
        signal.signal(signal.SIGTERM, self._before)
        self._stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop it, then die of the signal. An exception would have to wait for the load's threads first."""
        signal.signal(number, signal.SIG_DFL)
        self._stop()
        os.kill(os.getpid(), number)

    def _stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
