"""A conversation in the terminal, with a speaker that repeats what it heard."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rustinfer import LLM
from rustinfer.cli import chat
from rustinfer.cli import main as cli
from rustinfer.cli.speaker import Message, Pieces
from rustinfer.outputs import CompletionDelta

from ..engine.tiny import save


class Echo:
    """Answers with the conversation so far, in two pieces; stops when told to."""

    name = "echo"

    def __init__(self, stop_at: str = "") -> None:
        self.stop_at = stop_at
        self.closed = 0

    def chat(self, messages: list[Message]) -> Pieces:
        try:
            text = " ".join(message["content"] for message in messages)
            yield text[:2]
            if messages[-1]["content"] == self.stop_at:
                raise KeyboardInterrupt
            yield text[2:]
        finally:
            self.closed += 1

    def complete(self, prompt: str) -> Pieces:
        yield prompt


Talk = Callable[..., int]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    def run(lines: str, *flags: str, who: Echo | None = None, tty: bool = False) -> int:
        stdin = io.StringIO(lines)
        stdin.isatty = lambda: tty  # type: ignore[method-assign]
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr(chat, "speaker", lambda args, max_tokens: who or Echo())
        return cli.main(["chat", *flags])

    return run


def test_each_turn_sees_the_ones_before(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk("one\n\ntwo\n", "--system", "hi") == 0
    assert capsys.readouterr().out == "hi one\nhi one hi one two\n"


def test_clear_forgets_all_but_the_system_message(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk("one\n/clear\ntwo\n/exit\nthree\n", "--system", "hi") == 0
    assert capsys.readouterr().out == "hi one\nhi two\n"


def test_one_message_and_out(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    assert talk("ignored\n", "-m", "one") == 0
    assert capsys.readouterr().out == "one\n"


def test_a_terminal_is_greeted_and_ctrl_c_stops_the_answer_only(talk: Talk, capsys: pytest.CaptureFixture[str]) -> None:
    who = Echo(stop_at="stop")
    assert talk("one\nstop\ntwo\n", tty=True, who=who) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"echo. {chat.HELP}\n")
    assert "(stopped)" in shown
    assert shown.endswith("> one one two\n> ")
    assert who.closed == 3


def test_ctrl_c_ends_a_script(talk: Talk) -> None:
    assert talk("stop\n", who=Echo(stop_at="stop")) == 130


def test_a_speaker_is_a_generator_that_can_be_closed() -> None:
    who = Echo()
    with closing(who.chat([{"role": "user", "content": "one"}])) as pieces:
        next(pieces)
    assert who.closed == 1


def test_a_key_needs_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chat", "--api-key", "k", "-m", "hi"]) == 2
    assert capsys.readouterr().err.startswith("error: --api-key goes with --url")


@pytest.mark.parametrize("argv", [["chat", "-m"], ["complete"]])
def test_an_answer_that_goes_wrong_here_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    wrong = CompletionDelta(0, "", [], "error", "its numbers are not finite")
    monkeypatch.setattr(LLM, "stream", lambda self, asked, params: iter([wrong]))
    assert cli.main([argv[0], str(save(tmp_path)), *argv[1:], "a", "--threads", "1"]) == 3
    assert capsys.readouterr().err == "error: the model stopped: its numbers are not finite\n"
