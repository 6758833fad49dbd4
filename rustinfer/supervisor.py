"""`rustinfer serve`: one engine and one server as child processes, each started again when it dies. Free of torch."""

from __future__ import annotations

import argparse
import ctypes
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from . import logs
from .flags import COMMON, ENGINE, SERVER, as_flags, destination
from .protocol.address import private_address, socket_path
from .settings import variable

log = logging.getLogger("rustinfer.supervisor")
GRACE_SECONDS = 10
"""How long children may take to end beyond the time that requests have for it, before they are killed."""
SETTLED_SECONDS = 5.0
"""A child that tells us nothing counts as ready after so long."""
STARTS = 3
"""How often a child may die before it was ready, one start after the other."""
KEYS_FLAG, KEYS_VARIABLE = "--api-key", variable("api_key")
CHILDS = tuple(flag for flag in COMMON if flag[0] != "--config")
"""What both children take from us: the file of flags has been read already."""


def serve(args: argparse.Namespace) -> int:
    """Run engine and server for `args` (a model and the settled flags of both) until SIGTERM or SIGINT.

    Returns 0 when asked to stop, or the exit code of a child that cannot start; that child has said why.
    """
    logs.configure("supervisor", args.log_level, args.log_format)
    address = private_address()
    try:
        engine = [sys.executable, "-m", "rustinfer.engine.main", args.model, "--endpoint", address, *engine_flags(args)]
        server = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, *server_flags(args)]
        socket = socket_path(address)
        first = Child(
            "engine",
            engine,
            environment(args, keys=False),
            ready=socket.exists,
            reset=lambda: socket.unlink(missing_ok=True),
        )
        second = Child("server", server, environment(args, keys=True))
        return Supervisor(first, second, math.ceil(args.shutdown_timeout) + GRACE_SECONDS).run()
    finally:
        shutil.rmtree(socket_path(address).parent, ignore_errors=True)


def engine_flags(args: argparse.Namespace) -> list[str]:
    """The engine's part of the flags."""
    return as_flags(args, (*ENGINE, *CHILDS))


def server_flags(args: argparse.Namespace) -> list[str]:
    """The server's part of the flags, without its keys: other users can read a command line."""
    return as_flags(args, (*(pair for pair in SERVER if pair[0] != KEYS_FLAG), *CHILDS))


def environment(args: argparse.Namespace, *, keys: bool) -> dict[str, str]:
    """A child's environment: the server's has the keys, the engine's none, and neither reads settings again."""
    names = {variable(destination(flag)) for flag, _ in (*ENGINE, *SERVER, *COMMON)}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, KEYS_VARIABLE: ",".join(args.api_key)} if keys and args.api_key else kept


class Child:
    """A command that is to be running. `ready` says whether it came up; `reset` clears what the last run left."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
        reset: Callable[[], object] = lambda: None,
    ) -> None:
        self.name, self.command, self.reset, self.environment = name, list(command), reset, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.ready = ready or self._lasted
        self.failures = 0
        self.due = 0.0

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
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no threads here
        )

    def _lasted(self) -> bool:
        return time.monotonic() - self.started > SETTLED_SECONDS

    def signal(self, number: int) -> None:
        """Send a signal if it is running."""
        if self.process is not None and self.running:
            self.process.send_signal(number)


class Supervisor:
    """Keeps both running. A child that ends with a UserError's code before it was ever ready ends everything."""

    def __init__(self, engine: Child, server: Child, grace_seconds: int = GRACE_SECONDS) -> None:
        self.engine, self.server, self._grace_seconds = engine, server, grace_seconds
        # Where somebody watches, SIGHUP says that the terminal is gone.
        self._attended = sys.stderr.isatty()
        self.children = (engine, server)
        self.stopping = 0

    def run(self) -> int:
        """Until a signal. Returns the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_alarm)
        try:
            for child in self.children:
                child.start()
            return self._watch()
        finally:
            for child in self.children:
                child.signal(signal.SIGKILL)
                if child.process is not None:
                    child.process.wait()

    def _watch(self) -> int:
        while True:
            for child in self.children:
                if not child.running and child.process is not None and (code := self._ended(child)) is not None:
                    return code
            if self.stopping:
                if not any(child.running for child in self.children):
                    return 0
            else:
                self._start_due()
            self._wait()

    def _wait(self) -> None:
        """Sleep until a child ends or a restart is due; a signal's handler runs meanwhile."""
        due = [child.due for child in self.children if child.process is None]
        if due and not self.stopping:
            time.sleep(min(max(min(due) - time.monotonic(), 0.01), 0.1))
        elif any(child.running for child in self.children):
            # Leaves the status for Popen to collect.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)

    def _ended(self, child: Child) -> int | None:
        """Deal with a child's death. Returns the exit code if it is the end of everything."""
        assert child.process is not None
        code, was_ready = child.process.returncode, child.ready()
        child.process = None
        if self.stopping:
            self.engine.signal(signal.SIGTERM)
            return None
        if code in (2, 3) and not was_ready:
            return code
        child.failures = 1 if was_ready else child.failures + 1
        if child.failures >= STARTS and not was_ready:
            log.error("the %s died %d times before it was ready (%s): giving up", child.name, STARTS, _how(code))
            return 1
        delay = 0.0 if child.failures <= 1 else 2.0 ** (child.failures - 2)
        log.warning(
            "the %s ended (%s); starting it again%s", child.name, _how(code), f" in {delay:.0f} s" if delay else ""
        )
        child.due = time.monotonic() + delay
        return None

    def _start_due(self) -> None:
        for child in self.children:
            if child.process is None and time.monotonic() >= child.due:
                child.start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The first signal lets the server finish, then the engine; the second does not wait; SIGHUP is for keys."""
        if number == signal.SIGHUP and not self._attended:
            self.server.signal(number)
            return
        self.stopping += 1
        if self.stopping > 1:
            self._on_alarm(number, frame)
            return
        signal.alarm(self._grace_seconds)
        (self.server if self.server.running else self.engine).signal(signal.SIGTERM)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        for child in self.children:
            child.signal(signal.SIGKILL)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """In a child, before it runs: be killed when the supervisor is gone, however it went. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
