"""What a user can get wrong, in two tables: at the command line, and over HTTP.

At the command line each mistake ends in one line and exit code 2 (wrong input) or 3 (the files or this installation
cannot serve it).
Over HTTP each is a 4xx in OpenAI's shape; the engine lives on, and the next request is answered as ever.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rustinfer.cli import main as cli

from .conftest import Running
from .models import directories, ggufs

MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directories.write(tmp_path_factory.mktemp("models") / "tiny")


def truncated(tiny: Path, tmp: Path) -> list[str]:
    path = shutil.copytree(tiny, tmp / "cut")
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return [str(path)]


def header_only(tiny: Path, tmp: Path) -> list[str]:
    path = shutil.copytree(tiny, tmp / "header")
    (path / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    return [str(path)]


def corrupt_gguf(tiny: Path, tmp: Path) -> list[str]:
    path = tmp / "some.gguf"
    ggufs.write(path)
    path.write_bytes(path.read_bytes()[:200] + b"\xff" * 100)
    return [str(path)]


def no_gguf(tiny: Path, tmp: Path) -> list[str]:
    path = tmp / "other.gguf"
    path.write_bytes(b"<html>404</html>" * 9)
    return [str(path)]


def unknown_architecture(tiny: Path, tmp: Path) -> list[str]:
    return [str(directories.write(tmp / "new", architectures=["NovelForCausalLM"]))]


def broken_config(tiny: Path, tmp: Path) -> list[str]:
    path = shutil.copytree(tiny, tmp / "config")
    (path / "config.json").write_text('{"architectures": ')
    return [str(path)]


def empty_directory(tiny: Path, tmp: Path) -> list[str]:
    return [str(tmp)]


def of_tiny(*more: str) -> Callable[[Path, Path], list[str]]:
    return lambda tiny, tmp: [str(tiny), *more]


def exactly(*words: str) -> Callable[[Path, Path], list[str]]:
    return lambda tiny, tmp: list(words)


LINES: list[tuple[str, Callable[[Path, Path], list[str]], int, str]] = [
    ("missing path", exactly("/none/such"), 2, r"/none/such"),
    ("missing file", exactly("none.gguf"), 2, r"none\.gguf"),
    ("unknown alias", exactly("smolm2"), 2, r"'smolm2' is no model.*smollm2"),
    ("empty directory", empty_directory, 3, r"config\.json"),
    ("truncated safetensors", truncated, 3, r"model\.safetensors"),
    ("safetensors of a header", header_only, 3, r"model\.safetensors"),
    ("corrupt GGUF", corrupt_gguf, 3, r"some\.gguf"),
    ("no GGUF at all", no_gguf, 3, r"other\.gguf"),
    ("broken config", broken_config, 3, r"config\.json"),
    ("unknown architecture", unknown_architecture, 3, r"NovelForCausalLM"),
    ("unknown back end in --prefer", of_tiny("--prefer", "acme"), 2, r"acme.*(cpu|installed)"),
    ("unknown back end in --pin", of_tiny("--pin", "rms_norm=acme"), 2, r"acme"),
    ("unknown op in --pin", of_tiny("--pin", "norm=cpu"), 2, r"norm"),
    ("pin without a back end", of_tiny("--pin", "rms_norm"), 2, r"OP=BACKEND"),
    ("refused pin", of_tiny("--pin", "attention=triton"), 3, r"triton"),
    ("context longer than the model's", of_tiny("--max-model-len", "100000"), 2, r"128"),
    ("context of nothing", of_tiny("--max-model-len", "0"), 2, r"max.model.len"),
    ("a cache smaller than the prompt", of_tiny("--kv-cache-tokens", "1"), 2, r"33 tokens.* only 16"),
    ("unknown flag", of_tiny("--temprature", "1"), 2, r"--temprature"),
    ("temperature out of range", of_tiny("--temperature", "-1"), 2, r"temperature"),
    ("max-tokens out of range", of_tiny("--max-tokens", "-5"), 2, r"max.tokens"),
    ("prompt longer than the context", of_tiny("--max-model-len", "16"), 2, r"16"),
]


@pytest.mark.parametrize(("arguments", "code", "says"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_a_line_and_an_exit_code(
    arguments: Callable[[Path, Path], list[str]],
    code: int,
    says: str,
    tiny: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = cli.main(["complete", *arguments(tiny, tmp_path), "a text of more than sixteen bytes"])
    shown = capsys.readouterr().err
    errors = [line for line in shown.splitlines() if "error: " in line]
    assert (done, len(errors)) == (code, 1), shown
    assert re.search(says, errors[0]), shown
    assert "Traceback" not in shown
    assert "rustinfer/" not in shown, "a place in our source is no help to a user"


def test_an_empty_prompt_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["complete", str(tiny), ""]) == 2
    assert "empty" in capsys.readouterr().err


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield str(held.getsockname()[1])


def test_serve_ends_the_same_way(tiny: Path, tmp_path: Path, taken: str) -> None:
    """Through both processes and the supervisor: the line is the last thing said, and nothing is left running."""
    rows = [
        (["/none/such"], 2, "/none/such"),
        ([*truncated(tiny, tmp_path), "--port", "0"], 3, "model.safetensors"),
        ([str(tiny), "--pin", "attention=triton", "--port", "0"], 3, "triton"),
        ([str(tiny), "--port", taken], 2, f"port {taken} on 127.0.0.1 is in use: choose another with --port"),
    ]
    serve = [sys.executable, "-m", "rustinfer.cli", "serve"]
    started = [subprocess.Popen([*serve, *row[0]], stderr=subprocess.PIPE, text=True) for row in rows]
    for process, (_, code, says) in zip(started, rows, strict=True):
        shown = process.communicate(timeout=300)[1]
        assert process.returncode == code, shown
        (line,) = [line for line in shown.splitlines() if line.startswith("error: ")]
        assert says in line
        assert "Traceback" not in shown


CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello"}]


def chat(**change: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": HELLO, "max_tokens": 4, **change}


def text(**change: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "hello", "max_tokens": 4, **change}


REQUESTS: list[tuple[str, str, Any, int, str | None, str | None]] = [
    # what, path, body (bytes as they are), status, param, code
    ("malformed JSON", CHAT, b'{"model": ', 400, None, None),
    ("JSON that is no object", CHAT, [1, 2], 400, None, None),
    ("bytes that are no UTF-8", CHAT, b"\xff\xfe{}", 400, None, None),
    ("numbers that JSON does not have", TEXT, b'{"model":"x","prompt":"a","temperature":NaN}', 400, None, None),
    ("nesting without end", CHAT, b"[" * 100_000, 400, None, None),
    ("no messages", CHAT, {"model": MODEL}, 400, "messages", None),
    ("messages that are none", CHAT, chat(messages="hello"), 400, "messages", None),
    ("an empty conversation", CHAT, chat(messages=[]), 400, "messages", None),
    ("a role that is none", CHAT, chat(messages=[{"role": "pirate", "content": "a"}]), 400, "messages", None),
    ("no model", CHAT, {"messages": HELLO}, 400, "model", None),
    ("unknown model", CHAT, chat(model="gpt-4"), 404, "model", "model_not_found"),
    ("model of a wrong type", CHAT, chat(model=7), 400, "model", None),
    ("no prompt", TEXT, {"model": MODEL}, 400, "prompt", None),
    ("empty prompt", TEXT, text(prompt=""), 400, "prompt", None),
    ("empty list of ids", TEXT, text(prompt=[]), 400, "prompt", None),
    ("ids out of the vocabulary", TEXT, text(prompt=[1, 10**6]), 400, "prompt", "out_of_vocabulary"),
    ("negative ids", TEXT, text(prompt=[1, -1]), 400, "prompt", "out_of_vocabulary"),
    ("ids beyond any integer", TEXT, text(prompt=[2**80]), 400, "prompt", None),
    ("prompt longer than the context", TEXT, text(prompt="word " * 5000), 400, "prompt", "context_length_exceeded"),
    ("the same, streamed", TEXT, text(prompt="word " * 5000, stream=True), 400, "prompt", "context_length_exceeded"),
    ("more tokens than the context", CHAT, chat(max_tokens=10**6), 400, None, "context_length_exceeded"),
    ("temperature of a wrong type", CHAT, chat(temperature="warm"), 400, "temperature", None),
    ("temperature out of range", CHAT, chat(temperature=-1), 400, "temperature", None),
    ("top_p out of range", CHAT, chat(top_p=1.5), 400, "top_p", None),
    ("max_tokens of a wrong type", CHAT, chat(max_tokens="4"), 400, "max_tokens", None),
    ("max_tokens of none", TEXT, text(max_tokens=-1), 400, "max_tokens", None),
    ("n of nothing", CHAT, chat(n=0), 400, "n", None),
    ("n without bounds", CHAT, chat(n=10**9), 400, "n", None),
    ("stop of a wrong type", CHAT, chat(stop=7), 400, "stop", None),
    ("stream of a wrong type", CHAT, chat(stream="yes"), 400, "stream", None),
    ("seed beyond any integer", CHAT, chat(seed=2**80), 400, "seed", None),
    ("a path that is none", "/v1/none", {}, 404, None, None),
]


@pytest.fixture(scope="module")
def live(running_server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_server.url, timeout=300) as client:
        yield client


def losses(client: httpx.Client) -> str:
    (line,) = re.findall(r"^rustinfer_engine_losses_total .*$", client.get("/metrics").text, re.MULTILINE)
    return str(line)


def capital(client: httpx.Client) -> str:
    asked = [{"role": "user", "content": "Name the capital of France."}]
    answer = client.post(CHAT, json=chat(messages=asked, temperature=0, max_tokens=16)).json()
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.model
@pytest.mark.parametrize("row", REQUESTS, ids=[row[0] for row in REQUESTS])
def test_a_refusal_in_openais_shape(row: tuple[str, str, Any, int, str | None, str | None], live: httpx.Client) -> None:
    _, path, body, status, param, code = row
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = live.post(path, content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"].startswith(param), error
    assert code is None or error["code"] == code, error
    assert len(error["message"]) < 400
    assert not re.search(r"Traceback|0x[0-9a-f]{6}|\.py\b|/home|/root|/work", answer.text)


@pytest.mark.model
def test_the_engine_lives_on_and_the_next_request_is_answered(live: httpx.Client) -> None:
    before = losses(live)
    for _, path, body, status, _, _ in REQUESTS:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert live.post(path, content=raw, headers={"Content-Type": "application/json"}).status_code == status
    assert "Paris" in capital(live)
    assert losses(live) == before
