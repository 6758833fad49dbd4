"""Numbers without bounds and lists without end: T9, T11, T21, T31, T35."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx

from tests.conftest import Saw
from tests.faults.conftest import World
from tests.faults.world import GOLDEN, cpu_seconds, wait_for

MANY = [10**6, 10**9]
INTEGERS = ("n", "best_of", "logprobs", "prompt_logprobs", "max_tokens", "min_tokens", "top_k", "seed", "priority")
FLOATS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
VALUES: list[Any] = [-1, 0, 1, -(2**31), 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, 1e308, True, "1", [], {}, None]
FAST = 0.05
"""Of the server's processor: the machine may be busy with others."""


def test_t11_counts(world: World, saw: Saw) -> None:
    """n, best_of, logprobs, max_tokens and the like at a million and a billion."""
    before, slowest = world.server.usage().kilobytes, 0.0
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "logprobs": True}
    with httpx.Client(base_url=world.server.url, timeout=60) as http:
        for name in ("n", "best_of", "logprobs", "prompt_logprobs", "max_tokens", "min_tokens", "top_logprobs"):
            for value in MANY:
                path, body = "/v1/completions", {**GOLDEN, name: value}
                if name == "top_logprobs":
                    path, body = "/v1/chat/completions", {**chat, name: value}
                used = cpu_seconds(world.server.pid)
                answers = [http.post(path, json=body) for _ in range(5)]
                assert {answer.status_code for answer in answers} == {400}, (name, value)
                assert (cpu_seconds(world.server.pid) - used) / 5 < FAST, (name, value)
                slowest = max(slowest, min(answer.elapsed.total_seconds() for answer in answers))
    assert world.server.usage().kilobytes - before < 5 << 10
    saw("400 each; the slowest", slowest)


def million(name: str) -> dict[str, Any]:
    """A request in which this is a list of a million."""
    message: Any = {"role": "user", "content": "a"}
    each: Any = {"stop_token_ids": 1, "messages": message, "tools": {"type": "function"}}.get(name, "a")
    items: Any = {str(n): 1 for n in range(10**6)} if name == "logit_bias" else [each] * 10**6
    chat = name in ("messages", "tools")
    return {"model": "tiny", **({"messages": [message]} if chat else {"prompt": "a"}), name: items}


def test_t11_lists(world: World, saw: Saw) -> None:
    """A list of a million."""
    headers = {"content-type": "application/json"}
    for name in ("stop", "stop_token_ids", "bad_words", "logit_bias", "messages", "tools", "prompt"):
        body = million(name)
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        content = json.dumps(body).encode()
        started = time.monotonic()
        answer = httpx.post(f"{world.server.url}{path}", content=content, headers=headers, timeout=60)
        assert answer.status_code in (400, 413)
        assert len(answer.content) < 1000
        saw(f"{name}: {answer.status_code}", time.monotonic() - started)


def test_t21_t31_numbers_of_every_kind(world: World, saw: Saw) -> None:
    """Every number of a request at its limits, beyond them, and of every other type; NaN and infinity written out."""
    tried = 0
    for name in (*INTEGERS, *FLOATS):
        for value in VALUES:
            body = {**GOLDEN, "max_tokens": 1, name: value}
            if name == "n" and value == 1:
                continue
            answer = world.server.post(body)
            assert answer.status_code in (200, 400), (name, value, answer.text)
            tried += 1
        for literal in ("NaN", "Infinity", "-Infinity", "1e999"):
            content = json.dumps({**GOLDEN, name: 0}).replace(f'"{name}": 0', f'"{name}": {literal}')
            headers = {"content-type": "application/json"}
            answer = httpx.post(f"{world.server.url}/v1/completions", content=content, headers=headers, timeout=60)
            assert answer.status_code == 400, (name, literal)
            tried += 1
    saw(f"200 or 400 {tried} times, no 5xx", None)


def test_t35_a_byte_at_a_time(world: World, saw: Saw) -> None:
    """A body of 100 KB in 100,000 chunks."""
    body = json.dumps({**GOLDEN, "x": "x" * 100_000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", world.server.port)) as link:
        link.settimeout(60)
        link.sendall(head + chunks)
        assert b" 200 " in link.recv(100)
    saw("200", time.monotonic() - started)


def test_t9_headers(world: World, saw: Saw) -> None:
    """A header of a megabyte, and ten thousand headers."""
    for headers in (b"A: " + b"x" * 10**6, b"\r\n".join(b"H%d: x" % n for n in range(10_000))):
        with socket.create_connection(("127.0.0.1", world.server.port)) as link:
            link.settimeout(60)
            try:
                link.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n")
                answer = link.recv(100)
            except ConnectionError:  # refused before all of it was sent
                answer = b" 431 "
        assert b" 431 " in answer
    wait_for(lambda: world.server.get("/health").status_code == 200)
    saw("431, and the connection closed", None)
