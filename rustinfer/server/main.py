"""`rustinfer-server`: HTTP in front of an engine. Prints `Ready: http://HOST:PORT` when both are there."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop
from starlette.applications import Starlette

from rustinfer import flags, logs
from rustinfer.errors import UserError
from rustinfer.flags import COMMON, SERVER, WIRE
from rustinfer.protocol.curve import read_key
from rustinfer.settings import settle
from rustinfer.version import __version__

from . import garbage
from .app import create
from .connection import Connection
from .errors import shutting_down
from .listener import BACKLOG, inherited, listen, make_room
from .options import Options, add_arguments
from .turn import Turn

KEEP_ALIVE_SECONDS = 75
"""How long a connection may stay open between requests: longer than clients keep theirs, so that they close first."""
HAND_OVER_SECONDS = 0.1
"""How long a server that was told to stop keeps its turn: the next one may have been told the same in this moment."""
SWITCH_SECONDS = 0.001
"""How long a thread that understands a request may keep the interpreter from the event loop."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 after a requested end; 2 with one line on stderr for a user's mistake."""
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        arguments = _parser().parse_args(argv)
        settle(arguments, (*SERVER, *WIRE, *COMMON))
        logs.configure("server", arguments.log_level, arguments.log_format)
        options = _options(arguments)
        make_room()
        given = arguments.listen_fd
        listener = listen(options.host, options.port) if given is None else inherited(given)
        return uvloop.run(serve(options, listener, _path(arguments.turn)))
    except UserError as e:
        sys.stderr.write(f"error: {e}\n")
        return e.exit_code


async def serve(options: Options, listener: socket.socket, turn: Path | None = None) -> int:
    """Until a signal. Where there is a `turn`, everything is made ready, but nobody answered before it comes."""
    app = create(options)
    garbage.settle()
    server = _Server(configuration(app, options), Turn(turn))
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


def configuration(app: Starlette, options: Options) -> uvicorn.Config:
    """How uvicorn is to serve: our connections, our log, and nothing that a client's headers could change.

    Raises UserError for a certificate that cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",  # its start and its end are told by our own lines
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(options.shutdown_timeout) + 2,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.private_key,
    )
    try:
        config.load()
    except OSError as e:  # ssl.SSLError is one
        raise UserError(f"the certificate {options.certificate} cannot be used: {e.strerror or e}") from None
    return config


class _Server(uvicorn.Server):
    """uvicorn that takes connections when its turn comes.

    Without its own signal handling, which ends the process by the signal instead of with an exit code.
    """

    def __init__(self, config: uvicorn.Config, turn: Turn) -> None:
        super().__init__(config)
        self.turn = turn
        self.stopped = False
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        await self.turn.wait()
        if self.should_exit:
            return
        loop, config = asyncio.get_running_loop(), self.config
        for each in sockets or ():
            server = await loop.create_server(self._connection, sock=each, ssl=config.ssl, backlog=BACKLOG)
            self.servers.append(server)
        self.listening.set()

    def stop(self) -> None:
        """Take no more connections: the next in turn does."""
        self.stopped = self.should_exit = True
        for each in self.servers:
            each.close()
        self.turn.stop_waiting()
        asyncio.get_running_loop().call_later(HAND_OVER_SECONDS, self.turn.give_up)

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = Connection(self.config, self.server_state, self.lifespan.state)
        return made

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _stop(server: _Server, app: Starlette, drain_seconds: float) -> None:
    """The first signal lets running requests finish within the drain time, the second ends them."""
    link = app.state.link
    if server.stopped:
        link.fail_all(shutting_down())
        server.force_exit = True
        return
    server.stop()
    link.stop_serving()
    asyncio.get_running_loop().call_later(drain_seconds, link.fail_all, shutting_down())


async def _announce(server: _Server, app: Starlette, options: Options, port: int) -> None:
    await app.state.link.ready.wait()
    await server.listening.wait()
    shown = f"[{options.host}]" if ":" in options.host else options.host
    sys.stdout.write(f"Ready: http{'s' if options.certificate else ''}://{shown}:{port}\n")
    sys.stdout.flush()


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        engine=arguments.engine,
        wire_key=read_key(Path(arguments.wire_key_file)) if arguments.wire_key_file else None,
        host=arguments.host,
        port=arguments.port,
        api_keys=tuple(key for key in arguments.api_key if key),
        api_key_file=_path(arguments.api_key_file),
        requests_per_minute=arguments.requests_per_minute,
        tokens_per_minute=arguments.tokens_per_minute,
        share_prefixes=bool(arguments.share_prefixes),
        served_names=tuple(arguments.served_model_name),
        any_model=bool(arguments.any_model),
        metrics_compat=arguments.metrics_compat,
        allow_origins=tuple(arguments.allow_origin),
        allow_hosts=tuple(arguments.allow_host),
        middleware=tuple(arguments.middleware),
        log_requests=bool(arguments.log_requests),
        certificate=_path(arguments.ssl_certfile),
        private_key=_path(arguments.ssl_keyfile),
        max_body=arguments.max_body_mib << 20,
        shutdown_timeout=arguments.shutdown_timeout,
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rustinfer-server", description=__doc__)
    add = parser.add_argument
    add("--engine", required=True, metavar="ADDRESS", help="where the engine listens: ipc:///PATH or tcp://HOST:PORT")
    add("--listen-fd", type=int, metavar="N", help="serve on this inherited listening socket, not on a new one")
    add("--turn", metavar="FILE", help="stand by until no other server holds this file's lock")
    add("--served-model-name", action="append", default=[], metavar="NAME", help="serve the model under this name")
    add("--version", action="version", version=f"rustinfer {__version__}")
    add_arguments(parser)
    flags.add_arguments(parser, "both", (*WIRE, *COMMON))
    return parser


if __name__ == "__main__":
    sys.exit(main())
