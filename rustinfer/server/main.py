"""`rustinfer-server`: HTTP in front of an engine. Prints `Ready: http://HOST:PORT` when both are there."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

import uvloop
from starlette.applications import Starlette

from rustinfer import flags, heap, logs
from rustinfer.errors import UserError
from rustinfer.flags import COMMON, SERVER, WIRE, whole, word
from rustinfer.settings import settle
from rustinfer.version import __version__

from . import garbage
from .app import create
from .hosts import is_loopback
from .http import HttpServer, configuration
from .listener import inherited, listen, make_room
from .options import Options
from .turn import Turn

log = logging.getLogger(__name__)
SWITCH_SECONDS = 0.001
"""How long a thread that understands a request may keep the interpreter from the event loop."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 after a requested end; 2 with one line on stderr for a user's mistake."""
    sys.setswitchinterval(SWITCH_SECONDS)
    heap.settle()
    try:
        arguments = parser().parse_args(argv)
        settle(arguments, (*SERVER, *WIRE, *COMMON))
        logs.configure("server", arguments.log_level, arguments.log_format)
        options = Options.of(arguments)
        make_room()
        given = arguments.listen_fd
        listener = listen(options.host, options.port) if given is None else inherited(given)
        return uvloop.run(serve(options, listener, arguments.turn))
    except UserError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_code


async def serve(options: Options, listener: socket.socket, turn: str | None = None) -> int:
    """Until a signal. Where there is a `turn`, everything is made ready, but nobody answered before it comes."""
    app = create(options)
    garbage.settle()
    server = HttpServer(configuration(app, options), Turn(turn))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, server, app, options.shutdown_timeout)
    loop.add_signal_handler(signal.SIGHUP, app.state.keys.reload)
    announcing = asyncio.create_task(_announce(server, app, options, listener.getsockname()[1]))
    tidying = asyncio.create_task(garbage.tidy(lambda: app.state.link.busy))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()
        tidying.cancel()
    return 0 if server.stopped else 1


def _stop(server: HttpServer, app: Starlette, drain_seconds: float) -> None:
    """The first signal lets running requests finish within the drain time, the second ends them."""
    link = app.state.link
    if server.stopped:
        link.end()
        server.force_exit = True
        return
    server.stop()
    link.stop_serving()
    asyncio.get_running_loop().call_later(drain_seconds, link.end)


async def _announce(server: HttpServer, app: Starlette, options: Options, port: int) -> None:
    await app.state.link.ready.wait()
    await server.listening.wait()
    shown = f"[{options.host}]" if ":" in options.host else options.host
    sys.stdout.write(f"Ready: http{'s' if options.ssl_certfile else ''}://{shown}:{port}\n")
    sys.stdout.flush()
    if not app.state.keys and not is_loopback(options.host):
        log.warning("there is no API key on %s: anybody who reaches it may use it (--api-key-file)", options.host)


def parser() -> argparse.ArgumentParser:
    """The flags of `rustinfer-server`."""
    made = argparse.ArgumentParser(prog="rustinfer-server", description="HTTP in front of an engine.")
    add = partial(made.add_argument, type=word)
    add("--engine", required=True, metavar="ADDRESS", help="where the engine listens: ipc:///PATH or tcp://HOST:PORT")
    add("--listen-fd", type=whole, metavar="N", help="serve on this inherited listening socket, not on a new one")
    add("--turn", metavar="FILE", help="stand by until no other server holds this file's lock")
    add("--served-model-name", action="append", default=[], metavar="NAME", help="serve the model under this name")
    add("--also-named", metavar="NAME", help="answer to this name too, which is not listed")
    made.add_argument("--version", action="version", version=f"rustinfer {__version__}")
    flags.add_arguments(made, "server", SERVER)
    flags.add_arguments(made, "both", (*WIRE, *COMMON))
    return made


if __name__ == "__main__":
    sys.exit(main())
