"""Bodies of unusual size: judged elsewhere, with the same words, while others go on. T14, S16."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from rustinfer.server import gate, openai
from tests.conftest import Saw

from .conftest import MODEL, LiveServer
from .fake_engine import FakeEngine

HEADERS = {"content-type": "application/json"}
LARGE = "All work and no play. " * 200_000
BODIES = {
    "too long": ({"prompt": LARGE}, 400, "context_length_exceeded"),
    "chat": ({"messages": [{"role": "user", "content": LARGE}]}, 400, "context_length_exceeded"),
    "model": ({"model": "other", "prompt": LARGE}, 404, "model_not_found"),
    "refused": ({"prompt": "a", "temperature": 9, "x": LARGE}, 400, None),
    "fine": ({"prompt": "a", "max_tokens": 2, "x": LARGE}, 200, None),
    "response": ({"input": LARGE}, 400, "context_length_exceeded"),
    "fine response": ({"input": "a", "max_output_tokens": 2, "x": LARGE}, 200, None),
    "continued": ({"input": "a", "previous_response_id": "bad", "x": LARGE}, 400, "previous_response_not_found"),
}
PATHS = {"messages": "/v1/chat/completions", "input": "/v1/responses"}


def post(server: LiveServer, body: dict[str, object]) -> httpx.Response:
    path = next((path for field, path in PATHS.items() if field in body), "/v1/completions")
    return httpx.post(f"{server.url}{path}", json={"model": MODEL, **body}, timeout=60)


@pytest.mark.parametrize("name", BODIES)
def test_the_answer_is_the_usual_one(server: LiveServer, engine: FakeEngine, name: str) -> None:
    body, status, code = BODIES[name]
    answer = post(server, body)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == code
    small = {key: value[:5000] if value is LARGE else value for key, value in body.items()}
    assert post(server, small).status_code == status
    assert server.app.state.gate._process is not None


def test_invalid_json_of_unusual_size(server: LiveServer) -> None:
    answer = httpx.post(f"{server.url}/v1/completions", content=b"[" * (2 << 20), headers=HEADERS, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)


def test_what_takes_too_long_is_refused_and_the_next_one_is_not(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PATIENCE_SECONDS", 0.0)
    answer = post(server, BODIES["chat"][0])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_too_complex")
    monkeypatch.undo()
    assert post(server, BODIES["chat"][0]).json()["error"]["code"] == "context_length_exceeded"


def test_t14_s16_others_do_not_wait(
    server: LiveServer, http: httpx.Client, saw: Saw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of five million ids in the server, beside which others ask for /health."""
    monkeypatch.setattr(gate, "PATIENCE_SECONDS", 600.0)
    assert post(server, BODIES["chat"][0]).status_code == 400
    judge = server.app.state.gate
    content = json.dumps({"model": MODEL, "prompt": list(range(256)) * 20_000}).encode()
    waits = []

    def others(until: Callable[[], object]) -> None:
        while not until():
            started = time.monotonic()
            assert http.get("/health").status_code == 200
            waits.append(time.monotonic() - started)

    judge._process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        try:
            many = thread.submit(
                httpx.post, f"{server.url}/v1/completions", content=content, headers=HEADERS, timeout=60
            )
            others(judge._turn.locked)
            held = len(waits) + 50
            others(lambda: len(waits) >= held)
            assert not many.done()
        finally:
            judge._process.send_signal(signal.SIGCONT)
        others(many.done)
    assert many.result().json()["error"]["code"] == "context_length_exceeded"
    # How long they took is told, and measured by `python -m benchmarks.front`.
    saw("nine of ten others were answered within", sorted(waits)[int(len(waits) * 0.9)])


def test_f13_what_nobody_knows_is_read_in_the_other_process_alone(
    server: LiveServer, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server reads what is left, which is what there is to understand, and names the first that it ignores."""
    read: list[int] = []
    parse = openai.body.parse
    monkeypatch.setattr(openai.body, "parse", lambda raw: read.append(len(raw)) or parse(raw))
    more = {f"k{n:06}": {"deep": n} for n in range(100_000)}
    body = {"prompt": "a", "max_tokens": 2, "n": 1, "stop": ["é"], "user": "u", "lora_path": None, "x,y": 1, **more}
    answer = post(server, body)
    assert answer.status_code == 200, answer.text
    assert read[0] < 5000
    assert answer.headers["x-ignored-params"] == ", ".join(f"k{n:06}" for n in range(32))
    assert engine.requests[-1].sampling.stop == ("é",)
