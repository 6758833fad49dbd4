"""The HTTP client of `chat --url`, against a small server that answers as it is told."""

from __future__ import annotations

from typing import Any

import pytest

from rustinfer.cli import main as cli
from rustinfer.cli.client import Client
from rustinfer.errors import UserError

from .answers import Answers, events, models


def chat_chunks(*texts: str) -> list[dict[str, Any]]:
    first: dict[str, Any] = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    usage: dict[str, Any] = {"choices": [], "usage": {}}
    return [first, *({"choices": [{"delta": {"content": text}}]} for text in texts), usage]


def test_the_model_is_the_servers_first(server: Answers) -> None:
    server.by_path["/v1/models"] = models("one", "two")
    assert Client(server.url).model() == "one"
    assert Client(server.url + "/v1/").model() == "one"


def test_chat_streams_an_answer(server: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    server.by_path["/v1/models"] = models("one")
    server.by_path["/v1/chat/completions"] = events(*chat_chunks("Par", "is."))
    argv = [
        "chat",
        "--url",
        server.url,
        "-m",
        "Capital?",
        "--system",
        "Be brief",
        "--temperature",
        "0",
        "--max_tokens=9",
    ]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == "Paris.\n"
    assert server.seen[-1][2] == {
        "model": "one",
        "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Capital?"}],
        "temperature": 0.0,
        "max_tokens": 9,
        "stream": True,
    }


def test_a_chat_has_the_pages_temperature_and_a_text_the_models(server: Answers) -> None:
    server.by_path["/v1/chat/completions"] = events(*chat_chunks("Hi."))
    server.by_path["/v1/completions"] = events({"choices": [{"text": "!"}]})
    assert cli.main(["chat", "one", "--url", server.url, "-m", "Hi"]) == 0
    assert server.seen[-1][2]["temperature"] == 0.7
    assert cli.main(["complete", "one", "Hi", "--url", server.url]) == 0
    assert "temperature" not in server.seen[-1][2]


def test_complete_streams_a_text(server: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    server.by_path["/v1/completions"] = events({"choices": [{"text": " upon"}]}, {"choices": [{"text": " a time"}]})
    assert cli.main(["complete", "one", "Once", "--url", server.url, "--echo"]) == 0
    assert capsys.readouterr().out == "Once upon a time\n"
    assert server.seen[-1][2]["prompt"] == "Once"


def test_a_seed_is_the_requests_own(server: Answers) -> None:
    server.by_path["/v1/completions"] = events({"choices": [{"text": "x"}]})
    assert cli.main(["complete", "one", "Once", "--url", server.url, "--seed", "5"]) == 0
    assert server.seen[-1][2]["seed"] == 5


def test_engine_flags_are_not_for_a_server_that_runs(server: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["complete", "one", "Once", "--url", server.url, "--max-num-seqs", "5", "--pin", "a=b"]) == 2
    message = "error: --max-num-seqs and --pin are for a model loaded here: with --url, give them to the server\n"
    assert capsys.readouterr().err == message


def test_a_model_that_the_server_lacks_is_told_with_those_that_it_has(
    server: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    server.by_path["/v1/models"] = models("one", "two")
    server.by_path["/v1/chat/completions"] = (404, '{"error": {"message": "not here"}}')
    assert cli.main(["chat", "three", "-m", "Hi", "--url", server.url]) == 3
    assert capsys.readouterr().err == f"error: the server at {server.url} has no model 'three': it has one, two\n"


def test_the_key_is_sent(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    server.by_path["/v1/models"] = models("one")
    Client(server.url, "secret").model()
    monkeypatch.setenv("RUSTINFER_API_KEY", "other")
    Client(server.url).model()
    assert [headers["Authorization"] for _, headers, _ in server.seen] == ["Bearer secret", "Bearer other"]


def test_of_several_keys_that_a_server_takes_one_is_sent(server: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    server.by_path["/v1/models"] = models("one")
    monkeypatch.setenv("RUSTINFER_API_KEY", " first, second")
    Client(server.url).model()
    assert server.seen[-1][1]["Authorization"] == "Bearer first"


@pytest.mark.parametrize("key", ["k\u20ac", "a\nb"])
def test_a_key_that_no_header_can_carry_is_one_line(server: Answers, key: str) -> None:
    with pytest.raises(UserError, match="no header can carry"):
        Client(server.url, key)


def test_events_without_text_are_passed_over(server: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    server.by_path["/v1/chat/completions"] = events({"id": 1}, {"choices": [{}]}, *chat_chunks("Hi."))
    assert cli.main(["chat", "one", "-m", "Hi", "--url", server.url]) == 0
    assert capsys.readouterr().out == "Hi.\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, '{"error": {"message": "wrong key"}}'), r"refused \(401\): wrong key"),
        ((502, "<html>"), r"refused \(502\): Bad Gateway"),
        ((500, '{"error": "out of order"}'), r"refused \(500\): out of order"),
        (models(), "offers no model"),
        ((200, "<html>"), "does not list its models"),
        ((200, "[]"), "does not list its models"),
    ],
)
def test_a_refusal_is_one_line(server: Answers, answer: tuple[int, str], message: str) -> None:
    server.by_path["/v1/models"] = answer
    with pytest.raises(UserError, match=message):
        Client(server.url).model()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (events({"error": {"message": "the engine died"}}), "the server stopped: the engine died"),
        (events(*chat_chunks("Par"), done=False), "broke off"),
        ((200, "data: {\n\n"), "broke off"),
        (events(5), "broke off"),
        (events({"error": "out of order"}), "the server stopped: out of order"),
    ],
)
def test_a_stream_that_fails_is_one_line(server: Answers, answer: tuple[int, str], message: str) -> None:
    server.by_path["/v1/completions"] = answer
    with pytest.raises(UserError, match=message):
        list(Client(server.url).stream("/v1/completions", {"prompt": "x"}))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9", "is `rustinfer serve` running there"),
        ("127.0.0.1:9", "is `rustinfer serve` running there"),
        ("ftp://host", "write http://HOST:PORT"),
        ("http://", "write http://HOST:PORT"),
        ("http://host:99999", r"write http://HOST:PORT \(Port out of range"),
        ("http://[::1", r"write http://HOST:PORT \(Invalid IPv6 URL"),
        (f"http://{'a' * 70}.example", "is `rustinfer serve` running there"),
    ],
)
def test_a_wrong_url_is_one_line(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Client(url).model()
