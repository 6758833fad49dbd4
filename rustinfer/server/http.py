"""uvicorn as it serves here."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.applications import Starlette

from rustinfer.errors import UserError

from .connection import Connection
from .listener import BACKLOG
from .options import Options
from .turn import Turn

KEEP_ALIVE_SECONDS = 75
"""How long a connection may stay open between requests: longer than clients keep theirs, so that they close first."""
HAND_OVER_SECONDS = 0.1
"""How long a server that was told to stop keeps its turn: the next one may have been told the same in this moment."""


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
        ssl_certfile=options.ssl_certfile,
        ssl_keyfile=options.ssl_keyfile,
    )
    try:
        config.load()
    except OSError as e:  # ssl.SSLError is one
        raise UserError(f"the certificate {options.ssl_certfile} cannot be used: {e.strerror or e}") from None
    return config


class HttpServer(uvicorn.Server):
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
        connection = partial(Connection, config, self.server_state, self.lifespan.state)
        for each in sockets or ():
            self.servers.append(await loop.create_server(connection, sock=each, ssl=config.ssl, backlog=BACKLOG))
        self.listening.set()

    def stop(self) -> None:
        """Take no more connections: the next in turn does."""
        self.stopped = self.should_exit = True
        for each in self.servers:
            each.close()
        self.turn.stop_waiting()
        asyncio.get_running_loop().call_later(HAND_OVER_SECONDS, self.turn.give_up)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
