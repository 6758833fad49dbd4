"""A process that the supervisor keeps running. Free of torch."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

SETTLED_SECONDS = 5.0
"""A child that tells us nothing counts as ready after so long."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A command that is to be running. `ready` says whether it came up; `reset` clears what the last run left.

    `inherits` are descriptors that it gets from us under the same numbers.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
        reset: Callable[[], object] = lambda: None,
        inherits: Sequence[int] = (),
    ) -> None:
        self.name, self.command, self.reset, self.environment = name, list(command), reset, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.ready = ready or self._lasted
        self.failures = 0
        self.due = 0.0
        self._inherits = inherits

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Spawn it, in a session of its own so that Ctrl-C reaches it through us alone."""
        self.reset()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            pass_fds=self._inherits,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - there are no threads here
        )

    def _lasted(self) -> bool:
        return time.monotonic() - self.started > SETTLED_SECONDS

    def signal(self, number: int) -> None:
        """Send a signal if it is running."""
        if self.process is not None and self.running:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it, whatever it does, and return when it is gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """In a child, before it runs: get this signal when the thread that starts it is gone, however. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it went before it could be asked
            os._exit(1)
