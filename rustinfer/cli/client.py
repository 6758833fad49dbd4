"""A small client of an OpenAI-dialect server, on the standard library: `chat` and `complete` start at once with it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from ..errors import Refused, UserError

TIMEOUT = 600.0  # seconds without a byte
UNREADABLE = (ValueError, KeyError, TypeError, OSError, HTTPException)
"""What reading an answer may raise that is not what it should be."""


class Client:
    """Talks to the server at `url`, with or without `/v1` at its end. Every failure is a one-line UserError."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._port = parts.port
        except ValueError as error:
            raise UserError(f"--url {url}: write http://HOST:PORT ({error})") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--url {url}: write http://HOST:PORT")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host = parts.hostname
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._key = api_key or first_key() or os.environ.get("OPENAI_API_KEY")
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise UserError("the API key has a character that no header can carry")

    def model(self) -> str:
        """The id of the first model that the server offers."""
        names = self.models()
        if not names:
            raise Refused(f"the server at {self.url} offers no model")
        return names[0]

    def models(self) -> list[str]:
        with closing(self._connect()) as connection:
            response = self._ask(connection, "GET", "/v1/models")
            try:
                return [str(card["id"]) for card in json.loads(response.read())["data"]]
            except UNREADABLE:
                raise Refused(f"the server at {self.url} does not list its models as OpenAI's does") from None

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed request. Closing the iterator hangs up, which ends the request on the server."""
        with closing(self._connect()) as connection:
            response = self._ask(connection, "POST", path, {**body, "stream": True})
            yield from _events(response, self.url)

    def timed(self, path: str, body: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
        """The events of a streamed request, each with the seconds until it was there; told once all of them are.

        Until then a token costs its reader little, who may share processors with the server that is measured.
        """
        start = time.perf_counter()
        with closing(self._connect()) as connection:
            response = self._ask(connection, "POST", path, {**body, "stream": True})
            pieces = list(_pieces(response, self.url))
        times: list[float] = []
        for event in _events(_lines(pieces, times), self.url):
            yield times[-1] - start, event

    def _connect(self) -> HTTPConnection:
        return self._kind(self._host, self._port, timeout=TIMEOUT)

    def _ask(
        self, connection: HTTPConnection, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> HTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._prefix + path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Refused(f"no answer from {self.url} ({reason}): is `rustinfer serve` running there?") from None
        asked = body.get("model") if body else None
        if response.status == 404 and asked and asked not in (names := self.models()):
            raise Refused(f"the server at {self.url} has no model {asked!r}: it has {', '.join(names)}")
        if response.status != 200:
            raise Refused(f"the server at {self.url} refused ({response.status}): {_message(response)}")
        return response


def first_key() -> str:
    """Of the keys that a server would demand, of which each will do."""
    return os.environ.get("RUSTINFER_API_KEY", "").partition(",")[0].strip()


def _message(response: HTTPResponse) -> str:
    """The message of an error in the body, else the status line's words."""
    try:
        return _words(json.loads(response.read())["error"])
    except UNREADABLE:
        return response.reason


def _words(error: object) -> str:
    """What an error says: OpenAI's is a table, others' are a text."""
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _pieces(response: HTTPResponse, url: str) -> Iterator[tuple[float, bytes]]:
    """The answer as it arrives, each piece with its time."""
    try:
        while piece := response.read1():
            yield time.perf_counter(), piece
    except (OSError, HTTPException, ValueError) as error:
        raise _broken(url, error) from None


def _lines(pieces: Iterable[tuple[float, bytes]], times: list[float]) -> Iterator[bytes]:
    """The lines of the pieces; the time at which one was whole is appended to `times` before it."""
    rest = b""
    for at, piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            times.append(at)
            yield line


def _events(lines: Iterable[bytes], url: str) -> Iterator[dict[str, Any]]:
    """The `data:` events up to `[DONE]`."""
    try:
        for line in lines:
            text = line.decode().strip()
            if not text.startswith("data:"):
                continue
            data = text.removeprefix("data:").strip()
            if data == "[DONE]":
                return
            event = json.loads(data)
            if not isinstance(event, dict):
                raise ValueError
            if "error" in event:
                raise Refused(f"the server stopped: {_words(event['error'])}")
            yield event
    except (OSError, HTTPException, ValueError) as error:
        raise _broken(url, error) from None
    raise Refused(f"the answer of {url} broke off")


def _broken(url: str, error: Exception) -> Refused:
    return Refused(f"the answer of {url} broke off ({type(error).__name__})")
