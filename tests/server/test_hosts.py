"""Host names: a server on loopback answers to its own only (T40), and to exactly one at a time (T6)."""

from __future__ import annotations

import socket

import httpx
import pytest

from rustinfer.server.hosts import ANY, allowed

from .conftest import LiveServer


def test_which_names_are_allowed() -> None:
    assert allowed("127.0.0.1", ()) == {"127.0.0.1", "localhost", "::1"}
    assert allowed("::1", ["My.Host"]) == {"127.0.0.1", "localhost", "::1", "my.host"}
    assert allowed("0.0.0.0", ()) == {ANY}
    assert allowed("0.0.0.0", ["a"]) == {"a"}
    assert allowed("127.0.0.1", ["*"]) >= {ANY}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.", "", "[::2]"]
)
def test_t40_rebound_names_are_refused(http: httpx.Client, host: str) -> None:
    answer = http.get("/v1/models", headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "unknown_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:80", "[::1]"])
def test_own_names_are_answered(http: httpx.Client, host: str) -> None:
    assert http.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"])
def test_t6_one_host_header(server: LiveServer, hosts: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as link:
        link.sendall(b"GET /v1/models HTTP/1.1\r\n" + hosts + b"\r\n")
        assert b" 400 " in link.recv(1000)
