"""What clients and checkpoints write into prompts and grammars: T13, T15 to T17, T19, T20, T27, T29, F21."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings

from rustinfer.protocol.structured import Structured
from tests.conftest import Saw
from tests.engine.malformed import forms
from tests.faults.conftest import World
from tests.faults.model import POISON
from tests.faults.world import GOLDEN
from tests.server import fake_engine, hostile
from tests.server.conftest import MODEL, LiveServer, live
from tests.text.test_sandbox import BOMBS, ESCAPES

CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "a"}],
    "max_tokens": 2,
    "temperature": 0,
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)


def test_t13_templates_from_clients(world: World, saw: Saw) -> None:
    """A request that brings its own chat template, or variables that override how ours is run."""
    tried = [{"chat_template": "{{ 1 }}"}]
    tried += [{"chat_template_kwargs": {name: True}} for name in ("messages", "tools", "add_generation_prompt")]
    for more in tried:
        answer = world.server.post(CHAT | more, "/v1/chat/completions")
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == next(iter(more))
    plain = world.server.post(CHAT, "/v1/chat/completions").json()["choices"]
    for name in ("tokenize", "return_tensors", "self", "loop", "cycler", "__class__"):
        answer = world.server.post(CHAT | {"chat_template_kwargs": {name: True}}, "/v1/chat/completions")
        assert answer.status_code == 400 or answer.json()["choices"] == plain, name
    saw("400 that names the field; any other variable is one of the template's and nothing else", None)


@pytest.mark.parametrize("kind", ["escapes", "bombs"])
def test_t15_t16_templates_of_checkpoints(kind: str, tmp_path: Path, saw: Saw) -> None:
    """Servers before checkpoints whose chat template is hostile."""
    templates, slowest = ESCAPES if kind == "escapes" else BOMBS[::6], 0.0
    for number, template in enumerate(templates):
        address = f"ipc://{tmp_path}/{number}/engine"
        card = fake_engine.card(chat_template=template)
        with fake_engine.FakeEngine(address, card=card), live(address) as server:
            server.wait_ready()
            started = time.monotonic()
            answer = _post(server, "/v1/chat/completions", {**CHAT, "model": card.id})
            slowest = max(slowest, time.monotonic() - started)
            assert answer.status_code == 400, template
            assert len(answer.content) < 1000
            plain = {"model": card.id, "prompt": "a", "max_tokens": 5, "temperature": 0}
            assert _post(server, "/v1/completions", plain).json()["choices"][0]["text"] == fake_engine.TEXT[:5]
    saw(f"each of {len(templates)}: 400 for chats, everything else goes on; the slowest", slowest)
    assert slowest < 20  # two on an idle machine


def _post(server: LiveServer, path: str, body: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=60)


def test_t17_t19_t20_grammars(world: World, saw: Saw) -> None:
    """Malformed and unheard-of schemas, expressions and grammars, every tenth followed by a good one."""
    disk, refused, before = _written(world), 0, world.engine.usage().kilobytes
    many = [*forms(60, seed=3), *(Structured("json_schema", json.dumps({"const": f"c{n}"})) for n in range(60))]
    with httpx.Client(base_url=world.server.url, timeout=60) as http:
        for number, form in enumerate(many):
            text = form.text if form.kind in ("regex", "grammar") else _json(form.text)
            wanted = {"json_schema": "json", "grammar": "grammar", "regex": "regex", "choice": "choice"}[form.kind]
            body = {**GOLDEN, "max_tokens": 2, "structured_outputs": {wanted: text}}
            answer = http.post("/v1/completions", json=body)
            assert answer.status_code in (200, 400), (form, answer.text)
            refused += answer.status_code == 400
            if number % 10 == 0:
                good = {**GOLDEN, "structured_outputs": {"choice": [f"{number}"]}, "ignore_eos": False}
                assert http.post("/v1/completions", json=good).json()["choices"][0]["text"] == f"{number}"
    assert refused > 20
    assert _written(world) - disk < 1 << 20
    assert (world.engine.usage().kilobytes - before) / 1024 < 100
    saw(f"{refused} refused with 400, the good ones obeyed, the engine the same process, nothing on the disk", None)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _written(world: World) -> int:
    """Bytes that the engine has handed to a file system; its log is one."""
    lines = Path(f"/proc/{world.engine.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


BROKEN_IMAGES = [PIXEL, "data:image/png;base64,AAAA", "data:image/gif;base64,R0lGODlh////", "http://192.0.2.1/x.png"]


def test_t27_t29_images(world: World, saw: Saw) -> None:
    """Images, whole, broken, tiny and by URL, wherever OpenAI has a place for one; no model here can see."""
    tried = 0
    for url in BROKEN_IMAGES:
        part, one = {"type": "image_url", "image_url": {"url": url}}, {"type": "input_image", "image_url": url}
        for path, body in (
            ("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": [part]}]}),
            ("/v1/chat/completions", {**CHAT, "stream": True, "messages": [{"role": "user", "content": [part] * 200}]}),
            ("/v1/responses", {"model": "tiny", "input": [{"role": "user", "content": [one]}]}),
            ("/v1/completions", {**GOLDEN, "prompt": [part]}),
            ("/v1/embeddings", {"model": "tiny", "input": [part]}),
        ):
            answer = world.server.post(body, path)
            assert answer.status_code == 400, (path, answer.text)
            assert len(answer.content) < 1000
            assert "0x" not in answer.text
            tried += 1
    saw(f"400, {tried} times, before anything of them is decoded: images are refused until a model can see", None)


def test_t27_errors_in_streams_tell_nothing(world: World, saw: Saw) -> None:
    """A request that fails inside of the engine, whole and as a stream, on each endpoint."""
    bad = f"abc{POISON}"
    for stream in (False, True):
        for path, body in (
            ("/v1/completions", {**GOLDEN, "prompt": bad}),
            ("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": bad}]}),
            ("/v1/responses", {"model": "tiny", "input": bad}),
        ):
            answer = world.server.post({**body, "stream": stream}, path)
            assert answer.status_code == 500 or "numerical_error" in answer.text, answer.text
            for word in ("0x", "Traceback", ".py", str(world.folder), "nan"):
                assert word not in answer.text, answer.text
    saw("`numerical_error`, without an address, a path or a traceback", None)


@pytest.mark.timeout(900)
def test_f21_spoilt_requests(world: World, saw: Saw) -> None:
    """500 requests that were valid before they were spoilt in one to three places, or in their bytes."""
    statuses: Counter[int] = Counter()
    slowest = 0.0
    with httpx.Client(base_url=world.server.url, timeout=60) as http:

        @seed(21)
        @settings(max_examples=500, database=None, suppress_health_check=list(HealthCheck))
        @given(hostile.requests())
        def answered(request: tuple[str, bytes]) -> None:
            nonlocal slowest
            path, raw = request
            content = raw.replace(MODEL.encode(), b"tiny")
            answer = http.post(path, content=content, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400, 404, 500), (path, raw[:300], answer.text)
            if answer.status_code == 500:  # the tiny model has a token whose numbers break
                assert answer.json()["error"]["code"] == "numerical_error"
            elif not answer.text.startswith(("data: ", "event: ")):
                answer.json()
            statuses[answer.status_code] += 1
            slowest = max(slowest, answer.elapsed.total_seconds())

        answered()
    assert statuses[200] > 20
    assert slowest < 60  # a second where nobody else works
    shown = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    shown += " (all `numerical_error`: the tiny model's one spoilt token)" * (500 in statuses)
    saw(f"{shown}; each answer well-formed; 10,000 more by `make test-slow`; the slowest", slowest)
