"""One HTTP connection: bounded headers, deadlines for those who dawdle, and errors in the shape of all others."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .errors import ApiError
from .patient import PatientTransport

HEADER_BYTES = 32 << 10
"""Of the request line and all headers together."""
HEADER_COUNT = 100
ABORT = "rustinfer.abort"
"""The ASGI extension by which a stream may drop its connection."""
HEADER_SECONDS = 10.0
MESSAGE_SECONDS = 35.0
"""For a whole request. A body that dawdles is answered by `body.read` before; this one ends what nobody reads."""
ASKED_SECONDS = 1.0
"""For whoever was let in before the server was told to stop, and has not asked anything yet."""
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits of its own. A request that arrives in one piece costs no timer."""

    header_seconds: ClassVar[float] = HEADER_SECONDS
    message_seconds: ClassVar[float] = MESSAGE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_headers, self._in_message = True, False
        self._header_bytes = self._field_bytes = 0
        self._excess = self._last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._patient = PatientTransport(transport, lambda: self._in_message)
        super().connection_made(self._patient)  # type: ignore[arg-type]
        self._expect(self.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        self._unset_keepalive_if_required()  # uvicorn leaves it where the client reset the connection
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server was told to stop: this connection ends with the answer to what was asked by it, or is about to be.

        Closing it unasked would reset it under a request that is on its way.
        """
        self._last = self.cycle is None
        if self._last:
            self._expect(ASKED_SECONDS)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._patient.lingering:
            return
        if self._in_headers:
            self._header_bytes += len(data)
        if self._in_headers or not self._in_message:
            data = _not_upgraded(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._expect(None)
        elif self._in_headers and self._header_bytes > HEADER_BYTES:
            self._refuse(_too_large())
        elif not self._in_message:
            self._expect(None)
        elif self._deadline is None:
            self._expect(self.header_seconds if self._in_headers else self.message_seconds)

    def on_message_begin(self) -> None:
        self._in_headers = self._in_message = True
        self._field_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def _count(self, size: int) -> None:
        self._field_bytes += size
        self._excess = len(self.headers) > HEADER_COUNT or self._field_bytes > HEADER_BYTES
        if self._excess:
            raise _Refused

    def on_headers_complete(self) -> None:
        self._expect(None)
        self._in_headers, self._header_bytes = False, 0
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False
        if self.scope.get("http_version") == "1.0":
            _until_closed(self.cycle)

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses, or our own limits do."""
        self._refuse(
            _too_large() if self._excess else ApiError(400, "This is no valid HTTP request.", code="invalid_http")
        )

    def _refuse(self, error: ApiError) -> None:
        self._expect(None)
        cycle = self.cycle
        reading = cycle is not None and not (cycle.response_started or self.pipeline)
        if reading:  # its body is what is wrong: whoever waits for the rest hears that nothing more comes
            cycle.disconnected = True
            cycle.message_event.set()
        if reading or cycle is None or cycle.response_complete:
            response = error.response()
            response.headers["x-request-id"] = uuid.uuid4().hex
            head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
            body = bytes(response.body)
            self.transport.write(STATUS_LINE[error.status] + head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _expect(self, seconds: float | None) -> None:
        """Close the connection after so long; None: no more."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.close)


def abort(scope: Scope) -> Callable[[], None]:
    """What ends the request's connection at once, whatever the client still has to take."""
    call: Callable[[], None] = scope.get("extensions", {}).get(ABORT, {}).get("call", _nothing)
    return call


def _nothing() -> None:
    """For servers other than ours, which end stalled connections by themselves or not at all."""


def _until_closed(cycle: RequestResponseCycle) -> None:
    """Without the chunks that HTTP/1.0 does not know: a body of no told length ends with its connection."""
    send, cycle.chunked_encoding = cycle.send, False

    async def plain(message: Any) -> None:
        if message["type"] == "http.response.body":
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = plain  # type: ignore[method-assign]


def _not_upgraded(data: bytes) -> bytes:
    """The start of a request that would change to another protocol, without that wish: servers may pass it over.

    Java's client says so by default (h2c), and the parser would end the request where its headers end, body unread.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nX-Upgrade:", head) + end + rest


class _Refused(Exception):
    """Ends the parser, which reports it as an error of its own."""


def _too_large() -> ApiError:
    return ApiError(431, "The request's headers are too many or too large.", code="headers_too_large")
