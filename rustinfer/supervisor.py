"""`rustinfer serve`: an engine, a server and a spare one as child processes, each started again when it dies.

Free of torch. The socket that clients reach is ours: while servers change, they wait in its queue.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from socket import socket

from . import logs
from .child import SETTLED_SECONDS, Child
from .flags import COMMON, ENGINE, SERVER, WIRE, as_flags, destination
from .protocol.address import private_address, socket_path
from .server.listener import listen
from .settings import variable
from .signals import Signals

log = logging.getLogger("rustinfer.supervisor")
GRACE_SECONDS = 10
"""How long children may take to end beyond the time that requests have for it, before they are killed."""
STARTS = 3
"""How often a child may die before it was ready, one start after the other."""
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a server starts again while another is there, which has better use for the processor just then."""
KEYS_FLAG, KEYS_VARIABLE = "--api-key", variable("api_key")
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
CHILDS = tuple(flag for flag in COMMON if flag[0] != "--config")
"""What both children take from us: the file of flags has been read already."""


def serve(args: argparse.Namespace) -> int:
    """Run engine and server for `args` (a model and the settled flags of both) until SIGTERM or SIGINT.

    Returns 0 when asked to stop, or the exit code of a child that cannot start; that child has said why.
    """
    logs.configure("supervisor", args.log_level, args.log_format)
    listener = listen(args.host, args.port)
    address = private_address()
    try:
        engine = [sys.executable, "-m", "rustinfer.engine.main", args.model, "--endpoint", address, *engine_flags(args)]
        path = socket_path(address)
        first = Child(
            "engine",
            engine,
            environment(args, keys=False),
            ready=path.exists,
            reset=lambda: path.unlink(missing_ok=True),
        )
        door = [f"--listen-fd={listener.fileno()}", f"--turn={path.with_name('turn')}"]
        door += also_named(args)
        server = [sys.executable, "-m", "rustinfer.server.main", "--engine", address, *door, *server_flags(args)]
        servers = [
            Child(name, server, environment(args, keys=True), inherits=[listener.fileno()])
            for name in ("server", "spare server")
        ]
        return Supervisor(first, servers, math.ceil(args.shutdown_timeout) + GRACE_SECONDS, listener).run()
    finally:
        listener.close()
        shutil.rmtree(socket_path(address).parent, ignore_errors=True)


def engine_flags(args: argparse.Namespace) -> list[str]:
    """The engine's part of the flags."""
    return as_flags(args, (*ENGINE, *CHILDS))


def server_flags(args: argparse.Namespace) -> list[str]:
    """The server's part of the flags, without its keys: other users can read a command line."""
    return as_flags(args, (*(pair for pair in SERVER if pair[0] != KEYS_FLAG), *CHILDS))


def also_named(args: argparse.Namespace) -> list[str]:
    """The model answers to the name that it was asked for by, an alias say; where that is a path, nobody is told it."""
    return [] if args.served_model_name or os.sep in args.model else [f"--also-named={args.model}"]


def environment(args: argparse.Namespace, *, keys: bool) -> dict[str, str]:
    """A child's environment: the server's has the keys, the engine's none, and neither reads settings again."""
    names = {variable(destination(flag)) for flag, _ in (*ENGINE, *SERVER, *COMMON, *WIRE)}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, KEYS_VARIABLE: ",".join(args.api_key)} if keys and args.api_key else kept


class Supervisor:
    """Keeps all running. What ends with a UserError's code before it was ever ready ends everything.

    The first of `servers` starts with the engine. The others start when both have settled: they are there for the
    moment in which it dies, and nothing depends on them.
    """

    def __init__(
        self,
        engine: Child,
        servers: Sequence[Child],
        grace_seconds: int = GRACE_SECONDS,
        listener: socket | None = None,
    ) -> None:
        self.engine, self.servers, self._grace_seconds, self._listener = engine, servers, grace_seconds, listener
        # Where somebody watches, SIGHUP says that the terminal is gone.
        self._attended = sys.stderr.isatty()
        self.children = (engine, *servers)
        self.stopping = 0
        self._deadline = math.inf

    def run(self) -> int:
        """Until a signal. Returns the exit code."""
        for spare in self.servers[1:]:
            spare.due = time.monotonic() + SETTLED_SECONDS
        with Signals(HEARD) as signals:
            try:
                for child in (self.engine, self.servers[0]):
                    child.start()
                return self._watch(signals)
            finally:
                for child in self.children:
                    child.kill()

    def _watch(self, signals: Signals) -> int:
        while True:
            for child in self.children:
                if not child.running and child.process is not None and (code := self._ended(child)) is not None:
                    return code
            if not self.stopping:
                self._start_due()
            elif time.monotonic() > self._deadline or not any(child.running for child in self.children):
                return 0
            for number in signals.wait(self._patience()):
                self._take(number)

    def _patience(self) -> float | None:
        """Seconds until something is due that no signal tells of; the end of a child is told."""
        if self.stopping:
            return max(self._deadline - time.monotonic(), 0.0) + 0.01
        due = [child.due for child in self.children if child.process is None]
        return max(min(due) - time.monotonic(), 0.1) if due else None

    def _ended(self, child: Child) -> int | None:
        """Deal with a child's death. Returns the exit code if it is the end of everything."""
        assert child.process is not None
        code, was_ready = child.process.returncode, child.ready()
        child.process = None
        if self.stopping:
            if not any(server.running for server in self.servers):
                self.engine.signal(signal.SIGTERM)
            return None
        needed = child is self.engine or not any(server.running for server in self.servers)
        if code in (2, 3) and not was_ready and needed:
            return code
        child.failures = 1 if was_ready else child.failures + 1
        if child.failures >= STARTS and not was_ready and needed:
            log.error("the %s died %d times before it was ready (%s): giving up", child.name, STARTS, _how(code))
            return 1
        delay = 0.0 if child.failures <= 1 else min(2.0 ** (child.failures - 2), LONGEST_PAUSE)
        delay = delay if needed else max(delay, SHORTEST_PAUSE)
        log.warning(
            "the %s ended (%s); starting it again%s", child.name, _how(code), f" in {delay:.0f} s" if delay else ""
        )
        child.due = time.monotonic() + delay
        return None

    def _start_due(self) -> None:
        for child in self.children:
            if child.process is None and time.monotonic() >= child.due and (child.started or self.engine.ready()):
                child.start()

    def _take(self, number: int) -> None:
        """The first signal lets the server finish, then the engine; the second does not wait; SIGHUP is for keys."""
        if number == signal.SIGCHLD:
            return
        if number == signal.SIGHUP and not self._attended:
            for server in self.servers:
                server.signal(number)
            return
        self.stopping += 1
        self._deadline = time.monotonic() + (self._grace_seconds if self.stopping == 1 else 0)
        if self.stopping == 1:
            self._stop()

    def _stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for child in [server for server in self.servers if server.running] or [self.engine]:
            child.signal(signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
